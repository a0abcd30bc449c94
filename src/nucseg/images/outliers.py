"""Pixels much brighter than all nuclei: hot pixels, dust, fibres, burnt nuclei.

They must not take the range of intensities from the rest. A median filter shows isolated ones;
larger ones are shown by what is left without them and their surroundings: another image with
nuclei, in a small part of the range. A few nuclei on a plain background are no outliers.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

# All was set on images of folds 1 to 4 of the 2018 Data Science Bowl with made-up outliers, so that
# the range of none of its 664 images, as they are and as 16-bit images, changes.
#
# Where the larger part of the image fills this share of the range there is nothing to gain.
_FILLED, _LARGER_PART = 0.35, 88
# Specks differ from the median of their 3×3 pixels by so much of the range of the medians, and by
# so many times what 95 % of the pixels differ by at most, which is noise. An image has specks if so
# many of its pixels also stand out from each pixel around them, as corners of sharp things do not.
_SPECK_RANGE, _SPECK_NOISE, _FEWEST_SPECKS = 0.5, 4.0, 0.0005
# Outliers are above this share of the range, cover at most so much of the image, and so many pixels
# around them are left out too, for their halo.
_ABOVE, _MOST_COVERED, _HALO = 0.25, 0.08, 25
# The rest is squeezed into less than this share of the range ...
_SQUEEZED = 0.2
# ... stands out from its background by so many standard deviations and steps of intensity ...
_STANDS_OUT, _STEPS = 8.0, 8
# ... and covers so much of the image, and so much of what the outliers cover.
_LEAST_COVERED, _OF_OUTLIERS = 0.005, 0.5
# Larger outliers are so far above the range, as a share of it.
_FAR = 0.5
# An image of fewer pixels has too few to say which are outliers.
_FEWEST_PIXELS = 1024
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
        Share of the pixels that are outliers and were left out, in [0, 1].
    speck : float
        Single pixels that differ from the median around them by more are specks, to be filtered;
        infinite where there are none.
    bright : bool
        Whether the background is bright, see `nucseg.images.colours.has_bright_background`.
    """

    low: float
    high: float
    outliers: float = 0.0
    speck: float = math.inf
    bright: bool = False


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
    >>> round(after[1]), round(found.high, -2), found.speck < 65535
    (65535, 1200.0, True)
    """
    low, high = limits
    if high <= low:
        return SeenRange(low, high)
    windows = [_one_channel(window) for window in windows]
    smooth = [_median(window) for window in windows]
    some = np.concatenate([window.ravel()[::_EVERY] for window in smooth])
    speck, outliers = _specks(windows, smooth, _range(some, (1, 99.8)))
    if outliers:
        low, high = _range(np.concatenate([window.ravel() for window in smooth]), percentiles)
    if not _filled(smooth, low, high):
        rest = _rest(smooth, low, high, percentiles)
        if rest is not None:
            low, high = rest
            far = high + _FAR * (high - low)
            outliers += sum(np.count_nonzero(each > far) for each in smooth) / _size(smooth)
    return SeenRange(low, high, outliers, speck)


def _specks(
    windows: list[Pixels], smooth: list[Pixels], limits: tuple[float, float]
) -> tuple[float, float]:
    """By how much specks differ from the median around them, infinite without any; their share."""
    step = _SPECK_RANGE * (limits[1] - limits[0])
    differences = [_difference(window, each) for window, each in zip(windows, smooth, strict=True)]
    total = _size(windows)

    def share() -> float:
        return float(sum(np.count_nonzero(each > step) for each in differences) / total)

    if step <= 0 or total < _FEWEST_PIXELS or share() < _FEWEST_SPECKS:
        return math.inf, 0.0
    some = np.concatenate([each.ravel()[::_EVERY] for each in differences])
    step = max(step, _SPECK_NOISE * float(np.percentile(some, 95)))
    alone = sum(np.count_nonzero(_stands_out(window) > step) for window in windows) / total
    return (step, share()) if alone >= _FEWEST_SPECKS else (math.inf, 0.0)


def _stands_out(window: Pixels) -> Pixels:
    """By how much each value is above the largest, or below the smallest, of those around it."""
    values = _filterable(window)
    ring = np.ones((3, 3), np.uint8)
    ring[1, 1] = 0
    above, below = cv2.dilate(values, ring), cv2.erode(values, ring)
    # Of unsigned types differences below 0 become 0.
    return np.asarray(cv2.max(cv2.subtract(values, above), cv2.subtract(below, values)))


def _difference(window: Pixels, smooth: Pixels) -> Pixels:
    """Difference of each value to the median around it."""
    return np.asarray(cv2.absdiff(_filterable(window), smooth))


def despeckled(image: Pixels, seen: SeenRange) -> Pixels:
    """Replace specks by the median of the 3 by 3 pixels around them.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), real
    seen : SeenRange

    Returns
    -------
    ndarray, same shape
        The image itself where there are none, else a copy.
    """
    smooth = _median(image).reshape(image.shape)
    rows = len(image)
    specks = _difference(image.reshape(rows, -1), smooth.reshape(rows, -1)) > seen.speck
    specks = specks.reshape(image.shape)
    return np.where(specks, smooth, image) if specks.any() else image


def _one_channel(window: Pixels) -> Pixels:
    """Grey that was saved as colour, once."""
    if window.ndim == 2:
        return window
    first = window[..., 0]
    same = all(np.array_equal(first, window[..., each]) for each in range(1, window.shape[2]))
    return first if same else window


def _filled(windows: list[Pixels], low: float, high: float) -> bool:
    """Whether the larger part of the image fills the range, as it nearly always does."""
    up_to = low + _FILLED * (high - low)
    some = [window[::_EVERY] for window in windows]
    above = sum(np.count_nonzero(window > up_to) for window in some)
    return bool(above > _size(some) * (100 - _LARGER_PART) / 100)


def _filterable(image: Pixels) -> Pixels:
    """Pixels of a type that OpenCV filters."""
    dtype = image.dtype if image.dtype in (np.uint8, np.uint16) else np.float32
    return np.ascontiguousarray(image, dtype)


def _median(image: Pixels) -> Pixels:
    """Median of 3 by 3 pixels."""
    return np.asarray(cv2.medianBlur(_filterable(image), 3))


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
    if not last - first < _SQUEEZED * (high - low):
        return None
    middle = float(np.median(rest))
    present = np.unique(rest[::_EVERY])
    step = float(np.diff(present).min()) if len(present) > 1 else 0.0
    noise = max(_SIGMA * float(np.median(np.abs(rest - middle))), step / 2)
    above = np.count_nonzero(rest > middle + (last - middle) / 2) / _size(windows)
    is_image = last - middle > max(_STANDS_OUT * noise, _STEPS * step) and above >= max(
        _LEAST_COVERED, _OF_OUTLIERS * share
    )
    return (first, last) if is_image else None


def _size(windows: list[Pixels]) -> int:
    """Count the values of all windows."""
    return sum(window.size for window in windows)


def _brightest(window: Pixels) -> Pixels:
    """Largest channel of each pixel."""
    return window if window.ndim == 2 else np.asarray(window.max(axis=2))
