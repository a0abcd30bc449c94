"""Manual edits of a label image: draw, split, merge, brush, erase or remove nuclei.

Each function returns the change as the pixels of a window before and after, so that it can be
applied, undone and redone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.draw import line as pixels_of_line
from skimage.draw import polygon as pixels_of_polygon

from nucseg.errors import InputError

Labels = npt.NDArray[np.int32]
Points = Sequence[tuple[float, float]]

# Smaller pieces are cut off by a line along an edge, and are not nuclei.
_SPECK = 4


@dataclass(frozen=True)
class Change:
    """A change of a label image.

    Attributes
    ----------
    row, column : int
        Position of the upper left pixel of the window.
    before, after : ndarray, shape (h, w), int32
        Labels in the window, which contains all changed nuclei completely.
    """

    row: int
    column: int
    before: Labels
    after: Labels

    @property
    def window(self) -> tuple[slice, slice]:
        """Row and column slices of the window in the label image."""
        height, width = self.before.shape
        return slice(self.row, self.row + height), slice(self.column, self.column + width)

    @property
    def removed(self) -> list[int]:
        """Numbers of the nuclei that exist before and not after."""
        return [int(n) for n in np.setdiff1d(self.before, self.after) if n]

    @property
    def added(self) -> list[int]:
        """Numbers of the nuclei that exist after and not before."""
        return self.reversed().removed

    def reversed(self) -> Change:
        """Return the change that undoes this one."""
        return replace(self, before=self.after, after=self.before)


def remove_nucleus(labels: Labels, number: int) -> Change:
    """Remove a nucleus.

    Parameters
    ----------
    labels : ndarray, shape (H, W), int32
        0 is background, other numbers are nuclei.
    number : int
        Number of the nucleus.

    Raises
    ------
    InputError
        The nucleus does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> remove_nucleus(np.array([[0, 1, 2]], np.int32), 2).after.tolist()
    [[0]]
    """
    row, column, before = _around(labels, number)
    return Change(row, column, before, np.where(before == number, 0, before))


def draw_nucleus(labels: Labels, outline: Points, number: int) -> Change:
    """Add a nucleus with a drawn outline, except where other nuclei are.

    Parameters
    ----------
    labels : ndarray, shape (H, W), int32
    outline : sequence of (x, y)
        Corners of a polygon; the pixel in row r and column c is the square from (c, r) to
        (c + 1, r + 1). A pixel is inside if its centre is. Parts outside the image are ignored.
    number : int
        Number of the new nucleus.

    Returns
    -------
    Change
        If other nuclei leave several pieces free, the largest becomes the nucleus.

    Raises
    ------
    InputError
        The outline has fewer than three corners, or encloses no free pixel.

    Examples
    --------
    >>> import numpy as np
    >>> draw_nucleus(np.zeros((3, 4), np.int32), [(1, 1), (3, 1), (3, 3), (1, 3)], 7).after.tolist()
    [[7, 7], [7, 7]]
    """
    corners = _finite(outline)
    if len(corners) < 3:
        raise InputError(f"An outline needs three corners or more, got {len(corners)}.")
    down, across = corners[:, 1] - 0.5, corners[:, 0] - 0.5
    rows, columns = pixels_of_polygon(down, across, labels.shape)  # type: ignore[no-untyped-call]
    free = labels[rows, columns] == 0
    rows, columns = rows[free], columns[free]
    if not len(rows):
        raise InputError(
            "The outline encloses no free pixel. Draw it around a place without a nucleus, or "
            "delete the nucleus that is there first."
        )
    window = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    inside = np.zeros((window[0].stop - window[0].start, window[1].stop - window[1].start), bool)
    inside[rows - window[0].start, columns - window[1].start] = True
    pieces, _ = ndimage.label(inside)
    nucleus = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    before = np.array(labels[window])
    return _trimmed(Change(*_corner(window), before, np.where(nucleus, number, before)), nucleus)


def split_nucleus(labels: Labels, line: Points, number: int) -> Change:
    """Split the nucleus that a drawn line crosses most.

    Parameters
    ----------
    labels : ndarray, shape (H, W), int32
    line : sequence of (x, y)
        Points of the line, as for `draw_nucleus`.
    number : int
        Number of the first piece; the others get the following numbers.

    Returns
    -------
    Change
        No pixel is lost: pixels under the line go to the nearest piece.

    Raises
    ------
    InputError
        The line has fewer than two points, crosses no nucleus, or does not split it.

    Examples
    --------
    >>> import numpy as np
    >>> nucleus = np.full((2, 9), 1, np.int32)
    >>> split_nucleus(nucleus, [(4.5, 0), (4.5, 2)], 2).after[0].tolist()
    [2, 2, 2, 2, 2, 3, 3, 3, 3]
    """
    rows, columns = _line_pixels(line, labels.shape)
    crossed = labels[rows, columns]
    if not crossed.any():
        raise InputError("The line crosses no nucleus. Draw it across the one to divide.")
    divided = int(np.bincount(crossed[crossed > 0]).argmax())
    row, column, before = _around(labels, divided)
    nucleus = before == divided
    rest = nucleus.copy()
    mine = crossed == divided
    rest[rows[mine] - row, columns[mine] - column] = False
    pieces, _ = ndimage.label(rest)
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    large = np.flatnonzero(areas >= _SPECK)
    if len(large) <= _large_pieces(nucleus):
        raise InputError(
            "The line does not divide the nucleus. Draw it from one side to the other, beginning "
            "and ending outside."
        )
    new = np.zeros(len(areas), np.int32)
    new[large] = np.arange(number, number + len(large))
    seeds = new[pieces]
    nearest = ndimage.distance_transform_edt(
        seeds == 0, return_distances=False, return_indices=True
    )
    return Change(row, column, before, np.where(nucleus, seeds[tuple(nearest)], before))


def merge_nuclei(labels: Labels, line: Points, number: int) -> Change:
    """Merge the nuclei that a drawn line crosses.

    Parameters
    ----------
    labels : ndarray, shape (H, W), int32
    line : sequence of (x, y)
        Points of the line, as for `draw_nucleus`.
    number : int
        Number of the merged nucleus.

    Returns
    -------
    Change
        Gaps of up to two pixels between them are closed.

    Raises
    ------
    InputError
        The line has fewer than two points, crosses fewer than two nuclei, or these do not touch.

    Examples
    --------
    >>> import numpy as np
    >>> merge_nuclei(np.array([[1, 1, 2, 0, 3]], np.int32), [(0.5, 0.5), (2.5, 0.5)], 4).after
    array([[4, 4, 4]], dtype=int32)
    """
    rows, columns = _line_pixels(line, labels.shape)
    crossed = np.unique(labels[rows, columns])
    crossed = crossed[crossed > 0]
    if len(crossed) < 2:
        raise InputError(
            f"The line crosses {len(crossed)} nuclei. Draw it through two or more to join them."
        )
    window, before = _window(labels, np.isin(labels, crossed))
    joined = np.isin(before, crossed)
    padded = np.pad(joined, 1)
    closed = ndimage.binary_closing(padded, np.ones((3, 3)))[1:-1, 1:-1]
    joined |= closed & (before == 0)
    if ndimage.label(joined, np.ones((3, 3)))[1] > 1:
        raise InputError("The nuclei that the line crosses lie apart. Join those that touch.")
    return Change(*_corner(window), before, np.where(joined, number, before))


def brush_nucleus(labels: Labels, stroke: Points, radius: float, old: int, number: int) -> Change:
    """Add the pixels under a brush to a nucleus, except those of other nuclei.

    Parameters
    ----------
    labels : ndarray, shape (H, W), int32
    stroke : sequence of (x, y)
        Points of the stroke, as for `draw_nucleus`.
    radius : float
        Radius of the brush, in pixels.
    old, number : int
        Number of the nucleus, and its new number.

    Returns
    -------
    Change
        Only pixels connected to the nucleus are added.

    Raises
    ------
    InputError
        The nucleus does not exist, or the brush does not touch it.
    """
    part, before, brushed = _under_brush(labels, stroke, radius, old)
    nucleus = before == old
    grown = nucleus | (brushed & (before == 0))
    pieces, _ = ndimage.label(grown, np.ones((3, 3)))
    grown &= np.isin(pieces, np.unique(pieces[nucleus]))
    if grown.sum() == nucleus.sum():
        raise InputError("The brush adds nothing. Begin in the nucleus, and paint over its edge.")
    return _trimmed(Change(*_corner(part), before, np.where(grown, number, before)), grown)


def erase_from_nucleus(
    labels: Labels, stroke: Points, radius: float, old: int, number: int
) -> Change:
    """Remove the pixels under an eraser from a nucleus.

    Parameters
    ----------
    labels : ndarray, shape (H, W), int32
    stroke, radius, old, number
        See `brush_nucleus`.

    Returns
    -------
    Change
        If several pieces are left, the largest is kept; if none is left, the nucleus is removed.

    Raises
    ------
    InputError
        The nucleus does not exist, or the eraser does not touch it.
    """
    part, before, erased = _under_brush(labels, stroke, radius, old)
    nucleus = before == old
    rest = nucleus & ~erased
    if rest.sum() == nucleus.sum():
        raise InputError("The eraser takes nothing off. Move it over the nucleus that is selected.")
    pieces, count = ndimage.label(rest)
    if count:
        rest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    after = np.where(rest, number, np.where(nucleus, 0, before))
    return _trimmed(Change(*_corner(part), before, after), nucleus)


def _under_brush(
    labels: Labels, stroke: Points, radius: float, number: int
) -> tuple[tuple[slice, slice], Labels, npt.NDArray[np.bool_]]:
    """Return a window around a nucleus and a stroke, its labels, and which pixels are brushed.

    These are the pixels whose centre is within the radius of the pixels that the stroke crosses. A
    window is used because the image may be large, and a stroke should appear at once.
    """
    nucleus = np.asarray(labels == number)
    if number < 1 or not nucleus.any():
        raise InputError("Select the nucleus to change first.")
    gone_through = _line_pixels([*stroke, *stroke[-1:]], labels.shape)
    window = []
    for axis, passed in enumerate(gone_through):
        own = np.flatnonzero(nucleus.any(axis=1 - axis))
        reach = [each + sign * int(radius) for sign in (-1, 1) for each in passed.tolist()]
        first, last = min([own[0], *reach]), max([own[-1], *reach])
        window.append(slice(max(int(first), 0), min(int(last) + 1, labels.shape[axis])))
    part = window[0], window[1]
    away = np.ones([each.stop - each.start for each in part], bool)
    rows, columns = (passed - each.start for passed, each in zip(gone_through, part, strict=True))
    away[rows, columns] = False
    # Without a pixel to measure from, all distances would be 0.
    near = ~away if away.all() else np.asarray(ndimage.distance_transform_edt(away) <= radius)
    return part, np.array(labels[part]), near


def _window(labels: Labels, here: npt.NDArray[np.bool_]) -> tuple[tuple[slice, slice], Labels]:
    """Return a window around the given pixels, and its labels."""
    rows, columns = np.flatnonzero(here.any(axis=1)), np.flatnonzero(here.any(axis=0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return window, np.array(labels[window])


def _large_pieces(nucleus: npt.NDArray[np.bool_]) -> int:
    pieces, _ = ndimage.label(nucleus)
    return int(np.count_nonzero(np.bincount(pieces.ravel())[1:] >= _SPECK))


def _around(labels: Labels, number: int) -> tuple[int, int, Labels]:
    """Return a window around a nucleus: its upper left pixel, and its labels."""
    here = labels == number
    if number < 1 or not here.any():
        raise InputError(f"There is no nucleus {number}. Choose one that is shown.")
    window, before = _window(labels, here)
    return *_corner(window), before


def _corner(window: tuple[slice, slice]) -> tuple[int, int]:
    return int(window[0].start), int(window[1].start)


def _trimmed(change: Change, nucleus: npt.NDArray[np.bool_]) -> Change:
    """Shrink the window to the pixels that change."""
    rows, columns = np.flatnonzero(nucleus.any(axis=1)), np.flatnonzero(nucleus.any(axis=0))
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    top, left = change.row + int(rows[0]), change.column + int(columns[0])
    return Change(top, left, change.before[part], change.after[part])


def _finite(points: Points) -> npt.NDArray[np.float64]:
    places = np.asarray(points, np.float64).reshape(-1, 2)
    if not np.isfinite(places).all():
        raise InputError("The places of a line must be numbers.")
    return places


def _line_pixels(
    line: Points, shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the pixels of the image that a line crosses, each once."""
    places = _finite(line)
    if len(places) < 2:
        raise InputError(f"A line needs two places or more, got {len(places)}.")
    # Points far outside would give many pixels outside the image.
    limits = np.array([shape[1], shape[0]])
    places = np.floor(np.clip(places, -limits, 2 * limits)).astype(int)
    parts = []
    for (x, y), (u, v) in pairwise(places.tolist()):
        parts.append(np.stack(pixels_of_line(y, x, v, u)))  # type: ignore[no-untyped-call]
    rows, columns = np.unique(np.concatenate(parts, axis=1), axis=1)
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    return rows[inside], columns[inside]
