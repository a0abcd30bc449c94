from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nucseg.config import INSTANCE_MAPS, OFFSET_RANGE, Preprocessing, Scaling, Watershed
from nucseg.datasets.synthetic import synthetic_image
from nucseg.errors import InputError
from nucseg.evaluation.metrics import kaggle_map, overlap
from nucseg.images.preprocess import prepare, resize_labels
from nucseg.inference.instances import watershed
from nucseg.inference.large import segment_large
from nucseg.inference.loading import load_model
from nucseg.inference.scaling import (
    BLOCK,
    are_mostly_large,
    at_scale,
    maps_at_size,
    probe_windows,
    sampled_windows,
    scale_for,
    scale_within,
    seems_large,
    stated_scale,
    typical_diameter,
)
from nucseg.inference.segmenter import Model
from nucseg.training.targets import instance_maps

SCALING = Scaling(smallest=8, largest=30)


def test_too_few_nuclei_tell_no_diameter():
    assert typical_diameter(np.array([100, 100])) is None
    assert typical_diameter(np.full(3, np.pi * 25)) == pytest.approx(10)


@given(st.floats(0.1, 1000))
def test_scale_brings_nuclei_among_the_diameters_that_the_network_likes(diameter: float):
    scale = scale_for(diameter, SCALING)
    assert SCALING.least <= scale <= SCALING.most
    assert (scale * BLOCK).is_integer()
    if 8 <= diameter <= 30:
        assert scale == 1
    elif 6 < diameter < 60:
        assert diameter * scale * 1.04 >= 8
        assert diameter * scale <= 30 * 1.04


@given(st.floats(1, 200), st.floats(1, 1.01))
def test_a_slightly_larger_nucleus_is_seen_at_almost_the_same_scale(diameter: float, more: float):
    change = scale_for(diameter * more, SCALING) / scale_for(diameter, SCALING)
    assert 0.8 < change < 1.2


def test_limits_in_the_wrong_order_are_refused():
    with pytest.raises(ValidationError, match="smallest must be at most largest, not 30"):
        Scaling(smallest=30, largest=20)


@given(st.integers(1, 100_000), st.integers(1, 100_000), st.integers(1, 600))
def test_sampled_windows_lie_in_the_image(height: int, width: int, side: int):
    windows = sampled_windows((height, width), side)
    assert 1 <= len(windows) <= 36
    assert len(set(map(str, windows))) == len(windows)
    for rows, columns in windows:
        assert 0 <= rows.start < rows.stop <= height
        assert 0 <= columns.start < columns.stop <= width
        assert rows.stop - rows.start == min(side, height)


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [((1200, 6000), 2, 2), ((20_000, 1200), 6, 2), ((8192, 100_000), 4, 6)],
)
def test_larger_images_are_looked_at_in_more_places(
    shape: tuple[int, int], rows: int, columns: int
):
    windows = probe_windows(shape)
    assert len({each[0].start for each in windows}) == rows
    assert len({each[1].start for each in windows}) == columns
    assert len(windows) == rows * columns
    # Evenly spread: as much lies before the first as after the last.
    top, bottom = windows[0][0], windows[-1][0]
    assert abs(top.start - (shape[0] - bottom.stop)) <= 1


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
    maps = np.full((16, 16, 5), 0.5, np.float32)
    maps[..., 3] = 0.5 + 3 / (2 * OFFSET_RANGE)
    resized = maps_at_size(maps, (20, 31), 0.5)
    assert resized.shape == (20, 31, 5)
    assert (resized[..., 3] - 0.5) * 2 * OFFSET_RANGE == pytest.approx(6)
    assert (resized[..., [0, 1, 2, 4]] == 0.5).all()
    assert maps_at_size(maps, (16, 16), 1) is maps


