import csv

import numpy as np
import pytest

from nucseg.errors import InputError
from nucseg.images import read_image
from nucseg.inference.loading import load_model
from nucseg.napari.saving import SAVED, LabelledPlane, pixel_size, save_layer, write_labels
from nucseg.napari.stacks import Stack


def picture() -> np.ndarray:
    image = np.zeros((40, 60), np.uint8)
    image[2:12, 3:18] = 200
    image[20:30, 32:48] = 250
    return image


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_files_are_those_that_a_segmentation_writes(bright_model, tmp_path):
    seg = load_model(bright_model, threads=1).segment(picture(), pixel_size=(0.5, 0.5))
    scores = dict(enumerate(seg.scores.tolist(), start=1))
    written = save_layer(
        seg.labels,
        Stack(picture()),
        tmp_path / "napari",
        "image",
        formats=SAVED,
        score_of=scores,
        pixel_size=(0.5, 0.5),
    )
    expected = seg.save(tmp_path / "python", formats=SAVED)
    for mine, other in zip(written, expected, strict=True):
        assert mine.relative_to(tmp_path / "napari") == other.relative_to(tmp_path / "python")
        if mine.is_file() and mine.suffix != ".zip":
            assert mine.read_bytes() == other.read_bytes()
        assert mine.exists()


def test_planes_get_files_of_their_own_and_keep_their_numbers(tmp_path):
    labels = np.zeros((2, 40, 60), np.uint16)
    labels[0, 2:12, 3:18], labels[1, 20:30, 32:48] = 1, 2
    seen = []
    written = save_layer(
        labels,
        Stack(np.stack([picture()] * 2)),
        tmp_path,
        "cells",
        formats=["labels"],
        score_of={1: 0.5, 2: 0.25},
        progress=lambda *step: seen.append(step),
    )
    assert [path.name for path in written] == ["cells_000.tif", "cells_001.tif", "measurements.csv"]
    assert read_image(written[1]).pixels.max() == 2
    table = [(row["image"], row["label"], row["score"]) for row in rows(written[-1])]
    assert table == [("cells_000", "1", "0.5"), ("cells_001", "2", "0.25")]
    assert seen == [(0, 2), (1, 2)]


def test_nuclei_drawn_by_hand_are_measured_and_have_no_score(tmp_path):
    labels = np.zeros((40, 60), np.int64)
    labels[2:12, 3:18], labels[20:30, 32:48] = 1, 7
    written = save_layer(
        labels, Stack(picture()), tmp_path, "a", formats=["coco"], score_of={1: 0.5}
    )
    table = rows(written[-1])
    assert [(row["label"], row["area"]) for row in table] == [("1", "150"), ("7", "160")]
    assert "score" not in table[0]


def test_labels_of_another_image_are_refused(tmp_path):
    with pytest.raises(InputError, match="of shape"):
        save_layer(np.zeros((4, 5), int), Stack(picture()), tmp_path, "a", formats=["labels"])
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="Unknown format"):
        save_layer(np.zeros((40, 60), int), Stack(picture()), tmp_path, "a", formats=["png"])


def test_there_is_no_probability_map():
    plane = LabelledPlane(picture(), np.zeros((40, 60), np.uint16), None, None)
    with pytest.raises(InputError, match="not kept in napari"):
        _ = plane.probability


@pytest.mark.parametrize("suffix", [".tif", ".geojson", ".zip", ".json", ".csv"])
def test_the_writer_goes_by_the_suffix(tmp_path, suffix):
    labels = (picture() > 0).astype(np.int32)
    path = tmp_path / f"nuclei{suffix}"
    assert write_labels(str(path), labels, {"scale": (0.5, 0.5)}) == [str(path)]
    assert path.stat().st_size > 0
    if suffix == ".tif":
        image = read_image(path)
        np.testing.assert_array_equal(image.pixels, labels)
        assert image.pixel_size == pytest.approx((0.5, 0.5))


def test_the_writer_refuses_what_it_cannot_write(tmp_path):
    with pytest.raises(InputError, match="expected a name that ends in"):
        write_labels(str(tmp_path / "a.png"), np.zeros((4, 4), int), {})
    with pytest.raises(InputError, match="one plane"):
        write_labels(str(tmp_path / "a.tif"), np.zeros((2, 4, 4), int), {})


@pytest.mark.parametrize(
    ("scale", "units", "expected"),
    [
        ((1, 1), ("pixel", "pixel"), None),
        ((1, 1), ("micrometer", "micrometer"), (1, 1)),
        ((3, 0.5, 0.25), ("pixel", "pixel", "pixel"), (0.5, 0.25)),
        ((500, 0.25), ("nanometer", "um"), (0.5, 0.25)),
        ((2, 2), ("second", "um"), None),
        ((2,), (), None),
    ],
)
def test_the_scale_of_a_layer_tells_its_pixel_size(scale, units, expected):
    assert pixel_size(scale, units) == expected
