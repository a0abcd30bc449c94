"""Channels and colours of an image: what three channels it has, and how it is stained."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError
from nucseg.images.sampling import sample_step

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
