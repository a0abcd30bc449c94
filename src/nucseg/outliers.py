"""Pixels much brighter than all nuclei: hot pixels, dust, fibres, burnt nuclei.

They must not take the range of intensities from the rest. A median filter shows isolated ones;
larger ones are shown by what is left without them and their surroundings: another image with
nuclei, in a small part of the range. A few nuclei on a plain background are no outliers.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

# All was set on images of folds 1 to 4 of the 2018 Data Science Bowl with made-up outliers, so that
# the range of none of its 664 images, as they are and as 16-bit images, changes.
#
# Where the larger part of the image fills this share of the range there is nothing to gain.
_FILLED, _LARGER_PART = 0.35, 88
# Isolated pixels take the range where a median filter makes it so many times smaller.
_ISOLATED = 4.0
# Outliers are above this share of the range, cover at most so much of the image, and so many pixels
# around them are left out too, for their halo.
_ABOVE, _MOST_COVERED, _HALO = 0.25, 0.08, 25
# The rest is squeezed into less than this share of the range ...
_SQUEEZED = 0.2
# ... stands out from its background by so many standard deviations and steps of intensity ...
_STANDS_OUT, _STEPS = 8.0, 8
# ... and covers so much of the image, and so much of what the outliers cover.
_LEAST_COVERED, _OF_OUTLIERS = 0.005, 0.5
# Pixels are hot so far above the range, as a share of it.
_HOT = 0.5
# Of an image of more pixels, windows of this side are looked at, in so many rows and columns.
# Others are read in bands of so many rows.
_WHOLE_PIXELS, _SIDE, _WINDOWS, _BAND = 2**22, 512, 4, 256
# Of a Gaussian, sigma over the median absolute deviation; every so manieth value tells the step.
_SIGMA, _EVERY = 1.4826, 7

Percentiles = tuple[float, float]
Pixels = npt.NDArray[Any]


class SeenRange(NamedTuple):
    """Intensities that become 0 and 1 for the network.

    Attributes
    ----------
    low, high : float
    outliers : float
        Share of the pixels that are brighter outliers and were left out, in [0, 1].
    isolated : bool
        Whether some of them are single pixels, to be filtered.
    """

    low: float
    high: float
    outliers: float = 0.0
    isolated: bool = False


class Windowed(Protocol):
    """An array, or an image that is read by windows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, C)."""

    def __getitem__(self, window: tuple[slice, slice], /) -> Pixels:
        """Pixels of some rows and columns."""


def range_windows(image: Windowed) -> list[Pixels]:
    """Read the parts of an image in which outliers are looked for.

    Parameters
    ----------
    image : Windowed, shape (H, W) or (H, W, C)

    Returns
    -------
    list of ndarray
        All of the image in bands of 256 rows or, of more than four million pixels, 16 windows of
        512 by 512, evenly spaced.
    """
    height, width = image.shape[:2]
    if height * width <= _WHOLE_PIXELS:
        bands = [slice(start, min(start + _BAND, height)) for start in range(0, height, _BAND)]
        places = [(band, slice(0, width)) for band in bands]
    else:
        rows, columns = (_starts(length) for length in (height, width))
        places = [(slice(r, r + _SIDE), slice(c, c + _SIDE)) for r in rows for c in columns]
    if isinstance(image, np.ndarray):
        return [image[place] for place in places]
    # Copies, since a window may be a view of more that was read.
    return [image[place].copy() for place in places]


def _starts(length: int) -> list[int]:
    last = max(length - _SIDE, 0)
    return sorted({int(last * (place + 0.5) / _WINDOWS) for place in range(_WINDOWS)})


def without_outliers(
    windows: list[Pixels], limits: tuple[float, float], percentiles: Percentiles
) -> SeenRange:
    """Find the range of intensities that is not taken by a few much brighter pixels.

    Parameters
    ----------
    windows : list of ndarray, shape (h, w) or (h, w, C), real
        As `range_windows` gives them.
    limits : (low, high)
        Percentiles of the image.
    percentiles : (low, high)
        Which.

    Returns
    -------
    SeenRange
        With `limits` where there are no outliers.

    Examples
    --------
    >>> image = np.random.default_rng(0).normal(200, 15, (256, 256)).astype(np.float32)
    >>> image[100:120, 100:120] += 1000
    >>> before = tuple(np.percentile(image, (1, 99.8)))
    >>> without_outliers([image], before, (1, 99.8)).outliers
    0.0
    >>> image[::18, ::18] = 65535
    >>> after = tuple(np.percentile(image, (1, 99.8)))
    >>> found = without_outliers([image], after, (1, 99.8))
    >>> round(after[1]), round(found.high, -2), found.isolated
    (65535, 1200.0, True)
    """
    low, high = limits
    if high <= low or _filled(windows, low, high):
        return SeenRange(low, high)
    windows = [_one_channel(window) for window in windows]
    smooth = [_median(window) for window in windows]
    values = np.concatenate([window.ravel() for window in smooth])
    smooth_low, smooth_high = _range(values, percentiles)
    isolated = smooth_high > smooth_low and high - low > _ISOLATED * (smooth_high - smooth_low)
    if isolated:
        low, high = smooth_low, smooth_high
    rest = _rest(smooth, smooth_low, smooth_high, percentiles)
    if rest is not None:
        low, high = rest
    if not isolated and rest is None:
        return SeenRange(low, high)
    total = _size(windows)
    bright = sum(np.count_nonzero(window > _hot_from(low, high)) for window in windows)
    return SeenRange(low, high, bright / total, isolated)


def despeckled(image: Pixels, seen: SeenRange) -> Pixels:
    """Replace hot pixels by the median of the 3 by 3 pixels around them.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), real
    seen : SeenRange

    Returns
    -------
    ndarray, same shape
        The image itself where none is hot, else a copy.
    """
    hot = image > _hot_from(seen.low, seen.high)
    if not hot.any():
        return image
    return np.where(hot, _median(image).reshape(image.shape), image)


def _one_channel(window: Pixels) -> Pixels:
    """Grey that was saved as colour, once."""
    if window.ndim == 2:
        return window
    first = window[..., 0]
    same = all(np.array_equal(first, window[..., each]) for each in range(1, window.shape[2]))
    return first if same else window


def _hot_from(low: float, high: float) -> float:
    return high + _HOT * (high - low)


def _filled(windows: list[Pixels], low: float, high: float) -> bool:
    """Whether the larger part of the image fills the range, as it nearly always does."""
    up_to = low + _FILLED * (high - low)
    some = [window[::_EVERY] for window in windows]
    above = sum(np.count_nonzero(window > up_to) for window in some)
    return bool(above > _size(some) * (100 - _LARGER_PART) / 100)


def _median(image: Pixels) -> Pixels:
    """Median of 3 by 3 pixels, of types that OpenCV takes."""
    dtype = image.dtype if image.dtype in (np.uint8, np.uint16) else np.float32
    return np.asarray(cv2.medianBlur(np.ascontiguousarray(image, dtype), 3))


def _range(values: Pixels, percentiles: Percentiles) -> tuple[float, float]:
    low, high = np.percentile(values, percentiles)
    return float(low), float(high)


def _rest(
    windows: list[Pixels], low: float, high: float, percentiles: Percentiles
) -> tuple[float, float] | None:
    """Range of what is left without outliers, where that is an image of nuclei by itself."""
    kept, covered, size = [], 0, 0
    for window in windows:
        bright = (_brightest(window) > low + _ABOVE * (high - low)).astype(np.uint8)
        covered += int(np.count_nonzero(bright))
        size += bright.size
        around = cv2.dilate(bright, np.ones((_HALO, _HALO), np.uint8))
        kept.append(window[around == 0].ravel())
    rest = np.concatenate(kept)
    share = covered / size
    if not 0 < share <= _MOST_COVERED or not len(rest):
        return None
    first, last = _range(rest, percentiles)
    middle = float(np.median(rest))
    present = np.unique(rest[::_EVERY])
    step = float(np.diff(present).min()) if len(present) > 1 else 0.0
    noise = max(_SIGMA * float(np.median(np.abs(rest - middle))), step / 2)
    above = np.count_nonzero(rest > middle + (last - middle) / 2) / _size(windows)
    is_image = (
        last - first < _SQUEEZED * (high - low)
        and last - middle > max(_STANDS_OUT * noise, _STEPS * step)
        and above >= max(_LEAST_COVERED, _OF_OUTLIERS * share)
    )
    return (first, last) if is_image else None


def _size(windows: list[Pixels]) -> int:
    """Count the values of all windows."""
    return sum(window.size for window in windows)


def _brightest(window: Pixels) -> Pixels:
    """Largest channel of each pixel."""
    return window if window.ndim == 2 else np.asarray(window.max(axis=2))
