"""Images that are read by windows, of which decoded rows are kept for the next window."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.core.segmented import Windowed

# Rows that are decoded at once; the tiles of most files are as high, or a part of it.
_BAND = 512


class Cached:
    """An image in bands of rows, the last of which are kept in memory: a `Windowed`.

    Parameters
    ----------
    image : Windowed, shape (H, W) or (H, W, C)
    max_bytes : int
        Memory for the bands; the one read last is kept whatever it takes.
    """

    def __init__(self, image: Windowed, max_bytes: int) -> None:
        self.shape, self.dtype = tuple(image.shape), image.dtype
        self._image, self._max_bytes = image, max_bytes
        self._bands: OrderedDict[int, npt.NDArray[Any]] = OrderedDict()

    def __getitem__(self, window: tuple[slice, slice]) -> npt.NDArray[Any]:
        rows, columns = (
            range(*part.indices(length))
            for part, length in zip(window, self.shape[:2], strict=True)
        )
        pixels = np.empty((len(rows), len(columns), *self.shape[2:]), self.dtype)
        for number in range(rows.start // _BAND, -(-rows.stop // _BAND) if rows else 0):
            first = number * _BAND
            band = self._band(number)
            top, bottom = max(rows.start, first), min(rows.stop, first + len(band))
            part = band[top - first : bottom - first, columns.start : columns.stop]
            pixels[top - rows.start : bottom - rows.start] = part
        return pixels

    def _band(self, number: int) -> npt.NDArray[Any]:
        if number not in self._bands:
            first = number * _BAND
            rows = slice(first, min(first + _BAND, self.shape[0]))
            most = self._max_bytes // row_bytes(self) - (rows.stop - first)
            while sum(map(len, self._bands.values())) > max(most, 0):
                self._bands.popitem(last=False)
            self._bands[number] = self._image[rows, slice(0, self.shape[1])]
        self._bands.move_to_end(number)
        return self._bands[number]


def row_bytes(image: Windowed) -> int:
    """Bytes of a row of pixels."""
    return int(math.prod(image.shape[1:]) * image.dtype.itemsize)


def cached(image: Windowed, max_bytes: int, rows: int) -> Windowed:
    """Keep decoded rows of an image, where windows of so many rows fit in memory.

    Windows overlap, and an image is read several times: to see its range, to segment, to measure
    and to draw it. Each would decode it again.

    Parameters
    ----------
    image : Windowed, shape (H, W) or (H, W, C)
    max_bytes : int
        Memory for decoded pixels.
    rows : int
        Height of the windows that will be read.

    Returns
    -------
    Windowed
        The image itself where it is in memory anyway, or so wide that its rows do not fit.
    """
    in_memory = isinstance(image, np.ndarray) or not getattr(image, "lazy", True)
    if in_memory or (rows + _BAND) * row_bytes(image) > max_bytes:
        return image
    return Cached(image, max_bytes)
