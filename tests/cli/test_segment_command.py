import csv
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from typer.testing import CliRunner

from nucseg.batch.summary import Outcome
from nucseg.cli.main import app
from nucseg.cli.summary import print_summary, summary_of
from nucseg.images import read_image


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def picture(seed: int = 0) -> np.ndarray:
    image = np.random.default_rng(seed).integers(0, 90, (24, 40), np.uint8)
    image[2:9, 3:10] = image[12:20, 20:32] = 250
    return image


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b"):
        PIL.Image.fromarray(picture()).save(folder / f"{name}.png")
    return folder


def test_segment_a_folder(images: Path, bright_model: Path, tmp_path: Path):
    result = run("segment", images, "-o", tmp_path / "out", "--model", bright_model)
    assert result.exit_code == 0, result.output
    assert "2 images segmented: 4 nuclei." in result.stdout
    assert f"Results: {tmp_path / 'out'}" in result.stdout
    assert f"Report: {tmp_path / 'out' / 'report.html'} (opens in a browser)" in result.stdout
    assert re.search(r"^Time: \d+\.\d s, .*(images/s|s per image)\.$", result.stdout, re.MULTILINE)
    assert "\x1b[" not in result.output
    assert read_image(tmp_path / "out" / "labels" / "b.tif").pixels.max() == 2


def test_summary_as_json(images: Path, bright_model: Path, tmp_path: Path):
    (images / "zero.png").touch()
    result = run("segment", images, "-o", tmp_path / "out", "--model", bright_model, "--json")
    assert result.exit_code == 1
    summary = json.loads(result.stdout)
    assert (summary["images"], summary["nuclei"], summary["empty"]) == (3, 4, 0)
    assert summary["failed"][0]["path"] == str(images / "zero.png")
    assert (summary["ok"], summary["kept"]) == (2, 0)
    assert summary["causes"] == [
        {
            "error": "… is empty: it has zero bytes. Copy it again from its source.",
            "images": [str(images / "zero.png")],
        }
    ]
    assert summary["report"] == str(tmp_path / "out" / "report.html")
    # Both are rounded to thousandths.
    assert 3 / summary["images_per_second"] == pytest.approx(summary["seconds"], abs=0.001)


def test_a_run_without_a_report(images: Path, bright_model: Path, tmp_path: Path):
    arguments = ("segment", images, "-o", tmp_path / "out", "--model", bright_model)
    result = run(*arguments, "--no-report")
    assert result.exit_code == 0, result.output
    assert "Report" not in result.stdout
    assert not (tmp_path / "out" / "report.html").exists()
    assert json.loads(run(*arguments, "--no-report", "--json").stdout)["report"] is None


def test_what_an_earlier_run_has_done_is_said(images: Path, bright_model: Path, tmp_path: Path):
    arguments = ("segment", images, "-o", tmp_path / "out", "--model", bright_model, "--resume")
    run(*arguments)
    PIL.Image.fromarray(picture()).save(images / "c.png")
    result = run(*arguments)
    assert "3 images segmented: 6 nuclei." in result.stdout
    assert "2 images of an earlier run kept." in result.stdout
    assert "Time: " in result.stdout
    result = run(*arguments)
    assert "3 images of an earlier run kept." in result.stdout
    assert "Time: " not in result.stdout
    assert json.loads(run(*arguments, "--json").stdout)["kept"] == 3


def test_images_that_look_wrong_are_said(bright_model: Path, tmp_path: Path):
    half = np.random.default_rng(0).normal(100, 4, (60, 60)).astype(np.uint8)
    half[:, 30:] -= 60
    PIL.Image.fromarray(half).save(tmp_path / "empty.png")
    PIL.Image.fromarray(np.zeros((30, 30), np.uint8)).save(tmp_path / "black.png")
    arguments = ("segment", tmp_path, "-o", tmp_path / "out", "--model", bright_model)
    assert "2 images to check, empty or suspicious: see the report." in run(*arguments).stderr
    stderr = run(*arguments, "--no-report").stderr
    assert "2 images to check, empty or suspicious: see the warnings in images.csv." in stderr
    summary = json.loads(run(*arguments, "--json").stdout)
    assert (summary["empty"], summary["to_look_at"]) == (2, 2)
    (warned,) = summary["warned"]
    assert warned["path"] == str(tmp_path / "black.png")
    assert warned["warnings"][0].startswith("Empty or low contrast")


