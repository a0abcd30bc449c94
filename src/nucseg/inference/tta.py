"""Test-time augmentation: average the maps of the eight orientations of an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nucseg.config import OFFSET_MAPS
from nucseg.images.preprocess import FloatImage


def average_over_orientations(
    network: Callable[[FloatImage], FloatImage], image: FloatImage, names: Sequence[str]
) -> FloatImage:
    """Run a network on four rotations of an image and of its mirror image, and average the maps.

    Parameters
    ----------
    network : callable
        Takes an image, shape (h, w, 3), and returns its maps, shape (h, w, C).
    image : ndarray, shape (H, W, 3), float32
    names : sequence of str
        Names of the maps. Centre offsets are rotated with the image.

    Returns
    -------
    ndarray, shape (H, W, C), float32
    """
    total = None
    for mirrored in (False, True):
        lying = image[::-1] if mirrored else image
        for turns in range(4):
            maps = network(np.ascontiguousarray(np.rot90(lying, turns)))
            back = _turned_back(maps, turns, names)
            back = _mirrored(back, names) if mirrored else back
            total = back if total is None else total + back
    return np.asarray(total, np.float32) / np.float32(8)


def _turned_back(maps: FloatImage, turns: int, names: Sequence[str]) -> FloatImage:
    """Undo quarter rotations of maps, including the axes of centre offsets."""
    turned = np.rot90(maps, -turns)
    if not set(OFFSET_MAPS) <= set(names):
        return turned
    row, column = (names.index(name) for name in OFFSET_MAPS)
    for _ in range(turns):
        turned = turned.copy()
        turned[..., [row, column]] = np.stack([turned[..., column], 1 - turned[..., row]], axis=-1)
    return turned


def _mirrored(maps: FloatImage, names: Sequence[str]) -> FloatImage:
    mirrored = maps[::-1].copy()
    if OFFSET_MAPS[0] in names:
        row = names.index(OFFSET_MAPS[0])
        mirrored[..., row] = 1 - mirrored[..., row]
    return mirrored
