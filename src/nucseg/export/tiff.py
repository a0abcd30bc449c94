"""Write images as compressed TIFF with their pixel size."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.core.segmented import Windowed
from nucseg.files import atomic_write

_MICROMETRES_PER_CENTIMETRE = 10_000
_COMMON: dict[str, Any] = {"compression": "zlib", "photometric": "minisblack"}
_COLOURS = {"photometric": "rgb"}
_TILE = 512
# Number of tiles read at once, because the source may be read by rows.
_AT_ONCE = 16
_CLASSIC_BYTES = 2**31
_IMAGEJ_DTYPES = (np.uint8, np.uint16, np.float32)
# ImageJ does not write BigTIFF; some bytes are reserved for everything except pixels.
_IMAGEJ_BYTES = 2**32 - 2**25


def write_tiff(path: Path, pixels: Windowed, pixel_size: tuple[float, float] | None) -> None:
    """Write an image as compressed TIFF; the write is atomic.

    The compression is deflate, which tifffile and all other programs read without further packages.
    Images that are not in memory are read and written in tiles.

    Parameters
    ----------
    path : Path
    pixels : Windowed, shape (H, W), or ndarray, shape (H, W, C)
        Three or four channels are colours.
    pixel_size : tuple of float or None
        Pixel size along rows and columns in µm per pixel.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    import tifffile

    if isinstance(pixels, np.ndarray):
        # Through memory, because a full disk then raises a clear error instead of one from
        # tifffile.
        buffer = io.BytesIO()
        kind = _COMMON | (_COLOURS if pixels.shape[2:] in ((3,), (4,)) else {})
        if pixels.ndim == 3:
            kind |= {"planarconfig": "contig"}
        tifffile.imwrite(buffer, pixels, **kind, **_resolution(pixels, pixel_size))
        with atomic_write(path) as partial:
            partial.write_bytes(buffer.getbuffer())
        return
    with atomic_write(path) as partial:
        tifffile.imwrite(
            partial,
            _tiles(pixels),
            shape=pixels.shape,
            dtype=pixels.dtype,
            tile=(_TILE, _TILE),
            # Compressed labels take about a hundredth; larger data needs BigTIFF.
            bigtiff=math.prod(pixels.shape) * pixels.dtype.itemsize > _CLASSIC_BYTES,
            **_COMMON,
            **_in_centimetres(pixel_size),
        )


def _tiles(pixels: Windowed) -> Iterator[npt.NDArray[Any]]:
    """Yield the tiles of an image row by row, padded with 0 at the lower and right edges."""
    height, width = pixels.shape
    for top in range(0, height, _TILE):
        for start in range(0, width, _AT_ONCE * _TILE):
            stop = min(start + _AT_ONCE * _TILE, width)
            some = pixels[slice(top, min(top + _TILE, height)), slice(start, stop)]
            some = np.pad(some, ((0, _TILE - len(some)), (0, (start - stop) % _TILE)))
            for left in range(0, stop - start, _TILE):
                yield np.ascontiguousarray(some[:, left : left + _TILE])


def _resolution(pixels: npt.NDArray[Any], pixel_size: tuple[float, float] | None) -> dict[str, Any]:
    fits = pixels.dtype in _IMAGEJ_DTYPES and pixels.nbytes < _IMAGEJ_BYTES
    imagej = fits and pixels.ndim == 2
    if pixel_size is None or not imagej:
        return _in_centimetres(pixel_size)
    # ImageJ's own metadata, so that it measures in µm; its files have no 32-bit integers.
    down, across = pixel_size
    return {
        "imagej": True,
        "metadata": {"unit": "um", "axes": "YX"},
        "resolution": (1 / across, 1 / down),
    }


def _in_centimetres(pixel_size: tuple[float, float] | None) -> dict[str, Any]:
    if pixel_size is None:
        return {}
    down, across = (_MICROMETRES_PER_CENTIMETRE / each for each in pixel_size)
    return {"resolutionunit": "CENTIMETER", "resolution": (across, down)}
