"""Measure nuclei, what lies around them, and other channels and stains in them."""

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
