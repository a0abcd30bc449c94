"""Outlines of nuclei as polygons along pixel edges, from which the same pixels can be restored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from nucseg.errors import InputError

Labels = npt.NDArray[np.integer[Any]]
Ring = npt.NDArray[np.int32]
Polygon = list[Ring]
# Indices of corners and vertices; int32 is sufficient and takes half the memory of intp.
_Indices = npt.NDArray[np.int32]
_Starts = npt.NDArray[np.intp]
_Flags = npt.NDArray[np.bool_]

# Number of rows processed at once, which limits the memory for images of any height.
_BAND = 512
# Position of the diagonal pixel at each corner of a pixel, clockwise from the upper left corner.
# Sides are numbered likewise from the upper one, so side k starts at corner k.
_DIAGONALS = ((-1, -1), (-1, 1), (1, 1), (1, -1))


def outlines(
    labels: Labels, *, origin: tuple[int, int] = (0, 0)
) -> Iterator[tuple[int, list[Polygon]]]:
    """Trace the outlines of all nuclei along the edges of their pixels.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, other numbers nuclei; negative numbers are background too.
    origin : tuple of int
        Row and column of the upper left pixel, if the labels are a part of an image.

    Yields
    ------
    label : int
        Nuclei in the order of their labels.
    polygons : list of list of ndarray, shape (K, 2), int32
        One polygon for each 4-connected component of the nucleus. A polygon is a list of rings:
        the outline, then its holes. A ring contains the vertices (x, y), where it turns by 90°; the
        first vertex is not repeated at the end. The polygons of a nucleus do not depend on the
        other nuclei of the image.

    Raises
    ------
    InputError
        The array is not a label image.

    Notes
    -----
    The pixel in row r and column c is the square from (x, y) = (c, r) to (c + 1, r + 1), as in
    QuPath, in ImageJ's area selections and in shapely; its centre is (c + 0.5, r + 0.5). A pixel
    belongs to a nucleus if and only if its centre is inside one of the polygons.

    Outlines are clockwise on the screen, where y points down, and holes are anticlockwise, as
    GeoJSON requires. No ring touches itself: pixels that share only a corner are separate
    components, and if the outline of a component returns to a corner, a hole starts there. So the
    polygons are valid simple features in the sense of OGC.

    Outlines turn at pixel corners only. The corners are found by comparing the label image with
    shifted copies of itself, linked along the edges by sorting, and ordered as cycles of a graph.
    So NumPy and SciPy process all nuclei at once.

    Examples
    --------
    >>> import numpy as np
    >>> [(number, [[ring]])] = outlines(np.array([[0, 7, 7]]))
    >>> number, ring.tolist()
    (7, [[1, 0], [3, 0], [3, 1], [1, 1]])
    """
    if labels.ndim != 2 or labels.dtype.kind not in "ui":
        raise InputError(
            f"Expected a label image of whole numbers, shape (H, W), got {labels.dtype} of shape "
            f"{labels.shape}."
        )
    corners = _find_corners(labels)
    if corners.rows.size:
        yield from _polygons(labels, corners, origin)


@dataclass(frozen=True)
class _Corners:
    """Corners of pixels at which outlines turn, in the order of the pixels, row by row.

    `rows` and `columns` are the position of a pixel of the nucleus, `sides` is the index of the
    corner of this pixel. At a convex corner, the outline goes around the pixel. At a concave corner
    (`concave`), both adjacent pixels belong to the nucleus and the diagonal one between them does
    not. `touching` marks convex corners whose diagonal pixel belongs to the same nucleus.
    """

    rows: _Indices
    columns: _Indices
    sides: npt.NDArray[np.int8]
    concave: _Flags
    touching: _Flags

    @property
    def x(self) -> _Indices:
        return np.asarray(self.columns + ((self.sides == 1) | (self.sides == 2)))

    @property
    def y(self) -> _Indices:
        return np.asarray(self.rows + (self.sides >= 2))


def _find_corners(labels: Labels) -> _Corners:
    height, width = labels.shape
    bands = []
    for start in range(0, max(height, 1), _BAND):
        # The band with a frame of one pixel: adjacent rows, or background beyond the image.
        rows = min(_BAND, height - start)
        band = np.zeros((rows + 2, width + 2), labels.dtype)
        above = min(start, 1)
        seen = labels[start - above : start + rows + 1]
        band[1 - above : 1 - above + len(seen), 1:-1] = seen
        kinds = list(_corners_in(band))
        counts = [len(kind[2]) for kind in kinds]
        found = np.concatenate([kind[2] for kind in kinds])
        order = np.argsort(found, kind="stable")
        bands.append((
            (found[order] // width + start).astype(np.int32),
            (found[order] % width).astype(np.int32),
            np.repeat(np.array([kind[0] for kind in kinds], np.int8), counts)[order],
            np.repeat(np.array([kind[1] for kind in kinds], np.bool_), counts)[order],
            np.concatenate([kind[3] for kind in kinds])[order],
        ))  # fmt: skip
    return _Corners(*(np.concatenate(each) for each in zip(*bands, strict=True)))


def _corners_in(band: Labels) -> Iterator[tuple[int, bool, _Starts, _Flags]]:
    """Yield the corners of each kind in a framed band, as flat indices of pixels without frame."""
    height, width = band.shape
    pixels = band[1:-1, 1:-1]
    nucleus = pixels > 0

    def same(down: int, across: int) -> _Flags:
        there = band[1 + down : height - 1 + down, 1 + across : width - 1 + across]
        return np.asarray(there == pixels)

    for side, (down, across) in enumerate(_DIAGONALS):
        vertical, horizontal, diagonal = same(down, 0), same(0, across), same(down, across)
        convex = np.flatnonzero(nucleus & ~(vertical | horizontal))
        yield side, False, convex, diagonal.ravel()[convex]
        concave = np.flatnonzero(nucleus & vertical & horizontal & ~diagonal)
        yield side, True, concave, np.zeros(len(concave), np.bool_)


def _following(corners: _Corners) -> _Indices:
    """Find the next corner of each corner, with the nucleus on the right-hand side."""
    x, y = corners.x, corners.y
    before = (corners.sides - 1) % 4
    begins = np.where(corners.concave, before, corners.sides)
    ends = np.where(corners.concave, corners.sides, before)
    following = np.empty(len(x), np.int32)
    for side in range(4):
        # Straight edges along one side do not overlap. So, sorted by line and position, each starts
        # and ends before the next one does.
        line, place = (y, x) if side % 2 == 0 else (x, y)
        order = line * (np.int64(place.max()) + 1) + place
        first, last = np.flatnonzero(begins == side), np.flatnonzero(ends == side)
        first = first[np.argsort(order[first], kind="stable")]
        last = last[np.argsort(order[last], kind="stable")]
        # Clockwise, the upper side goes right and the right side down; the other two go back.
        following[first] = last
    return following


def _untouch(corners: _Corners, following: _Indices) -> None:
    """Split rings that touch themselves, at all these points, in place.

    Such a ring passes a point twice, around two diagonal pixels. Swapping the successors of the two
    visits turns one ring into two. Visits of different points are never interleaved: that would
    divide the component, whose pixels share edges.
    """
    ring = _cycles(following)
    place = corners.y * (np.int64(corners.x.max()) + 1) + corners.x
    for side in (0, 1):
        pair = [
            np.flatnonzero(corners.touching & (corners.sides == each)) for each in (side, side + 2)
        ]
        one, other = (each[np.argsort(place[each], kind="stable")] for each in pair)
        twice = ring[one] == ring[other]
        one, other = one[twice], other[twice]
        following[one], following[other] = following[other], following[one]


def _graph(following: _Indices) -> csr_array:
    size = len(following)
    ends = np.arange(size + 1, dtype=np.int32)
    return csr_array((np.ones(size, np.int8), following, ends), shape=(size, size))


def _cycles(following: _Indices) -> npt.NDArray[np.int32]:
    """Return the cycle of the permutation that each element belongs to."""
    _, cycle = connected_components(_graph(following), connection="weak")
    return np.asarray(cycle)


def _rings(following: _Indices) -> tuple[_Indices, _Starts]:
    """Sort the corners by ring, and return where each ring starts."""
    ring = _cycles(following)
    size = len(following)
    corners = np.arange(size, dtype=np.int32)
    heads = np.full(ring.max() + 1, size, np.int32)
    np.minimum.at(heads, ring, corners)
    before = np.empty_like(following)
    before[following] = corners
    # All rings are opened and concatenated to one, which SciPy traverses in compiled code.
    string = following.copy()
    string[before[heads]] = np.roll(heads, -1)
    order = breadth_first_order(_graph(string), heads[0], return_predecessors=False)
    sizes = np.bincount(ring)
    return np.asarray(order), np.cumsum(sizes) - sizes


def _polygons(
    labels: Labels, corners: _Corners, origin: tuple[int, int]
) -> Iterator[tuple[int, list[Polygon]]]:
    following = _following(corners)
    if corners.touching.any():
        _untouch(corners, following)
    order, starts = _rings(following)
    hole = _areas(corners, following, order, starts) < 0
    rows, columns = corners.rows[order], corners.columns[order]
    label = labels[rows[starts], columns[starts]]
    piece = _pieces(labels, label, hole, rows, columns, starts)
    points = np.column_stack([corners.x[order] + origin[1], corners.y[order] + origin[0]])
    ends = np.append(starts[1:], len(order))
    sequence = np.lexsort((hole, piece, label))
    number, polygons = 0, list[Polygon]()
    rings = (each[sequence].tolist() for each in (label, hole, starts, ends))
    for of, inner, start, end in zip(*rings, strict=True):
        if of != number:
            if polygons:
                yield number, polygons
            number, polygons = of, []
        if inner:
            polygons[-1].append(points[start:end])
        else:
            polygons.append([points[start:end]])
    yield number, polygons


def _areas(
    corners: _Corners, following: _Indices, order: _Indices, starts: _Starts
) -> npt.NDArray[np.int64]:
    """Compute the areas of rings in pixels; areas of holes are negative."""
    # Area left of edges that go down, minus area left of edges that go up.
    left = corners.x * (corners.y[following] - corners.y).astype(np.int64)
    return np.asarray(np.add.reduceat(left[order], starts))


def _pieces(
    labels: Labels,
    label: Labels,
    hole: _Flags,
    rows: _Indices,
    columns: _Indices,
    starts: _Starts,
) -> npt.NDArray[np.intp]:
    """Return the number of the component of its nucleus that each ring belongs to."""
    piece = np.arange(len(label))
    outer = np.flatnonzero(~hole)
    outer = outer[np.argsort(label[outer], kind="stable")]
    first = np.searchsorted(label[outer], label[hole])
    piece[hole] = outer[first]
    # If a nucleus with holes has several components, the first pixel of a ring gives its component.
    several = np.append(label[outer][1:] == label[outer][:-1], False)[first]
    boxes = [
        reduce(places, starts)
        for places in (rows, columns)
        for reduce in (np.minimum.reduceat, np.maximum.reduceat)
    ]
    by_label = np.argsort(label, kind="stable")
    in_order = label[by_label]
    for number in np.unique(label[hole][several]):
        begin, end = (np.searchsorted(in_order, number, side) for side in ("left", "right"))
        mine = by_label[begin:end]
        top, bottom, left, right = (each[mine] for each in boxes)
        top, left = top.min(), left.min()
        crop = labels[top : bottom.max() + 1, left : right.max() + 1] == number
        numbered, _ = ndimage.label(crop)
        piece[mine] = numbered[rows[starts[mine]] - top, columns[starts[mine]] - left]
    return piece
