"""From the pixels of any image to what a network reads; training and inference share it."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.config import Preprocessing
from nucseg.errors import InputError
from nucseg.images.outliers import SeenRange, despeckled, range_windows, without_outliers

FloatImage = npt.NDArray[np.float32]
Limits = tuple[float, float]

# OpenCV averages areas of no more.
_OPENCV_CHANNELS = 4
# Of so many pixels the percentiles are as good as those of all.
_SAMPLED_PIXELS = 2**22


# Mean difference of channels from which an image is stained, as a share of its brightness.
COLOURFUL = 0.05
# Backgrounds are bright above this: of grey images and of stained ones. The 664 images of the 2018
# Data Science Bowl have up to .5 in fluorescence, from .67 in tissue and .84 in brightfield.
_BRIGHT_GREY, _BRIGHT_STAINED = 0.6, 0.4


def to_rgb(image: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Bring an image to three channels: grey is repeated, alpha is dropped.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
        C of 1 or 2 is grey without or with alpha, 3 or 4 colour without or with alpha.

    Returns
    -------
    ndarray, shape (H, W, 3), same dtype

    Raises
    ------
    InputError
        The array has another shape, no pixels, or no real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> to_rgb(np.zeros((4, 5), np.uint8)).shape
    (4, 5, 3)
    """
    if image.dtype.kind not in "buif":
        raise InputError(f"Expected an image of real numbers, got dtype {image.dtype}.")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 2, 3, 4):
        raise InputError(
            f"Expected an image of shape (height, width) or (height, width, 1 to 4 channels), "
            f"got {image.shape}. Choose one plane or up to three channels first."
        )
    if image.size == 0:
        raise InputError(f"The image has no pixels: its shape is {image.shape}.")
    colour = image[:, :, :1] if image.shape[2] < 3 else image[:, :, :3]
    return np.broadcast_to(colour, (*image.shape[:2], 3))


