"""Convert the pixels of any image to the input of a network, for training and inference."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.config import Preprocessing
from nucseg.errors import InputError
from nucseg.images.colours import (
    has_bright_background,
    to_rgb,
)
from nucseg.images.outliers import SeenRange, despeckled, range_windows, without_outliers
from nucseg.images.sampling import sample_step

FloatImage = npt.NDArray[np.float32]
Limits = tuple[float, float]

# Maximum number of channels for OpenCV's area averaging.
_OPENCV_CHANNELS = 4


def stretch(
    image: npt.NDArray[np.generic],
    percentiles: tuple[float, float] | None,
    *,
    limits: Limits | None = None,
) -> FloatImage:
    """Scale intensities to [0, 1].

    Parameters
    ----------
    image : ndarray, any shape, real dtype
    percentiles : (low, high) or None
        Percentiles, over all pixels and channels, that become 0 and 1; values outside are clipped.
        If None, integers are divided by the largest value of their type, and floating-point values
        are clipped.
    limits : (low, high), optional
        Intensities that become 0 and 1, instead of percentiles: those of the image that contains
        this part, as returned by `intensity_limits`.

    Returns
    -------
    ndarray, same shape, float32, in [0, 1]
        All 0 if the image is constant.

    Raises
    ------
    InputError
        There are NaN or infinite values.

    Examples
    --------
    >>> import numpy as np
    >>> stretch(np.array([[10, 20, 30]], np.uint16), (0, 100)).tolist()
    [[0.0, 0.5, 1.0]]
    """
    limits = limits or intensity_limits(image, percentiles)
    if image.dtype == np.uint8 and image.ndim in (2, 3):
        # Each of the 256 values is computed only once.
        table = _stretched(np.arange(256, dtype=np.float32), limits)
        scaled = cv2.LUT(np.ascontiguousarray(image), table)
        return np.asarray(scaled, np.float32).reshape(image.shape)
    return _stretched(_finite(image), limits)


def _stretched(values: FloatImage, limits: Limits) -> FloatImage:
    """Scale values to [0, 1] in place."""
    low, high = limits
    if high <= low:
        return np.zeros_like(values)
    values -= np.float32(low)
    values /= np.float32(high - low)
    return np.clip(values, 0, 1, out=values)


def intensity_limits(
    image: npt.NDArray[np.generic], percentiles: tuple[float, float] | None
) -> Limits:
    """Compute the intensities that `stretch` converts to 0 and 1.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), real dtype
        Images with more than four million pixels are sampled to about that number, evenly spaced.
    percentiles : (low, high) or None
        See `stretch`.

    Returns
    -------
    (low, high) : floats
        Equal if the image is constant.

    Raises
    ------
    InputError
        There are NaN or infinite values in the sample.

    Examples
    --------
    >>> import numpy as np
    >>> intensity_limits(np.array([[10, 20, 30]], np.uint16), (0, 100))
    (10.0, 30.0)
    """
    if percentiles is None:
        return 0.0, float(np.iinfo(image.dtype.str).max) if image.dtype.kind in "ui" else 1.0
    step = sample_step(image.shape)
    seen = image[::step, ::step] if step > 1 else image
    if seen.dtype in (np.uint8, np.uint16):
        return _counted_limits(seen, percentiles)
    values = _finite(seen)
    low, high = (float(value) for value in np.percentile(values, percentiles))
    return (low, high) if low < high else (float(values.min()), float(values.max()))


def displayed_limits(image: npt.NDArray[np.generic], percentiles: tuple[float, float]) -> Limits:
    """Compute the intensities that become black and white on the screen, without outliers.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), real dtype
    percentiles : (low, high)

    Returns
    -------
    (low, high) : floats
    """
    limits = intensity_limits(image, percentiles)
    seen = without_outliers(range_windows(image), limits, percentiles)
    return seen.low, seen.high


def _counted_limits(values: npt.NDArray[Any], percentiles: tuple[float, float]) -> Limits:
    """Compute `intensity_limits` of whole numbers by counting, which is faster than sorting."""
    number = np.iinfo(values.dtype).max + 1
    flat = np.ascontiguousarray(values).reshape(1, -1)
    counts = cv2.calcHist([flat], [0], None, [number], [0, number])
    up_to = np.cumsum(counts, dtype=np.int64)
    place = np.array(percentiles) / 100 * (values.size - 1)
    before, after = (np.searchsorted(up_to, step, "right") for step in (place // 1, -(-place // 1)))
    low, high = (float(value) for value in before + (after - before) * (place % 1))
    if low < high:
        return low, high
    present = np.flatnonzero(counts)
    return float(present[0]), float(present[-1])


def _finite(image: npt.NDArray[np.generic]) -> FloatImage:
    with np.errstate(over="ignore"):  # values beyond float32 are treated as infinite below
        values = image.astype(np.float32)
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise InputError(
            f"The image holds {bad} NaN or infinite values of {values.size}. "
            "Replace them, for instance by the background, and try again."
        )
    return values


def resize_image(image: FloatImage, size: tuple[int, int]) -> FloatImage:
    """Resize by area averaging to a smaller size, or bilinearly to a larger size.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), float32
    size : (height, width) in pixels

    Returns
    -------
    ndarray, shape (height, width) or (height, width, C), float32
        The image itself if it already has that size.
    """
    if image.shape[:2] == size:
        return image
    if image.ndim == 3 and image.shape[2] > _OPENCV_CHANNELS:
        channels = [resize_image(channel, size) for channel in np.moveaxis(image, 2, 0)]
        return np.stack(channels, axis=-1)
    shrink_rows, shrink_columns = size[0] < image.shape[0], size[1] < image.shape[1]
    # Axis by axis, for images that shrink along one axis only.
    for shrinks, (height, width) in (
        (shrink_rows, (size[0], image.shape[1])),
        (shrink_columns, size),
    ):
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        if (height, width) != image.shape[:2]:
            image = np.asarray(cv2.resize(image, (width, height), interpolation=method), np.float32)
    return image


def resize_labels(labels: npt.NDArray[np.integer], size: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Resize a label image or mask with nearest-neighbour interpolation.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
    size : (height, width) in pixels

    Returns
    -------
    ndarray, shape (height, width), int32

    Examples
    --------
    >>> import numpy as np
    >>> resize_labels(np.array([[1, 0], [0, 2]]), (4, 2)).tolist()
    [[1, 0], [1, 0], [0, 2], [0, 2]]
    """
    rows = ((np.arange(size[0]) + 0.5) * labels.shape[0] / size[0]).astype(np.intp)
    columns = ((np.arange(size[1]) + 0.5) * labels.shape[1] / size[1]).astype(np.intp)
    resized: npt.NDArray[np.int32] = labels[rows[:, None], columns[None, :]].astype(np.int32)
    return resized


