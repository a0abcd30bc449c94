from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nucseg.config import INSTANCE_MAPS, OFFSET_RANGE, Scaling, Watershed
from nucseg.datasets.synthetic import synthetic_image
from nucseg.errors import InputError
from nucseg.inference.instances import watershed
from nucseg.inference.large import segment_large
from nucseg.inference.scaling import (
    at_scale,
    maps_at_size,
    sampled_windows,
    scale_for,
    typical_diameter,
)
from nucseg.inference.segmenter import Model, load_model
from nucseg.metrics import kaggle_map, overlap
from nucseg.preprocess import resize_labels
from nucseg.targets import instance_maps

SCALING = Scaling(smallest=10, largest=30, target=(20, 20))


def test_too_few_nuclei_tell_no_diameter():
    assert typical_diameter(np.array([100, 100])) is None
    assert typical_diameter(np.full(3, np.pi * 25)) == pytest.approx(10)


@given(st.floats(0.1, 1000))
def test_scale_brings_nuclei_near_to_the_best_diameter(diameter: float):
    scale = scale_for(diameter, SCALING)
    assert SCALING.least <= scale <= SCALING.most
    if 10 <= diameter <= 30:
        assert scale == 1
    elif 10.1 < diameter < 99:
        assert diameter * scale == pytest.approx(20)


def test_a_target_outside_of_the_range_is_refused():
    with pytest.raises(ValidationError, match="target must be two rising diameters from 10"):
        Scaling(smallest=10, largest=20, target=(15, 30))


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 600))
def test_sampled_windows_lie_in_the_image(height: int, width: int, side: int):
    windows = sampled_windows((height, width), side)
    assert 1 <= len(windows) <= 4
    assert len(set(map(str, windows))) == len(windows)
    for rows, columns in windows:
        assert 0 <= rows.start < rows.stop <= height
        assert 0 <= columns.start < columns.stop <= width
        assert rows.stop - rows.start == min(side, height)


def test_four_windows_of_half_the_size_are_the_whole_image():
    rows = np.zeros((64, 96), int)
    for window in sampled_windows((64, 96), 48):
        rows[window] += 1
    assert (rows[:, :] > 0).all()


@pytest.mark.parametrize(("scale", "least"), [(0.5, 0.55), (2, 0.85)])
def test_maps_at_another_scale_give_the_same_nuclei(scale: float, least: float):
    _, labels = synthetic_image(np.random.default_rng(3), size=(160, 192), nuclei=15)
    seen = resize_labels(labels, (round(160 * scale), round(192 * scale)))
    maps = instance_maps(seen)
    before = maps.copy()
    found = watershed(maps_at_size(maps, (160, 192), scale), Watershed())
    np.testing.assert_array_equal(maps, before)
    assert kaggle_map(overlap(labels, found)) > least
    assert found.max() == labels.max()


def test_offsets_are_in_pixels_of_the_image():
    maps = np.full((4, 4, 5), 0.5, np.float32)
    maps[..., 3] = 0.5 + 3 / (2 * OFFSET_RANGE)
    resized = maps_at_size(maps, (8, 8), 0.5)
    assert (resized[..., 3] - 0.5) * 2 * OFFSET_RANGE == pytest.approx(6)
    assert (resized[..., [0, 1, 2, 4]] == 0.5).all()
    assert maps_at_size(maps, (4, 4), 1) is maps


def test_at_least_a_pixel_is_left():
    assert at_scale(np.zeros((1, 3, 3), np.float32), 0.2).shape == (1, 1, 3)


class _Painted:
    """A network that gives the true maps of bright squares, if they are about 16 pixels wide."""

    threads = 1

    def on_one_thread(self):
        return self

    def __call__(self, batch):
        from skimage.measure import label

        numbers = label(batch[0, ..., 0] > 0.5, connectivity=1)
        self.widths = np.sqrt(np.bincount(numbers.ravel())[1:])
        return instance_maps(numbers)[None]


def squares(side: int, count: int = 6) -> np.ndarray:
    image = np.zeros((2 * side * count, 2 * side * count), np.uint8)
    for row in range(count):
        for column in range(count):
            top, left = side // 2 + 2 * side * row, side // 2 + 2 * side * column
            image[top : top + side, left : left + side] = 250
    return image


@pytest.fixture
def model(bright_instance_model: Path) -> Model:
    loaded = load_model(bright_instance_model, threads=1)
    card = loaded.card.model_copy(update={"scaling": SCALING, "scoring": None})
    return replace(loaded, runtime=_Painted(), card=card)


@pytest.mark.parametrize(("side", "seen"), [(4, 8), (16, 16), (60, 18)])
def test_the_scale_is_estimated_by_a_first_look(model: Model, side: int, seen: float):
    image = squares(side)
    found = model.segment(image)
    assert found.count == 36
    assert found.labels.shape == image.shape
    assert np.median(model.runtime.widths) == pytest.approx(seen, rel=0.1)
    assert model.card.scaling is not None
    fixed = model.with_diameter(side * 2 / np.sqrt(np.pi)).segment(image)
    np.testing.assert_array_equal(fixed.labels > 0, found.labels > 0)


def test_large_images_are_looked_at_in_parts_and_come_out_alike(model: Model, tmp_path: Path):
    image = squares(60, 10)
    whole = model.segment(image).labels.astype(np.int32)
    windows = replace(model, window=448)
    found = windows.segment(image)
    assert np.median(model.runtime.widths) < 25
    assert kaggle_map(overlap(whole, found.labels.astype(np.int32))) > 0.8
    with segment_large(windows, image, tmp_path) as large:
        assert large.count == found.count == 100
        everything = large.labels[slice(0, 1200), slice(0, 1200)]
        np.testing.assert_array_equal(everything > 0, found.labels > 0)
    assert windows.for_image(image).scale == pytest.approx(20 / 67.7, rel=0.1)


def test_models_of_one_size_take_no_diameter(bright_model_32: Path, model: Model):
    with pytest.raises(InputError, match=r"sees each image at \(32, 32\), whatever the diameter"):
        load_model(bright_model_32).with_diameter(20)
    with pytest.raises(InputError, match="Expected a diameter above 0 pixels, got -1"):
        model.with_diameter(-1)
    assert set(INSTANCE_MAPS) == set(model.card.network.outputs)
