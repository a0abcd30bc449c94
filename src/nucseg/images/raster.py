"""Reader for PNG, JPEG and BMP, with Pillow."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np

from nucseg.errors import InputError
from nucseg.files import png_fault
from nucseg.images.faults import DAMAGE, damaged, quiet
from nucseg.images.planes import Opener, Scene, kept
from nucseg.images.source import Pixels

KINDS = "a PNG, JPEG, BMP or TIFF image"

# Data type and number of samples of Pillow's modes; other modes are converted to RGB.
_MODES: dict[str, tuple[str, int]] = {
    "1": ("u1", 1),
    "L": ("u1", 1),
    "LA": ("u1", 2),
    "RGB": ("u1", 3),
    "RGBA": ("u1", 4),
    "I": ("i4", 1),
    "F": ("f4", 1),
}


def open_raster(open_file: Opener, name: str, *, as_labels: bool = False) -> list[Scene]:
    """Read the header of a PNG, JPEG or BMP file. Pixels are read with the first window.

    Parameters
    ----------
    open_file : callable
        Returns the file, opened for reading.
    name : str
        Name of the file in error messages.
    as_labels : bool
        Whether to return the indices of a palette instead of its colours.

    Returns
    -------
    list of Scene
        One scene.

    Raises
    ------
    InputError
        The file has another format, or its declared size is too large.
    """
    with open_file() as file:
        head = file.read(26)
        file.seek(0)
        picture = _open(file, name)
        indexed = as_labels and picture.mode == "P"
        mode, (width, height) = "L" if indexed else _mode(picture), picture.size
    if head.startswith(b"\x89PNG") and head[24] == 16 and head[25] != 0:
        # Pillow keeps only 8 of the 16 bits of each colour.
        decode, dtype, samples = _decode_deep_png, "u2", 3 if head[25] == 2 else 4
    else:
        decode = _decode_numbers if indexed else _decode
        dtype, samples = _MODES.get(mode, ("u2" if mode[:2] == "I;" else "u1", 1))

    @lru_cache(maxsize=1)
    def whole() -> Pixels:
        return kept(decode(open_file, name))

    def read(_: tuple[int, ...], rows: slice, columns: slice) -> Pixels:
        if (rows, columns) == (slice(0, height), slice(0, width)):
            return decode(open_file, name)
        return whole()[rows, columns]

    return [
        Scene(
            axes="",
            lengths=(),
            size=(height, width),
            samples=samples,
            dtype=np.dtype(dtype),
            pixel_size=None,
            read=read,
            lazy=False,
        )
    ]


def _open(file: BinaryIO, name: str) -> Any:
    import PIL.Image

    try:
        return PIL.Image.open(file, formats=("PNG", "JPEG", "BMP"))
    except PIL.UnidentifiedImageError as error:
        raise _unknown_content(file, name) from error
    except PIL.Image.DecompressionBombError as error:
        raise InputError(
            f"{name} is too large: {error}. Cut it into smaller images, or save it as TIFF if it "
            "comes from a source that you trust."
        ) from error
    except DAMAGE as error:
        raise damaged(name, error) from error


def _decode(open_file: Opener, name: str) -> Pixels:
    with quiet(name), open_file() as file:
        _check_png(file, name)
        picture = _open(file, name)
        picture.load()
        return to_pixels(picture)


def _decode_numbers(open_file: Opener, name: str) -> Pixels:
    """Return the indices of the colours in a palette."""
    with quiet(name), open_file() as file:
        _check_png(file, name)
        picture = _open(file, name)
        picture.load()
        return np.array(picture)


def _check_png(file: BinaryIO, name: str) -> None:
    """Reject an incomplete or corrupt PNG file.

    Decoders continue with the data they have, so one wrong bit could change pixels unnoticed. They
    also allocate memory for a chunk of any length before they notice that the file is shorter.
    """
    is_png = file.read(4) == b"\x89PNG"
    file.seek(0)
    if is_png and (fault := png_fault(file.read())):
        raise damaged(name, fault)
    file.seek(0)


def _decode_deep_png(open_file: Opener, name: str) -> Pixels:
    with quiet(name), open_file() as file:
        _check_png(file, name)
        _open(file, name).load()
        file.seek(0)
        return decode_with_opencv(file.read(), name)


def _mode(picture: Any) -> str:
    """Return the mode that `to_pixels` converts a Pillow image to."""
    if picture.mode == "1":
        return "L"
    if picture.mode in ("P", "PA"):
        return "RGBA" if picture.has_transparency_data else "RGB"
    return picture.mode if picture.mode in _MODES or picture.mode[:2] == "I;" else "RGB"


def to_pixels(picture: Any) -> Pixels:
    """Convert a Pillow image to an array with a common channel order and data type."""
    mode = _mode(picture)
    pixels = np.array(picture if picture.mode == mode else picture.convert(mode))
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _unknown_content(file: BinaryIO, name: str) -> InputError:
    file.seek(0)
    start = file.read(512)
    # A multi-byte character may be cut at the end of text, so the last characters are ignored.
    text = b"\0" not in start and "\ufffd" not in start.decode(errors="replace")[:-3]
    looks = " It holds text." if text else ""
    return InputError(
        f"{name} is not {KINDS}, or its header is damaged.{looks} Check that its name is right, "
        "or export it as TIFF from the program that made it."
    )


def decode_with_opencv(data: bytes, name: str) -> Pixels:
    """Decode the pixels of a PNG or TIFF file of 16-bit colours."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise damaged(name, "its pixels cannot be decoded")
    if pixels.ndim == 3:
        blue_green_red = [2, 1, 0, 3][: pixels.shape[2]]
        pixels = np.ascontiguousarray(pixels[:, :, blue_green_red])
    return np.asarray(pixels)