def prepare(
    image: npt.NDArray[np.generic], settings: Preprocessing, *, limits: SeenRange | None = None
) -> FloatImage:
    """Convert the pixels of an image to the input of a network.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
    settings : Preprocessing
    limits : SeenRange, optional
        Intensities that become 0 and 1. Required for a part of an image: those of the image, as
        returned by `prepared_limits`.

    Returns
    -------
    ndarray, shape (height, width, 3), float32, in [0, 1]
        Resized to `settings.size` if it is set, otherwise in the size of the image.

    Raises
    ------
    InputError
        The array is not an image of finite real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> prepare(np.zeros((10, 20), np.uint8), Preprocessing()).shape
    (128, 128, 3)
    """
    seen = _seen_channels(image)
    limits = limits or prepared_limits(image, settings)
    if math.isfinite(limits.speck):
        seen = despeckled(seen, limits)
    scaled = stretch(seen, settings.percentiles, limits=(limits.low, limits.high))
    if settings.size is not None:
        scaled = resize_image(scaled, settings.size).reshape(*settings.size, -1)
    if scaled.ndim == 3 and scaled.shape[2] == 3:
        return np.ascontiguousarray(scaled)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(scaled), cv2.COLOR_GRAY2RGB), np.float32)


def prepared_limits(
    image: npt.NDArray[np.generic],
    settings: Preprocessing,
    *,
    windows: list[npt.NDArray[Any]] | None = None,
) -> SeenRange:
    """Compute the intensities that `prepare` converts to 0 and 1, for all parts of an image.

    They are percentiles of the image, unless a few much brighter pixels compress the range of the
    rest: see `nucseg.images.outliers`.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
    settings : Preprocessing
    windows : list of ndarray, optional
        `range_windows` of the image that is not in memory, if `image` is a sample of it.

    Returns
    -------
    SeenRange

    Raises
    ------
    InputError
        The array is not an image of finite real numbers.
    """
    seen = _seen_channels(image)
    limits = intensity_limits(seen, settings.percentiles)
    bright = has_bright_background(image)
    if settings.percentiles is None:
        return SeenRange(*limits, bright=bright)
    parts = range_windows(image) if windows is None else windows
    parts = [_seen_channels(part) for part in parts]
    return without_outliers(parts, limits, settings.percentiles)._replace(bright=bright)


def _seen_channels(image: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return the channels for the network; one channel for grey, which is three times faster."""
    grey = image.ndim == 2 or image.shape[2:] in ((1,), (2,))
    return to_rgb(image)[:, :, :1] if grey else to_rgb(image)
