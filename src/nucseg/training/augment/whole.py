"""Random changes of a whole image together with its targets: what the semantic recipe trains on."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.config import Augmentation

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
    changed = change_intensities(moved, rng, settings)
    return np.ascontiguousarray(changed), np.ascontiguousarray(moved_targets)


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


def change_intensities(
    image: FloatImage, rng: np.random.Generator, settings: Augmentation
) -> FloatImage:
    """Change brightness, contrast, gamma, sharpness and noise; shape (H, W, 3), in [0, 1]."""
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
