"""Where the pixels of a TIFF file lie, and how a window of them is put together."""

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

# ``window(number, rows, columns)`` gives shape (h, w, samples): those of the plane of this number,
# counted over all axes before the rows, with the samples that lie together in a pixel.
Window = Callable[[int, slice, slice], Pixels]
Pages = Sequence["tifffile.TiffPage | tifffile.TiffFrame | None"]

# Strips go across an image and windows do not, so that decoded ones are kept for the next window.
_KEPT_BYTES = 2**26
# Pixels: of a tile that is no error, and of a strip or tile that can be decoded.
_LARGE_TILE, _MAX_PART = 2**24, 2**30
_JPEG = frozenset({6, 7, 33007, 34892})


def check_part(page: tifffile.TiffPage, name: str) -> None:
    """Refuse strips and tiles that are too large, before a decoder makes room for them.

    Raises
    ------
    InputError
        They have more pixels than can be decoded at once, or tiles far more than the image.
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
    """Whether the codec that a page needs is installed."""
    try:
        page.decode(b"", 0)
    except ImportError:
        return False
    except DAMAGE as error:
        # Any codec that is there has something else to say about no data.
        if "imagecodecs" in str(error) or "COMPRESSION" in str(error):
            return False
    return True


def contiguous_window(
    series: tifffile.TiffPageSeries, open_file: Opener, shape: tuple[int, int, int]
) -> Window:
    """Pixels of a series that lie in the file as they are, plane after plane.

    Parameters
    ----------
    series : TiffPageSeries
        Its `dataoffset` is not None.
    open_file : callable
    shape : (height, width, samples)
        Of each plane.
    """
    start = int(series.dataoffset or 0)
    dtype = _stored_dtype(series.keyframe)
    step = math.prod(shape) * dtype.itemsize

    def window(number: int, rows: slice, columns: slice) -> Pixels:
        with open_file() as file:
            return read_block(file, start + number * step, dtype, shape, (rows, columns))

    return window


def plain_window(pages: Pages, keyframe: tifffile.TiffPage, open_file: Opener) -> Window:
    """Pixels of pages each of which lies in the file as it is.

    Parameters
    ----------
    pages : sequence of TiffPage, TiffFrame or None
        Alike in structure. None is one that the metadata tell of and the file lacks: zeros.
    keyframe : TiffPage
        That tells the structure; its `is_final` is true.
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
    """Pixels of pages in strips or tiles, of which a window decodes those that it needs.

    Called as `Window`.

    Parameters
    ----------
    pages : sequence of TiffPage, TiffFrame or None
        As in `plain_window`.
    keyframe : TiffPage
        That tells the structure.
    open_file : callable
    name : str
        Of the file, for errors.
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
        """Whether there is more than one strip or tile to a plane."""
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
        """Decode a strip or tile, shape (depth, height, width, samples); None where it is left out.

        At the lower and the right edge of the image it may be cut off.
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
    """Pixels of a series that has to be read as a whole, since its planes are no pages.

    Parameters
    ----------
    open_file : callable
    number : int
        Of the series in the file.
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
    """Planes in a page: separate samples times slices."""
    samples, slices = page.shaped[:2]
    return int(samples) * int(slices)


def _filled(page: tifffile.TiffPage, rows: slice, columns: slice) -> Pixels:
    """Make a window of what stands for pixels that the file leaves out."""
    shape = (rows.stop - rows.start, columns.stop - columns.start, page.shaped[4])
    return np.full(shape, page.nodata, page.dtype)


def _parts(span: slice, length: int) -> Iterator[tuple[int, int]]:
    """Numbers and starts of the parts of a length that a span touches."""
    for number in range(span.start // length, -(-span.stop // length)):
        yield number, number * length


def _overlap(span: slice, start: int, length: int) -> tuple[slice, slice]:
    """Where a part lies in a window, and where the window lies in it."""
    low, high = max(span.start, start), min(span.stop, start + length)
    return slice(low - span.start, high - span.start), slice(low - start, high - start)
