"""Units of length, and which pixel sizes are believed."""

from __future__ import annotations

import math

from nucseg.config import PIXEL_SIZES

PixelSize = tuple[float, float]

_MICROMETRES = {
    "å": 1e-4,
    "angstrom": 1e-4,
    "pm": 1e-6,
    "picometer": 1e-6,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "µm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "inch": 25_400.0,
    "in": 25_400.0,
}


def micrometres(unit: object) -> float | None:
    """Micrometres in a unit of length; None where it is none."""
    # ImageJ writes the micro sign as an escape, and there are two characters that look like it.
    name = str(unit).replace("\\u00B5", "µ").replace("\u03bc", "µ").strip().lower()
    return _MICROMETRES.get(name.replace("metre", "meter"))


def pixel_size(down: object, across: object) -> PixelSize | None:
    """Pixel size from what a file says; None unless both are lengths above 0.

    Parameters
    ----------
    down, across : object
        Micrometres from one pixel to the next along rows and columns, if they are numbers.

    Returns
    -------
    tuple of float or None
    """
    sizes = [float(each) for each in (down, across) if isinstance(each, (int, float))]
    if len(sizes) != 2 or not all(0 < each < math.inf for each in sizes):
        return None
    return sizes[0], sizes[1]


def plausible(size: PixelSize | None) -> PixelSize | None:
    """Pixel size, if it can be one of a light microscope image of nuclei.

    This is the one rule for what a pixel size is believed to be, wherever it comes from.

    Parameters
    ----------
    size : tuple of float or None
        In micrometres.

    Returns
    -------
    tuple of float or None
        None where it is not between 0.01 and 10 µm, as the resolution of a screen or a printer is.
    """
    low, high = PIXEL_SIZES
    return size if size is not None and all(low <= each <= high for each in size) else None


def implausible_warning(size: PixelSize) -> str:
    """Say that a pixel size that a file states is not used."""
    low, high = PIXEL_SIZES
    return (
        f"Pixel size: the file states {size[0]:.4g} by {size[1]:.4g} µm, and images that show "
        f"nuclei have {low:g} to {high:g}. It is not used. Give --pixel-size."
    )