@pytest.mark.parametrize(
    ("seconds", "images", "said"),
    [
        (0.26, 2, "Time: 0.3 s, 7.7 images/s."),
        (100, 20, "Time: 1 min 40 s, 5.0 s per image."),
        (1.0, 1, "Time: 1.0 s, 1.0 s per image."),
        (7384, 1, "Time: 2 h 03 min, 2 h 03 min per image."),
    ],
)
def test_times_and_rates(seconds: float, images: int, said: str, tmp_path: Path, capsys):
    done = [Outcome("a.png", "ok", 2, 1.0, "")] * images
    print_summary(summary_of(done, tmp_path, seconds))
    assert capsys.readouterr().out.splitlines()[1] == said


def test_options_reach_the_run(images: Path, bright_model: Path, tmp_path: Path):
    options = ("--save", "labels", "--min-area", 60, "--threshold", 0.9, "--threads", 1)
    out = tmp_path / "out"
    result = run("segment", images / "a.png", "-o", out, "--model", bright_model, *options)
    assert "1 image segmented: 1 nucleus." in result.stdout
    assert not (out / "overlays").exists()
    record = json.loads((out / "run.json").read_text())
    assert record["model"]["postprocessing"]["threshold"] == 0.9


def test_channel_and_projection_reach_the_run(bright_model: Path, tmp_path: Path):
    stack = np.stack([np.full((24, 40), 255, np.uint8), picture()])
    stack = np.stack([stack, stack // 2])
    about = {"axes": "ZCYX", "Channel": {"Name": ["Actin", "Tubulin"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata=about)
    out = tmp_path / "out"
    arguments = ("segment", tmp_path / "a.ome.tif", "-o", out, "--model", bright_model)
    result = run(*arguments, "--channel", "tubulin", "--project", "max")
    assert "1 image segmented: 2 nuclei." in result.stdout
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert list(record["channels"].values()) == ["Tubulin"]
    assert run(*arguments, "--channel", 0).exit_code == 0
    assert len(list((out / "labels").glob("*_z00?.tif"))) == 2
    assert run(*arguments, "--project", "mean").exit_code == 2


def test_filters_reach_the_run_and_resume_notices_them(
    images: Path, bright_model: Path, tmp_path: Path
):
    edge = picture()
    edge[21:, 1:6] = 250
    PIL.Image.fromarray(edge).save(images / "edge.png")
    out = tmp_path / "out"
    command = ("segment", images, "-o", out, "--model", bright_model, "--json")

    def areas_of_edge(*options: object) -> list[int]:
        assert run(*command, *options).exit_code == 0
        with (out / "measurements.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["image"].endswith("edge.png")]
        return [int(row["area"]) for row in rows]

    assert areas_of_edge() == [49, 96, 15]
    assert areas_of_edge("--drop-border", "--resume") == [49, 96]
    assert areas_of_edge("--drop-border", "--max-area", 95, "--resume") == [49]
    settings = json.loads((out / "run.json").read_text())["model"]["postprocessing"]
    assert (settings["border_nuclei"], settings["max_area"]) == ("drop", 95)
    assert areas_of_edge("--min-score", 1) == []
    assert areas_of_edge("--resume") == [49, 96, 15]


def test_formats_with_commas_and_one_by_one(images: Path, bright_model: Path, tmp_path: Path):
    options = ("--save", "labels,rois, geojson", "--save", "probability")
    out = tmp_path / "out"
    result = run("segment", images / "a.png", "-o", out, "--model", bright_model, *options)
    assert result.exit_code == 0, result.output
    written = {path.name for path in out.glob("*/a.*") if path.parent.name != ".nucseg"}
    assert written == {"a.tif", "a.zip", "a.geojson"}
    assert {path.name for path in out.iterdir() if path.is_dir()} == {
        ".nucseg",
        "labels",
        "rois",
        "geojson",
        "probability",
    }


def test_options_of_the_other_method(
    images: Path, bright_model: Path, bright_instance_model: Path, tmp_path: Path
):
    options = ("--model", bright_instance_model, "--seed-threshold", 0.25)
    result = run("segment", images, "-o", tmp_path / "out", *options)
    assert "2 images segmented: 4 nuclei." in result.stdout
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["model"]["postprocessing"]["seed_threshold"] == 0.25
    options = ("--model", bright_model, "--seed-threshold", 0.25)
    result = run("segment", images, "-o", tmp_path / "none", *options)
    assert result.exit_code == 2
    assert "finds nuclei by connected-components, which has no setting" in result.stderr
    assert not (tmp_path / "none").exists()


def test_failures_are_told_by_their_cause(images: Path, bright_model: Path, tmp_path: Path):
    for number in range(7):
        (images / f"zero{number}.png").touch()
    (images / "text.png").write_text("no image")
    result = run("segment", images, "-o", tmp_path / "out", "--model", bright_model)
    assert result.exit_code == 1
    assert "2 images segmented: 4 nuclei." in result.stdout
    assert "7 images failed: … is empty: it has zero bytes." in result.stderr
    assert "and 2 more: see images.csv" in result.stderr
    assert "1 image failed: … is not a PNG" in result.stderr
    assert str(images / "text.png") in result.stderr


def test_images_without_nuclei_are_said(bright_model: Path, tmp_path: Path):
    PIL.Image.fromarray(np.zeros((30, 30), np.uint8)).save(tmp_path / "black.png")
    result = run("segment", tmp_path / "black.png", "-o", tmp_path / "out", "--model", bright_model)
    assert result.exit_code == 0
    assert "1 image segmented (1 without nuclei): 0 nuclei." in result.stdout


def image_file(kind: str, folder: Path) -> Path:
    """Write an image of an unusual kind, with the same two nuclei in each that can have them."""
    grey, path = picture(), folder / f"{kind}.png"
    if kind == "16-bit":
        PIL.Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    elif kind == "rgba":
        PIL.Image.fromarray(np.dstack([grey, grey, grey, np.full_like(grey, 255)])).save(path)
    elif kind == "palette":
        PIL.Image.fromarray(grey).convert("RGB").convert("P").save(path)
    elif kind == "black":
        PIL.Image.fromarray(np.zeros_like(grey)).save(path)
    elif kind == "one":
        PIL.Image.fromarray(grey[:1, :1]).save(path)
    return path


@pytest.mark.parametrize(
    ("kind", "nuclei"), [("16-bit", 2), ("rgba", 2), ("palette", 2), ("black", 0), ("one", 0)]
)
def test_unusual_images_are_segmented(kind: str, nuclei: int, bright_model: Path, tmp_path: Path):
    path = image_file(kind, tmp_path)
    result = run("segment", path, "-o", tmp_path / "out", "--model", bright_model)
    assert result.exit_code == 0, result.output
    labels = read_image(tmp_path / "out" / "labels" / f"{kind}.tif").pixels
    assert labels.shape == read_image(path).pixels.shape[:2]
    assert labels.max() == nuclei


def bad_file(kind: str, folder: Path) -> Path:
    path = folder / ("nan.tif" if kind == "nan" else f"{kind}.png")
    if kind == "zero":
        path.touch()
    elif kind == "text":
        path.write_text("this is text")
    elif kind == "truncated":
        PIL.Image.fromarray(picture()).save(path)
        path.write_bytes(path.read_bytes()[:300])
    elif kind == "nan":
        tifffile.imwrite(path, np.full((8, 8), np.nan, np.float32))
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("zero", "zero bytes"),
        ("text", "It holds text"),
        ("truncated", "damaged or cut short"),
        ("nan", "NaN"),
    ],
)
def test_bad_images_fail_with_their_reason(
    kind: str, message: str, bright_model: Path, tmp_path: Path
):
    path = bad_file(kind, tmp_path)
    result = run("segment", path, "-o", tmp_path / "out", "--model", bright_model)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output
    with (tmp_path / "out" / "images.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["path"], row["status"]) == (str(path), "failed")
    assert message in row["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.png", "-o", "out"], "There is no file or folder none.png"),
        (["empty", "-o", "out"], "The folder empty holds no images"),
        (["*.jpg", "-o", "out"], "No image matches *.jpg"),
        (["in", "-o", "out", "--model", "classik-128"], "Unknown model 'classik-128'"),
        (["in", "-o", "file"], "Cannot write in file"),
        (["in", "-o", "file/out"], "Cannot write in file/out"),
        (["in", "-o", "out", "--save", "svg"], "Unknown format 'svg'"),
        (["in", "-o", "out", "--threshold", "2"], "Unusable setting threshold"),
        (["in", "-o", "out", "--max-area", "0"], "Unusable setting max_area"),
        (["in"], "Missing option '--output'"),
        (["-o", "out"], "Missing argument 'INPUT"),
        (["in", "-o", "out", "--threads", "0"], "Expected at least 1 thread, got 0"),
    ],
)
def test_wrong_usage_exits_with_2_and_writes_nothing(
    arguments, message, images: Path, bright_model: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    model = [] if "--model" in arguments else ["--model", bright_model]
    result = run("segment", *arguments, *model)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def loaded_by(code: str) -> set[str]:
    """Modules that a new process holds after running some code."""
    code = f"{code}\nimport sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_loads_nothing_heavy():
    code = """
from typer.testing import CliRunner
from nucseg.cli.main import app
from nucseg.cli.summary import summary_of, print_summary
assert CliRunner().invoke(app, ["segment", "--help"]).exit_code == 0"""
    heavy = {"numpy", "cv2", "onnxruntime", "skimage", "scipy", "pandas", "matplotlib", "keras"}
    assert not heavy & loaded_by(code)


def test_segmenting_loads_no_training_framework(images: Path, bright_model: Path):
    code = f"""
import nucseg
from nucseg.images import read_image
seg = nucseg.load_model({str(bright_model)!r}).segment(read_image({str(images / "a.png")!r}).pixels)
seg.save({str(images / "out")!r})"""
    loaded = loaded_by(code)
    assert "onnxruntime" in loaded
    assert not {"tensorflow", "keras", "matplotlib", "pandas", "onnx"} & loaded


def test_ctrl_c_is_told_how_to_go_on(images, bright_model, tmp_path, monkeypatch):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("nucseg.batch.executors.process_image", interrupted)
    result = run("segment", images, "-o", tmp_path / "out", "--model", bright_model)
    assert result.exit_code == 130
    assert "--resume goes on from here" in result.stderr


def results(folder: Path) -> dict[str, object]:
    """Everything that two equal runs have in common."""
    files = [path for path in folder.rglob("*") if path.suffix in (".tif", ".png")]
    found: dict[str, object] = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    for name in ("measurements.csv", "report.html"):
        found[name] = (folder / name).read_bytes()
    with (folder / "images.csv").open(newline="") as file:
        found["images.csv"] = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_killed_and_resumed_equals_uninterrupted(bright_model: Path, tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(16):
        large = np.tile(picture(number), (12, 8))
        PIL.Image.fromarray(large).save(folder / f"{number:02}.png")
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = [sys.executable, "-m", "nucseg", "segment", folder, "--model", bright_model, "-o"]
    kills = []
    # Each time a little further, to hit different moments of reading, writing and renaming.
    for wait_for in (1, 5, 11):
        process = subprocess.Popen([*command, out, "--resume"], stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(out.glob("labels/*.tif"))) < wait_for:
            time.sleep(0.002)
        time.sleep(wait_for / 2000)
        process.send_signal(signal.SIGKILL)
        kills.append(process.wait())
        written = (*out.glob("labels/[!.]*.tif"), *out.glob("overlays/[!.]*.png"))
        for path in written:  # but for those half done, which have names of their own
            assert read_image(path).pixels.shape[:2] == (288, 320)
        for path in out.glob(".nucseg/*.json"):
            json.loads(path.read_text())
    assert kills == [-signal.SIGKILL] * 3
    assert not (out / "images.csv").exists()
    subprocess.run([*command, out, "--resume"], check=True, capture_output=True)
    subprocess.run([*command, whole], check=True, capture_output=True)
    assert results(out) == results(whole)
    assert not list(out.rglob(".partial-*"))


def test_dry_run_tells_and_writes_nothing(images: Path, bright_model: Path, tmp_path: Path):
    about = {"metadata": {"axes": "ZYX"}, "photometric": "minisblack"}
    tifffile.imwrite(images / "deep.tif", np.zeros((3, 40, 50), np.uint8), **about)
    (images / "zero.png").touch()
    arguments = ("segment", images, "-o", tmp_path / "out", "--model", bright_model, "--dry-run")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert f"{images / 'deep.tif'} z001: 40 × 50 pixels, 1 window" in result.stdout
    assert "5 images, 0.0 megapixels, 5 windows; 1 would fail." in result.stdout
    assert "Nothing was written." in result.stdout
    assert "zero bytes" in result.stderr
    assert not (tmp_path / "out").exists()
    planned = json.loads(run(*arguments, "--json").stdout)
    assert [each["shape"] for each in planned] == [[24, 40], [24, 40], *[[40, 50]] * 3, []]
    assert all(each["seconds"] > 0 for each in planned[:-1])


def test_dry_run_of_many_images_tells_the_largest(bright_model: Path, tmp_path: Path):
    for number in range(25):
        PIL.Image.fromarray(np.zeros((8, 10 + number), np.uint8)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.bmp").touch()
    result = run("segment", tmp_path, "-o", "out", "--model", bright_model, "--dry-run")
    assert "The 20 largest images:" in result.stdout
    assert "8 × 34" in result.stdout
    assert "8 × 13" not in result.stdout
    assert "and 5 more" in result.stderr


def test_a_pixel_size_is_given_or_refused(images: Path, bright_model: Path, tmp_path: Path):
    arguments = ("segment", images, "-o", tmp_path / "out", "--model", bright_model)
    result = run(*arguments, "--pixel-size", 0)
    assert result.exit_code == 2
    assert (
        "Wrong value of --pixel-size: Input should be greater than or equal to 0.01."
        in result.stderr
    )
    assert run(*arguments, "--pixel-size", 0.5).exit_code == 0
    with (tmp_path / "out" / "measurements.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert float(row["area_um2"]) == pytest.approx(float(row["area"]) / 4)


def test_a_diameter_reaches_the_model_or_is_refused(
    images: Path, bright_model: Path, bright_model_32: Path, tmp_path: Path
):
    out = tmp_path / "out"
    result = run("segment", images, "-o", out, "--model", bright_model, "--diameter", 80)
    assert result.exit_code == 0, result.output
    assert json.loads((out / "run.json").read_text())["scale"] == (40 / 80) ** 2
    result = run("segment", images, "-o", out, "--model", bright_model_32, "--diameter", 80)
    assert result.exit_code == 2
    assert "Leave the diameter out." in result.stderr
