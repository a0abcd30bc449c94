"""Reader for whole-slide images other than TIFF, such as MIRAX, with OpenSlide."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nucseg.errors import InputError, MissingExtraError
from nucseg.images.planes import Scene
from nucseg.images.source import Pixels
from nucseg.images.units import pixel_size

if TYPE_CHECKING:
    import openslide

# Slides that are TIFF files (SVS, NDPI, SCN, BIF) are read as TIFF.
SLIDE_SUFFIXES = frozenset({".mrxs", ".vms", ".vmu", ".svslide"})


def open_slide(path: Path) -> list[Scene]:
    """Read the structure of a whole-slide image. Pixels are read later, tile by tile.

    Parameters
    ----------
    path : Path
        Main file of the slide; other files are beside it.

    Returns
    -------
    list of Scene
        One scene, at full resolution, RGB. Areas that were not scanned have the background colour
        declared in the file, or white.

    Raises
    ------
    InputError
        OpenSlide does not support the slide, or files of it are missing.
    MissingExtraError
        OpenSlide is not installed.
    """
    try:
        import openslide
    except (ImportError, OSError) as error:
        raise MissingExtraError(f"{path} is a whole slide. Reading it", "formats") from error
    try:
        with openslide.OpenSlide(path) as slide:
            properties = dict(slide.properties)
            width, height = slide.dimensions
    except openslide.OpenSlideError as error:
        raise _unreadable(path, error) from error
    sizes = [
        float(properties.get(f"openslide.mpp-{axis}", "nan").replace(",", ".")) for axis in "yx"
    ]
    colour = bytes.fromhex(properties.get("openslide.background-color", "FFFFFF"))

    @lru_cache(maxsize=1)
    def opened() -> openslide.OpenSlide:
        return openslide.OpenSlide(path)

    def read(_: tuple[int, ...], rows: slice, columns: slice) -> Pixels:
        size = (columns.stop - columns.start, rows.stop - rows.start)
        try:
            region = np.asarray(opened().read_region((columns.start, rows.start), 0, size))
        except openslide.OpenSlideError as error:
            raise _unreadable(path, error) from error
        alpha = region[:, :, 3:].astype(np.uint16)
        blended = region[:, :, :3] * alpha + np.array(list(colour), np.uint16) * (255 - alpha)
        return ((blended + 127) // 255).astype(np.uint8)

    return [
        Scene(
            axes="",
            lengths=(),
            size=(height, width),
            samples=3,
            dtype=np.dtype("u1"),
            pixel_size=pixel_size(*sizes),
            read=read,
        )
    ]


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} is no slide that OpenSlide can read ({error}). Copy it again with all files and "
        "folders that lie beside it."
    )
