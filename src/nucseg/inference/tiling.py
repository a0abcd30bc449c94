"""Segment images of any size in overlapping windows, without cutting nuclei.

Each window has a core, which does not overlap the core of any other window, and a margin, which
overlaps the neighbouring windows. A nucleus is taken as a whole from the first window in whose core
it has a pixel. The next window finds it again in its margin, recognizes it by its pixels on the
canvas, and skips it. So no nucleus is cut at a border between cores or counted twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects

from nucseg.core.overlap import Overlap, overlap
from nucseg.errors import InputError

Slices = tuple[slice, slice]
Labels = npt.NDArray[np.int32]
Indices = npt.NDArray[np.intp]

# The encoder halves an image five times, so windows start at multiples of 32 pixels.
STRIDE = 32
# Width of the margin around a core, in pixels. More context hardly changes the maps: 1 of 1,450
# nuclei differs from the whole image (benchmarks/tiles.py); with a margin of 128, 4 of 518 did,
# with another model.
MARGIN = 192
# Side of a square with as many pixels as are segmented at once. It does not depend on the memory,
# so labels do not either. Without ONNX Runtime's arena it fits in 0.6 GB, with an image and its
# labels.
WINDOW = 1312
# Memory per pixel of a window without the arena, as a fraction of that with it, and memory that is
# always used, in bytes.
LEAN_SHARE, BASE_BYTES = 4 / 9, 400 * 10**6
# Memory limit from which the arena is used, and lowest memory limit, in gigabytes.
KEEPS_MEMORY_FROM, LEAST_MEMORY = 1.0, 0.6
# Memory per pixel of an image with labels and measurements, in bytes.
_IMAGE_BYTES = 90
# `image_pixels` divided by this is the total size of images segmented in parallel.
_SIDE_BY_SIDE = 5
_NO_BOX = np.array([2**62, 2**62, 0, 0])


def image_pixels(max_memory: float) -> int:
    """Compute the size of the largest image that is kept in memory, which takes half of it.

    Parameters
    ----------
    max_memory : float
        Memory limit in gigabytes of 10⁹ bytes.

    Raises
    ------
    InputError
        The limit is too low to segment any image.

    Examples
    --------
    >>> image_pixels(2)
    8888888
    """
    if not max_memory >= LEAST_MEMORY:
        raise InputError(
            f"{max_memory:g} GB of memory are too little to segment any image. Allow "
            f"{LEAST_MEMORY:g} or more."
        )
    return int((max_memory * 10**9 - BASE_BYTES) / 2 / _IMAGE_BYTES)


def pixels_side_by_side(image_pixels: int) -> int:
    """Compute the largest total size of images that are segmented in parallel, in pixels.

    Parameters
    ----------
    image_pixels : int
        Number of pixels, as returned by `image_pixels`.
    """
    return image_pixels // _SIDE_BY_SIDE


def window_and_margin(window: int, scale: float, margin: int = MARGIN) -> dict[str, int]:
    """Compute the window and margin of an image that is resized for the network.

    Parameters
    ----------
    window : int
        Side of a window at scale 1, and the largest side of a window at other scales.
    scale : float
        Factor by which the image is resized.
    margin : int
        Context that the network needs around a core, in pixels of its input.

    Returns
    -------
    dict
        The arguments ``size`` and ``margin`` of `tiles`, in pixels of the image. The margin is the
        context that the network needs; for images that are reduced, at most three eighths of the
        window.

    Examples
    --------
    >>> window_and_margin(1312, 1), window_and_margin(1312, 2), window_and_margin(1312, 0.25)
    ({'size': 1312, 'margin': 192}, {'size': 640, 'margin': 96}, {'size': 1312, 'margin': 480})
    """
    size = max(int(window / max(scale, 1)) // STRIDE, 4) * STRIDE
    needed = math.ceil(margin / scale / STRIDE) * STRIDE
    possible = max(size * 3 // 8 // STRIDE * STRIDE, margin)
    return {"size": size, "margin": min(needed, possible)}


class Canvas(Protocol):
    """A label image that is read and written in windows: an array, or a file."""

    def __getitem__(self, window: Slices, /) -> npt.NDArray[Any]: ...

    def __setitem__(self, window: Slices, labels: npt.NDArray[Any], /) -> None: ...


@dataclass(frozen=True)
class Tile:
    """A window of an image.

    Attributes
    ----------
    window : (slice, slice)
        Rows and columns of the window.
    core : (slice, slice)
        Rows and columns of the core, in coordinates of the image. Cores do not overlap.
    """

    window: Slices
    core: Slices

    @property
    def core_in_window(self) -> Slices:
        """The core, in coordinates relative to the upper left pixel of the window."""
        return tuple(  # type: ignore[return-value]
            slice(core.start - window.start, core.stop - window.start)
            for window, core in zip(self.window, self.core, strict=True)
        )


def tiles(shape: tuple[int, int], *, size: int, margin: int) -> list[Tile]:
    """Divide an image into overlapping windows, row by row.

    Parameters
    ----------
    shape : (height, width) of the image, in pixels
    size : int
        Largest side of a window in pixels, a multiple of 32. A smaller image is one window.
    margin : int
        Width of the margin on each side of a core in pixels, a multiple of 32. It is smaller at
        the edges of the image.

    Returns
    -------
    list of Tile
        Windows of about equal size, in rows from the top. Their cores cover the image.

    Raises
    ------
    InputError
        The numbers are not multiples of 32, or the margins leave no core.

    Examples
    --------
    >>> [tile.core[1] for tile in tiles((64, 300), size=256, margin=32)]
    [slice(0, 160, None), slice(160, 300, None)]
    """
    if size % STRIDE or margin % STRIDE or margin < 0 or size <= 2 * margin:
        raise InputError(
            f"Expected windows and margins of multiples of {STRIDE} pixels, the window more than "
            f"two margins, got a window of {size} and margins of {margin}."
        )
    rows, columns = (_cuts(length, size, margin) for length in shape)
    return [
        Tile((row_window, column_window), (row_core, column_core))
        for row_window, row_core in rows
        for column_window, column_core in columns
    ]


def _cuts(length: int, size: int, margin: int) -> list[tuple[slice, slice]]:
    """Return windows and cores along one axis."""
    if length <= size:
        return [(slice(0, length), slice(0, length))]
    # Windows of equal size: at the edges of the image the core replaces the margin.
    count = -(-(length - 2 * margin) // (size - 2 * margin))
    step = -(-(length - 2 * margin) // (count * STRIDE)) * STRIDE
    seams = [0, *(margin + place * step for place in range(1, count)), length]
    return [
        (slice(max(start - margin, 0), min(stop + margin, length)), slice(start, stop))
        for start, stop in pairwise(seams)
    ]


class Stitcher:
    """Combine the nuclei of windows on a canvas.

    Parameters
    ----------
    canvas : Canvas
        Output label image, initially all 0, with a dtype large enough for the labels. It is
        changed in place.
    shape : (height, width) of the image, in pixels

    Attributes
    ----------
    count : int
        Number of nuclei so far; they have the labels 1 to `count`.
    """

    def __init__(self, canvas: Canvas, shape: tuple[int, int]) -> None:
        self._canvas, self._shape = canvas, shape
        self.count = 0
        # Arrays have spare rows, so that they are not copied for each window.
        self._areas = np.zeros(0, np.int64)
        self._boxes = np.zeros((0, 4), np.int64)
        # Labels of nuclei that extend beyond the window they were taken from.
        self._unfinished: set[int] = set()

    @property
    def areas(self) -> npt.NDArray[np.int64]:
        """Areas of the nuclei so far in pixels, shape (count,)."""
        return self._areas[: self.count]

    @property
    def boxes(self) -> npt.NDArray[np.int64]:
        """Bounding boxes of the nuclei so far, shape (count, 4).

        Columns are first row, first column, row after the last, column after the last.
        """
        return self._boxes[: self.count]

    def add(self, tile: Tile, labels: Labels) -> Indices:
        """Add the nuclei of a window that are not on the canvas yet.

        Parameters
        ----------
        tile : Tile
            The next window of `tiles`.
        labels : ndarray, shape of the window, int32
            0 background, 1…N nuclei, without gaps.

        Returns
        -------
        ndarray, shape (K,), intp
            The labels of new nuclei, in the order of their labels on the canvas.
        """
        before = self._canvas[tile.window]
        candidate = np.zeros(int(labels.max(initial=0)) + 1, bool)
        candidate[labels[tile.core_in_window]] = True
        candidate[0] = False
        known, same, grows = self._known(overlap(labels, before), len(candidate))
        new = np.flatnonzero(candidate & ~known)
        number = np.where(candidate & grows, same, 0)
        number[new] = self.count + 1 + np.arange(len(new))
        # Pixels that already have a label keep it.
        written = np.where((before > 0) | (number[labels] == 0), 0, labels)
        self._canvas[tile.window] = np.where(before > 0, before, number[labels])
        self.count += len(new)
        self._measure(tile, written, number)
        reaching = number[self._at_inner_edges(tile, labels)]
        self._unfinished.update(reaching[reaching > 0].tolist())
        return new

    def _measure(self, tile: Tile, written: Labels, number: Indices) -> None:
        """Add the pixels written for each label to the areas and boxes of its nucleus."""
        if self.count > len(self._areas):
            more = 2 * self.count - len(self._areas)
            self._areas = np.concatenate([self._areas, np.zeros(more, np.int64)])
            self._boxes = np.concatenate([self._boxes, np.tile(_NO_BOX, (more, 1))])
        pixels = np.bincount(written.ravel(), minlength=1)
        pixels[0] = 0
        label = np.flatnonzero(pixels)
        if len(label) == 0:
            return
        slices = find_objects(written)
        found = np.array([
            (rows.start, columns.start, rows.stop, columns.stop)
            for rows, columns in (slices[each - 1] for each in label)
        ])  # fmt: skip
        found += np.tile([each.start for each in tile.window], 2)
        place = number[label] - 1
        # Two labels of a window may be parts of one nucleus.
        np.add.at(self.areas, place, pixels[label])
        for corner, extreme in ((slice(0, 2), np.minimum), (slice(2, 4), np.maximum)):
            extreme.at(self.boxes[:, corner], place, found[:, corner])

    def _known(
        self, table: Overlap, count: int
    ) -> tuple[npt.NDArray[np.bool_], Indices, npt.NDArray[np.bool_]]:
        """Find which labels of a window are on the canvas, under which label, and which may grow.

        A label is known if most of its pixels are those of one nucleus on the canvas. It is also
        known if it covers most of the pixels that an unfinished nucleus of the canvas has in this
        window. Unfinished nuclei extend beyond the window that they were taken from; only they may
        grow.
        """
        same = np.zeros(count, np.intp)
        known, grows = np.zeros(count, bool), np.zeros(count, bool)
        # The nucleus that shares most pixels comes last and overwrites the others.
        order = np.argsort(table.pixels, kind="stable")
        row, column, shared = table.rows[order], table.columns[order], table.pixels[order]
        label, taken_by = table.true_labels[row], table.predicted_labels[column]
        unfinished = np.isin(taken_by, list(self._unfinished))
        covered = 2 * shared > table.true_areas[row]
        covers = 2 * shared > table.predicted_areas[column]
        same[label] = taken_by
        known[label] = covered | (unfinished & covers)
        grows[label] = unfinished & (covered | covers)
        return known, same, grows

    def _at_inner_edges(self, tile: Tile, labels: Labels) -> npt.NDArray[np.int32]:
        """Return the labels at the edges of a window that are not edges of the image."""
        rows, columns = tile.window
        edges = (
            (rows.start > 0, labels[0]),
            (rows.stop < self._shape[0], labels[-1]),
            (columns.start > 0, labels[:, 0]),
            (columns.stop < self._shape[1], labels[:, -1]),
        )
        inner = [edge for is_inner, edge in edges if is_inner]
        return np.unique(np.concatenate([np.zeros(1, np.int32), *inner]))
