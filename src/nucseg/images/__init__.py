"""From an image file to its pixels and their size, whole or window by window."""

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

# What `decode_image` reads too, and what data sets are made of.
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
# Files in a folder that are taken for images to open; folders by `is_zarr`.
INPUT_SUFFIXES = (
    IMAGE_SUFFIXES
    | frozenset({".tf2", ".tf8", ".btf", ".svs", ".ndpi", ".scn", ".bif"})
    | SLIDE_SUFFIXES
    | VENDOR_SUFFIXES
)
_MAX_PIXELS = 2**30


@dataclass(frozen=True)
class Image:
    """An image as it lies in its file.

    Attributes
    ----------
    pixels : ndarray, shape (H, W) or (H, W, C)
        In the data type of the file, colours in the order red, green, blue and, where there is
        one, alpha.
    pixel_size : tuple of float or None
        Micrometres from one pixel to the next along rows (downwards) and columns; None where the
        file does not tell.
    path : Path
        The file.
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
    """Open an image file of any kind, to be read by windows.

    The format is told from the content, that of slides without a TIFF in them and of OME-Zarr from
    the name. PNG, JPEG and BMP have no pixel size: what they say about resolution is meant for
    screens and printers. JPEG files are read as stored, without turning them by their orientation
    tag, so that labels lie on the pixels of the file.

    Parameters
    ----------
    path : str or Path
        PNG, JPEG, BMP, TIFF, BigTIFF, or with the ``formats`` extra OME-Zarr (a folder), a whole
        slide, CZI, ND2 or LIF.
    channel : str, int or None
        Name or number (from 0) of the channel to read; by default the one whose name says that
        it shows nuclei (see `nuclear_channel`), else all, which may be 4. Of colours, their name.
    project : {"none", "max"}
        Whether the slices of a z-stack become one plane, their largest values.
    as_labels : bool
        Whether the pixels are numbers, as of a label image: of a palette the numbers, not the
        colours, and of TIFF files what is stored, although they say that 0 is white. TIFF files of
        1 bit give bool.

    Returns
    -------
    list of Source
        The planes: one for each scene, time point and slice.

    Raises
    ------
    InputError
        The file is missing, not readable, not an image or damaged, or has no such channel, or
        more than 4 none of which is called as nuclei are.
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
    """Name the channels of a file, or its colours, to choose one of for `open_image`.

    Parameters
    ----------
    path : str or Path
        A file as for `open_image`.

    Returns
    -------
    list of str
        Those of its first scene, in their order; empty names where the file has none.

    Raises
    ------
    InputError, MissingExtraError
        As `open_image`.

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
    """Read an image file of one plane.

    Parameters
    ----------
    path : str or Path
        A file as for `open_image`.
    channel : str, int or None
        As for `open_image`.
    as_labels : bool
        As for `open_image`.

    Returns
    -------
    Image

    Raises
    ------
    InputError
        As `open_image`, and where the file has more than one plane, or too many pixels to be read
        at once.
    MissingExtraError
        The file needs the ``formats`` extra.
    """
    path = Path(path)
    return read_plane(_only(path, _scenes(path, as_labels=as_labels), channel))


def read_plane(source: Source) -> Image:
    """Read all of a plane.

    Raises
    ------
    InputError
        As `Source`, and where the plane has too many pixels to be read at once.
    """
    rows, columns = source.shape[:2]
    if rows * columns > _MAX_PIXELS:
        raise InputError(
            f"{source.path} is too large: {rows} by {columns} pixels, at most {_MAX_PIXELS} can "
            "be read at once. Cut it into smaller images."
        )
    return Image(source[:, :], source.pixel_size, source.path)


def decode_image(data: bytes, name: str, *, as_labels: bool = False) -> Pixels:
    """Pixels of an image whose file is in memory, such as a member of a zip archive.

    Parameters
    ----------
    data : bytes
        Content of a PNG, JPEG, BMP or TIFF file of one plane.
    name : str
        What error messages call it.
    as_labels : bool
        As for `open_image`.

    Returns
    -------
    ndarray, shape (H, W) or (H, W, C)
        See `Image.pixels`.

    Raises
    ------
    InputError, MissingExtraError
        As `read_image`.
    """
    with quiet(name), reading(name):
        scenes = _decodable(lambda: io.BytesIO(data), name, as_labels=as_labels)
    return read_plane(_only(Path(name), scenes, None)).pixels


def files_of(path: Path) -> list[Path]:
    """List all files that an image consists of, sorted.

    Parameters
    ----------
    path : Path
        As for `open_image`.

    Returns
    -------
    list of Path
        The file itself, for most formats; all in the folder of an OME-Zarr image, or in that beside
        a MIRAX slide too.
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
            # To open a pipe that nobody writes to would take for ever.
            raise InputError(f"{path} is no file but a pipe or a device. Give an image file.")
        with path.open("rb") as file:
            start = file.read(16)
        if path.suffix.lower() in SLIDE_SUFFIXES:
            return open_slide(path)
        if reader := vendor_reader(start):
            return reader(path)
        return _decodable(lambda: path.open("rb"), str(path), as_labels=as_labels)


def _decodable(open_file: Opener, name: str, *, as_labels: bool) -> list[Scene]:
    """Scenes of a TIFF, PNG, JPEG or BMP file."""
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
