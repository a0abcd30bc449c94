"""Images that are read in windows, with a cache of decoded rows."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.core.segmented import Windowed

# Number of rows decoded at once, a multiple of the tile height of most files.
_BAND = 512


class Cached:
    """An image in bands of rows, with the last bands in memory; implements `Windowed`.

    Parameters
    ----------
    image : Windowed, shape (H, W) or (H, W, C)
    max_bytes : int
        Memory for the bands. The last band is always kept.
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
    """Return the number of bytes of a row of pixels."""
    return int(math.prod(image.shape[1:]) * image.dtype.itemsize)


def cached(image: Windowed, max_bytes: int, rows: int) -> Windowed:
    """Cache decoded rows of an image, if windows of a given height fit in memory.

    Windows overlap, and an image is read several times: to find its intensity limits, to segment,
    measure and draw it. Without a cache, it would be decoded each time.

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
        The image itself if it is in memory, or if its rows are too wide for the cache.
    """
    in_memory = isinstance(image, np.ndarray) or not getattr(image, "lazy", True)
    if in_memory or (rows + _BAND) * row_bytes(image) > max_bytes:
        return image
    return Cached(image, max_bytes)
