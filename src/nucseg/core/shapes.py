"""Geometry of all nuclei of a label image at once, from their runs.

A run is a sequence of adjacent pixels of one nucleus in a row. There are about twenty times fewer
runs than pixels. Sums over the pixels of a nucleus are computed from sums over its runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Runs:
    """The R runs of N nuclei, sorted by nucleus, row and column.

    Attributes
    ----------
    numbers : ndarray, shape (N,), integer
        Labels of the nuclei, in ascending order.
    first, count : ndarray, shape (N,), intp
        Index of the first run of each nucleus, and its number of runs.
    nucleus : ndarray, shape (R,), intp
        Index of the nucleus of each run, from 0 to N − 1.
    row, start, length : ndarray, shape (R,), intp
        Row, first column and number of pixels of each run.
    """

    numbers: npt.NDArray[np.integer[Any]]
    first: Indices
    count: Indices
    nucleus: Indices
    row: Indices
    start: Indices
    length: Indices

    def sums(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Sum values of runs, shape (R,), for each nucleus, shape (N,)."""
        return np.asarray(np.add.reduceat(values, self.first))


class Boxes(NamedTuple):
    """Bounding boxes: first row and column, height and width, each of shape (N,)."""

    top: Indices
    left: Indices
    height: Indices
    width: Indices


class Moments(NamedTuple):
    """Area, centroid relative to the first pixel of the box, variances and covariance of pixels."""

    area: Indices
    row: Floats
    column: Floats
    rows: Floats
    columns: Floats
    both: Floats


def find_runs(framed: npt.NDArray[np.integer[Any]]) -> Runs:
    """Find the runs of a label image.

    Parameters
    ----------
    framed : ndarray, shape (H + 2, W + 2), integer
        Label image, nuclei above 0, in a frame of background that separates the rows.

    Returns
    -------
    Runs
        Rows and columns are counted without the frame.

    Examples
    --------
    >>> import numpy as np
    >>> runs = find_runs(np.pad([[7, 7, 0], [5, 7, 7]], 1))
    >>> runs.numbers.tolist(), runs.start.tolist(), runs.length.tolist()
    ([5, 7], [0, 0, 1], [1, 2, 2])
    """
    flat, width = framed.ravel(), framed.shape[1]
    inside, differ = flat > 0, flat[1:] != flat[:-1]
    begin = np.flatnonzero(differ & inside[1:]) + 1
    end = np.flatnonzero(differ & inside[:-1]) + 1
    order = np.argsort(flat[begin], kind="stable")
    begin, end = begin[order], end[order]
    numbers, first, count = np.unique(flat[begin], return_index=True, return_counts=True)
    row, start = np.divmod(begin, width)
    nucleus = np.repeat(np.arange(len(numbers)), count)
    return Runs(numbers, first, count, nucleus, row - 1, start - 1, end - begin)


def bounding_boxes(runs: Runs) -> Boxes:
    """Compute the axis-aligned bounding box of each nucleus."""
    top, left = runs.row[runs.first], np.minimum.reduceat(runs.start, runs.first)
    bottom = runs.row[runs.first + runs.count - 1] + 1
    right = np.maximum.reduceat(runs.start + runs.length, runs.first)
    return Boxes(top, left, bottom - top, right - left)


def moments(runs: Runs, boxes: Boxes) -> Moments:
    """Compute moments of pixel positions, relative to the centroid for numerical accuracy."""
    length, nucleus = runs.length, runs.nucleus
    area = runs.sums(length)
    row = runs.row - boxes.top[nucleus]
    twice = 2 * (runs.start - boxes.left[nucleus]) + length - 1  # twice the centre of a run
    middle_row, middle = runs.sums(length * row) / area, runs.sums(length * twice) / (2 * area)
    down, across = row - middle_row[nucleus], twice / 2 - middle[nucleus]
    return Moments(
        area,
        middle_row,
        middle,
        runs.sums(length * down**2) / area,
        runs.sums(length * (across**2 + (length**2 - 1) / 12)) / area,
        runs.sums(length * down * across) / area,
    )


def ellipse_axes(rows: Floats, columns: Floats, both: Floats) -> tuple[Floats, Floats]:
    """Compute the major and minor axes of ellipses from variances and covariances."""
    mean, half = (rows + columns) / 2, np.hypot((rows - columns) / 2, both)
    return 4 * np.sqrt(mean + half), 4 * np.sqrt(np.maximum(mean - half, 0))


