"""Decoded rows that are kept for the next window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.images import cached as module
from nucseg.images.cached import Cached, cached


class Counted:
    """An image that counts the pixels read of it."""

    lazy = True

    def __init__(self, pixels):
        self.pixels, self.read = pixels, 0
        self.shape, self.dtype = pixels.shape, pixels.dtype

    def __getitem__(self, window):
        part = self.pixels[window]
        self.read += part.shape[0] * part.shape[1]
        return part


@given(data=st.data(), height=st.integers(1, 40), width=st.integers(1, 20), colour=st.booleans())
def test_windows_are_those_of_the_image(data, height, width, colour):
    shape = (height, width, 3) if colour else (height, width)
    image = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    kept = Cached(image, data.draw(st.integers(0, 4000)))
    for _ in range(4):
        window = tuple(
            slice(*sorted(data.draw(st.tuples(st.integers(0, side), st.integers(0, side)))))
            for side in (height, width)
        )
        np.testing.assert_array_equal(kept[window], image[window])


@pytest.fixture
def narrow_bands(monkeypatch):
    monkeypatch.setattr(module, "_BAND", 4)


@pytest.mark.usefixtures("narrow_bands")
def test_what_fits_is_decoded_once():
    image = Counted(np.arange(200, dtype=np.uint8).reshape(20, 10))
    kept = cached(image, 200, 8)
    for _ in range(3):
        for row in range(0, 16, 2):
            for column in range(0, 8, 2):
                window = (slice(row, row + 4), slice(column, column + 4))
                np.testing.assert_array_equal(kept[window], image.pixels[window])
    assert image.read == 200


@pytest.mark.usefixtures("narrow_bands")
def test_overlapping_windows_are_decoded_once_in_each_pass():
    image = Counted(np.zeros((40, 10), np.uint8))
    kept = cached(image, 120, 8)
    for row in range(0, 34, 6):
        for column in range(0, 8, 2):
            kept[row : row + 8, column : column + 4]
    assert image.read == 400
    assert sum(band.nbytes for band in kept._bands.values()) <= 120


def test_what_is_in_memory_or_too_wide_is_left():
    array, wide = np.zeros((4, 4)), Counted(np.zeros((4, 4), np.uint8))
    assert cached(array, 10**9, 4) is array
    assert cached(wide, 1000, 4) is wide
    wide.lazy = False
    assert cached(wide, 10**9, 4) is wide
