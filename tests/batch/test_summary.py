"""The report and the warnings of a run; tests/inference/test_batch.py has the rest."""

import csv
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote_to_bytes

import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile

from nucseg.batch.run import segment_files
from nucseg.errors import InputError
from nucseg.inference.loading import load_model
from nucseg.inference.segmenter import Model

sys.path.append(str(Path(__file__).parents[1] / "export"))
from report_page import Page

COUNTS = "Counts of each image"


@pytest.fixture(scope="module")
def model(bright_model: Path) -> Model:
    return load_model(bright_model, threads=1)


def discs(count: int = 4, blur: float = 0.0) -> np.ndarray:
    image = np.full((120, 120), 20, np.float32)
    for number in range(count):
        row, column = divmod(number, 2)
        cv2.circle(image, (30 + 60 * column, 30 + 60 * row), 14, 250, -1)
    image += np.random.default_rng(0).normal(0, 2, image.shape)
    return (cv2.GaussianBlur(image, (0, 0), blur) if blur else image).clip(0, 255).astype(np.uint8)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "Ordner ä#1").mkdir(parents=True)
    PIL.Image.fromarray(discs()).save(folder / "a.png")
    PIL.Image.fromarray(discs(blur=6)).save(folder / "blurred.png")
    PIL.Image.fromarray(discs(0)).save(folder / "none.png")
    PIL.Image.fromarray(discs(3)).save(folder / "Ordner ä#1" / "50% <b> 核.png")
    (folder / "zero.png").touch()
    return folder


def page_of(output: Path) -> Page:
    return Page((output / "report.html").read_text(encoding="utf-8"))