@given(
    st.tuples(st.integers(1, 150), st.integers(1, 150)),
    st.sampled_from([0.21875, 0.5, 0.625, 1, 1.4375, 2]),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
)
def test_windows_see_the_pixels_of_the_resized_image(
    shape: tuple[int, int], scale: float, blocks: tuple[int, int]
):
    image = np.random.default_rng(1).random((*shape, 3)).astype(np.float32)
    whole = at_scale(image, scale)
    padded = [-(-length // BLOCK) * BLOCK for length in shape] if scale != 1 else shape
    assert whole.shape == (*(round(length * scale) for length in padded), 3)
    row, column = (min(each * BLOCK, 128) for each in blocks)
    window = image[row:, column:]
    if window.size:
        part = at_scale(window, scale)
        there = whole[round(row * scale) :, round(column * scale) :]
        # Bilinear: only the first row and column look beyond the window.
        edge = 0 if scale == 1 else 2
        np.testing.assert_allclose(part[edge:, edge:], there[edge:, edge:], atol=1e-5)


class _Painted:
    """A network that gives the true maps of bright squares, if they are about 16 pixels wide."""

    threads = 1

    def on_one_thread(self):
        return self

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def __call__(self, batch):
        from skimage.measure import label

        self.seen.append(batch.shape[1:3])
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


@pytest.mark.parametrize(("side", "seen"), [(4, 8), (16, 16), (60, 12)])
def test_the_scale_is_estimated_by_a_first_look(model: Model, side: int, seen: float):
    image = squares(side)
    found = model.segment(image)
    assert found.count == 36
    assert found.labels.shape == image.shape
    assert np.median(model.runtime.widths) == pytest.approx(seen, rel=0.1)
    assert model.card.scaling is not None
    fixed = model.with_diameter(side * 2 / np.sqrt(np.pi)).segment(image)
    np.testing.assert_array_equal(fixed.labels > 0, found.labels > 0)


def prepared(image: np.ndarray) -> np.ndarray:
    return prepare(image, Preprocessing(size=None))


@pytest.mark.parametrize("side", [16, 24, 40, 60])
@pytest.mark.parametrize("bright", [True, False])
def test_large_nuclei_seem_large_bright_or_dark(side: int, bright: bool):
    image = squares(side) if bright else 250 - squares(side)
    assert seems_large(prepared(image), SCALING) == (side > 30)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (40, 40)])
def test_nothing_seems_large_where_there_is_nothing(shape: tuple[int, int]):
    assert not seems_large(prepared(np.full(shape, 7, np.uint8)), SCALING)
    assert not seems_large(prepared(np.arange(np.prod(shape)).reshape(shape)), SCALING)


def test_most_nuclei_are_large_where_three_in_four_are():
    small, large = (np.pi / 4 * diameter**2 for diameter in (20, 31))
    assert are_mostly_large(np.array([small] + 4 * [large]), SCALING)
    assert not are_mostly_large(np.array(2 * [small] + 4 * [large]), SCALING)
    assert not are_mostly_large(np.array([large, large]), SCALING)


def test_images_of_large_nuclei_are_never_seen_at_full_size(model: Model):
    image = squares(60)
    found = model.segment(image)
    assert found.count == 36
    look, seen = model.runtime.seen
    assert max(look) <= 0.3125 * 720 + 32
    assert max(seen) < 0.5 * 720


def test_small_nuclei_beside_large_ones_are_not_overlooked(model: Model):
    image = squares(60)
    image[:120, :120] = squares(15, 4)
    assert seems_large(prepared(image), SCALING)
    found = model.segment(image)
    assert max(model.runtime.seen[1]) >= 720
    assert found.count == 35 + 16


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
    assert windows.for_image(image).scale == scale_for(67.7, SCALING)


@pytest.mark.parametrize(("side", "count"), [(60, 8), (16, 30), (4, 100)])
def test_the_scale_does_not_depend_on_the_memory(model: Model, side: int, count: int):
    image = squares(side, count)
    assert probe_windows(image.shape) == [(slice(0, len(image)), slice(0, len(image)))]
    diameter = side * 2 / np.sqrt(np.pi)
    for window in (448, 640, 1312):
        found = replace(model, window=window).for_image(image)
        assert found.scale == scale_for(diameter, SCALING)
        largest = max(map(max, model.runtime.seen))
        # Small nuclei are looked at in the image as it is, by windows where it is larger than one.
        assert largest >= 448 if side < 30 else largest < 448
        model.runtime.seen.clear()


def test_labels_of_a_large_image_are_not_those_of_its_last_look(model: Model):
    image = squares(16, 33)
    assert len(probe_windows(image.shape)) == 4
    found = model.segment(image)
    assert found.labels.shape == image.shape
    assert found.count == 33**2


def test_a_look_made_smaller_may_be_augmented(model: Model):
    image = squares(60)
    augmented = model.with_tta().for_image(image)
    assert len(model.runtime.seen) == 8
    assert augmented.scale == model.for_image(image).scale


