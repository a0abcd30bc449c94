"""Random changes of a training image together with its targets, as plain functions of arrays."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from skimage.measure import label

from nucseg.config import Augmentation, Crops

FloatImage = npt.NDArray[np.float32]


def augment(
    image: FloatImage,
    targets: FloatImage,
    rng: np.random.Generator,
    settings: Augmentation,
) -> tuple[FloatImage, FloatImage]:
    """Change an image and its targets at random: the same geometry for both, intensities of one.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), float32, in [0, 1]
    targets : ndarray, shape (H, W, T), float32
        Moved with nearest-neighbour interpolation, so that masks stay masks.
    rng : Generator
        The only source of randomness: the same state gives the same result.
    settings : Augmentation

    Returns
    -------
    image, targets : ndarrays of the same shapes, float32, the image in [0, 1]

    Examples
    --------
    >>> import numpy as np
    >>> image, mask = np.zeros((32, 32, 3), np.float32), np.ones((32, 32, 1), np.float32)
    >>> a, b = augment(image, mask, np.random.default_rng(0), Augmentation())
    >>> a.shape, b.shape
    ((32, 32, 3), (32, 32, 1))
    """
    moved, moved_targets = _move(image, targets, rng, settings)
    changed = _change_intensities(moved, rng, settings)
    return np.ascontiguousarray(changed), np.ascontiguousarray(moved_targets)


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
    labels : ndarray, shape (H, W), integer, below 65,536
    rng : Generator
    settings : Augmentation
    crops : Crops

    Returns
    -------
    image : ndarray, shape (size, size, 3), float32, in [0, 1]
    labels : ndarray, shape (size, size), int32
        Moved by nearest pixels; what lies outside the image is mirrored, each copy a nucleus.

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
    size, border = (crops.size, crops.size), cv2.BORDER_REFLECT_101
    if zoom < 0.7:  # average before sampling, else small structures become noise
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.4 / zoom), np.uint8)
    moved = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)
    moved_labels = cv2.warpAffine(
        labels.astype(np.uint16), matrix, size, flags=cv2.INTER_NEAREST, borderMode=border
    )
    scaled = np.asarray(moved, np.float32) / np.float32(255)
    lit = _change_light(_change_colours(scaled, rng, crops), rng, crops)
    changed = _change_intensities(lit, rng, settings)
    return changed, separate_copies(np.asarray(moved_labels, np.int32))


def separate_copies(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    """Give each connected piece of a label image a number of its own.

    Where an image was mirrored at its edges to make it larger, its nuclei are there several times,
    and each is a nucleus.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background.

    Returns
    -------
    ndarray, shape (H, W), int32

    Examples
    --------
    >>> separate_copies(np.array([[7, 7, 0, 7, 8]])).tolist()
    [[1, 1, 0, 2, 3]]
    """
    pieces = label(labels, connectivity=2)  # type: ignore[no-untyped-call]
    return np.asarray(pieces, np.int32)


def _change_colours(image: FloatImage, rng: np.random.Generator, crops: Crops) -> FloatImage:
    if rng.random() < crops.grey:
        weights = rng.dirichlet((1.0, 1.0, 1.0)).astype(np.float32)
        return np.repeat((image @ weights)[..., None], 3, axis=2)
    # Grey images stay grey: a tint would be something that no microscope gives.
    if np.array_equal(image[::8, ::8, 0], image[::8, ::8, 1]):
        return image
    if rng.random() < crops.stain and np.median(image[::8, ::8]) > 0.5:
        image = _restain(image, rng)
    factors = 1 + rng.uniform(-crops.colour, crops.colour, 3)
    return np.asarray(np.clip(image * factors.astype(np.float32), 0, 1), np.float32)


def _change_light(image: FloatImage, rng: np.random.Generator, crops: Crops) -> FloatImage:
    """Light an image unevenly, or let light from out of focus lie over one of fluorescence."""
    if rng.random() >= crops.illumination:
        return image
    knots = rng.random((4, 4), np.float32)
    field = cv2.resize(knots, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)[..., None]
    field = np.clip(field, 0, 1)
    strength = np.float32(rng.uniform(0.2, 0.7))
    if rng.random() < 0.5 or np.median(image[::8, ::8]) > 0.5:
        return np.asarray(image * (1 - strength * field), np.float32)
    return np.asarray(image + (1 - image) * field * strength * np.float32(0.7), np.float32)


def _restain(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Give stains that absorb light other colours, by mixing the channels' optical densities.

    Optical densities of stains add up, so a mixture of channels is what other stains would give
    (Ruifrok & Johnston 2001, "Quantification of histochemical staining by color deconvolution").
    """
    order = rng.permutation(3) if rng.random() < 0.35 else np.arange(3)
    mixture = np.eye(3)[order] + rng.uniform(-0.35, 0.35, (3, 3))
    strength = np.exp(rng.uniform(np.log(0.5), np.log(1.2)))
    density = -np.log(np.maximum(image, np.float32(1 / 255)))
    mixed = density @ (mixture * strength).astype(np.float32)
    return np.asarray(np.exp(-np.maximum(mixed, 0)), np.float32)


def _move(
    image: FloatImage, targets: FloatImage, rng: np.random.Generator, settings: Augmentation
) -> tuple[FloatImage, FloatImage]:
    if settings.flips:
        flips = tuple(axis for axis in (0, 1) if rng.random() < 0.5)
        image, targets = np.flip(image, flips), np.flip(targets, flips)
    if settings.quarter_turns:
        # A half turn is always possible; a quarter turn would change the shape of an oblong image.
        square = image.shape[0] == image.shape[1]
        turns = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
        image, targets = np.rot90(image, turns), np.rot90(targets, turns)
    angle = rng.uniform(-settings.rotation, settings.rotation)
    zoom = float(np.exp(rng.uniform(*np.log(settings.zoom))))
    if angle or zoom != 1:
        height, width = image.shape[:2]
        centre = ((width - 1) / 2, (height - 1) / 2)
        matrix = cv2.getRotationMatrix2D(centre, angle, zoom)

        def warp(array: FloatImage, interpolation: int) -> FloatImage:
            moved = cv2.warpAffine(
                np.ascontiguousarray(array),
                matrix,
                (width, height),
                flags=interpolation,
                borderMode=cv2.BORDER_REFLECT_101,
            )
            return np.asarray(moved, np.float32).reshape(array.shape)

        image, targets = warp(image, cv2.INTER_LINEAR), warp(targets, cv2.INTER_NEAREST)
    return image, targets


def _change_intensities(
    image: FloatImage, rng: np.random.Generator, settings: Augmentation
) -> FloatImage:
    if rng.random() < settings.inversion:
        image = 1 - image
    if settings.gamma:
        exponent = 2.0 ** rng.uniform(-settings.gamma, settings.gamma)
        image = np.power(np.clip(image, 0, 1), np.float32(exponent))
    contrast = 1 + rng.uniform(-settings.contrast, settings.contrast)
    brightness = rng.uniform(-settings.brightness, settings.brightness)
    mean = float(image.mean())
    image = (image - mean) * np.float32(contrast) + np.float32(mean + brightness)
    if settings.blur and rng.random() < 0.3:
        sigma = max(rng.uniform(0, settings.blur), 1e-3)
        image = np.asarray(cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), sigma), np.float32)
    if settings.noise and rng.random() < 0.5:
        scale = np.float32(rng.uniform(0, settings.noise))
        image = image + scale * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image, 0, 1).astype(np.float32)
