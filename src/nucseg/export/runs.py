"""Runs of pixels along columns, from which run-length encodings are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

# Columns that are searched, and nuclei that are encoded, at once; limits the memory.
_BAND = 512
_NUCLEI = 4096


@dataclass(frozen=True)
class Runs:
    """Pixel runs of all nuclei, counted down the columns, from the left column to the right one.

    Attributes
    ----------
    labels : ndarray, shape (N,), int64
        Labels of the nuclei, sorted.
    first : ndarray, shape (N + 1,), int64
        Nucleus k has the runs from ``first[k]`` to before ``first[k + 1]``.
    starts, lengths : ndarray, shape (R,), int64
        Start of each run, from 0, and its length in pixels. A run may continue in the next column.
    shape : tuple of int
        Height and width of the image.
    """

    labels: Integers
    first: Integers
    starts: Integers
    lengths: Integers
    shape: tuple[int, int]

    def areas(self) -> Integers:
        """Return the area of each nucleus in pixels, shape (N,)."""
        return _reduce(np.add, self.lengths, self.first)

    def boxes(self) -> Integers:
        """Return bounding boxes, shape (N, 4): left column, top row, width and height in pixels."""
        height = self.shape[0]
        last = self.starts + self.lengths - 1
        left = _reduce(np.minimum, self.starts // height, self.first)
        right = _reduce(np.maximum, last // height, self.first)
        # A run that continues in the next column reaches the lowest row and the uppermost one.
        across = self.starts // height != last // height
        top = _reduce(np.minimum, np.where(across, 0, self.starts % height), self.first)
        bottom = np.where(across, height - 1, last % height)
        bottom = _reduce(np.maximum, bottom, self.first)
        return np.column_stack([left, top, right - left + 1, bottom - top + 1])


def column_runs(
    labels: npt.NDArray[np.unsignedinteger[Any]],
    *,
    origin: tuple[int, int] = (0, 0),
    shape: tuple[int, ...] | None = None,
) -> Runs:
    """Find the runs of each nucleus.

    Parameters
    ----------
    labels : ndarray, shape (h, w), unsigned integer
        0 is background, other numbers are nuclei.
    origin : tuple of int
        Row and column of the upper left pixel, if the labels are part of an image.
    shape : tuple of int, optional
        Height and width of that image.

    Returns
    -------
    Runs

    Examples
    --------
    >>> import numpy as np
    >>> runs = column_runs(np.array([[0, 5, 5], [7, 5, 0]], np.uint8))
    >>> runs.labels.tolist(), runs.starts.tolist(), runs.lengths.tolist()
    ([5, 7], [2, 1], [3, 1])
    """
    height, width = (labels.shape if shape is None else shape)[:2]
    parts = []
    for left in range(0, labels.shape[1], _BAND):
        # With background above each column, no run continues in the next one.
        pixels = np.pad(labels[:, left : left + _BAND].T, ((0, 0), (1, 0))).ravel()
        changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
        value = pixels[changes]
        column, row = np.divmod(changes[value > 0], len(labels) + 1)
        start = (column + left + origin[1]) * height + row - 1 + origin[0]
        parts.append((value[value > 0], start, np.diff(changes, append=len(pixels))[value > 0]))
    value, start, length = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.argsort(value, kind="stable")
    value, start, length = value[order], start[order], length[order]
    # A run that ends in the lowest row of the image continues in the uppermost one.
    new = np.append(True, (value[1:] != value[:-1]) | (start[1:] != start[:-1] + length[:-1]))
    new = np.flatnonzero(new[: len(value)])
    numbers, first = np.unique(value[new], return_index=True)
    return Runs(
        numbers.astype(np.int64),
        np.append(first, len(new)).astype(np.int64),
        start[new].astype(np.int64),
        _reduce(np.add, length, np.append(new, len(value))),
        (height, width),
    )


def kaggle_texts(runs: Runs) -> Iterator[str]:
    """Encode each nucleus in Kaggle's format: ``start length start length …``, starts from 1.

    Examples
    --------
    >>> import numpy as np
    >>> list(kaggle_texts(column_runs(np.array([[1, 0], [0, 1]], np.uint8))))
    ['1 1 4 1']
    """
    pairs = np.column_stack([runs.starts + 1, runs.lengths])
    for begin, end in zip(runs.first[:-1].tolist(), runs.first[1:].tolist(), strict=True):
        yield " ".join(map(str, pairs[begin:end].ravel().tolist()))


def coco_texts(runs: Runs) -> Iterator[str]:
    """Encode each nucleus as COCO's compressed run-length encoding.

    Lengths of runs outside and inside the nucleus alternate. From the fourth on, each is given as
    the difference from the one before the previous one. Numbers are written with 5 bits per
    character, lowest first.

    Examples
    --------
    >>> import numpy as np
    >>> list(coco_texts(column_runs(np.array([[1, 0], [0, 1]], np.uint8))))
    ['0120']
    """
    for begin in range(0, len(runs.labels), _NUCLEI):
        counts, first = _counts(runs, begin, min(begin + _NUCLEI, len(runs.labels)))
        yield from _compressed(counts, first)


def _counts(runs: Runs, begin: int, end: int) -> tuple[Integers, Integers]:
    """Return run lengths outside and inside of some nuclei, and where each nucleus begins."""
    bounds = runs.first[begin : end + 1]
    some = slice(bounds[0], bounds[-1])
    starts, lengths = runs.starts[some], runs.lengths[some]
    ends = starts + lengths
    bounds = bounds - bounds[0]
    before = np.append(0, ends[:-1])
    before[bounds[:-1]] = 0
    rest = runs.shape[0] * runs.shape[1] - ends[bounds[1:] - 1]
    # The background at the end is not written.
    first = 2 * bounds + np.append(0, np.cumsum(rest > 0))
    counts = np.empty(first[-1], np.int64)
    place = np.arange(len(starts)) * 2
    place += np.repeat(first[:-1] - 2 * bounds[:-1], np.diff(bounds))
    counts[place] = starts - before
    counts[place + 1] = lengths
    counts[first[1:][rest > 0] - 1] = rest[rest > 0]
    return counts, first


def _compressed(counts: Integers, first: Integers) -> Iterator[str]:
    rank = np.arange(len(counts)) - np.repeat(first[:-1], np.diff(first))
    numbers = counts.copy()
    numbers[2:] -= np.where(rank[2:] > 2, counts[:-2], 0)
    characters: list[tuple[npt.NDArray[np.intp], Integers]] = []
    going = np.arange(len(numbers))
    while going.size:
        low, numbers = numbers & 31, numbers >> 5
        # The fifth bit is the sign, so the last 5 bits must include it.
        more = numbers != np.where(low & 16, -1, 0)
        characters.append((going, low + 32 * more + 48))
        going, numbers = going[more], numbers[more]
    lengths = np.zeros(len(counts), np.int64)
    for which, _ in characters:
        lengths[which] += 1
    places = np.append(0, np.cumsum(lengths))
    text = np.empty(places[-1], np.uint8)
    for step, (which, character) in enumerate(characters):
        text[places[which] + step] = character
    whole = text.tobytes().decode("ascii")
    for begin, end in zip(places[first[:-1]].tolist(), places[first[1:]].tolist(), strict=True):
        yield whole[begin:end]


def _reduce(operation: np.ufunc, values: Integers, first: Integers) -> Integers:
    """Combine the values of each nucleus."""
    if len(first) == 1:
        return np.zeros(0, np.int64)
    return np.asarray(operation.reduceat(values, first[:-1]), np.int64)
