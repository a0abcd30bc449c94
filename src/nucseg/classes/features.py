"""Features of the classifier: measurements, transformed to comparable scales."""

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

# Sizes, with their power of length. Their logarithms are used: nuclei twice as large differ as much
# from typical nuclei as those half as large.
SIZES = {"area": 2, "perimeter": 1, "major_axis": 1, "minor_axis": 1}
RATIOS = ("eccentricity", "solidity", "form_factor")
# Mean and standard deviation of each channel. Other intensity statistics are nearly redundant, and
# with few examples each further feature reduces the accuracy.
_INTENSITY = re.compile(r"intensity_(mean|std)(_\d+)?")
_MEAN = re.compile(r"intensity_mean(_\d+)?")


def feature_names(columns: Iterable[str]) -> list[str]:
    """Return the columns that are features: sizes, shapes and intensities.

    Positions, labels, scores, orientations and distances to neighbours are not features.

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
    """Return the transform of a feature, which is applied before scaling."""
    return "log" if name in SIZES else "none"


def feature_values(
    table: Table,
    names: Sequence[str],
    *,
    pixel_size: PixelSize | None = None,
    reference: PixelSize | None = None,
) -> Floats:
    """Extract features from a table of measurements.

    Parameters
    ----------
    table : mapping of str to ndarray, shape (N,)
        Measurements, as returned by `nucseg.measure.measure`, with sizes in pixels.
    names : sequence of str
        Feature names, from `feature_names`.
    pixel_size, reference : sequence of two floats, optional
        Pixel size of this image, and pixel size to which sizes are converted, in µm along rows and
        columns. If either is unknown, sizes stay in pixels.

    Returns
    -------
    ndarray, shape (N, F), float64
        Features. NaN for missing and infinite values. Sizes are logarithms.

    Raises
    ------
    InputError
        The table lacks a feature, or its image has a different number of channels.

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
    """Return the pixel size relative to the reference, along a side."""
    if pixel_size is None or reference is None:
        return 1.0
    return math.sqrt(math.prod(pixel_size) / math.prod(reference))
