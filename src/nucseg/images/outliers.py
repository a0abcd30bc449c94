"""Pixels that are much brighter than all nuclei: hot pixels, dust, fibres, burnt nuclei.

They must not compress the intensity range of the rest. A median filter detects isolated pixels.
Larger outliers are detected by what remains without them and their surroundings: another image
with nuclei, in a small part of the range. A few nuclei on a plain background are not outliers.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

# All constants were chosen on images of folds 1 to 4 of the 2018 Data Science Bowl with artificial
# outliers, so that the range of none of its 664 images, as they are and as 16-bit images, changes.
#
# If the larger part of the image fills this fraction of the range, the range is not changed.
_FILLED, _LARGER_PART = 0.35, 88
# Specks differ from the median of their 3×3 pixels by at least this fraction of the range of the
# medians, and by this multiple of the difference that 95 % of the pixels do not exceed, which is
# noise. An image has specks if at least this fraction of its pixels also differs from each adjacent
# pixel, unlike corners of sharp objects.
_SPECK_RANGE, _SPECK_NOISE, _FEWEST_SPECKS = 0.5, 4.0, 0.0005
# Outliers are above this fraction of the range and cover at most this fraction of the image. This
# width in pixels around them is excluded too, for their halo.
_ABOVE, _MOST_COVERED, _HALO = 0.25, 0.08, 25
# The rest is compressed into less than this fraction of the range ...
_SQUEEZED = 0.2
# ... exceeds its background by this many standard deviations and steps of intensity ...
_STANDS_OUT, _STEPS = 8.0, 8
# ... and covers at least this fraction of the image, and of the area of the outliers.
_LEAST_COVERED, _OF_OUTLIERS = 0.005, 0.5
# Larger outliers exceed the range by this fraction of it.
_FAR = 0.5
# Minimum number of pixels for the detection of specks.
_FEWEST_PIXELS = 1024
# Images with more pixels are sampled in windows of this side, in this number of rows and columns.
# Others are read in bands of this number of rows.
_WHOLE_PIXELS, _SIDE, _WINDOWS, _BAND = 2**22, 512, 4, 256
# Sigma of a Gaussian over the median absolute deviation; stride of the sampled values.
_SIGMA, _EVERY = 1.4826, 7

Percentiles = tuple[float, float]
Pixels = npt.NDArray[Any]


class SeenRange(NamedTuple):
    """Intensities that become 0 and 1 in the input of the network.

    Attributes
    ----------
    low, high : float
        Intensities that become 0 and 1.
    outliers : float
        Fraction of pixels that are outliers and were excluded, in [0, 1].
    speck : float
        Single pixels that differ from the median around them by more than this are specks, which
        are filtered. Infinite without specks.
    bright : bool
        Whether the background is bright, see `nucseg.images.colours.has_bright_background`.
    """

    low: float
    high: float
    outliers: float = 0.0
    speck: float = math.inf
    bright: bool = False


class Windowed(Protocol):
    """An array, or an image that is read in windows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (H, W) or (H, W, C)."""

    def __getitem__(self, window: tuple[slice, slice], /) -> Pixels:
        """Return the pixels of a range of rows and columns."""


def range_windows(image: Windowed) -> list[Pixels]:
    """Read the parts of an image that are searched for outliers.

    Parameters
    ----------
    image : Windowed, shape (H, W) or (H, W, C)

    Returns
    -------
    list of ndarray
        The whole image in bands of 256 rows or, if it has more than four million pixels, 16 evenly
        spaced windows of 512 by 512 pixels.
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
    # Copies, because a window may be a view of a larger array.
    return [image[place].copy() for place in places]


def _starts(length: int) -> list[int]:
    last = max(length - _SIDE, 0)
    return sorted({int(last * (place + 0.5) / _WINDOWS) for place in range(_WINDOWS)})


def without_outliers(
    windows: list[Pixels], limits: tuple[float, float], percentiles: Percentiles
) -> SeenRange:
    """Compute the intensity range of an image without a few much brighter pixels.

    Parameters
    ----------
    windows : list of ndarray, shape (h, w) or (h, w, C), real
        Windows, as returned by `range_windows`.
    limits : (low, high)
        Intensities at the percentiles of the image.
    percentiles : (low, high)
        The percentiles.

    Returns
    -------
    SeenRange
        The range `limits` if there are no outliers.

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
    """Return the threshold of specks, infinite without specks, and the fraction of specks."""
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
    """Return by how much each value exceeds the maximum, or is below the minimum, around it."""
    values = _filterable(window)
    ring = np.ones((3, 3), np.uint8)
    ring[1, 1] = 0
    above, below = cv2.dilate(values, ring), cv2.erode(values, ring)
    # For unsigned types, OpenCV clips negative differences to 0.
    return np.asarray(cv2.max(cv2.subtract(values, above), cv2.subtract(below, values)))


def _difference(window: Pixels, smooth: Pixels) -> Pixels:
    """Return the absolute difference of each value from the median around it."""
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
        The image itself if there are no specks, otherwise a copy.
    """
    smooth = _median(image).reshape(image.shape)
    rows = len(image)
    specks = _difference(image.reshape(rows, -1), smooth.reshape(rows, -1)) > seen.speck
    specks = specks.reshape(image.shape)
    return np.where(specks, smooth, image) if specks.any() else image


def _one_channel(window: Pixels) -> Pixels:
    """Reduce a grey image saved as colour to one channel."""
    if window.ndim == 2:
        return window
    first = window[..., 0]
    same = all(np.array_equal(first, window[..., each]) for each in range(1, window.shape[2]))
    return first if same else window


def _filled(windows: list[Pixels], low: float, high: float) -> bool:
    """Return whether the larger part of the image fills the range, as in nearly all images."""
    up_to = low + _FILLED * (high - low)
    some = [window[::_EVERY] for window in windows]
    above = sum(np.count_nonzero(window > up_to) for window in some)
    return bool(above > _size(some) * (100 - _LARGER_PART) / 100)


def _filterable(image: Pixels) -> Pixels:
    """Convert pixels to a type that OpenCV can filter."""
    dtype = image.dtype if image.dtype in (np.uint8, np.uint16) else np.float32
    return np.ascontiguousarray(image, dtype)


def _median(image: Pixels) -> Pixels:
    """Filter with the median of 3 by 3 pixels."""
    return np.asarray(cv2.medianBlur(_filterable(image), 3))


def _range(values: Pixels, percentiles: Percentiles) -> tuple[float, float]:
    low, high = np.percentile(values, percentiles)
    return float(low), float(high)


def _rest(
    windows: list[Pixels], low: float, high: float, percentiles: Percentiles
) -> tuple[float, float] | None:
    """Return the intensity range without outliers, if the rest is an image of nuclei by itself."""
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
    """Return the largest channel of each pixel."""
    return window if window.ndim == 2 else np.asarray(window.max(axis=2))
