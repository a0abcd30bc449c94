"""Reader for TIFF compressions that tifffile alone cannot decode, with Pillow and OpenCV.

The base install has no imagecodecs; Pillow and OpenCV decode LZW and other compressions.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from nucseg.errors import MissingExtraError
from nucseg.images.faults import DAMAGE, quiet
from nucseg.images.planes import Opener, kept
from nucseg.images.raster import decode_with_opencv, to_pixels
from nucseg.images.source import Pixels
from nucseg.images.tiff_pixels import Pages, Window

if TYPE_CHECKING:
    import tifffile

logger = logging.getLogger(__name__)


def pillow_window(
    pages: Pages, keyframe: tifffile.TiffPage, open_file: Opener, name: str
) -> Window:
    """Return a reader for pages that are each decoded as a whole; large values are always white.

    Parameters
    ----------
    pages : sequence of TiffPage, TiffFrame or None
    keyframe : TiffPage
    open_file : callable
    name : str
        Name of the file in error messages, which are raised with the first window.
    """
    separate = int(keyframe.shaped[0])
    indices = [None if page is None else page.index for page in pages]

    @lru_cache(maxsize=1)
    def page_pixels(index: int) -> Pixels:
        pixels = kept(_decode(index, keyframe, open_file, name))
        return pixels if pixels.ndim == 3 else pixels[:, :, None]

    def window(number: int, rows: slice, columns: slice) -> Pixels:
        page, sample = divmod(number, separate)
        index = indices[page]
        if index is None:
            shape = (rows.stop - rows.start, columns.stop - columns.start, keyframe.shaped[4])
            return np.zeros(shape, keyframe.dtype)
        pixels = page_pixels(index)[rows, columns]
        return pixels if separate == 1 else pixels[:, :, sample : sample + 1]

    return window


def _decode(index: int, page: tifffile.TiffPage, open_file: Opener, name: str) -> Pixels:
    import PIL.Image
    import tifffile

    missing = MissingExtraError(
        f"{name} is a TIFF file compressed as {_compression(page)}. Reading it", "formats"
    )
    with quiet(name), open_file() as file:
        if page.samplesperpixel > 1 and page.bitspersample > 8:
            # Pillow cannot read 16-bit colour; OpenCV can, of these codecs only for LZW.
            if page.compression != tifffile.COMPRESSION.LZW or index > 0:
                raise missing
            return decode_with_opencv(file.read(), name)
        try:
            picture = PIL.Image.open(file, formats=("TIFF",))
            picture.seek(index)
            # For a palette, the indices, as tifffile would return them.
            pixels = np.array(picture) if picture.mode == "P" else to_pixels(picture)
        except (PIL.UnidentifiedImageError, PIL.Image.DecompressionBombError, *DAMAGE) as error:
            logger.debug("%s: Pillow: %s", name, error)
            raise missing from error
    # Pillow has fewer integer types, with the same bits.
    return pixels if page.bitspersample == 1 else pixels.astype(page.dtype)


def _compression(page: tifffile.TiffPage) -> str:
    return getattr(page.compression, "name", str(page.compression))
