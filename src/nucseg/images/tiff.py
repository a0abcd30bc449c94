"""Reader for TIFF and BigTIFF of any origin: stacks, hyperstacks, pyramids, whole-slide images."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from nucseg.errors import InputError
from nucseg.images.faults import damaged
from nucseg.images.planes import COLOURS, Opener, Scene
from nucseg.images.source import Pixels
from nucseg.images.tiff_metadata import channel_names, tiff_pixel_size
from nucseg.images.tiff_pixels import (
    Pages,
    Segments,
    Window,
    can_decode,
    check_part,
    contiguous_window,
    plain_window,
    whole_window,
)
from nucseg.images.tiff_with_pillow import pillow_window

if TYPE_CHECKING:
    import tifffile

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Names of additional images that slide scanners store.
_BESIDE = frozenset({"Thumbnail", "Label", "Macro", "Map", "Overview", "Preview"})
# An array of (height, width, channels) written without axes metadata is read as a stack of images
# of this width, which is never intended.
_MAX_CHANNELS_LAST = 4
# Planes of at most this width are implausible if there are more planes than this.
_MOST_CHANNELS_LAST = 16
# A larger plane needs at least one byte of the file for this many pixels, even if empty tiles are
# not stored. Otherwise most of the declared data is missing.
_LARGE, _MOST_PIXELS_PER_BYTE = 2**28, 2**16

_MINISWHITE, _MINISBLACK, _PALETTE = 0, 1, 3
# Tags for width, height, depth and samples; signed number types, which these tags never have.
_SIZES, _SIGNED = frozenset({256, 257, 277, 32997}), frozenset({6, 8, 9, 17})


@dataclass(frozen=True)
class _Axes:
    """Axes of a series: `rows` is the index of the rows axis, `colours` of the colours, if any."""

    names: str
    lengths: tuple[int, ...]
    rows: int
    colours: int | None

    @property
    def others(self) -> list[int]:
        """Axes longer than 1 that select planes and channels."""
        image = (self.rows, self.rows + 1, self.colours)
        return [i for i, n in enumerate(self.lengths) if n != 1 and i not in image]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number of planes, height, width, and samples stored together in a pixel."""
        lengths, rows = self.lengths, self.rows
        height, width = lengths[rows : rows + 2]
        return math.prod(lengths[:rows]), height, width, math.prod(lengths[rows + 2 :])


@dataclass(frozen=True)
class _Decoded:
    """Windows of a series, and whether they return stored pixels that need conversion."""

    window: Window
    lazy: bool
    stored: bool = True
    # Missing pages, and number of planes per page.
    lacking: frozenset[int] = frozenset()
    per_page: int = 1


def open_tiff(open_file: Opener, name: str, *, as_labels: bool = False) -> list[Scene]:
    """Read the structure of a TIFF file. Pixels are read later, window by window.

    Parameters
    ----------
    open_file : callable
        Returns the file, opened for reading.
    name : str
        Name of the file in error messages.
    as_labels : bool
        Whether to return the stored numbers, independent of a palette and of which value is
        white; bool for 1 bit.

    Returns
    -------
    list of Scene
        One scene per image of the file, at full resolution. The lower levels of a pyramid, and the
        label and overview of a slide, are excluded.

    Raises
    ------
    InputError
        The file contains no image, is damaged or truncated, or has no rows and columns.
    """
    import tifffile

    # Files of a multi-file OME-TIFF are separate inputs.
    with open_file() as file, tifffile.TiffFile(file, _multifile=False) as tiff:
        _check_pages(tiff, file, name)
        series = [each for each in tiff.series if each.shape]
        shown = [each for each in series if not _is_beside(each)] or series
        if not shown:
            raise InputError(f"{name} is a TIFF file without an image. Copy it again.")
        size = file.seek(0, io.SEEK_END)
        return [_scene(tiff, each, open_file, name, size, as_labels=as_labels) for each in shown]


