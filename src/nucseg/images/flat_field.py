"""Flat-field correction: estimate uneven illumination from many images, and divide images by it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError

FloatImage = npt.NDArray[np.float32]

# Minimum number of images; with fewer, nuclei remain in the median.
LEAST_IMAGES = 10
# Longest side of reduced images for the estimate, and degree of the smoothing polynomial.
_SIDE, _DEGREE = 128, 4


def estimate_flat_field(images: Iterable[npt.NDArray[Any]]) -> FloatImage:
    """Estimate the illumination shared by images of one microscope.

    Parameters
    ----------
    images : iterable of ndarray, shape (H, W) or (H, W, C), any real dtype
        At least `LEAST_IMAGES` images of the same shape, such as all fields of view of a plate.
        They are processed one by one.

    Returns
    -------
    ndarray, shape (H, W) or (H, W, C), float32
        Illumination, above 0, with a mean of 1. It is the median over the images, each divided by
        its mean, smoothed with a polynomial of degree 4, which does not bend the edges as a filter
        does. The background must not be 0, and nuclei must be at different positions in most
        images. A camera offset that is not subtracted makes the illumination appear more even than
        it is.

    Raises
    ------
    InputError
        There are too few images, their shapes differ, or most of their pixels are 0.
    """
    reduced: list[FloatImage] = []
    shape: tuple[int, ...] | None = None
    for image in images:
        shape = shape or image.shape
        if image.shape != shape:
            raise InputError(
                f"Images of one flat field must have one shape, not {shape} and {image.shape}. "
                "Estimate one for each."
            )
        mean = float(image.mean())
        if mean > 0:
            reduced.append(_small(image.astype(np.float32) / np.float32(mean)))
    if shape is None or len(reduced) < LEAST_IMAGES:
        raise InputError(
            f"A flat field needs {LEAST_IMAGES} images or more that are not black, not "
            f"{len(reduced)}."
        )
    median = np.median(np.stack(reduced), axis=0).astype(np.float32)
    smooth = _polynomial(median)
    if not smooth.min() > 0:
        raise InputError("The images are 0 in most places: illumination cannot be told from them.")
    field = cv2.resize(smooth, shape[1::-1], interpolation=cv2.INTER_LINEAR).reshape(shape)
    axes = (0, 1)
    return np.asarray(field / field.mean(axis=axes, keepdims=True), np.float32)


def flattened(image: npt.NDArray[Any], field: FloatImage) -> FloatImage:
    """Divide an image by its illumination.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
    field : ndarray, of the same shape, float32
        Illumination, as returned by `estimate_flat_field`.

    Returns
    -------
    ndarray, of the same shape, float32
        Corrected image, for measurements; segmentation does not need it.

    Raises
    ------
    InputError
        The shapes differ, or the illumination is not above 0 everywhere.
    """
    if image.shape != field.shape:
        raise InputError(
            f"The image is of shape {image.shape}, its flat field of {field.shape}. Estimate the "
            "flat field from images of the same shape."
        )
    if not field.min() > 0:
        raise InputError("A flat field must be above 0 everywhere.")
    return np.asarray(image.astype(np.float32) / field, np.float32)


def _polynomial(values: FloatImage) -> FloatImage:
    """Fit a polynomial in row and column to each channel."""
    down, across = (np.linspace(-1, 1, side) for side in values.shape[:2])
    terms = np.polynomial.legendre.legvander2d(
        *np.meshgrid(down, across, indexing="ij"), [_DEGREE, _DEGREE]
    )
    degree = np.add.outer(np.arange(_DEGREE + 1), np.arange(_DEGREE + 1)).ravel()
    design = terms.reshape(down.size * across.size, -1)[:, degree <= _DEGREE]
    known = values.reshape(design.shape[0], -1)
    solution, *_ = np.linalg.lstsq(design, known, rcond=None)
    return np.asarray(design @ solution, np.float32).reshape(values.shape)


def _small(image: FloatImage) -> FloatImage:
    height, width = image.shape[:2]
    share = min(_SIDE / max(height, width), 1)
    size = (max(round(width * share), 1), max(round(height * share), 1))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).reshape(size[1], size[0], *image.shape[2:])
