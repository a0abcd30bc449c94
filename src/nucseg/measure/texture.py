"""Texture of nuclei: Haralick features of grey-level co-occurrence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError
from nucseg.measure.nuclei import Columns

Labels = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]

# Distance in pixels between the pixels of a pair, the default of CellProfiler.
DISTANCE = 3
_LEVELS = 256
# Minimum number of grey levels in all nuclei for reliable texture features.
_FEWEST_LEVELS = 16


def measure_texture(
    labels: Labels, plane: npt.NDArray[Any], *, distance: int = DISTANCE
) -> tuple[Columns, list[str]]:
    """Measure Haralick texture features of each nucleus.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, nuclei above 0.
    plane : ndarray, shape (H, W), real
        Integers are scaled from the range of their type, floats from 0 to 1, to 256 levels.
    distance : int
        Distance between the two pixels of a pair, at least 1.

    Returns
    -------
    columns : dict of str to ndarray, shape (N,), float64
        In the order of the labels, means over four directions: ``texture_asm`` (angular second
        moment), ``texture_contrast``, ``texture_correlation``, ``texture_homogeneity`` (inverse
        difference moment) and ``texture_entropy`` (in bits). NaN for a nucleus too small to
        contain a pair in each direction. If all grey levels are equal, the correlation is 1.
    doubts : list of str
        Warnings if the nuclei have hardly any grey levels.

    Raises
    ------
    InputError
        The plane and the labels differ in shape, its floats are not from 0 to 1, or the distance is
        below 1.

    Notes
    -----
    Haralick, Shanmugam and Dinstein (1973). Computed as by scikit-image's
    `graycomatrix` and `graycoprops` for the pairs in the nucleus, in both orders. CellProfiler's
    MeasureTexture counts the same pairs, but also excludes pixels of value 0 in a nucleus.

    Examples
    --------
    >>> import numpy as np
    >>> table, _ = measure_texture(np.ones((4, 4), int), np.eye(4, dtype=np.uint8), distance=1)
    >>> table["texture_contrast"].round(3).tolist()
    [0.361]
    """
    if plane.shape != labels.shape:
        raise InputError(
            f"Expected a plane of the labels' height and width, {labels.shape}, got {plane.shape}."
        )
    if distance < 1:
        raise InputError(f"Expected a distance of at least 1 pixel, got {distance}.")
    levels = grey_levels(plane)
    numbers, which = np.unique(labels, return_inverse=True)
    which = which.reshape(labels.shape) - int(np.sum(numbers <= 0))
    count = int(np.sum(numbers > 0))
    found = [
        _features(first, second, region, count)
        for first, second, region in _pairs(which, levels, distance)
    ]
    used = len(np.unique(levels[labels > 0]))
    doubts = []
    if count and used < _FEWEST_LEVELS:
        doubts.append(
            f"Texture doubtful: the nuclei have {used} of {_LEVELS} grey levels. The image uses a "
            "small part of the range of its data type."
        )
    return {
        f"texture_{name}": np.mean([each[name] for each in found], axis=0) for name in found[0]
    }, doubts


def grey_levels(plane: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Quantize pixels to 256 grey levels over the range of the data type.

    Raises
    ------
    InputError
        Values are negative, or floats are not in [0, 1].

    Examples
    --------
    >>> grey_levels(np.array([0, 257, 65535], np.uint16)).tolist()
    [0, 1, 255]
    """
    if plane.dtype.kind == "b":
        return np.where(plane, _LEVELS - 1, 0).astype(np.intp)
    if plane.dtype.kind in "iu":
        most = np.iinfo(plane.dtype).max
        if plane.size and plane.min() < 0:
            raise InputError(
                f"Expected grey values of 0 and more for texture, got {plane.min()}. Shift them."
            )
        return np.rint(plane * ((_LEVELS - 1) / most)).astype(np.intp)
    if plane.size and not (plane.min() >= 0 and plane.max() <= 1):
        raise InputError(
            f"Expected numbers from 0 to 1 for texture, got {plane.min():g} to {plane.max():g}. "
            "Scale them, or save the image as whole numbers of 8 or 16 bits."
        )
    return np.asarray(np.rint(plane * (_LEVELS - 1)), np.intp)


def _pairs(
    which: npt.NDArray[np.intp], levels: npt.NDArray[np.intp], distance: int
) -> Iterator[tuple[npt.NDArray[np.intp], ...]]:
    """Yield for each direction the grey levels of both pixels of each pair, and its nucleus."""
    for down, across in ((0, 1), (1, 1), (1, 0), (1, -1)):
        rows, columns = down * distance, across * distance
        height, width = which.shape
        near = (slice(0, max(height - rows, 0)), slice(max(-columns, 0), width - max(columns, 0)))
        far = (slice(rows, None), slice(max(columns, 0), width + min(columns, 0)))
        if width <= abs(columns) or height <= rows:
            empty = np.zeros(0, np.intp)
            yield empty, empty, empty
            continue
        same = (which[near] == which[far]) & (which[near] >= 0)
        yield levels[near][same], levels[far][same], which[near][same]


def _features(
    first: npt.NDArray[np.intp],
    second: npt.NDArray[np.intp],
    region: npt.NDArray[np.intp],
    count: int,
) -> dict[str, Floats]:
    def mean(values: npt.NDArray[Any]) -> Floats:
        found = np.full(count, np.nan)
        np.divide(np.bincount(region, values, count), pairs, out=found, where=pairs > 0)
        return found

    pairs = np.bincount(region, minlength=count)
    squared = (first - second) ** 2
    centre = mean((first + second) / 2)
    first_off, second_off = first - centre[region], second - centre[region]
    variance = mean((first_off**2 + second_off**2) / 2)
    together = mean(first_off * second_off)
    # Both orders, as in a symmetric matrix.
    low, high = np.concatenate([first, second]), np.concatenate([second, first])
    cells, times = np.unique(
        (np.tile(region, 2) * _LEVELS + low) * _LEVELS + high, return_counts=True
    )
    of = cells // _LEVELS**2
    share = times / (2 * pairs[of])
    held = pairs > 0
    return {
        "asm": np.where(held, np.bincount(of, share**2, count), np.nan),
        "contrast": mean(squared),
        "correlation": np.where(
            variance > 0,
            np.divide(together, variance, out=np.ones(count), where=variance > 0),
            np.where(held, 1.0, np.nan),
        ),
        "homogeneity": mean(1 / (1 + squared)),
        "entropy": np.where(held, -np.bincount(of, share * np.log2(share), count), np.nan),
    }
