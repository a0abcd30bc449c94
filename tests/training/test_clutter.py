import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.training.augment.clutter import clutter_image


@given(seed=st.integers(0, 2**32), size=st.integers(1, 80))
def test_clutter_is_an_image_whatever_its_size(seed, size):
    image = clutter_image(np.random.default_rng(seed), size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8


def test_the_same_state_gives_the_same_clutter():
    first, second = (clutter_image(np.random.default_rng(5), 64) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_clutter_differs_in_kind_colour_and_polarity():
    rng = np.random.default_rng(0)
    images = [clutter_image(rng, 64).astype(float) for _ in range(60)]
    medians = [np.median(image) for image in images]
    assert min(medians) < 80
    assert max(medians) > 180
    tinted = [np.abs(image[..., 0] - image[..., 2]).mean() > 5 for image in images]
    assert 0.05 < np.mean(tinted) < 0.6
    edges = [np.abs(np.diff(image, axis=0)).mean() for image in images]
    assert max(edges) > 10 * max(min(edges), 0.1)


@pytest.mark.parametrize("seed", range(5))
def test_clutter_shows_something(seed):
    assert np.ptp(clutter_image(np.random.default_rng(seed), 128)) > 40


def test_some_pages_hold_only_a_line_of_text():
    rng = np.random.default_rng(0)
    inked_rows = []
    for _ in range(300):
        image = clutter_image(rng, 128).astype(float).mean(axis=2)
        ink = np.abs(image - np.median(image)) > 60
        if ink.any():
            inked_rows.append(ink.any(axis=1).mean())
    assert 0.03 < np.mean(np.array(inked_rows) < 0.3) < 0.4
