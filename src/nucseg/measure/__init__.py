"""Measure nuclei, the regions around them, and other channels and stains."""

from nucseg.measure.nuclei import (
    MEAN,
    Columns,
    is_grey,
    mean_of_channels,
    measure,
    measure_tile,
    nearest_neighbours,
)

__all__ = [
    "MEAN",
    "Columns",
    "is_grey",
    "mean_of_channels",
    "measure",
    "measure_tile",
    "nearest_neighbours",
]