def image_kind(image: npt.NDArray[np.generic]) -> tuple[float, float]:
    """Measure how an image was taken: the brightness of its background, and how colourful it is.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
        Some thousand pixels of it are looked at.

    Returns
    -------
    background : float
        Where the median brightness lies between the percentiles .5 and 99.5, in [0, 1]: near 0 in
        fluorescence, above .5 where light goes through. 0 where all is alike. Of colourful images,
        where it lies between 0 and the latter: crowded tissue has hardly any background.
    colour : float
        Mean difference of the largest and smallest channel, as a share of the largest brightness
        (percentile 99.5), from 0.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.full((8, 8, 3), 200, np.uint8)
    >>> image[:4, :4] = 60
    >>> image_kind(image), image_kind(255 - image)
    ((1.0, 0.0), (0.0, 0.0))
    """
    step = max(min(image.shape[:2]) // 128, 1)
    sample = image[::step, ::step]
    grey_image = sample.ndim == 2 or sample.shape[2] < 3
    planes = sample.reshape(*sample.shape[:2], -1)
    colours = np.asarray(planes[..., : 1 if grey_image else 3], np.float32)
    light = colours.mean(axis=2)
    low, middle, high = np.percentile(light, (0.5, 50, 99.5))
    if high <= low:
        return 0.0, 0.0
    chroma = 0.0 if grey_image else (colours.max(axis=2) - colours.min(axis=2)).mean()
    colour = float(chroma / high) if high > 0 else 0.0
    stained = min(colour / COLOURFUL, 1.0)
    grey = (middle - low) / (high - low)
    return float(stained * middle / high + (1 - stained) * grey) if stained else float(grey), colour


def has_bright_background(image: npt.NDArray[np.generic]) -> bool:
    """Tell whether light went through what an image shows: stained tissue or brightfield.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
        As `image_kind` looks at it.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.full((8, 8), 200, np.uint8)
    >>> image[:4, :4] = 60
    >>> has_bright_background(image), has_bright_background(255 - image)
    (True, False)
    """
    # Of the same pixels whether the image is in memory or not.
    step = sample_step(image.shape)
    background, colour = image_kind(image[::step, ::step])
    # Crowded tissue has hardly any background, but colours; crowded fluorescence has neither.
    stained = min(colour / COLOURFUL, 1.0)
    return background > stained * _BRIGHT_STAINED + (1 - stained) * _BRIGHT_GREY


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
        The percentiles, over all pixels and channels, that become 0 and 1; what lies outside is
        clipped. Without them integers are divided by the largest value of their type and
        floating-point values are clipped.
    limits : (low, high), optional
        In place of the percentiles: the intensities that become 0 and 1, as `intensity_limits`
        gave them for the image that this is a part of.

    Returns
    -------
    ndarray, same shape, float32, in [0, 1]
        All 0 where the image is constant.

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
        # Of 256 values each is worked out but once.
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
    """Find the intensities that `stretch` turns to 0 and 1.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), real dtype
        Of more than four million pixels, so many of them, evenly spaced, are looked at.
    percentiles : (low, high) or None
        See `stretch`.

    Returns
    -------
    (low, high) : floats
        Equal where the image is constant.

    Raises
    ------
    InputError
        There are NaN or infinite values among those looked at.

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
    """Find the intensities that become black and white in a picture, outliers left out.

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
    """Do as `intensity_limits` with whole numbers: to count them is faster than to sort them."""
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


def sample_step(shape: tuple[int, ...]) -> int:
    """Every how many rows and columns of an image are looked at for its range of intensities."""
    return math.ceil(math.sqrt(math.prod(shape[:2]) / _SAMPLED_PIXELS))


def _finite(image: npt.NDArray[np.generic]) -> FloatImage:
    with np.errstate(over="ignore"):  # what is beyond float32 counts as infinite below
        values = image.astype(np.float32)
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise InputError(
            f"The image holds {bad} NaN or infinite values of {values.size}. "
            "Replace them, for instance by the background, and try again."
        )
    return values


def resize_image(image: FloatImage, size: tuple[int, int]) -> FloatImage:
    """Resize by area averaging where it shrinks, bilinearly where it grows.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), float32
    size : (height, width) in pixels

    Returns
    -------
    ndarray, shape (height, width) or (height, width, C), float32
        The image itself where it has that size.
    """
    if image.shape[:2] == size:
        return image
    if image.ndim == 3 and image.shape[2] > _OPENCV_CHANNELS:
        channels = [resize_image(channel, size) for channel in np.moveaxis(image, 2, 0)]
        return np.stack(channels, axis=-1)
    shrink_rows, shrink_columns = size[0] < image.shape[0], size[1] < image.shape[1]
    # Each axis by itself, so that an image that shrinks along one alone is treated right.
    for shrinks, (height, width) in (
        (shrink_rows, (size[0], image.shape[1])),
        (shrink_columns, size),
    ):
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        if (height, width) != image.shape[:2]:
            image = np.asarray(cv2.resize(image, (width, height), interpolation=method), np.float32)
    return image


def resize_labels(labels: npt.NDArray[np.integer], size: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Resize a label image or mask by its nearest pixels.

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
    """Turn the pixels of an image into the input of a network.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
    settings : Preprocessing
    limits : SeenRange, optional
        The intensities that become 0 and 1, for a part of an image: as `prepared_limits` gave them
        for the image.

    Returns
    -------
    ndarray, shape (height, width, 3), float32, in [0, 1]
        Resized where `settings.size` is given, else of the image's own size.

    Raises
    ------
    InputError
        The array is no image of finite real numbers.

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
    """Find the intensities that `prepare` turns to 0 and 1, to prepare parts of the image alike.

    Percentiles of the image, unless a few much brighter pixels take the range from the rest: see
    `nucseg.images.outliers`.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
    settings : Preprocessing
    windows : list of ndarray, optional
        Where `image` is a sample of one that is not in memory: `range_windows` of that.

    Returns
    -------
    SeenRange

    Raises
    ------
    InputError
        The array is no image of finite real numbers.
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
    """Channels that the network sees; grey once, which is three times less to sort and scale."""
    grey = image.ndim == 2 or image.shape[2:] in ((1,), (2,))
    return to_rgb(image)[:, :, :1] if grey else to_rgb(image)