def test_nuclei_too_small_in_a_look_made_smaller_are_not_looked_at_so(model: Model):
    image = prepared(squares(60))
    assert seems_large(image, Scaling(smallest=9, largest=30))
    assert not seems_large(image, Scaling(smallest=10, largest=30))


def test_a_row_of_numbers_is_no_image(model: Model):
    with pytest.raises(InputError, match="Expected an image of shape"):
        model.segment(np.zeros(3))


def test_models_of_one_size_take_no_diameter(bright_model_32: Path, model: Model):
    with pytest.raises(InputError, match=r"sees each image at \(32, 32\), whatever the diameter"):
        load_model(bright_model_32).with_diameter(20)
    with pytest.raises(InputError, match="Expected a diameter above 0 pixels, got -1"):
        model.with_diameter(-1)
    assert set(INSTANCE_MAPS) == set(model.card.outputs)


@given(st.floats(0.01, 10), st.floats(2, 300))
def test_the_scale_of_a_pixel_size_keeps_nuclei_among_the_diameters(size: float, diameter: float):
    scaling = Scaling(pixel_size=0.25)
    stated = stated_scale((size, size), scaling)
    within = scale_within(stated, diameter, scaling)
    for scale in (stated, within):
        assert scaling.least <= scale <= scaling.most
        assert (scale * BLOCK).is_integer()
    if 12 / scaling.most < diameter < 40 / scaling.least:
        assert 12 / 1.25 <= within * diameter <= 40 * 1.25
    assert stated_scale((size, size), Scaling()) is None


def discs(diameter: float, apart: int) -> np.ndarray:
    """Bright discs of one size."""
    rows, columns = np.indices((4 * apart, 4 * apart)) % apart - apart // 2
    return np.where(rows**2 + columns**2 < diameter**2 / 4, 200, 20).astype(np.uint8)


@pytest.fixture(scope="module")
def by_pixel_size() -> Model:
    """The bundled model as one that likes 0.25 µm."""
    model = load_model(threads=1)
    scaling = model.card.scaling.model_copy(update={"pixel_size": 0.25})
    return replace(model, card=model.card.model_copy(update={"scaling": scaling}))


@pytest.mark.parametrize(
    ("diameter", "pixel_size", "scale", "source"),
    [
        (30, 0.25, 1, "pixel size"),
        (15, 0.5, 2, "pixel size"),  # 7.5 µm
        (30, None, 1, "estimate"),
    ],
)
def test_the_scale_follows_from_the_pixel_size_where_nuclei_agree(
    by_pixel_size: Model, diameter, pixel_size, scale, source
):
    image = discs(diameter, 64)
    given = None if pixel_size is None else (pixel_size, pixel_size)
    found = by_pixel_size.segment(image, pixel_size=given)
    assert found.count == 16
    assert found.confidence.view.source == source
    assert found.confidence.view.scale == pytest.approx(scale, abs=0.1)


def test_a_pixel_size_by_which_nuclei_are_huge_is_not_followed(by_pixel_size: Model):
    image = discs(30, 64)
    found = by_pixel_size.segment(image, pixel_size=(6.5, 6.5))
    assert found.confidence.view.source != "pixel size"
    assert found.confidence.view.doubt > 100
    np.testing.assert_array_equal(found.labels, by_pixel_size.segment(image).labels)


def test_nuclei_of_an_unusual_size_are_a_warning(by_pixel_size: Model):
    image = discs(30, 64)
    odd = by_pixel_size.segment(image, pixel_size=(0.1, 0.1))  # 3 µm
    assert odd.confidence.view.source == "estimate"
    (warning,) = (text for text in odd.confidence.warnings() if text.startswith("Scale"))
    assert "µm wide; 4 to 20 are usual" in warning
    usual = by_pixel_size.segment(image, pixel_size=(0.25, 0.25))
    assert usual.confidence.view.doubt is None
    assert not any(text.startswith("Scale") for text in usual.confidence.warnings())


def test_large_images_are_seen_at_the_scale_of_their_pixel_size_too(
    by_pixel_size: Model, tmp_path: Path
):
    image = np.tile(discs(15, 32), (2, 2))
    whole = by_pixel_size.segment(image, pixel_size=(0.5, 0.5))
    with segment_large(by_pixel_size, image, tmp_path, pixel_size=(0.5, 0.5)) as large:
        assert large.confidence.view.scale == whole.confidence.view.scale == 2
        np.testing.assert_array_equal(large.labels[:, :], whole.labels)
