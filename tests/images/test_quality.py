import json
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucseg.errors import InputError
from nucseg.images.quality import (
    LARGEST_DIAMETER,
    SMALLEST_DIAMETER,
    image_quality,
    warnings_of,
)


def field(side=256, diameter=20, *, noise=2.0, seed=0):
    """Discs of an eighth to half of the range on a dark background, and the area of each."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side), 20, np.float32)
    step = 2 * diameter
    places = range(diameter, side - diameter // 2, step)
    for row in places:
        for column in places:
            cv2.circle(image, (column, row), diameter // 2, float(rng.uniform(50, 150)), -1)
    image = cv2.GaussianBlur(image, (0, 0), 1) + rng.normal(0, noise, image.shape)
    areas = np.full(len(places) ** 2, np.pi * diameter**2 / 4)
    return np.clip(image, 0, 255).astype(np.uint8), areas


def first_words(image, areas):
    return [sentence.split(":")[0] for sentence in warnings_of(image_quality(image, areas))]


# Of smaller ones that lie as close, little more than noise is left.
@pytest.mark.parametrize("diameter", [12, 20, 45, 90])
def test_a_sharp_image_gives_no_warning_and_a_blurred_one_does(diameter: int):
    image, areas = field(side=400, diameter=diameter)
    assert first_words(image, areas) == []
    sigma = max(4, diameter / 8)
    blurred = cv2.GaussianBlur(image, (0, 0), sigma)
    assert first_words(blurred, areas) == ["Out of focus"]
    noisy = blurred + np.random.default_rng(1).normal(0, 6, image.shape)
    assert first_words(noisy, areas) == ["Out of focus"]


# Sharp ones look somewhat wider, since their flanks are among the strongest changes.
@pytest.mark.parametrize(("sigma", "tolerance"), [(2, 0.3), (3, 0.2), (4, 0.15), (6, 0.15)])
def test_the_width_of_edges_is_that_of_the_gaussian_that_blurs_them(sigma: int, tolerance: float):
    image = np.zeros((200, 400), np.float32)
    image[:, 200:] = 1
    blurred = cv2.GaussianBlur(image, (0, 0), sigma)
    width = image_quality(blurred, np.zeros(0))["edge_width"]
    assert width == pytest.approx(sigma, rel=tolerance)


def test_edges_of_large_nuclei_are_measured_in_pixels_of_the_image():
    image = np.zeros((600, 600), np.float32)
    cv2.circle(image, (300, 300), 120, 1.0, -1)
    blurred = cv2.GaussianBlur(image, (0, 0), 10)
    width = image_quality(blurred, np.array([np.pi * 120**2]))["edge_width"]
    assert width == pytest.approx(10, rel=0.2)


def test_neither_depth_nor_colour_nor_hot_pixels_change_the_judgement():
    image, areas = field()
    blurred = cv2.GaussianBlur(image, (0, 0), 4)
    hot = image.astype(np.uint16) * 16
    hot[::60, ::60] = 20_000
    for sharp in (image.astype(np.uint16) * 200, image / 255, np.dstack([image] * 3), hot):
        assert first_words(sharp, areas) == []
    for each in (blurred.astype(np.uint16) * 200, blurred // 8, np.dstack([blurred] * 3)):
        assert first_words(each, areas) == ["Out of focus"]


def test_images_without_anything_in_them():
    rng = np.random.default_rng(0)
    none = np.zeros(0)
    for image in (
        np.zeros((100, 100), np.uint8),
        np.full((100, 100), 0.5),
        rng.normal(100, 10, (300, 300)),
        rng.poisson(5, (300, 300)).astype(np.uint16),
    ):
        assert first_words(image, none) == ["Empty or low contrast"]
    # What the network saw in the noise does not make it an image out of focus.
    assert first_words(rng.normal(100, 10, (300, 300)), np.array([300, 400])) == [
        "Empty or low contrast"
    ]


def test_saturated_nuclei_are_told_but_not_a_white_background():
    image, areas = field()
    over = np.minimum(image.astype(int) * 3, 255).astype(np.uint8)
    quality = image_quality(over, areas)
    assert quality["saturated"] > 0.5
    assert first_words(over, areas) == ["Saturated"]
    # The largest value of a 12-bit camera is not that of the file.
    assert first_words(over.astype(np.uint16) * 16, areas) == ["Saturated"]
    white = 255 - image
    assert image_quality(np.maximum(white, 100), areas)["saturated"] == 0
    clipped = np.minimum(white.astype(int) + 30, 255).astype(np.uint8)
    assert image_quality(clipped, areas)["saturated"] == 0
    assert image_quality(over, np.zeros(0))["saturated"] == 0


def test_nuclei_smaller_or_larger_than_those_of_training():
    image, _ = field()
    quality = image_quality(image, np.array([7.0, 12, 13]))
    assert quality["diameter"] == pytest.approx(2 * np.sqrt(12 / np.pi))
    (sentence,) = warnings_of(quality)
    assert sentence.startswith("Small nuclei: their median diameter is 4 pixels")
    large = {**quality, "edge_width": 2.0, "diameter": LARGEST_DIAMETER + 20}
    assert [each.split(":")[0] for each in warnings_of(large)] == ["Large nuclei"]
    for diameter in (SMALLEST_DIAMETER, LARGEST_DIAMETER):
        assert warnings_of({**quality, "edge_width": 1.0, "diameter": diameter}) == []


def test_several_matters_are_told_each():
    quality = {"edge_width": 9.0, "contrast": 50.0, "saturated": 0.4, "diameter": 4.0}
    assert [each.split(":")[0] for each in warnings_of(quality)] == [
        "Out of focus",
        "Saturated",
        "Small nuclei",
    ]


class Seen:
    """An image that is read by windows, and how many pixels of it were."""

    def __init__(self, image):
        self.image, self.shape, self.pixels = image, image.shape, 0

    def __getitem__(self, window):
        part = self.image[window]
        self.pixels += part.shape[0] * part.shape[1]
        return part


@pytest.mark.parametrize("diameter", [20, 90, 300])
def test_of_a_large_image_only_windows_are_read(diameter: int):
    small, _ = field(side=512, diameter=20)
    large = Seen(np.tile(small, (8, 8)))
    areas = np.full(1000, np.pi * diameter**2 / 4)
    quality = image_quality(large, areas)
    assert large.pixels <= 250_000
    assert quality["edge_width"] == pytest.approx(
        image_quality(small, areas[:16])["edge_width"], abs=1
    )


def test_a_narrow_image_of_many_pixels():
    image = np.random.default_rng(0).normal(100, 10, (3, 200_000))
    assert image_quality(image, np.zeros(0))["contrast"] < 5


def test_it_takes_little_time():
    image, areas = field(side=600)
    times = []
    for _ in range(5):
        start = time.process_time()
        image_quality(image, areas)
        times.append(time.process_time() - start)
    # Some 4 ms; this only tells that it has not become another kind of thing.
    assert min(times) < 0.1


@settings(max_examples=60)
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int16, np.float32, bool]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
        elements={"min_value": 0, "max_value": 1},
    ),
    st.lists(st.integers(1, 10_000), max_size=5),
)
def test_any_image_gives_finite_figures_that_json_can_hold(image, areas):
    quality = image_quality(image, np.array(areas, float))
    assert json.loads(json.dumps(quality, allow_nan=False)) == quality
    assert 0 <= quality["edge_width"] <= 80
    assert 0 <= quality["contrast"] <= 1000
    assert 0 <= quality["saturated"] <= 1
    assert all(isinstance(sentence, str) for sentence in warnings_of(quality))


def test_what_is_no_image_of_real_numbers():
    with pytest.raises(InputError, match="real numbers"):
        image_quality(np.zeros((4, 4), complex), np.zeros(0))