def test_the_report_of_a_run(model: Model, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    segment_files([images], out, model)
    page = page_of(out)
    assert page.numbers() == {"images": 5, "nuclei": 11, "failed": 1, "empty": 1, "to look at": 2}
    assert page.texts("strong") == [
        "1 image:",
        "none.png",
        "blurred.png",
        "50% <b> 核.png",
        "a.png",
    ]
    assert [row[0] for row in page.rows(COUNTS)[1:]] == [
        os.path.join("Ordner ä#1", "50% <b> 核.png"),  # noqa: PTH118 - as it is shown
        "a.png",
        "blurred.png",
        "none.png",
        "zero.png",
    ]
    assert "bright" in page.texts("dd")
    assert len(page.pictures()) == 4
    assert page.attributes("svg", "aria-label") == [
        "Histogram of area of a nucleus (pixels)",
        "Histogram of mean intensity of a nucleus (8 bits)",
    ]


def links(page: Page) -> list[str]:
    return [link for link in page.attributes("a", "href") if link and not link.startswith("#")]


def test_links_lead_to_overlays_where_there_are_any(model: Model, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    segment_files([images], out, model)
    found = links(page_of(out))
    assert len(found) == 2 * 4
    for link in found:
        assert (out / os.fsdecode(unquote_to_bytes(link))).is_file()
    segment_files([images], tmp_path / "labels", model, formats=["labels", "report"])
    assert links(page_of(tmp_path / "labels")) == []


@pytest.mark.skipif(os.name == "nt", reason="file names are text on Windows")
def test_links_to_names_that_are_no_text(model: Model, images: Path, tmp_path: Path):
    try:
        (images / "a.png").rename(images / os.fsdecode(b"\xff.png"))
    except OSError:
        pytest.skip("this file system wants names that are text")
    segment_files([images], tmp_path / "out", model)
    assert "overlays/%FF.png" in links(page_of(tmp_path / "out"))


def warnings(folder: Path) -> dict[str, str]:
    with (folder / "images.csv").open(newline="", encoding="utf-8") as file:
        return {Path(row["path"]).name: row["warnings"] for row in csv.DictReader(file)}


def test_warnings_stand_in_the_table_with_and_without_a_report(
    model: Model, images: Path, tmp_path: Path
):
    for formats in (["labels"], ["labels", "report"]):
        outcomes = segment_files([images], tmp_path / "out", model, formats=formats)
        found = warnings(tmp_path / "out")
        assert found["a.png"] == found["zero.png"] == ""
        assert found["blurred.png"].startswith("Out of focus: edges are blurred by about 5 pixels.")
        assert found["none.png"].startswith("Empty or low contrast")
        assert [" ".join(each.warnings) for each in outcomes] == list(found.values())


def test_a_run_without_a_report_takes_away_that_of_others_and_its_pictures(
    model: Model, images: Path, tmp_path: Path
):
    out = tmp_path / "out"
    segment_files([images], out, model)
    assert len(list((out / ".nucseg").rglob("*.jpg"))) == 4
    segment_files([images], out, model, formats=["labels"])
    assert not (out / "report.html").exists()
    assert list((out / ".nucseg").rglob("*.jpg")) == []


def test_resume_with_a_report_does_images_again_that_have_no_picture(
    model: Model, images: Path, tmp_path: Path
):
    out, whole = tmp_path / "out", tmp_path / "whole"
    segment_files([images], whole, model)
    segment_files([images], out, model, formats=["labels", "overlays"])
    segment_files([images], out, model, resume=True)
    expected = (whole / "report.html").read_bytes()
    assert (out / "report.html").read_bytes() == expected
    (out / ".nucseg" / "a.jpg").unlink()
    outcomes = segment_files([images], out, model, resume=True)
    # The failed one is tried again, too.
    assert [outcome.kept for outcome in outcomes] == [True, False, True, True, False]
    assert (out / "report.html").read_bytes() == expected


def test_a_resumed_run_without_a_report_keeps_pictures_for_the_next(
    model: Model, images: Path, tmp_path: Path
):
    out = tmp_path / "out"
    segment_files([images], out, model)
    segment_files([images], out, model, formats=["labels"], resume=True)
    assert not (out / "report.html").exists()
    outcomes = segment_files([images], out, model, resume=True)
    assert sum(outcome.kept for outcome in outcomes) == 4
    assert len(page_of(out).pictures()) == 4


def test_planes_and_pixel_sizes(model: Model, tmp_path: Path):
    about = {"axes": "ZYX", "spacing": 1, "unit": "um"}
    stack = np.stack([discs(2), discs(3)])
    tifffile.imwrite(tmp_path / "stack.tif", stack, imagej=True, resolution=(2, 2), metadata=about)
    segment_files([tmp_path / "stack.tif"], tmp_path / "out", model)
    page = page_of(tmp_path / "out")
    assert [row[1] for row in page.rows(COUNTS)] == ["Plane", "z000", "z001"]
    assert page.texts("strong") == ["stack.tif (z000)", "stack.tif (z001)"]
    assert "Median area (µm²)" in page.rows(COUNTS)[0]


def test_intensities_of_several_channels_are_one(model: Model, tmp_path: Path):
    grey = discs()
    PIL.Image.fromarray(np.dstack([grey, grey, grey // 2])).save(tmp_path / "rgb.png")
    segment_files([tmp_path / "rgb.png"], tmp_path / "out", model)
    (caption,) = [text for text in page_of(tmp_path / "out").texts("figcaption")
                  if text.startswith("Median") and "pixels" not in text]  # fmt: skip
    median = float(caption.split()[1].strip(";"))
    assert median == pytest.approx(250 * 2.5 / 3, abs=8)


def test_all_failed(model: Model, tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").touch()
    segment_files([tmp_path], tmp_path / "out", model)
    page = page_of(tmp_path / "out")
    assert page.texts("summary") == [
        "2 images: … is empty: it has zero bytes. Copy it again from its source."
    ]
    assert page.pictures() == []


def test_an_image_larger_than_the_memory_is_shown_and_judged(bright_model: Path, tmp_path: Path):
    tifffile.imwrite(tmp_path / "large.tif", np.tile(discs(), (8, 9)), tile=(256, 256))
    tifffile.imwrite(tmp_path / "odd.tif", np.tile(discs(blur=6), (8, 9)), tile=(256, 256))
    inputs = [tmp_path / "large.tif", tmp_path / "odd.tif"]
    model = load_model(bright_model)
    found = []
    for name, window in (("whole", 2048), ("windows", 448)):
        out = tmp_path / name
        outcomes = segment_files(
            inputs, out, replace(model, window=window, image_pixels=5 * window**2)
        )
        assert [outcome.nuclei for outcome in outcomes] == [288, 288]
        assert [len(outcome.warnings) for outcome in outcomes] == [0, 1]
        records = [json.loads(each.read_text()) for each in sorted(out.glob(".nucseg/*.json"))]
        found.append((page_of(out).pictures(), [record["quality"] for record in records]))
    (whole, first), (windows, second) = found
    for one, other in zip(first, second, strict=True):
        assert one == pytest.approx(other)
    for picture, other in zip(whole, windows, strict=True):
        assert picture.shape == other.shape == (284, 320, 3)
        assert np.abs(picture.astype(int) - other).mean() < 12


def test_a_report_that_cannot_be_written(
    model: Model, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_args, **_options):
        raise InputError("Cannot write report.html: No space left on device.")

    monkeypatch.setattr("nucseg.batch.summary.write_report", full)
    with pytest.raises(InputError, match=r"Cannot write report\.html"):
        segment_files([images], tmp_path / "out", model)
    run = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert run["finished"] is False
