"""Grey that was saved as colour is measured once."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from case_images import nucseg, rows_of

from nucseg.app.document import Document
from nucseg.inference import large
from nucseg.inference.large import segment_large
from nucseg.inference.loading import load_model
from nucseg.inference.segmenter import Model
from nucseg.measure import measure
from nucseg.napari.finding import find_nuclei, kept_nuclei
from nucseg.napari.stacks import Stack


@pytest.fixture(scope="module")
def model(bright_model: Path) -> Model:
    return load_model(bright_model, threads=1)


def picture(*channels: int, side: int = 40) -> np.ndarray:
    """Grey of a channel for each number, which is added to it inside the nuclei."""
    grey = np.full((side, side), 20, np.uint8)
    grey[4:12, 4:12] = 220
    grey[20:32, 18:30] = 230
    return np.stack([np.where(grey > 100, grey + more, grey) for more in channels], -1).astype("u1")


def intensities(table) -> set[str]:
    return {name for name in table if name.startswith("intensity_mean")}


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_the_same_columns_and_values_whatever_the_file(
    mode: str, bright_model: Path, tmp_path: Path
):
    grey = PIL.Image.fromarray(picture(0)[..., 0])
    tables = []
    for name, image in (("grey", grey), (mode, grey.convert(mode))):
        image.save(tmp_path / f"{name}.png")
        out = tmp_path / f"out-{name}"
        result = nucseg("segment", tmp_path / f"{name}.png", "-o", out, "--model", bright_model)
        assert result.exit_code == 0, result.output
        tables.append([{**row, "image": ""} for row in rows_of(out / "measurements.csv")])
    assert tables[0] == tables[1]
    assert intensities(tables[1][0]) == {"intensity_mean"}


def test_colour_keeps_its_channels():
    labels = (picture(0)[..., 0] > 100).astype(int)
    colours = {"intensity_mean_0", "intensity_mean_1", "intensity_mean_2"}
    assert intensities(measure(labels, picture(0, 0, 1))) == colours
    # Two channels that are equal by chance, and colour outside of the nuclei, are colour.
    assert intensities(measure(labels, picture(0, 1, 0))) == colours
    outside = picture(0, 0, 0)
    outside[0, 0] = (1, 2, 3)
    assert intensities(measure(labels, outside)) == colours
    # Not one that shows no nuclei: the columns are those of the other images.
    assert intensities(measure(labels * 0, picture(0, 0, 1))) == colours


@pytest.mark.parametrize("channels", [(0, 0, 0), (0, 0, 1), (0, 0, 0, 5)])
def test_images_read_by_windows_are_measured_alike(channels, model: Model, tmp_path: Path):
    image = picture(*channels, side=64)
    whole = model.segment(image).measurements()
    with segment_large(model, image, tmp_path) as found:
        table = found.measurements()
    assert table.keys() == whole.keys()
    np.testing.assert_array_equal(
        table["intensity_mean" + "_0" * (1 in channels)],
        whole["intensity_mean" + "_0" * (1 in channels)],
    )


@pytest.mark.parametrize("place", [(12, 12), (520, 333), (699, 699)])
def test_a_coloured_pixel_anywhere_is_found(place, model: Model, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(large, "_PART", 64)
    image = np.full((700, 700, 3), 20, np.uint8)
    image[10:20, 10:20] = image[300:310, 300:310] = 230
    image[place] += np.array([0, 0, 1], np.uint8)
    with segment_large(model, image, tmp_path) as found:
        table = found.measurements()
    assert intensities(table) == intensities(model.segment(image).measurements())
    assert len(intensities(table)) == 3


def test_changes_by_hand_are_measured_alike(model: Model, tmp_path: Path):
    document = Document(tmp_path, model.segment(picture(0, 0, 0)))
    assert intensities(document.table) == {"intensity_mean"}
    document.edit("draw", points=[(30, 2), (38, 2), (38, 10), (30, 10)])
    assert intensities(document.table) == {"intensity_mean"}
    assert len(document.table["intensity_mean"]) == 3


def test_a_stack_of_both_kinds_has_the_columns_of_both_in_napari(model: Model):
    planes = np.stack([picture(0, 0, 1), picture(0, 0, 0), picture(0, 0, 0) * 0])
    features = kept_nuclei(
        find_nuclei(model, Stack(planes, rgb=True)), model.card.postprocessing
    ).features
    channels = {"intensity_mean_0", "intensity_mean_1", "intensity_mean_2"}
    assert intensities(features) == {"intensity_mean", *channels}
    coloured = features["plane_0"] == 0
    assert coloured.tolist() == [True, True, False, False]
    np.testing.assert_array_equal(np.isnan(features["intensity_mean"]), coloured)
    np.testing.assert_array_equal(np.isnan(features["intensity_mean_2"]), ~coloured)
    empty = find_nuclei(model, Stack(planes[2:], rgb=True))
    assert len(kept_nuclei(empty, model.card.postprocessing).features["area"]) == 0


def test_a_folder_of_both_kinds_has_the_columns_of_both(bright_model: Path, tmp_path: Path):
    (tmp_path / "data").mkdir()
    for name, more in (("colour", 1), ("grey", 0)):
        image = PIL.Image.fromarray(picture(0, 0, more))
        image.save(tmp_path / "data" / f"{name}.png")
    nucseg("segment", tmp_path / "data", "-o", tmp_path / "out", "--model", bright_model)
    rows = rows_of(tmp_path / "out" / "measurements.csv")
    assert len(rows) == 4
    for row in rows:
        filled = intensities({name for name, value in row.items() if value})
        assert len(filled) == (3 if row["image"].endswith("colour.png") else 1)
