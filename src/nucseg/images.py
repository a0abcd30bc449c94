"""From an image file to its pixels and their size."""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError, MissingExtraError
from nucseg.files import png_fault

Pixels = npt.NDArray[Any]
PixelSize = tuple[float, float]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
KINDS = "a PNG, JPEG, BMP or TIFF image"

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAX_TIFF_PIXELS = 2**30
_MICROMETRES = {
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "µm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "inch": 25_400.0,
    "in": 25_400.0,
}
# Resolution tags often say no more than the dots per inch of a screen or a printer. Outside of
# this range no light microscope image shows nuclei, so that such a tag is no pixel size.
_PLAUSIBLE_MICROMETRES = (0.01, 10.0)
# What the decoders raise on files that are cut short or damaged.
_DAMAGE = (
    ArithmeticError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
)

logger = logging.getLogger(__name__)


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


def read_image(path: Path) -> Image:
    """Read an image file.

    The format is told from the content. PNG, JPEG and BMP have no pixel size: what they say about
    resolution is meant for screens and printers. JPEG files are read as stored, without turning
    them by their orientation tag, so that labels lie on the pixels of the file.

    Parameters
    ----------
    path : Path
        A PNG, JPEG, BMP, TIFF or BigTIFF file of one plane, grey or with up to four channels.

    Returns
    -------
    Image

    Raises
    ------
    InputError
        The file is missing, not readable, not an image, damaged, or has more than one plane.
    MissingExtraError
        The compression of a TIFF file needs the ``formats`` extra.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, not an image. Give a file in it.")
    try:
        with path.open("rb") as file:
            pixels, pixel_size = _read(file, str(path))
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}. Check its name and folder.") from error
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    return Image(pixels, pixel_size, path)


def decode_image(data: bytes, name: str) -> Pixels:
    """Pixels of an image whose file is in memory, such as a member of a zip archive.

    Parameters
    ----------
    data : bytes
        Content of a file that `read_image` reads.
    name : str
        What error messages call it.

    Returns
    -------
    ndarray, shape (H, W) or (H, W, C)
        See `Image.pixels`.

    Raises
    ------
    InputError, MissingExtraError
        As `read_image`.
    """
    return _read(io.BytesIO(data), name)[0]


def _read(file: BinaryIO, name: str) -> tuple[Pixels, PixelSize | None]:
    start = file.read(512)
    file.seek(0)
    if not start:
        raise InputError(f"{name} is empty: it has zero bytes. Copy it again from its source.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if start.startswith(_TIFF_STARTS):
                pixels, pixel_size = _read_tiff(file, name)
            else:
                pixels, pixel_size = _read_picture(file, name), None
        except MemoryError as error:
            raise InputError(f"{name} is too large for the memory of this computer.") from error
    for warning in caught:
        logger.debug("%s: %s", name, warning.message)
    if pixels.size == 0:
        raise InputError(f"{name} has no pixels: its shape is {pixels.shape}.")
    return pixels, pixel_size


def _damaged(name: str, error: BaseException | str) -> InputError:
    return InputError(
        f"{name} is damaged or cut short ({error}). Copy it again from its source, or open and "
        "save it in an image editor to see what is left of it."
    )


def _read_picture(file: BinaryIO, name: str) -> Pixels:
    """Read PNG, JPEG or BMP."""
    import PIL.Image

    try:
        picture = PIL.Image.open(file, formats=("PNG", "JPEG", "BMP"))
        picture.load()
    except PIL.UnidentifiedImageError as error:
        raise _unknown_content(file, name) from error
    except PIL.Image.DecompressionBombError as error:
        raise InputError(
            f"{name} is too large: {error}. Cut it into smaller images, or save it as TIFF if it "
            "comes from a source that you trust."
        ) from error
    except _DAMAGE as error:
        raise _damaged(name, error) from error
    if picture.format == "PNG":
        file.seek(0)
        data = file.read()
        # Decoders go on with what they have: one wrong bit could give other pixels unnoticed.
        if fault := png_fault(data):
            raise _damaged(name, fault)
        if data[24] == 16 and data[25] != 0:
            # Pillow keeps 8 of the 16 bits of each colour.
            return _decode_with_opencv(data, name)
    return _pixels(picture)


def _pixels(picture: Any) -> Pixels:
    """Pixels of a Pillow image, in an order and a data type that others understand."""
    if picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    elif picture.mode not in ("L", "LA", "RGB", "RGBA", "I", "F") and picture.mode[:2] != "I;":
        picture = picture.convert("RGB")
    pixels = np.array(picture)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _unknown_content(file: BinaryIO, name: str) -> InputError:
    file.seek(0)
    start = file.read(512)
    # A multi-byte character may be cut at the end, which is no sign against text.
    text = b"\0" not in start and "\ufffd" not in start.decode(errors="replace")[:-3]
    looks = " It holds text." if text else ""
    return InputError(
        f"{name} is not {KINDS}, or its header is damaged.{looks} Check that its name is right, "
        "or export it as TIFF from the program that made it."
    )


def _decode_with_opencv(data: bytes, name: str) -> Pixels:
    import cv2

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise _damaged(name, "its pixels cannot be decoded")
    if pixels.ndim == 3:
        blue_green_red = [2, 1, 0, 3][: pixels.shape[2]]
        pixels = np.ascontiguousarray(pixels[:, :, blue_green_red])
    return np.asarray(pixels)


def _read_tiff(file: BinaryIO, name: str) -> tuple[Pixels, PixelSize | None]:
    import tifffile

    try:
        with tifffile.TiffFile(file) as tiff:
            if not tiff.series or not tiff.series[0].shape:
                raise InputError(f"{name} is a TIFF file without an image. Copy it again.")
            series = tiff.series[0]
            axes = _check_axes(series.get_axes(squeeze=True), series.get_shape(squeeze=True), name)
            size = file.seek(0, io.SEEK_END)
            for page in series.pages:
                if page is not None and _end_of_data(page) > size:
                    raise _damaged(name, f"it should have {_end_of_data(page)} bytes, has {size}")
            pixels = _tiff_pixels(series, file, name)
            if axes[0] != "Y":
                pixels = np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
            return pixels, _tiff_pixel_size(tiff, series.keyframe)
    except (tifffile.TiffFileError, *_DAMAGE) as error:
        raise _damaged(name, error) from error


def _check_axes(axes: str, shape: tuple[int, ...], name: str) -> str:
    """Axes where they are those of one plane of up to four channels."""
    if axes in ("YX", "YXS", "YXC", "CYX", "SYX"):
        rows, columns = shape[axes.index("Y")], shape[axes.index("X")]
        channels = int(np.prod(shape)) // max(rows * columns, 1)
        if channels > 4:
            raise InputError(
                f"{name} has {channels} channels, expected at most 4. Save the channel that shows "
                "the nuclei as an image of its own and segment that."
            )
        if rows * columns > _MAX_TIFF_PIXELS:
            raise InputError(
                f"{name} is too large: {rows} by {columns} pixels, at most {_MAX_TIFF_PIXELS} can "
                "be read at once. Cut it into smaller images."
            )
        return axes
    planes = ", ".join(f"{axis}: {length}" for axis, length in zip(axes, shape, strict=True))
    raise InputError(
        f"{name} holds more than one plane (its axes are {planes}), expected one plane of up to "
        "4 channels. Save the planes (z slices, time points, positions) as single images, or a "
        "projection of them, and segment those."
    )


def _end_of_data(page: Any) -> int:
    """Where the pixel data of a page end, in bytes from the start of the file."""
    return max(
        (int(a) + int(n) for a, n in zip(page.dataoffsets, page.databytecounts, strict=False)),
        default=0,
    )


def _tiff_pixels(series: Any, file: BinaryIO, name: str) -> Pixels:
    import tifffile

    page = series.keyframe
    try:
        pixels: Pixels = series.asarray()
    except (ImportError, ValueError) as error:
        if isinstance(error, ValueError) and "imagecodecs" not in str(error):
            raise
        return _tiff_pixels_without_imagecodecs(series, file, name)
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
        colours = np.moveaxis(page.colormap, 0, -1)[pixels]
        # A colour map has 16 bits, even where it tells no more than 8.
        return np.asarray((colours >> 8).astype(np.uint8) if page.bitspersample <= 8 else colours)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and pixels.dtype.kind == "u":
        pixels = np.iinfo(pixels.dtype).max - pixels
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _tiff_pixels_without_imagecodecs(series: Any, file: BinaryIO, name: str) -> Pixels:
    """Read what tifffile alone cannot decompress, through the codecs of Pillow and OpenCV."""
    import PIL.Image
    import tifffile

    page = series.keyframe
    missing = MissingExtraError(
        f"{name} is a TIFF file compressed as {page.compression.name}. Reading it", "formats"
    )
    if page.samplesperpixel > 1 and page.bitspersample > 8:
        # Pillow cannot read 16-bit colour; of the codecs in question OpenCV is built with LZW.
        if page.compression != tifffile.COMPRESSION.LZW or len(series.pages) > 1:
            raise missing
        file.seek(0)
        return _decode_with_opencv(file.read(), name)
    file.seek(0)
    try:
        picture = PIL.Image.open(file, formats=("TIFF",))
        planes = []
        for page in series.pages:
            picture.seek(page.index)
            planes.append(_pixels(picture))
    except PIL.Image.DecompressionBombError as error:
        raise missing from error
    except (PIL.UnidentifiedImageError, *_DAMAGE) as error:
        logger.debug("%s: Pillow: %s", name, error)
        raise missing from error
    return planes[0] if len(planes) == 1 else np.stack(planes)


def _tiff_pixel_size(tiff: Any, page: Any) -> PixelSize | None:
    """Pixel size from the metadata of OME or ImageJ, else from the resolution tags."""
    if tiff.is_ome:
        return _ome_pixel_size(tiff.ome_metadata)
    across, down = (_pixels_per_unit(page, tag) for tag in ("XResolution", "YResolution"))
    if not across or not down:
        return None
    if tiff.is_imagej:
        unit = _micrometres((tiff.imagej_metadata or {}).get("unit"))
        return None if unit is None else (unit / down, unit / across)
    unit = {2: 25_400.0, 3: 10_000.0}.get(int(page.tags.valueof("ResolutionUnit", 1)))
    low, high = _PLAUSIBLE_MICROMETRES
    if unit is None or not all(low <= unit / each <= high for each in (down, across)):
        return None
    return unit / down, unit / across


def _ome_pixel_size(xml: str) -> PixelSize | None:
    import tifffile

    image = tifffile.xml2dict(xml).get("OME", {}).get("Image", {})
    first = image[0] if isinstance(image, list) else image
    pixels: Mapping[str, Any] = first.get("Pixels", {})
    sizes = []
    for axis in "YX":
        value = pixels.get(f"PhysicalSize{axis}")
        unit = _micrometres(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        if unit is None or not isinstance(value, (int, float)) or not 0 < value < np.inf:
            return None
        sizes.append(float(value) * unit)
    return sizes[0], sizes[1]


def _pixels_per_unit(page: Any, tag: str) -> float | None:
    value = page.tags.valueof(tag)
    if not isinstance(value, tuple) or len(value) != 2 or not value[0] or not value[1]:
        return None
    return float(value[0]) / float(value[1])


def _micrometres(unit: object) -> float | None:
    """Micrometres in a unit of length."""
    # ImageJ writes the micro sign as an escape, and there are two characters that look like it.
    name = str(unit).replace("\\u00B5", "µ").replace("\u03bc", "µ").strip().lower()
    return _MICROMETRES.get(name)
