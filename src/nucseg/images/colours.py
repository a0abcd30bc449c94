"""Channels and colours of an image: conversion to three channels, and kind of microscopy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError
from nucseg.images.sampling import sample_step

# Minimum colourfulness of a stained image, see `image_kind`.
COLOURFUL = 0.05


# Backgrounds are bright above these values, for grey and for stained images. In the 664 images of
# the 2018 Data Science Bowl, fluorescence is at most 0.5, tissue at least 0.67 and brightfield at
# least 0.84.
_BRIGHT_GREY, _BRIGHT_STAINED = 0.6, 0.4


def to_rgb(image: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Convert an image to three channels: grey is repeated, alpha is dropped.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
        With C of 1 or 2, grey without or with alpha; with 3 or 4, colour without or with alpha.

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
    """Measure the brightness of the background of an image, and its colourfulness.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
        A sample of some thousand pixels is used.

    Returns
    -------
    background : float
        Position of the median brightness between the percentiles 0.5 and 99.5, in [0, 1]: near 0
        for fluorescence, above 0.5 for transmitted light, 0 for a constant image. For colourful
        images, the position between 0 and percentile 99.5, because crowded tissue has hardly any
        background.
    colour : float
        Mean difference of the largest and smallest channel, relative to the maximum brightness
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
    """Return whether an image shows transmitted light: stained tissue or brightfield.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
        See `image_kind`.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.full((8, 8), 200, np.uint8)
    >>> image[:4, :4] = 60
    >>> has_bright_background(image), has_bright_background(255 - image)
    (True, False)
    """
    # The same pixels are used whether the image is in memory or not.
    step = sample_step(image.shape)
    background, colour = image_kind(image[::step, ::step])
    # Crowded tissue has colours but hardly any background; crowded fluorescence has neither.
    stained = min(colour / COLOURFUL, 1.0)
    return background > stained * _BRIGHT_STAINED + (1 - stained) * _BRIGHT_GREY
