"""Which measurements classes are told apart by, brought to scales on which they are alike."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError

Floats = npt.NDArray[np.float64]
Table = Mapping[str, npt.NDArray[Any]]
PixelSize = Sequence[float]
Transform = Literal["log", "none"]

# Sizes, with the power of a length that each is. Their logarithms are taken: nuclei of twice the
# size differ as much from the usual ones as those of half the size.
SIZES = {"area": 2, "perimeter": 1, "major_axis": 1, "minor_axis": 1}
RATIOS = ("eccentricity", "solidity", "form_factor")
# Mean and standard deviation of each channel. Other statistics of intensities say nearly the same,
# and with few examples each further feature costs accuracy.
_INTENSITY = re.compile(r"intensity_(mean|std)(_\d+)?")
_MEAN = re.compile(r"intensity_mean(_\d+)?")


def feature_names(columns: Iterable[str]) -> list[str]:
    """Names of the columns that are features: sizes, shapes and intensities.

    Positions, labels, scores, orientations and what depends on neighbours are none.

    Examples
    --------
    >>> feature_names(["label", "centroid_row", "area", "intensity_mean", "intensity_max"])
    ['area', 'intensity_mean']
    """
    return [name for name in columns if name in SIZES or name in RATIOS or _is_intensity(name)]


def _is_intensity(name: str) -> bool:
    return _INTENSITY.fullmatch(name) is not None


def channels(columns: Iterable[str]) -> int:
    """Count the channels that were measured."""
    return sum(_MEAN.fullmatch(name) is not None for name in columns)


def transform_of(name: str) -> Transform:
    """How the values of a feature are changed before they are scaled."""
    return "log" if name in SIZES else "none"


def feature_values(
    table: Table,
    names: Sequence[str],
    *,
    pixel_size: PixelSize | None = None,
    reference: PixelSize | None = None,
) -> Floats:
    """Read features out of a table of measurements.

    Parameters
    ----------
    table : mapping of str to ndarray, shape (N,)
        As `nucseg.measure.measure` gives it; sizes in pixels.
    names : sequence of str
        Of `feature_names`.
    pixel_size, reference : sequence of two floats, optional
        Micrometres from pixel to pixel of this image, and those at which sizes shall be given.
        Where one is not known, sizes stay in pixels.

    Returns
    -------
    ndarray, shape (N, F), float64
        NaN where a value is missing or infinite. Sizes are logarithms.

    Raises
    ------
    InputError
        The table lacks a feature, or is of an image with another number of channels.

    Examples
    --------
    >>> feature_values({"area": np.array([100, 0]), "solidity": np.array([0.5, 1])}, ["solidity"])
    array([[0.5],
           [1. ]])
    """
    _check_measured(table, names)
    enlarged = _ratio(pixel_size, reference)
    columns = []
    for name in names:
        values = np.asarray(table[name], np.float64)
        if name in SIZES:
            values = np.where(values > 0, values, np.nan)
            values = np.log(values) + SIZES[name] * math.log(enlarged)
        columns.append(np.where(np.isfinite(values), values, np.nan))
    return np.stack(columns, axis=1)


def _check_measured(table: Table, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in table]
    wanted, there = channels(names), channels(table)
    if wanted != there:
        raise InputError(
            f"The classes were trained on images with {_counted(wanted)}, and of this image "
            f"{_counted(there, measured=True)}. Use images with the same channels, or train "
            "classes on images like this one."
        )
    if missing:
        raise InputError(
            f"The classes need the measurement {missing[0]}, which is not among those of this "
            f"image: {', '.join(feature_names(table)) or 'none that is a feature'}. Measure it, or "
            "train classes without it."
        )


def _counted(count: int, *, measured: bool = False) -> str:
    noun = "channel" if count == 1 else "channels"
    were = (" was measured" if count == 1 else " were measured") if measured else ""
    return f"{count} {noun}{were}"


def _ratio(pixel_size: PixelSize | None, reference: PixelSize | None) -> float:
    """How many times larger pixels are than those of reference, along a side."""
    if pixel_size is None or reference is None:
        return 1.0
    return math.sqrt(math.prod(pixel_size) / math.prod(reference))
