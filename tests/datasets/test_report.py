"""The report on a data set: numbers by hand, problems all named, one bad image stops nothing."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from nucseg.datasets.reading import open_dataset
from nucseg.datasets.report import (
    contact_sheet,
    describe,
    guess_modality,
    inspect_dataset,
    summary,
)
from nucseg.datasets.synthetic import synthetic_image


@pytest.fixture
def dataset(tmp_path):
    """Three good images of 4, 1 and 0 nuclei, and each kind of bad one."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    four = np.zeros((20, 30), np.uint8)
    four[:2, :2], four[:2, 5:7], four[5:7, :2], four[9, :9] = 1, 2, 3, 4
    one = np.zeros((20, 30), np.uint8)
    one[5:15, 5:15] = 1
    for name, labels in (("four", four), ("one", one), ("none", one * 0), ("unmarked", None)):
        pixels = np.zeros((20, 30), np.uint8) if labels is None else (labels > 0) * np.uint8(99)
        tifffile.imwrite(tmp_path / "images" / f"{name}.tif", pixels)
        if labels is not None:
            tifffile.imwrite(tmp_path / "labels" / f"{name}.tif", labels)
    tifffile.imwrite(tmp_path / "images" / "nan.tif", np.full((8, 8), np.nan, np.float32))
    tifffile.imwrite(tmp_path / "labels" / "nan.tif", np.zeros((8, 8), np.uint8))
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    tifffile.imwrite(tmp_path / "labels" / "alone.tif", one)
    return open_dataset(tmp_path)


def test_the_numbers_are_right(dataset):
    calls = []
    facts = summary(inspect_dataset(dataset, lambda *call: calls.append(call)))
    assert calls[-1] == (6, 6)
    assert facts["images"] == 4
    assert facts["images_with_nuclei_marked"] == 3
    assert facts["sizes"] == {"20 x 30": 4}
    assert facts["dtypes"] == {"uint8": 4}
    assert facts["nuclei"] == 5
    assert facts["nuclei_per_image"] == {"min": 0, "median": 1, "max": 4}
    assert facts["diameter"]["median"] == pytest.approx(np.sqrt(4 * 4 / np.pi))
    assert facts["problem_counts"] == {
        "label image without image": 1,
        "no label image": 1,
        "unreadable image": 2,
    }
    named = {problem["image"] for problem in facts["problems"]}
    assert named == {"alone", "unmarked", "broken", "nan"}


def test_the_words_name_every_problem(dataset):
    text = describe(inspect_dataset(dataset))
    for part in (
        "images     4, 1 without marked nuclei",
        "0 to 4, median 1",
        "in 4 images",
        "unreadable image: broken: ",
        "unreadable image: nan: images/nan.tif holds NaN or infinite values, at 64 pixels",
        "no label image: unmarked: ",
        "label image without image: alone: ",
    ):
        assert part in text


def test_many_problems_are_counted_where_they_are_not_listed(dataset, monkeypatch):
    monkeypatch.setattr("nucseg.datasets.report.LISTED", 1)
    assert "and 3 more; --json lists all" in describe(inspect_dataset(dataset))


def test_a_set_without_nuclei_or_problems_is_described(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "a.tif", np.zeros((4, 4), np.uint8))
    (tmp_path / "labels" / "a.tif").rename(tmp_path / "labels" / "b.tif")
    report = inspect_dataset(open_dataset(tmp_path))
    assert summary(report)["diameter"] is None
    assert "nuclei     0\nproblems   in 2 images" in describe(report)
    tifffile.imwrite(tmp_path / "images" / "b.tif", np.zeros((4, 4), np.uint8))
    (tmp_path / "images" / "a.tif").unlink()
    assert describe(inspect_dataset(open_dataset(tmp_path))).endswith("problems   none")


def test_the_contact_sheet_shows_every_readable_image(dataset):
    report = inspect_dataset(dataset)
    assert contact_sheet(dataset, report, side=40, columns=3).shape == (2 * 60 + 4, 3 * 44 + 4, 3)
    assert contact_sheet(dataset, report, limit=2, side=40).shape == (60 + 4, 2 * 44 + 4, 3)


@pytest.mark.parametrize("modality", ["fluorescence", "histology"])
def test_the_modality_of_synthetic_images_is_guessed(modality):
    for seed in range(5):
        pixels = synthetic_image(np.random.default_rng(seed), nuclei=15, modality=modality)[0]
        assert guess_modality(pixels) == modality


def test_a_blue_channel_is_fluorescence_and_a_flat_image_no_trouble():
    pixels = synthetic_image(np.random.default_rng(0), nuclei=15)[0]
    assert guess_modality(pixels * np.array([0, 0, 1], np.uint8)) == "fluorescence"
    assert guess_modality(255 - pixels) == "brightfield"
    assert guess_modality(np.full((1, 1, 3), 9, np.uint16)) == "fluorescence"


@pytest.mark.skipif("NUCSEG_TEST_DATA" not in os.environ, reason="needs the real data set")
def test_the_modality_of_real_images_is_guessed():
    folder = Path(os.environ["NUCSEG_TEST_DATA"]) / "dsb2018"
    with (folder / "split.csv").open(encoding="utf-8") as file:
        known = {row["image_id"]: row["modality"] for row in csv.DictReader(file)}
    dataset = open_dataset(folder / "stage1_train.zip")
    wrong = [i for i in dataset.image_ids if guess_modality(dataset.read_pixels(i)) != known[i]]
    assert len(wrong) <= 2
