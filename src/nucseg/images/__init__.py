"""Read image files: pixels and pixel size, as a whole or window by window."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from nucseg.errors import InputError
from nucseg.images.faults import quiet, reading
from nucseg.images.omezarr import is_zarr, open_zarr
from nucseg.images.planes import (
    Channel,
    Opener,
    Projection,
    Scene,
    channel_names,
    describe,
    sources,
)
from nucseg.images.raster import KINDS, open_raster
from nucseg.images.slides import SLIDE_SUFFIXES, open_slide
from nucseg.images.source import Chosen, Pixels, Source
from nucseg.images.stains import nuclear_channel
from nucseg.images.tiff import TIFF_STARTS, open_tiff
from nucseg.images.units import PixelSize
from nucseg.images.vendors import VENDOR_SUFFIXES, vendor_reader

__all__ = [
    "IMAGE_SUFFIXES",
    "INPUT_SUFFIXES",
    "KINDS",
    "Channel",
    "Chosen",
    "Image",
    "PixelSize",
    "Pixels",
    "Projection",
    "Source",
    "channels_of",
    "decode_image",
    "files_of",
    "is_zarr",
    "nuclear_channel",
    "open_image",
    "read_image",
    "read_plane",
]

# Suffixes that `decode_image` and data sets support too.
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
# Suffixes of image files in a folder; image folders are recognized by `is_zarr`.
INPUT_SUFFIXES = (
    IMAGE_SUFFIXES
    | frozenset({".tf2", ".tf8", ".btf", ".svs", ".ndpi", ".scn", ".bif"})
    | SLIDE_SUFFIXES
    | VENDOR_SUFFIXES
)
_MAX_PIXELS = 2**30


@dataclass(frozen=True)
class Image:
    """An image as stored in its file.

    Attributes
    ----------
    pixels : ndarray, shape (H, W) or (H, W, C)
        Pixels in the data type of the file. Colours are in the order red, green, blue and
        optionally alpha.
    pixel_size : tuple of float or None
        Pixel size in µm along rows (downwards) and columns. None if the file has no pixel size.
    path : Path
        Path of the file.
    """

    pixels: Pixels
    pixel_size: PixelSize | None
    path: Path


def open_image(
    path: str | Path,
    *,
    channel: Channel = None,
    project: Projection = "none",
    as_labels: bool = False,
) -> list[Source]:
    """Open an image file of any supported format, to read it in windows.

    The format is recognized by the content of the file; that of whole-slide images other than TIFF
    and of OME-Zarr, by the name. PNG, JPEG and BMP have no pixel size: their resolution refers to
    screens and printers. JPEG files are read as stored, without rotation by their orientation tag,
    so that labels match the pixels of the file.

    Parameters
    ----------
    path : str or Path
        PNG, JPEG, BMP, TIFF, BigTIFF, or with the ``formats`` extra OME-Zarr (a folder), a
        whole-slide image, CZI, ND2 or LIF.
    channel : str, int or None
        Name or number (from 0) of the channel to read. Default: the channel with the name of a
        nuclear stain (see `nuclear_channel`), otherwise all channels, of which there may be 4. For
        colours, the name of the colour.
    project : {"none", "max"}
        Whether to project the slices of a z-stack to one plane, their maximum.
    as_labels : bool
        Whether the pixels are numbers, as in a label image. If so, a palette image gives indices,
        not colours, a TIFF file gives the stored values even if it declares that 0 is white, and a
        TIFF file of 1 bit gives bool.

    Returns
    -------
    list of Source
        The planes: one for each scene, time point and z-slice.

    Raises
    ------
    InputError
        The file is missing, not readable, not an image or damaged. Or the channel does not exist,
        or the file has more than 4 channels without the name of a nuclear stain.
    MissingExtraError
        The file needs the ``formats`` extra.

    Examples
    --------
    >>> import tempfile, numpy as np, tifffile
    >>> path = Path(tempfile.mkdtemp(), "stack.ome.tif")
    >>> pixels = np.arange(2 * 2 * 6 * 8, dtype=np.uint8).reshape(2, 2, 6, 8)
    >>> about = {"axes": "ZCYX", "Channel": {"Name": ["GFP", "DAPI"]}}
    >>> tifffile.imwrite(path, pixels, metadata=about)
    >>> lower, upper = open_image(path)
    >>> upper.plane, upper.shape, upper.channel
    ('z001', (6, 8), 'DAPI')
    >>> upper[2:4, :3].tolist() == pixels[1, 1, 2:4, :3].tolist()
    True
    """
    path = Path(path)
    return sources(path, _scenes(path, as_labels=as_labels), channel, project)


def channels_of(path: str | Path) -> list[str]:
    """List the channels of a file, or its colours, to choose one for `open_image`.

    Parameters
    ----------
    path : str or Path
        A file as in `open_image`.

    Returns
    -------
    list of str
        Names of the channels of the first scene, in their order. The name is empty if the file has
        no name for a channel.

    Raises
    ------
    InputError, MissingExtraError
        See `open_image`.

    Examples
    --------
    >>> import tempfile, numpy as np, tifffile
    >>> path = Path(tempfile.mkdtemp(), "colours.tif")
    >>> tifffile.imwrite(path, np.zeros((5, 6, 3), np.uint8), photometric="rgb")
    >>> channels_of(path)
    ['red', 'green', 'blue']
    """
    return channel_names(_scenes(Path(path))[0])


def read_image(path: str | Path, *, channel: Channel = None, as_labels: bool = False) -> Image:
    """Read an image file with one plane.

    Parameters
    ----------
    path : str or Path
        A file as in `open_image`.
    channel : str, int or None
        See `open_image`.
    as_labels : bool
        See `open_image`.

    Returns
    -------
    Image

    Raises
    ------
    InputError
        As in `open_image`, or the file has more than one plane or too many pixels to read at once.
    MissingExtraError
        The file needs the ``formats`` extra.
    """
    path = Path(path)
    return read_plane(_only(path, _scenes(path, as_labels=as_labels), channel))


def read_plane(source: Source) -> Image:
    """Read a whole plane.

    Raises
    ------
    InputError
        As in `Source`, or the plane has too many pixels to read at once.
    """
    rows, columns = source.shape[:2]
    if rows * columns > _MAX_PIXELS:
        raise InputError(
            f"{source.path} is too large: {rows} by {columns} pixels, at most {_MAX_PIXELS} can "
            "be read at once. Cut it into smaller images."
        )
    return Image(source[:, :], source.pixel_size, source.path)


def decode_image(data: bytes, name: str, *, as_labels: bool = False) -> Pixels:
    """Decode an image whose file is in memory, such as a member of a zip archive.

    Parameters
    ----------
    data : bytes
        Content of a PNG, JPEG, BMP or TIFF file with one plane.
    name : str
        Name of the file in error messages.
    as_labels : bool
        See `open_image`.

    Returns
    -------
    ndarray, shape (H, W) or (H, W, C)
        See `Image.pixels`.

    Raises
    ------
    InputError, MissingExtraError
        See `read_image`.
    """
    with quiet(name), reading(name):
        scenes = _decodable(lambda: io.BytesIO(data), name, as_labels=as_labels)
    return read_plane(_only(Path(name), scenes, None)).pixels


def files_of(path: Path) -> list[Path]:
    """List all files of an image, sorted.

    Parameters
    ----------
    path : Path
        A file as in `open_image`.

    Returns
    -------
    list of Path
        For most formats the file itself; all files in the folder of an OME-Zarr image; for a MIRAX
        slide, the file and all files in the folder beside it.
    """
    if path.is_dir():
        return sorted(each for each in path.rglob("*") if each.is_file())
    beside = path.with_suffix("")
    if path.suffix.lower() == ".mrxs" and beside.is_dir():
        return [path, *files_of(beside)]
    return [path]


def _scenes(path: Path, *, as_labels: bool = False) -> list[Scene]:
    with quiet(str(path)), reading(str(path)):
        if path.is_dir():
            if is_zarr(path):
                return open_zarr(path)
            raise InputError(f"{path} is a folder, not an image. Give a file in it.")
        if path.exists() and not path.is_file():
            # Opening a pipe without a writer would block forever.
            raise InputError(f"{path} is no file but a pipe or a device. Give an image file.")
        with path.open("rb") as file:
            start = file.read(16)
        if path.suffix.lower() in SLIDE_SUFFIXES:
            return open_slide(path)
        if reader := vendor_reader(start):
            return reader(path)
        return _decodable(lambda: path.open("rb"), str(path), as_labels=as_labels)


def _decodable(open_file: Opener, name: str, *, as_labels: bool) -> list[Scene]:
    """Return the scenes of a TIFF, PNG, JPEG or BMP file."""
    with open_file() as file:
        start = file.read(4)
    if not start:
        raise InputError(f"{name} is empty: it has zero bytes. Copy it again from its source.")
    opener = open_tiff if start in TIFF_STARTS else open_raster
    return opener(open_file, name, as_labels=as_labels)


def _only(path: Path, scenes: list[Scene], channel: Channel) -> Source:
    found = sources(path, scenes, channel)
    if len(found) > 1:
        raise InputError(
            f"{path} holds more than one plane (its axes are {describe(scenes)}), expected one "
            "plane of up to 4 channels. Save the planes (z slices, time points, positions) as "
            "single images, or a projection of them, and segment those."
        )
    return found[0]
