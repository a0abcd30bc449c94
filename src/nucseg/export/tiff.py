"""Images of one channel as compressed TIFF with their pixel size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.files import whole_file

_MICROMETRES_PER_CENTIMETRE = 10_000
_IMAGEJ_DTYPES = (np.uint8, np.uint16, np.float32)
# ImageJ's TIFF files are no BigTIFF; a little is left for what is not pixels.
_IMAGEJ_BYTES = 2**32 - 2**25


def write_tiff(
    path: Path, pixels: npt.NDArray[Any], pixel_size: tuple[float, float] | None
) -> None:
    """Write an image as compressed TIFF, whole or not at all.

    Deflate is the compression, since tifffile and all others read it without further packages.

    Parameters
    ----------
    path : Path
    pixels : ndarray, shape (H, W)
    pixel_size : tuple of float or None
        Micrometres from pixel to pixel along rows and columns.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    import tifffile

    options: dict[str, Any] = {}
    if pixel_size is not None:
        down, across = pixel_size
        if pixels.dtype in _IMAGEJ_DTYPES and pixels.nbytes < _IMAGEJ_BYTES:
            # ImageJ's own way, so that it measures in µm; its files have no 32-bit integers.
            options = {
                "imagej": True,
                "metadata": {"unit": "um", "axes": "YX"},
                "resolution": (1 / across, 1 / down),
            }
        else:
            options = {
                "resolutionunit": "CENTIMETER",
                "resolution": (
                    _MICROMETRES_PER_CENTIMETRE / across,
                    _MICROMETRES_PER_CENTIMETRE / down,
                ),
            }
    # Through memory, since a full disk then shows as such and not as an odd error of the library.
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, compression="zlib", photometric="minisblack", **options)
    with whole_file(path) as partial:
        partial.write_bytes(buffer.getbuffer())
