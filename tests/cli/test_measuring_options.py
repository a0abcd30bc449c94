"""Candidates, DNA content, granularity and flat fields, by the commands."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from nucseg.cli.main import app

SIDE = 160
LIGHT = 1 + 0.5 * np.linspace(-1, 1, SIDE)[None, :] * np.ones((SIDE, 1))


def run(*arguments: object):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def draw(folder: Path, count: int, *, light: np.ndarray | float = 1.0) -> None:
    """Write images with 9 equal nuclei, one of the first condensed, and their label images."""
    down, across = np.ogrid[:SIDE, :SIDE]
    for number in range(count):
        image, labels = np.full((SIDE, SIDE), 100.0), np.zeros((SIDE, SIDE), np.uint16)
        for place in range(9):
            # Elsewhere in each image, so that the median of all is the background.
            row, column = 25 + 50 * (place // 3), 20 + 50 * (place % 3)
            row += 10 * (number % 3) - 10
            column += 12 * (number % 4) - 6
            condensed = number == place == 0
            disc = (down - row) ** 2 + (across - column) ** 2 <= (6 if condensed else 8) ** 2
            image[disc], labels[disc] = 1300 if condensed else 500, place + 1
        for name, pixels in (("images", image * light), ("labels", labels)):
            (folder / name).mkdir(exist_ok=True)
            kept = np.rint(pixels).astype(np.uint16)
            tifffile.imwrite(folder / name / f"img_{number:02}.tif", kept)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw(tmp_path, 12, light=LIGHT)
    return tmp_path


def measure(folder: Path, *options: object):
    arguments = (folder / "labels", folder / "images", "-o", folder / "out")
    return run("measure", *arguments, *options)


def test_candidates_and_flags_are_columns_and_nothing_is_dropped(tmp_path: Path):
    draw(tmp_path, 2)
    result = measure(tmp_path, "--candidates", "default")
    assert result.exit_code == 0, result.output
    assert "Candidates: mitotic 1." in result.stdout
    table = rows(tmp_path / "out" / "measurements.csv")
    assert [each["candidate"] for each in table] == ["mitotic"] + [""] * 17
    assert float(table[1]["dna_content"]) == 400 * int(table[1]["area"])
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["candidates"]["rule"][0]["name"] == "mitotic"


def test_rules_of_ones_own_and_wrong_ones(tmp_path: Path):
    draw(tmp_path, 2)
    mine = tmp_path / "mine.toml"
    mine.write_text('[[rule]]\nname = "dim"\ncolumn = "flag"\nsource = "me"\nmean = [0, 2]\n')
    assert "Candidates: dim 17." in measure(tmp_path, "--candidates", mine).stdout
    mine.write_text("[[rule]]\nname = 'dim'\n")
    result = measure(tmp_path, "--candidates", mine)
    assert result.exit_code == 2
    assert "Wrong rule of candidates" in result.stderr
    result = run("segment", tmp_path / "images", "-o", tmp_path / "s", "--candidates", "no.toml")
    assert result.exit_code == 2
    assert "Cannot read the rules of candidates from no.toml" in result.stderr


def test_segment_names_candidates_too(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    draw(tmp_path, 2)
    command = ("segment", tmp_path / "images", "-o", tmp_path / "s", "--candidates", "default")
    result = run(*command, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["candidates"]["mitotic"] == 1
    table = rows(tmp_path / "s" / "images.csv")
    assert [each["candidates_mitotic"] for each in table] == ["1", "0"]
    page = (tmp_path / "s" / "report.html").read_text()
    assert "mitotic 1, fragmented 0" in page
    before = (tmp_path / "s" / "measurements.csv").read_bytes()
    assert json.loads(run(*command, "--json", "--resume").stdout)["kept"] == 2
    assert (tmp_path / "s" / "measurements.csv").read_bytes() == before


def test_few_nuclei_have_no_candidates_which_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    draw(tmp_path, 1)
    result = measure(tmp_path, "--candidates", "default")
    assert result.exit_code == 0
    assert "Candidates: none." in result.stdout
    assert "fewer than 10 whole nuclei" in caplog.text


def test_a_flat_field_makes_equal_nuclei_equally_bright(folder: Path):
    assert measure(folder, "--dna").exit_code == 0
    uneven = [float(each["intensity_mean"]) for each in rows(folder / "out" / "measurements.csv")]
    result = measure(folder, "--flat-field", "auto", "--dna", "--granularity", "--texture")
    assert result.exit_code == 0, result.output
    table = rows(folder / "out" / "measurements.csv")
    even = [float(each["intensity_mean"]) for each in table]
    assert np.std(uneven[1:]) / np.mean(uneven[1:]) > 0.2
    assert np.std(even[1:]) / np.mean(even[1:]) < 0.03
    content = [float(each["dna_content"]) for each in table][1:]
    assert np.std(content) / np.mean(content) < 0.03
    assert "granularity_16" in table[0]
    (told,) = json.loads((folder / "out" / "run.json").read_text())["flat_field"]
    assert told["images"] == 12
    assert told["least"] == pytest.approx(0.5, abs=0.06)
    # The file that was written is taken too, and an earlier one goes.
    field = tmp_copy(folder / "out" / told["file"], folder / "field.tif")
    assert measure(folder, "--flat-field", field).exit_code == 0
    again = [float(each["intensity_mean"]) for each in rows(folder / "out" / "measurements.csv")]
    assert again == pytest.approx(even, rel=1e-4)
    assert measure(folder).exit_code == 0
    assert not list((folder / "out" / "flat_field").glob("*.tif"))


@pytest.mark.parametrize("command", ["measure", "segment"])
def test_no_flat_field_but_those_of_earlier_runs_goes(folder: Path, command: str):
    out = folder / "out"
    inputs = [folder / "labels", folder / "images"] if command == "measure" else [folder / "images"]
    mine = out / "flat_field" / "1.tif"
    mine.parent.mkdir(parents=True)
    tifffile.imwrite(mine, np.asarray(LIGHT, np.float32))
    before = mine.read_bytes()
    arguments = [command, *inputs, "-o", out]
    assert run(*arguments, "--flat-field", mine).exit_code == 0
    assert mine.read_bytes() == before
    (told,) = json.loads((out / "run.json").read_text())["flat_field"]
    written = out / told["file"]
    assert written != mine
    # One that an earlier run wrote there may be asked for; it stays until it is not any more.
    assert run(*arguments, "--flat-field", written).exit_code == 0
    assert written.is_file()
    assert run(*arguments).exit_code == 0
    assert mine.read_bytes() == before


def tmp_copy(source: Path, target: Path) -> Path:
    target.write_bytes(source.read_bytes())
    return target


def test_segment_shows_the_flat_field_and_finds_the_same_nuclei(folder: Path):
    results = {}
    for name, option in (("with", "auto"), ("without", "off")):
        out = folder / name
        result = run("segment", folder / "images", "-o", out, "--flat-field", option)
        assert result.exit_code == 0, result.output
        results[name] = rows(out / "measurements.csv")
        labels = tifffile.imread(out / "labels" / "img_03.tif")
        results[f"{name} labels"] = labels.tobytes()
    assert results["with labels"] == results["without labels"]
    assert results["with"][3]["area"] == results["without"][3]["area"]
    assert results["with"][3]["intensity_mean"] != results["without"][3]["intensity_mean"]
    page = (folder / "with" / "report.html").read_text()
    assert "Illumination" in page
    assert "from 12 images in" in page
    assert "Illumination" not in (folder / "without" / "report.html").read_text()
    kept = run("segment", folder / "images", "-o", folder / "with", "--flat-field", "auto",
               "--resume", "--json")  # fmt: skip
    assert json.loads(kept.stdout)["kept"] == 12


def test_flat_fields_that_cannot_be(folder: Path):
    for path in sorted((folder / "images").glob("*.tif"))[9:]:
        path.unlink()
    result = measure(folder, "--flat-field", "auto")
    assert result.exit_code == 2
    assert "--flat-field auto needs 10 images of one size in a folder" in result.stderr
    result = measure(folder, "--flat-field", folder / "none.tif")
    assert result.exit_code == 2
    assert "Cannot read the flat field" in result.stderr
    tifffile.imwrite(folder / "zero.tif", np.zeros((SIDE, SIDE), np.float32))
    assert "is no flat field" in measure(folder, "--flat-field", folder / "zero.tif").stderr
    tifffile.imwrite(folder / "small.tif", np.ones((9, 9), np.float32))
    result = measure(folder, "--flat-field", folder / "small.tif")
    assert result.exit_code == 1
    assert "No flat field for" in result.stderr


def test_flat_fields_of_channels(tmp_path: Path):
    draw(tmp_path, 10, light=LIGHT)
    for path in (tmp_path / "images").glob("*.tif"):
        pixels = tifffile.imread(path)
        about = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
        tifffile.imwrite(path, np.stack([pixels, pixels[:, ::-1]]), ome=True, metadata=about)
    result = measure(tmp_path, "--measure", "all", "--flat-field", "auto")
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "out" / "run.json").read_text())["flat_field"]
    assert [each["channel"] for each in told] == ["", "DAPI", "GFP"]
    table = rows(tmp_path / "out" / "measurements.csv")
    means = [float(each["nucleus_above_DAPI"]) for each in table[1:]]
    assert np.std(means) / np.mean(means) < 0.05
