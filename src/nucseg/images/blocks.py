"""Read windows of uncompressed, contiguous pixels of a file."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np

from nucseg.images.source import Pixels


def read_block(
    file: BinaryIO,
    offset: int,
    dtype: np.dtype[Any],
    shape: tuple[int, int, int],
    window: tuple[slice, slice],
) -> Pixels:
    """Read a window of an array in C order.

    This function does not use a memory map: if another program truncates the file during reading, a
    memory map would crash the process.

    Parameters
    ----------
    file : binary file
    offset : int
        Start of the array in the file, in bytes.
    dtype : dtype
        Data type of the array, with its byte order.
    shape : (height, width, samples)
        Shape of the array.
    window : (rows, columns)
        Slices with start and stop, inside the array.

    Returns
    -------
    ndarray, shape (h, w, samples)
        Pixels in the byte order of this computer.

    Raises
    ------
    EOFError
        The file ends before the window.
    """
    (rows, columns), (_, width, samples) = window, shape
    pixels = np.empty((rows.stop - rows.start, columns.stop - columns.start, samples), dtype)
    pixel_bytes = samples * dtype.itemsize
    # Rows of full width are contiguous.
    parts = [pixels] if pixels.shape[1] == width else list(pixels)
    step = len(pixels) if pixels.shape[1] == width else 1
    for number, part in enumerate(parts):
        row = rows.start + number * step
        file.seek(offset + (row * width + columns.start) * pixel_bytes)
        view = part.reshape(-1).view(np.uint8)
        if file.readinto(view) != view.size:  # type: ignore[attr-defined]
            raise EOFError("it ends before its pixels do")
    return pixels.astype(dtype.newbyteorder("="), copy=False)
