"""Units of length, and plausible pixel sizes."""

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
    """Return a unit of length in micrometres; None if it is not a unit of length."""
    # ImageJ escapes the micro sign, and two different characters look like it.
    name = str(unit).replace("\\u00B5", "µ").replace("\u03bc", "µ").strip().lower()
    return _MICROMETRES.get(name.replace("metre", "meter"))


def pixel_size(down: object, across: object) -> PixelSize | None:
    """Return the pixel size from values in a file; None unless both are lengths above 0.

    Parameters
    ----------
    down, across : object
        Pixel size in µm along rows and columns, if they are numbers.

    Returns
    -------
    tuple of float or None
    """
    sizes = [float(each) for each in (down, across) if isinstance(each, (int, float))]
    if len(sizes) != 2 or not all(0 < each < math.inf for each in sizes):
        return None
    return sizes[0], sizes[1]


def plausible(size: PixelSize | None) -> PixelSize | None:
    """Return the pixel size if it is plausible for a light microscope image of nuclei.

    This is the only rule for plausible pixel sizes, whatever their source.

    Parameters
    ----------
    size : tuple of float or None
        Pixel size in µm.

    Returns
    -------
    tuple of float or None
        None unless it is between 0.01 and 10 µm; the resolution of a screen or a printer is not.
    """
    low, high = PIXEL_SIZES
    return size if size is not None and all(low <= each <= high for each in size) else None


def implausible_warning(size: PixelSize) -> str:
    """Return a warning that the pixel size in a file is not used."""
    low, high = PIXEL_SIZES
    return (
        f"Pixel size: the file states {size[0]:.4g} by {size[1]:.4g} µm, and images that show "
        f"nuclei have {low:g} to {high:g}. It is not used. Give --pixel-size."
    )
