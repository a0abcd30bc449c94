"""The data commands as a user runs them, with what goes wrong."""

import functools
import http.server
import json
import threading
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from nucseg.cli.main import app
from nucseg.datasets.download import REGISTRY
from nucseg.datasets.synthetic import write_synthetic_dataset


@pytest.fixture
def folder(tmp_path):
    write_synthetic_dataset(tmp_path / "set", images=4, size=(48, 64))
    return tmp_path / "set"


def size(path):
    with Image.open(path) as image:
        return image.size


def run(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


def test_info_tells_what_is_there_and_draws_a_sheet(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("info", folder)
    assert result.exit_code == 0, result.output
    assert "images     4" in result.stdout
    assert "problems   none" in result.stdout
    assert size(tmp_path / "set-contact-sheet.png") == (4 * 164 + 4, 184)


@pytest.mark.parametrize(
    ("option", "given", "written"),
    [
        ("-o", "new/sheet.png", "new/sheet.png"),
        ("--output", "new", "new/set-contact-sheet.png"),
        ("-o", "there.d", "there.d/set-contact-sheet.png"),
        ("--sheet", "a.png", "a.png"),
    ],
)
def test_the_sheet_goes_where_it_is_asked_to(folder, tmp_path, monkeypatch, option, given, written):
    (tmp_path / "there.d").mkdir()
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    result = run("info", folder, option, tmp_path / given)
    assert result.exit_code == 0, result.output
    assert (tmp_path / written).is_file()
    assert list(here.iterdir()) == []


def test_info_as_json_is_json_alone(folder, tmp_path):
    result = run("info", folder, "--json", "--sheet", tmp_path / "sheet.png")
    facts = json.loads(result.stdout)
    assert facts["images"] == 4
    assert facts["modalities"] == {"fluorescence": 3, "histology": 1}
    assert (tmp_path / "sheet.png").is_file()


def test_one_bad_image_does_not_stop_info(folder, tmp_path):
    bad = folder / "synthetic-0001" / "images" / "synthetic-0001.png"
    bad.write_bytes(bad.read_bytes()[:100])
    mask = next((folder / "synthetic-0002" / "masks").iterdir())
    Image.fromarray(np.ones((3, 3), np.uint8)).save(mask)
    result = run("info", folder, "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0
    assert "unreadable image: synthetic-0001" in result.stdout
    assert "mask of another size: synthetic-0002" in result.stdout


def test_info_of_nothing_is_wrong_usage(tmp_path):
    result = run("info", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "There is no folder or zip file" in result.stderr


def test_a_sheet_that_cannot_be_written_is_wrong_usage(folder, tmp_path):
    (tmp_path / "file").write_text("")
    result = run("info", folder, "--sheet", tmp_path / "file" / "sheet.png")
    assert result.exit_code == 2
    assert "Cannot write" in result.stderr


def test_preview_draws_augmented_pairs(folder, tmp_path):
    result = run("preview", folder, "-o", tmp_path / "a.png", "--images", 3)
    assert result.exit_code == 0, result.output
    assert "3 images" in result.stdout
    assert size(tmp_path / "a.png") == (6 * 196 + 4, 3 * 212 + 4)
    run("preview", folder, "-o", tmp_path / "b.png", "--images", 3)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    run("preview", folder, "-o", tmp_path / "c.png", "--images", 3, "--seed", 1)
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


def test_preview_draws_the_crops_of_the_instance_recipe(folder, tmp_path):
    result = run("preview", folder, "-o", tmp_path / "a.png", "--images", 2, "--recipe", "instance")
    assert result.exit_code == 0, result.output
    run("preview", folder, "-o", tmp_path / "b.png", "--images", 2)
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
    result = run("preview", folder, "-o", tmp_path / "c.png", "--recipe", "magic")
    assert result.exit_code == 2
    assert "expected semantic or instance" in " ".join(result.output.split())


def test_info_tells_what_a_set_says_of_itself(folder, tmp_path):
    (folder / "dataset.toml").write_text('name = "mine"\nlicence = "CC0 1.0"\n')
    result = run("info", folder, "--sheet", tmp_path / "sheet.png")
    assert "licence    CC0 1.0" in result.output
    result = run("info", folder, "--sheet", tmp_path / "sheet.png", "--json")
    told = json.loads(result.stdout)["dataset"]
    assert told == {"name": "mine", "licence": "CC0 1.0", "source": "", "citation": ""}


def test_preview_leaves_out_what_it_cannot_use(folder, tmp_path):
    for number in range(3):
        name = f"synthetic-{number:04d}"
        (folder / name / "images" / f"{name}.png").write_bytes(b"")
    result = run("preview", folder, "-o", tmp_path / "a.png")
    assert result.exit_code == 0
    assert "Skipped synthetic-0001" in result.stderr
    assert "1 images" in result.stdout
    for mask in (folder / "synthetic-0003" / "masks").iterdir():
        mask.unlink()
    result = run("preview", folder, "-o", tmp_path / "b.png")
    assert result.exit_code == 2
    assert "no readable image with annotated nuclei" in result.stderr


def test_synthetic_writes_a_data_set(tmp_path):
    result = run("synthetic", "--to", tmp_path / "s", "--images", 2, "--seed", 5, "--size", 32)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "s").glob("*/images/*.png"))) == 2
    result = run("synthetic", "--to", tmp_path / "s")
    assert result.exit_code == 2
    assert "not an empty folder" in result.stderr


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def url(folder, tmp_path, monkeypatch):
    known = REGISTRY["dsb2018"]
    monkeypatch.setitem(REGISTRY, "dsb2018", replace(known, size=None, sha256=None))
    (tmp_path / "served").mkdir()
    with zipfile.ZipFile(tmp_path / "served" / "set.zip", "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, file.relative_to(folder))
    handler = functools.partial(Quiet, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/set.zip"
        server.shutdown()
        thread.join()


def test_a_download_can_be_looked_into(url, tmp_path):
    result = run("download", "dsb2018", "--to", tmp_path / "d", "--url", url)
    assert result.exit_code == 0, result.output
    assert "not compared: no known hash" in result.stdout
    path = tmp_path / "d" / "stage1_train"
    assert run("info", path, "--sheet", tmp_path / "s.png").exit_code == 0
    again = run("download", "dsb2018", "--to", tmp_path / "d", "--url", url)
    assert "already exists" in again.stdout


def test_a_download_can_stay_zipped(url, tmp_path):
    result = run("download", "dsb2018", "--to", tmp_path / "d", "--url", url, "--keep-zip")
    assert result.exit_code == 0
    assert (
        run("info", tmp_path / "d" / "stage1_train.zip", "--sheet", tmp_path / "s.png").exit_code
        == 0
    )


def test_a_failed_download_is_told_in_a_line(url, tmp_path):
    result = run("download", "dsb2018", "--to", tmp_path / "d", "--url", f"{url}.gone")
    assert result.exit_code == 2
    assert "the server answers 404" in result.stderr
    result = run("download", "dsb2019", "--to", tmp_path / "d")
    assert result.exit_code == 2
    assert "Unknown data set" in result.stderr