def _check_pages(tiff: tifffile.TiffFile, file: BinaryIO, name: str) -> None:
    """Reject circular pages and pages of negative size, for which tifffile would not terminate."""
    form, seen = tiff.tiff, set()
    kinds = struct.Struct(f"{form.byteorder}HH{form.tagsize - 4}x")
    offset = tiff.pages.first.offset if tiff.pages else 0
    while offset:
        if offset in seen:
            raise damaged(name, "its pages lead in a circle")
        seen.add(offset)
        file.seek(offset)
        try:
            (tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
            found = kinds.iter_unpack(file.read(tags * form.tagsize))
            if any(tag in _SIZES and kind in _SIGNED for tag, kind in found):
                raise damaged(name, "it has a size with a sign")
            (offset,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
        except struct.error:
            return  # The last page refers to one beyond the end; the pages before are complete.


def _is_beside(series: tifffile.TiffPageSeries) -> bool:
    return series.name in _BESIDE or bool(series.keyframe.is_reduced)


def _scene(
    tiff: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    open_file: Opener,
    name: str,
    size: int,
    *,
    as_labels: bool,
) -> Scene:
    axes = _axes(series, name)
    decoded = _decoded(tiff, series, axes, open_file, name, size)
    if as_labels:
        finish = _number_finisher(series, stored=decoded.stored)
    else:
        finish = _finisher(series, axes)
    finished = finish(np.zeros((1, 1), series.dtype))
    if finished.ndim == 3:  # a palette
        samples = finished.shape[2]
    else:
        samples = 1 if axes.colours is None else axes.lengths[axes.colours]
    return Scene(
        axes="".join(axes.names[i] for i in axes.others),
        lengths=tuple(axes.lengths[i] for i in axes.others),
        size=axes.shape[1:3],
        samples=samples,
        dtype=finished.dtype,
        pixel_size=tiff_pixel_size(tiff, series),
        read=_reader(axes, decoded.window, finish if decoded.stored or as_labels else np.asarray),
        channels=channel_names(tiff, series),
        lazy=decoded.lazy,
        name=series.name,
        holds=lambda index: _plane(axes, index) // decoded.per_page not in decoded.lacking,
    )


def _plane(axes: _Axes, index: tuple[int, ...]) -> int:
    """Return the number of the plane in the file for an index along the axes of a scene."""
    place = [0] * len(axes.lengths)
    for axis, number in zip(axes.others, index, strict=True):
        place[axis] = number
    return _flat(place[: axes.rows], axes.lengths[: axes.rows])


def _check_axes(names: str, lengths: Sequence[int], rows: int, name: str) -> None:
    """Reject planes that are narrow strips if the file does not declare them as planes."""
    height, width = lengths[rows : rows + 2]
    planes = math.prod(lengths[:rows])
    if set(names[:rows]) & set("QI") and width <= _MOST_CHANNELS_LAST < min(height, planes):
        raise InputError(
            f"{name} has {planes} planes of {height} by {width} pixels. Are they {width} channels, "
            "which come last? Then save it with the channels first and name the axes, such as CYX. "
            "If they are planes, name the axes ZYX."
        )


def _axes(series: tifffile.TiffPageSeries, name: str) -> _Axes:
    names, lengths = series.axes, series.shape
    if names == "QYX" and lengths[2] <= _MAX_CHANNELS_LAST < min(lengths[:2]):
        names = "YXC"
    rows = names.find("YX")
    if rows < 0:
        given = ", ".join(f"{axis}: {n}" for axis, n in zip(names, lengths, strict=True))
        raise InputError(
            f"{name} has the axes {given}, expected rows and columns (Y and X) one after the "
            "other. Save it again with these."
        )
    _check_axes(names, lengths, rows, name)
    colours = names.find("S")
    if colours >= 0 and not (
        3 <= lengths[colours] <= len(COLOURS)
        and series.keyframe.photometric not in (_MINISBLACK, _MINISWHITE)
    ):
        # Samples of grey images are channels, whatever their axis is called.
        if "C" not in (axis for axis, n in zip(names, lengths, strict=True) if n > 1):
            names = names.replace("C", "-").replace("S", "C")
        colours = -1
    return _Axes(names, tuple(lengths), rows, None if colours < 0 else colours)


def _decoded(
    tiff: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    axes: _Axes,
    open_file: Opener,
    name: str,
    size: int,
) -> _Decoded:
    keyframe = series.keyframe
    _, height, width, samples = axes.shape
    if height * width > max(_LARGE, _MOST_PIXELS_PER_BYTE * size):
        raise damaged(name, f"it has {size} bytes for {height} by {width} pixels")
    if series.transform is None and series.dataoffset is not None:
        _check_end(series.dataoffset + math.prod(axes.shape) * series.dtype.itemsize, size, name)
        return _Decoded(contiguous_window(series, open_file, (height, width, samples)), lazy=True)
    pages = _pages(series, axes)
    for page in pages:
        if page is not None:
            ends = zip(page.dataoffsets, page.databytecounts, strict=False)
            _check_end(max(map(sum, ends), default=0), size, name)
            if keyframe.imagedepth > 1 and len(page.dataoffsets) < math.prod(page.chunked):
                raise damaged(name, f"it lacks slices of {keyframe.imagedepth}")
    if not keyframe.is_final:
        check_part(keyframe, name)
    lacking = frozenset(number for number, page in enumerate(pages) if _is_empty(page))
    separate, slices, *shape = keyframe.shaped
    if not can_decode(keyframe):
        window = pillow_window(pages, keyframe, open_file, name)
        return _Decoded(window, False, _has_palette(series, axes), lacking, separate)
    if series.transform is not None or (len(pages) * separate * slices, *shape) != axes.shape:
        number = tiff.series.index(series)
        return _Decoded(whole_window(open_file, number, axes.shape), lazy=False)
    if keyframe.is_final:
        window = plain_window(pages, keyframe, open_file)
        return _Decoded(window, lazy=True, lacking=lacking, per_page=separate * slices)
    segments = Segments(pages, keyframe, open_file, name)
    return _Decoded(segments, segments.lazy, lacking=lacking, per_page=separate * slices)


def _pages(series: tifffile.TiffPageSeries, axes: _Axes) -> Pages:
    """Return the pages of a series, None for missing pages."""
    pages = [series[i] for i in range(len(series))]
    if series.kind != "imagej":
        return pages
    # For ImageJ files, tifffile returns only the existing pages.
    stated = axes.shape[0] // math.prod(series.keyframe.shaped[:2])
    return [*pages, *[None] * (stated - len(pages))]


def _is_empty(page: tifffile.TiffPage | tifffile.TiffFrame | None) -> bool:
    """Return whether no pixel of a page was written; single tiles may be missing."""
    return page is None or not (any(page.dataoffsets) and any(page.databytecounts))


def _check_end(end: int, size: int, name: str) -> None:
    if end > size:
        raise damaged(name, f"it should have {end} bytes, has {size}")


def _has_palette(series: tifffile.TiffPageSeries, axes: _Axes) -> bool:
    """Return whether pixels are indices of colours; a palette of several channels is ignored."""
    page = series.keyframe
    channels = "C" in (axes.names[i] for i in axes.others)
    return page.photometric == _PALETTE and page.colormap is not None and not channels


def _finisher(series: tifffile.TiffPageSeries, axes: _Axes) -> Callable[[Pixels], Pixels]:
    """Return a function that converts stored pixels to displayed ones."""
    page = series.keyframe
    if _has_palette(series, axes):
        # A colour map has 16 bits, even if only 8 are used.
        colours = np.moveaxis(np.asarray(page.colormap), 0, -1)
        table = (colours >> 8).astype(np.uint8) if page.bitspersample <= 8 else colours
        return lambda pixels: np.asarray(table[pixels])

    def finish(pixels: Pixels) -> Pixels:
        if pixels.dtype == bool:
            pixels = pixels.astype(np.uint8) * np.uint8(255)
        if page.photometric == _MINISWHITE and pixels.dtype.kind == "u":
            pixels = np.iinfo(pixels.dtype).max - pixels
        return pixels

    return finish


def _number_finisher(
    series: tifffile.TiffPageSeries, *, stored: bool
) -> Callable[[Pixels], Pixels]:
    """Return a function that converts pixels, stored or from Pillow, to a label image."""
    page = series.keyframe

    def finish(pixels: Pixels) -> Pixels:
        if page.bitspersample == 1:
            # Programs disagree on which of the two values is white; tifffile writes True as black.
            return pixels.astype(bool)
        if not stored and page.photometric == _MINISWHITE and pixels.dtype == np.uint8:
            pixels = np.iinfo(np.uint8).max - pixels
        return pixels

    return finish


def _reader(
    axes: _Axes, window: Window, finish: Callable[[Pixels], Pixels]
) -> Callable[[tuple[int, ...], slice, slice], Pixels]:
    """Return a function that reads by indices along the axes of a scene, not by file planes."""
    rows_axis = axes.rows

    def read(index: tuple[int, ...], rows: slice, columns: slice) -> Pixels:
        place = [0] * len(axes.lengths)
        for axis, number in zip(axes.others, index, strict=True):
            place[axis] = number

        def pixels_of(colour: int) -> Pixels:
            """Return pixels of shape (h, w, samples)."""
            if axes.colours is not None:
                place[axes.colours] = colour
            return window(_flat(place[:rows_axis], axes.lengths[:rows_axis]), rows, columns)

        if axes.colours is None:
            after = axes.lengths[rows_axis + 2 :]
            return finish(pixels_of(0)[:, :, _flat(place[rows_axis + 2 :], after)])
        if axes.colours > rows_axis:
            return finish(pixels_of(0))
        parts = [pixels_of(colour) for colour in range(axes.lengths[axes.colours])]
        return finish(np.concatenate(parts, axis=2))

    return read


def _flat(place: Sequence[int], lengths: Sequence[int]) -> int:
    """Return the flat index of an element of an array in C order."""
    number = 0
    for index, length in zip(place, lengths, strict=True):
        number = number * length + index
    return number
