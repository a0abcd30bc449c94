"""Random crops of images at their own resolution: what the instance recipe trains on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from skimage.measure import label

from nucseg.config import Augmentation, Crops
from nucseg.core.labelling import UNKNOWN, from_unsigned, to_unsigned
from nucseg.training.augment.optics import (
    coarsen,
    compress,
    defocus,
    is_bright,
    is_grey,
    light_unevenly,
    thicken_unevenly,
    vary_nuclei,
)
from nucseg.training.augment.stains import immunostain, restain, stain_fluorescence, strengthen
from nucseg.training.augment.whole import change_intensities

FloatImage = npt.NDArray[np.float32]
# Moves an array, with the interpolation of OpenCV that is asked for.
Warp = Callable[[npt.NDArray[Any], int], npt.NDArray[Any]]


def random_crop(
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
    rng: np.random.Generator,
    settings: Augmentation,
    crops: Crops,
) -> tuple[FloatImage, npt.NDArray[np.int32]]:
    """Cut a random crop, turned, zoomed and mirrored, and change its intensities.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8
    labels : ndarray, shape (H, W), integer, at most `nucseg.core.labelling.MOST_LABELS`
        0 background, 1…N nuclei, `nucseg.core.labelling.UNKNOWN` where it is not known.
    rng : Generator
    settings : Augmentation
    crops : Crops

    Returns
    -------
    image : ndarray, shape (size, size, 3), float32, in [0, 1]
    labels : ndarray, shape (size, size), int32
        Moved by nearest pixels; what lies outside the image is mirrored, each copy a nucleus.
        `UNKNOWN` stays.

    Examples
    --------
    >>> import numpy as np
    >>> image, labels = np.zeros((90, 70, 3), np.uint8), np.ones((90, 70), int)
    >>> a, b = random_crop(image, labels, np.random.default_rng(0), Augmentation(), Crops(size=64))
    >>> a.shape, b.shape
    ((64, 64, 3), (64, 64))
    """
    upright = bool(rng.random() < crops.upright)
    zoom = 1.0 if upright else float(np.exp(rng.uniform(*np.log(settings.zoom))))
    angle = 0.0 if upright else np.deg2rad(rng.uniform(-settings.rotation, settings.rotation))
    if settings.quarter_turns:
        angle += np.pi / 2 * rng.integers(4)
    mirror = -1.0 if settings.flips and rng.random() < 0.5 else 1.0
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn[0] *= mirror
    # The crop's centre, as far inside the image as the crop's size allows.
    half = crops.size / 2 / zoom
    centre = [
        rng.uniform(min(half, side / 2), max(side - half, side / 2))
        for side in (image.shape[1], image.shape[0])
    ]
    # Pixels are numbered by their centres, half a pixel from their edges.
    shift = (crops.size - 1) / 2 - turn @ (np.array(centre) - 0.5)
    if upright:  # whole pixels
        turn, shift = np.rint(turn), np.rint(shift)
    matrix = np.column_stack([turn, shift])
    if zoom < 0.7:  # average before sampling, else small structures become noise
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.4 / zoom), np.uint8)
    elastic = rng.random() < crops.elastic and not upright
    warp = _elastic(matrix, crops.size, rng) if elastic else _affine(matrix, crops.size)
    moved_labels = warp(to_unsigned(labels), cv2.INTER_NEAREST)
    numbered = separate_copies(from_unsigned(moved_labels))
    scaled = np.asarray(warp(image, cv2.INTER_LINEAR), np.float32) / np.float32(255)
    drawn = _change_look(scaled, numbered, rng, crops)
    if not is_grey(drawn):  # no microscope inverts colours
        settings = settings.model_copy(update={"inversion": 0.0})
    return change_intensities(drawn, rng, settings), numbered


def separate_copies(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    """Give each connected piece of a label image a number of its own.

    Where an image was mirrored at its edges to make it larger, its nuclei are there several times,
    and each is a nucleus.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background; below 0, which stays, not known.

    Returns
    -------
    ndarray, shape (H, W), int32

    Examples
    --------
    >>> separate_copies(np.array([[7, 7, 0, 7, 8]])).tolist()
    [[1, 1, 0, 2, 3]]
    """
    known = np.maximum(labels, 0)
    pieces = label(known, connectivity=2)  # type: ignore[no-untyped-call]
    return np.where(labels < 0, UNKNOWN, pieces).astype(np.int32)


def _affine(matrix: npt.NDArray[np.float64], size: int) -> Warp:
    """Move an array by a matrix, which leads from its pixels to those of the crop."""
    return lambda array, how: cv2.warpAffine(
        array, matrix, (size, size), flags=how, borderMode=cv2.BORDER_REFLECT_101
    )


def _elastic(matrix: npt.NDArray[np.float64], size: int, rng: np.random.Generator) -> Warp:
    """Move an array by a matrix and stretch it here and there, as sections are."""
    back = cv2.invertAffineTransform(matrix)
    cells = int(rng.integers(3, 9))
    # Less than a quarter of the knots' distance, else it would fold.
    most = min(0.22 * size / cells, 10.0)
    knots = rng.uniform(-most, most, (cells, cells, 2)).astype(np.float32)
    away = cv2.resize(knots, (size, size), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.indices((size, size), np.float32)
    x, y = columns + away[..., 0], rows + away[..., 1]
    from_x, from_y = ((b[0] * x + b[1] * y + b[2]).astype(np.float32) for b in back)
    return lambda array, how: cv2.remap(
        array, from_x, from_y, how, borderMode=cv2.BORDER_REFLECT_101
    )


def _change_look(
    image: FloatImage, labels: npt.NDArray[np.int32], rng: np.random.Generator, crops: Crops
) -> FloatImage:
    """Change stains, colours, light and focus, as the kind of image allows."""
    bright, grey = is_bright(image), is_grey(image)
    if not bright and rng.random() < crops.vary:
        image = vary_nuclei(image, labels, rng)
    if not bright and grey and rng.random() < crops.as_tissue:
        image, bright, grey = stain_fluorescence(image, rng), True, False
    if bright and not grey:
        image = _change_stains(image, labels, rng, crops)
    image = _change_colours(image, rng, crops, grey=grey)
    for chance, change in (
        (crops.illumination, light_unevenly),
        (crops.defocus, defocus),
        (crops.coarse, coarsen),
        (crops.jpeg, compress),
    ):
        if rng.random() < chance:
            image = change(image, rng)
    return image


def _change_stains(
    image: FloatImage, labels: npt.NDArray[np.int32], rng: np.random.Generator, crops: Crops
) -> FloatImage:
    """Stain tissue otherwise: immunohistochemistry, or stronger and weaker, in other colours."""
    if labels.max() > 0 and rng.random() < crops.immuno:
        image = immunostain(image, labels, rng)
    elif rng.random() < crops.strength:
        image = strengthen(image, rng)
    if rng.random() < crops.stain:
        image = restain(image, rng)
    return thicken_unevenly(image, rng) if rng.random() < crops.thickness else image


def _change_colours(
    image: FloatImage, rng: np.random.Generator, crops: Crops, *, grey: bool
) -> FloatImage:
    if rng.random() < crops.grey:
        weights = rng.dirichlet((1.0, 1.0, 1.0)).astype(np.float32)
        return np.repeat((image @ weights)[..., None], 3, axis=2)
    # Grey images stay grey: a tint would be something that no microscope gives.
    if grey:
        return image
    factors = 1 + rng.uniform(-crops.colour, crops.colour, 3)
    return np.asarray(np.clip(image * factors.astype(np.float32), 0, 1), np.float32)