def perimeters(framed: npt.NDArray[np.integer[Any]], runs: Runs) -> Floats:
    """Estimate perimeters with Crofton's formula, from how often straight lines enter a nucleus.

    Parameters
    ----------
    framed : ndarray, shape (H + 2, W + 2), integer
        Label image in a frame of background.
    runs : Runs
        Runs of `framed`.

    Returns
    -------
    ndarray, shape (N,), float64
        Perimeters in pixels, from lines in four directions through all pixels.
    """
    flat, width = framed.ravel(), framed.shape[1]
    inside = flat > 0
    entered = []
    for step in (width, width + 1, width - 1):
        pixels = np.flatnonzero(inside[step:] & (flat[step:] != flat[:-step])) + step
        nucleus = np.searchsorted(runs.numbers, flat[pixels])
        entered.append(np.bincount(nucleus, minlength=len(runs.numbers)))
    down, diagonal, other_diagonal = entered
    # Diagonal lines are closer together, by a factor of the square root of 2.
    lines = runs.count + down + (diagonal + other_diagonal) / np.sqrt(2)
    return np.asarray(np.pi / 4 * lines)


def hull_areas(runs: Runs, boxes: Boxes) -> Indices:
    """Count the pixels in the convex hull of each nucleus, in exact integer arithmetic.

    Parameters
    ----------
    runs : Runs
    boxes : Boxes
        Bounding boxes of `runs`.

    Returns
    -------
    ndarray, shape (N,), intp
        Number of pixels whose centres are in or on the hull of the midpoints of the pixel sides.

    Notes
    -----
    That hull is the hull of the pixel centres, dilated by a diamond of half a pixel. In each row it
    starts at the smallest of three values: the start of the hull of the centres minus one half, and
    its starts half a row above and half a row below.

    Examples
    --------
    >>> import numpy as np
    >>> runs = find_runs(np.pad([[1, 0, 1], [0, 0, 0], [1, 0, 0]], 1))
    >>> hull_areas(runs, bounding_boxes(runs)).tolist()
    [6]
    """
    nucleus = runs.nucleus
    place = nucleus * boxes.height.max(initial=0) + runs.row - boxes.top[nucleus]
    first = np.flatnonzero(np.diff(place, prepend=-1))
    last = np.flatnonzero(np.diff(place, append=-1))
    count, nucleus = len(runs.numbers), nucleus[first]
    row, left = runs.row[first] - boxes.top[nucleus], runs.start[first] - boxes.left[nucleus]
    right = (runs.start + runs.length)[last] - 1 - boxes.left[nucleus]
    # Mirrored right sides are processed as left sides.
    side, row, column = _corners(
        np.concatenate([nucleus, nucleus + count]),
        np.concatenate([row, row]),
        np.concatenate([left, -right]),
    )
    height = np.concatenate([boxes.height, boxes.height])
    begins = np.add.reduceat(_begins(side, row, column), np.cumsum(height) - height)
    return np.asarray(boxes.height - begins[:count] - begins[count:])


def _corners(side: Indices, row: Indices, column: Indices) -> tuple[Indices, Indices, Indices]:
    """Keep the points of left sides, each from top to bottom, that are corners of the hull."""
    while True:
        # A point that is not left of the line between its neighbours is not a corner. Corners are
        # never removed, so many points can be removed at once.
        down, whole = row[1:-1] - row[:-2], row[2:] - row[:-2]
        gone = (column[1:-1] - column[:-2]) * whole >= (column[2:] - column[:-2]) * down
        gone &= side[2:] == side[:-2]
        if not gone.any():
            return side, row, column
        kept = np.ones(len(row), bool)
        kept[1:-1] = ~gone
        side, row, column = side[kept], row[kept], column[kept]


def _begins(side: Indices, row: Indices, column: Indices) -> Indices:
    """Compute the first column of the dilated hull in each row of each side, from its corners."""
    # The last corner of a side has no line to a next corner: it covers only its row.
    ends = np.diff(side, append=-1) != 0
    down = np.where(ends, 1, np.diff(row, append=0))
    across = np.where(ends, 0, np.diff(column, append=0))
    step = np.arange(down.sum()) - np.repeat(np.cumsum(down) - down, down)
    final = np.repeat(ends, down)
    column, down, across = (np.repeat(each, down) for each in (column, down, across))
    # Rounded up: -(-a // b).
    here = column - (down - 2 * across * step) // (2 * down)
    below = column - (-across * (2 * step + 1)) // (2 * down)
    below[final] = np.iinfo(np.intp).max
    least = np.minimum(here, below)
    least[1:] = np.minimum(least[1:], below[:-1])
    return np.asarray(least)
