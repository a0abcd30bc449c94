import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucseg.images.outliers import SeenRange, despeckled, range_windows, without_outliers

PERCENTILES = (1, 99.8)


def discs(side: int, size: int = 256, *, radius: float = 10, high: float = 1500) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    step = size / side
    inside = ((rows % step) - step / 2) ** 2 + ((columns % step) - step / 2) ** 2 < radius**2
    noise = np.random.default_rng(0).normal(0, 15, (size, size))
    return (np.where(inside, high, 200) + noise).astype(np.uint16)


def found(image: np.ndarray) -> SeenRange:
    low, high = np.percentile(image, PERCENTILES)
    return without_outliers(range_windows(image), (float(low), float(high)), PERCENTILES)


def test_the_range_of_an_image_without_outliers_is_its_percentiles():
    image = discs(4)
    low, high = np.percentile(image, PERCENTILES)
    assert found(image) == SeenRange(low, high)


@pytest.mark.parametrize("share", [0.003, 0.01, 0.03])
@pytest.mark.parametrize("dtype", ["u2", "i4", "f4", "f8"])
def test_hot_pixels(share: float, dtype: str):
    image = discs(4).astype(dtype)
    hot = np.random.default_rng(1).random(image.shape) < share
    image[hot] = 65535
    seen = found(image)
    assert np.isfinite(seen.speck)
    assert 1300 < seen.high < 1600
    assert seen.outliers == pytest.approx(hot.mean(), abs=0.002)
    clean = despeckled(image, seen)
    # Of 3 % a few lie in clumps that the median does not see.
    assert np.mean(clean > 2000) < (0.001 if share > 0.01 else 1e-9)
    # Corners of discs, which are sharp here, are taken for specks once there are some.
    assert np.mean(clean[~hot] == image[~hot]) > 0.995


@pytest.mark.parametrize("radius", [3, 6, 9])
def test_a_few_things_much_brighter_than_the_nuclei(radius: int):
    rows, columns = np.mgrid[:256, :256]
    image = discs(4)
    image[(rows - 70) ** 2 + (columns - 190) ** 2 < radius**2] = 60_000
    seen = found(image)
    low, high = np.percentile(image, PERCENTILES)
    if high > 2000:  # else the percentile has left them out
        assert 1300 < seen.high < 1600
        assert 0 < seen.outliers < 0.01
    else:
        assert seen == SeenRange(low, high)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("slope", [0, 100, 300])
def test_few_nuclei_on_a_plain_background_are_no_outliers(count: int, slope: float):
    light = slope * np.linspace(0, 1, 512)[:, None]
    image = (discs(count, 512) + light).astype(np.uint16)
    assert found(image).outliers == 0


def test_colour_is_looked_at_as_a_whole_and_grey_saved_as_colour_once():
    grey = discs(4)
    grey[::20, ::20] = 65535
    assert found(np.stack([grey] * 3, -1)) == found(grey)
    seen = found(np.stack([grey, grey // 2, grey // 3], -1))
    assert np.isfinite(seen.speck)
    assert seen.high < 2000


def test_a_constant_image_has_no_range():
    assert found(np.full((40, 40), 7, np.uint8)) == SeenRange(7, 7)


def test_nothing_hot_gives_the_image_itself():
    image = np.tile(np.arange(40, dtype=np.uint16), (40, 1))
    assert despeckled(image, SeenRange(0, 40, speck=20)) is image


@pytest.mark.parametrize("low", [0, 200])
def test_hot_pixels_among_nuclei_nearly_as_bright(low: int):
    image = (discs(4) // 10).astype(np.uint8) + np.uint8(low // 10)
    image[np.random.default_rng(1).random(image.shape) < 0.003] = 255
    seen = found(image)
    assert np.isfinite(seen.speck)
    assert seen.high < 190


def test_sharp_things_are_no_specks():
    image = np.full((256, 256), 20, np.uint8)
    for row in range(8, 250, 16):
        image[row : row + 7, 8:250:2] = 200
    image[::9] = 30
    assert not np.isfinite(found(image).speck)


def test_dead_pixels():
    image = discs(4) + np.uint16(1000)
    dead = np.random.default_rng(1).random(image.shape) < 0.01
    image[dead] = 0
    seen = found(image)
    assert despeckled(image, seen).min() > 1000


@settings(max_examples=20)
@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_windows_are_bounded_and_cover_smaller_images(height: int, width: int):
    image = np.zeros((height, width), np.uint8)
    windows = range_windows(image)
    pixels = sum(window.size for window in windows)
    assert pixels <= 2**22
    assert max(window.shape[0] for window in windows) <= 512
    if height * width <= 2**22:
        assert pixels == image.size
