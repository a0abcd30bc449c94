"""Pixel storage of TIFF files: read windows of contiguous data, strips and tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from nucseg.errors import InputError, MissingExtraError
from nucseg.images.blocks import read_block
from nucseg.images.faults import DAMAGE, damaged
from nucseg.images.planes import Opener, kept
from nucseg.images.source import Pixels

if TYPE_CHECKING:
    import tifffile

# ``window(number, rows, columns)`` returns pixels of shape (h, w, samples): of the plane of this
# number, counted over all axes before the rows, with the samples stored together in a pixel.
Window = Callable[[int, slice, slice], Pixels]
Pages = Sequence["tifffile.TiffPage | tifffile.TiffFrame | None"]

# Strips are as wide as the image, windows are not, so decoded strips are cached.
_KEPT_BYTES = 2**26
# Maximum number of pixels: of a plausible tile, and of a strip or tile that can be decoded.
_LARGE_TILE, _MAX_PART = 2**24, 2**30
_JPEG = frozenset({6, 7, 33007, 34892})


def check_part(page: tifffile.TiffPage, name: str) -> None:
    """Reject strips and tiles that are too large, before a decoder allocates memory for them.

    Raises
    ------
    InputError
        They have more pixels than can be decoded at once, or tiles are far larger than the image.
    """
    _, depth, height, width, _ = page.shaped
    shape = (page.tiledepth, page.tilelength, page.tilewidth)
    if not page.is_tiled:
        shape = (1, min(page.rowsperstrip, height), width)
    pixels = math.prod(shape)
    if page.is_tiled and pixels > max(_LARGE_TILE, depth * height * width):
        raise damaged(name, f"it has tiles of {shape} pixels for an image of {height} by {width}")
    if pixels > _MAX_PART:
        raise InputError(
            f"{name} is too large: its pixels lie in parts of {pixels}, at most {_MAX_PART} can be "
            "decoded at once. Save it again in tiles."
        )


def can_decode(page: tifffile.TiffPage) -> bool:
    """Return whether the codec that a page needs is installed."""
    try:
        page.decode(b"", 0)
    except ImportError:
        return False
    except DAMAGE as error:
        # An installed codec raises a different error for empty data.
        if "imagecodecs" in str(error) or "COMPRESSION" in str(error):
            return False
    return True


def contiguous_window(
    series: tifffile.TiffPageSeries, open_file: Opener, shape: tuple[int, int, int]
) -> Window:
    """Return a reader for a series stored uncompressed and contiguously, plane after plane.

    Parameters
    ----------
    series : TiffPageSeries
        Its `dataoffset` is not None.
    open_file : callable
    shape : (height, width, samples)
        Shape of each plane.
    """
    start = int(series.dataoffset or 0)
    dtype = _stored_dtype(series.keyframe)
    step = math.prod(shape) * dtype.itemsize

    def window(number: int, rows: slice, columns: slice) -> Pixels:
        with open_file() as file:
            return read_block(file, start + number * step, dtype, shape, (rows, columns))

    return window


def plain_window(pages: Pages, keyframe: tifffile.TiffPage, open_file: Opener) -> Window:
    """Return a reader for pages that are each stored uncompressed and contiguously.

    Parameters
    ----------
    pages : sequence of TiffPage, TiffFrame or None
        Pages of the same structure. None is a missing page, which is read as zeros.
    keyframe : TiffPage
        Describes the structure; its `is_final` is true.
    open_file : callable
    """
    dtype = _stored_dtype(keyframe)
    planes, shape = _planes(keyframe), keyframe.shaped[2:]
    step = math.prod(shape) * dtype.itemsize
    starts = [None if page is None else int(page.dataoffsets[0]) for page in pages]

    def window(number: int, rows: slice, columns: slice) -> Pixels:
        page, plane = divmod(number, planes)
        start = starts[page]
        if start is None:
            return _filled(keyframe, rows, columns)
        with open_file() as file:
            return read_block(file, start + plane * step, dtype, shape, (rows, columns))

    return window


class Segments:
    """Reader for pages in strips or tiles, which decodes only those that a window needs.

    Instances are callable, see `Window`.

    Parameters
    ----------
    pages : sequence of TiffPage, TiffFrame or None
        See `plain_window`.
    keyframe : TiffPage
        Describes the structure.
    open_file : callable
    name : str
        Name of the file in error messages.
    """

    def __init__(
        self, pages: Pages, keyframe: tifffile.TiffPage, open_file: Opener, name: str
    ) -> None:
        self._places = [None if p is None else (p.dataoffsets, p.databytecounts) for p in pages]
        self._tables: list[dict[str, Any]] = [{} for _ in pages]
        if keyframe.compression in _JPEG:
            # Read now, while the file is open.
            self._tables = [
                {"jpegtables": p and p.jpegtables, "jpegheader": keyframe.jpegheader} for p in pages
            ]
        self._keyframe, self._open, self._name = keyframe, open_file, name
        self._decode = keyframe.decode
        _, depth, height, width, samples = keyframe.shaped
        tiled = keyframe.is_tiled
        self._shape = (
            keyframe.tiledepth if tiled else 1,
            keyframe.tilelength if tiled else min(keyframe.rowsperstrip, height),
            keyframe.tilewidth if tiled else width,
        )
        sizes = (depth, height, width)
        self._counts = [-(-n // part) for n, part in zip(sizes, self._shape, strict=True)]
        part_bytes = math.prod(self._shape) * samples * np.dtype(keyframe.dtype).itemsize
        self._part = lru_cache(max(1, _KEPT_BYTES // max(part_bytes, 1)))(self._read_part)

    @property
    def lazy(self) -> bool:
        """Whether a plane has more than one strip or tile."""
        return self._counts[1] * self._counts[2] > 1

    def __call__(self, number: int, rows: slice, columns: slice) -> Pixels:
        """Read a window, see `Window`."""
        pixels = _filled(self._keyframe, rows, columns)
        page, plane = divmod(number, _planes(self._keyframe))
        sample, slice_ = divmod(plane, self._keyframe.shaped[1])
        depth, height, width = self._shape
        down, across = self._counts[1:]
        for i, top in _parts(rows, height):
            for j, left in _parts(columns, width):
                layer = sample * self._counts[0] + slice_ // depth
                part = self._part(page, (layer * down + i) * across + j)
                if part is None:
                    continue
                here = part[slice_ % depth]
                target, source = zip(
                    _overlap(rows, top, here.shape[0]),
                    _overlap(columns, left, here.shape[1]),
                    strict=True,
                )
                pixels[target] = here[source]
        return pixels

    def _read_part(self, page: int, number: int) -> Pixels | None:
        """Decode a strip or tile, shape (depth, height, width, samples); None if it is not stored.

        It may be truncated at the lower and right edge of the image.
        """
        places = self._places[page]
        if places is None:
            return None
        offset, count = int(places[0][number]), int(places[1][number])
        if not offset or not count:
            return None
        with self._open() as file:
            file.seek(offset)
            data = file.read(count)
        if len(data) != count:
            raise EOFError("it ends before its pixels do")
        try:
            part, _, _ = self._decode(data, number, **self._tables[page])
        except (ImportError, NotImplementedError, ValueError) as error:
            if "imagecodecs" in str(error):
                raise MissingExtraError(f"{self._name}, for its compression,", "formats") from error
            raise
        return part


def whole_window(open_file: Opener, number: int, shape: tuple[int, int, int, int]) -> Window:
    """Return a reader for a series that has to be read as a whole: its planes are not pages.

    Parameters
    ----------
    open_file : callable
    number : int
        Number of the series in the file.
    shape : (planes, height, width, samples)
    """
    import tifffile

    @lru_cache(maxsize=1)
    def whole() -> Pixels:
        with open_file() as file, tifffile.TiffFile(file, _multifile=False) as tiff:
            pixels = tiff.series[number].asarray().reshape(shape)
            return kept(pixels.astype(pixels.dtype.newbyteorder("="), copy=False))

    return lambda plane, rows, columns: whole()[plane, rows, columns]


def _stored_dtype(page: tifffile.TiffPage) -> np.dtype[Any]:
    return np.dtype(page.dtype).newbyteorder(page.parent.byteorder)


def _planes(page: tifffile.TiffPage) -> int:
    """Return the number of planes in a page: separate samples times slices."""
    samples, slices = page.shaped[:2]
    return int(samples) * int(slices)


def _filled(page: tifffile.TiffPage, rows: slice, columns: slice) -> Pixels:
    """Return a window of the fill value for pixels that the file does not contain."""
    shape = (rows.stop - rows.start, columns.stop - columns.start, page.shaped[4])
    return np.full(shape, page.nodata, page.dtype)


def _parts(span: slice, length: int) -> Iterator[tuple[int, int]]:
    """Iterate over numbers and starts of the parts that a span overlaps."""
    for number in range(span.start // length, -(-span.stop // length)):
        yield number, number * length


def _overlap(span: slice, start: int, length: int) -> tuple[slice, slice]:
    """Return the position of a part in a window, and of the window in the part."""
    low, high = max(span.start, start), min(span.stop, start + length)
    return slice(low - span.start, high - span.start), slice(low - start, high - start)
