"""Outlines of nuclei as polygons along the edges of pixels, which give back the same pixels."""

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
# Of corners and of places: half the memory of what NumPy counts with, and enough.
_Indices = npt.NDArray[np.int32]
_Starts = npt.NDArray[np.intp]
_Flags = npt.NDArray[np.bool_]

# Rows that are looked at in one go, which bounds the memory for images of any height.
_BAND = 512
# Corners of a pixel, clockwise from the upper left one: where the pixel diagonal to it lies. The
# sides of a pixel are counted likewise, from the upper one, so that side k begins in corner k.
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
        Row and column of the upper left pixel, where the labels are a part of an image.

    Yields
    ------
    label : int
        Nuclei in the order of their labels.
    polygons : list of list of ndarray, shape (K, 2), int32
        One polygon for each piece of the nucleus whose pixels share edges. A polygon is a list of
        rings: first its outline, then those of its holes. A ring holds the places (x, y) where it
        turns, by 90° each time, without repeating the first at the end. What a nucleus gives does
        not depend on what else is in the image.

    Raises
    ------
    InputError
        The array is not a label image.

    Notes
    -----
    The pixel in row r and column c is the square from (x, y) = (c, r) to (c + 1, r + 1), as in
    QuPath, in ImageJ's area selections and in shapely; its centre is (c + 0.5, r + 0.5). A pixel
    belongs to a nucleus if and only if its centre lies in one of the polygons.

    Outlines go clockwise on the screen, where y points down, and holes the other way, which is what
    GeoJSON asks for. No ring touches itself: pixels that meet in no more than a corner are separate
    pieces, and where the outline of one piece comes back to a corner, a hole begins there. So the
    polygons are valid in the sense of OGC's simple features.

    Outlines turn at corners of pixels only. These are found by comparing the label image with
    itself shifted by a pixel, linked along the edges by sorting, and strung together as cycles of a
    graph, so that the work is done by NumPy and SciPy for all nuclei at once.

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

    `rows` and `columns` are those of a pixel of the nucleus, `sides` which of its corners it is. At
    a convex corner the outline goes round the pixel; at a concave one (`concave`) both pixels
    beside it belong to the nucleus and the one between them, diagonal to it, does not. `touching`
    are convex corners behind which a pixel of the same nucleus lies diagonally.
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
        # The band with a frame of one pixel: the neighbouring rows, background beyond the image.
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
    """Give the corners of each kind in a framed band, as flat indices of pixels without frame."""
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
    """Find the corner that comes after each, with the nucleus on the right hand."""
    x, y = corners.x, corners.y
    before = (corners.sides - 1) % 4
    begins = np.where(corners.concave, before, corners.sides)
    ends = np.where(corners.concave, corners.sides, before)
    following = np.empty(len(x), np.int32)
    for side in range(4):
        # Straight parts along one side do not overlap, so that in the order of lines, and of
        # places along a line, each begins and ends before the next one does.
        line, place = (y, x) if side % 2 == 0 else (x, y)
        order = line * (np.int64(place.max()) + 1) + place
        first, last = np.flatnonzero(begins == side), np.flatnonzero(ends == side)
        first = first[np.argsort(order[first], kind="stable")]
        last = last[np.argsort(order[last], kind="stable")]
        # Clockwise the upper side goes right and the right one down, the other two go back.
        following[first] = last
    return following


def _untouch(corners: _Corners, following: _Indices) -> None:
    """Divide rings that touch themselves, each at all these places, in place.

    Such a ring comes to a place twice, round two pixels that lie there diagonally. Going on with
    what follows in the other visit makes two rings of one. Visits to different places are never
    interleaved: that would divide the piece, whose pixels share edges.
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
    """Tell for each place which cycle of the permutation it is in."""
    _, cycle = connected_components(_graph(following), connection="weak")
    return np.asarray(cycle)


def _rings(following: _Indices) -> tuple[_Indices, _Starts]:
    """Put the corners in the order of rings, and tell where each ring starts among them."""
    ring = _cycles(following)
    size = len(following)
    corners = np.arange(size, dtype=np.int32)
    heads = np.full(ring.max() + 1, size, np.int32)
    np.minimum.at(heads, ring, corners)
    before = np.empty_like(following)
    before[following] = corners
    # All rings, opened and strung on one: SciPy then walks along it in compiled code.
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
    """Areas in rings, in pixels; negative in those of holes."""
    # What lies left of a part that goes down, less what lies left of a part that goes up.
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
    """Tell for each ring to which piece of its nucleus it belongs, by a number for each piece."""
    piece = np.arange(len(label))
    outer = np.flatnonzero(~hole)
    outer = outer[np.argsort(label[outer], kind="stable")]
    first = np.searchsorted(label[outer], label[hole])
    piece[hole] = outer[first]
    # Holes in a nucleus of several pieces: the pixel at which a ring begins tells its piece.
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
