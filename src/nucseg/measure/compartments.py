"""Measure any channel in the nucleus, in a ring around it and in the cell expanded from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.config import Length
from nucseg.errors import InputError
from nucseg.measure.nuclei import Columns

Labels = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]

# A background with fewer pixels than this fraction of the image is uncertain.
_LEAST_BACKGROUND = 0.02


@dataclass(frozen=True)
class Compartments:
    """Label images of the compartments, in which equal labels mean the same nucleus.

    Attributes
    ----------
    nucleus : ndarray, shape (H, W), integer
        0 background, nuclei above 0.
    ring : ndarray, shape (H, W), integer, or None
        Ring around each nucleus, outside all nuclei.
    cell : ndarray, shape (H, W), integer, or None
        Nucleus and its surroundings.
    """

    nucleus: Labels
    ring: Labels | None = None
    cell: Labels | None = None

    @property
    def outside(self) -> npt.NDArray[np.bool_]:
        """Pixels outside all compartments, shape (H, W)."""
        inside = self.nucleus > 0
        for each in (self.ring, self.cell):
            if each is not None:
                inside |= each > 0
        return ~inside


def expand(labels: Labels, by: Length, pixel_size: tuple[float, float] | None = None) -> Labels:
    """Expand nuclei in all directions without overlap.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, nuclei above 0.
    by : Length
        Distance. A pixel between two nuclei gets the label of the nearer one.
    pixel_size : tuple of float, optional
        Pixel size in µm along rows and columns.

    Returns
    -------
    ndarray, shape (H, W), integer

    Raises
    ------
    InputError
        The length is in micrometres, and the pixel size is unknown.

    Notes
    -----
    Equivalent to scikit-image's `expand_labels` and to "Distance - N" of CellProfiler's secondary
    objects.

    Examples
    --------
    >>> import numpy as np
    >>> expand(np.array([[0, 0, 1, 0, 0, 0, 2]]), Length(value=2, unit="pixels")).tolist()
    [[1, 1, 1, 1, 1, 2, 2]]
    """
    # Imported here because it is slow to import.
    from skimage.segmentation import expand_labels

    spacing = (1.0, 1.0) if by.unit == "pixels" else pixel_size
    if spacing is None:
        raise InputError(
            f"A length of {by} needs the pixel size, which the image does not state. Give it by "
            "--pixel-size, or give the length in pixels."
        )
    if not labels.any():
        return labels.copy()
    # Slightly increased, because whole pixels converted to micrometres are rounded.
    grown = expand_labels(labels, by.value * (1 + 1e-9), spacing)  # type: ignore[no-untyped-call]
    return np.asarray(grown, labels.dtype)


def find_compartments(
    labels: Labels,
    *,
    ring: Length | None = None,
    cell: Length | None = None,
    pixel_size: tuple[float, float] | None = None,
) -> Compartments:
    """Compute the ring around each nucleus and the whole cell.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, nuclei above 0.
    ring, cell : Length, optional
        Width of the ring around the nucleus; distance by which the cell extends beyond it.
    pixel_size : tuple of float, optional
        Pixel size in µm along rows and columns.

    Returns
    -------
    Compartments

    Raises
    ------
    InputError
        See `expand`.

    Examples
    --------
    >>> import numpy as np
    >>> found = find_compartments(np.array([[0, 3, 0, 0]]), ring=Length(value=1, unit="pixels"))
    >>> found.ring.tolist()
    [[3, 0, 3, 0]]
    """
    around = None if ring is None else expand(labels, ring, pixel_size)
    if around is not None:
        around[labels > 0] = 0
    return Compartments(labels, around, None if cell is None else expand(labels, cell, pixel_size))


def measure_compartments(
    compartments: Compartments, channels: Mapping[str, npt.NDArray[Any]]
) -> tuple[Columns, list[str]]:
    """Measure channels in all compartments.

    Parameters
    ----------
    compartments : Compartments
    channels : mapping from str to ndarray, shape (H, W), real
        Planes by the names of their channels. An empty name adds no suffix to the columns.

    Returns
    -------
    columns : dict of str to ndarray, shape (N,)
        Columns in the order of the labels. Each name ends in ``_`` and the name of the channel.

        - ``nucleus_mean``, ``_median``, ``_std``, ``_sum``, and the same of ``ring_`` and
          ``cell_``; ``ring_area`` and ``cell_area`` in pixels, once for all channels;
        - ``background``: the median of the pixels outside all compartments, the same in each row;
        - ``nucleus_above`` (``ring_``, ``cell_``): the mean minus the background, and
          ``nucleus_sum_above``: the sum minus the background times the number of pixels;
        - ``nucleus_to_ring``: `nucleus_above` divided by `ring_above`, NaN if the ring is not
          brighter than the background.

        If neighbours leave no space for a ring, its area is 0 and its other values are NaN.
    doubts : list of str
        Warnings about uncertain backgrounds.

    Raises
    ------
    InputError
        A plane differs from the labels in shape, or has several values per pixel.

    Examples
    --------
    >>> import numpy as np
    >>> parts = find_compartments(np.array([[0, 0, 7, 0, 0]]), ring=Length(value=1, unit="pixels"))
    >>> table, _ = measure_compartments(parts, {"GFP": np.array([[2, 4, 8, 6, 2]])})
    >>> table["ring_mean_GFP"].tolist(), table["nucleus_to_ring_GFP"].tolist()
    ([5.0], [2.0])
    """
    columns: Columns = {}
    doubts = []
    numbers = np.unique(compartments.nucleus)
    numbers = numbers[numbers > 0]
    outside = compartments.outside
    regions = {
        name: _pixels(each, numbers)
        for name in ("nucleus", "ring", "cell")
        if (each := getattr(compartments, name)) is not None
    }
    for name in regions.keys() & {"ring", "cell"}:
        columns[f"{name}_area"] = regions[name].area
    for channel, plane in channels.items():
        if plane.shape != outside.shape:
            raise InputError(
                f"Expected a plane of the labels' height and width, {outside.shape}, got "
                f"{plane.shape} of the channel {channel!r}."
            )
        end = f"_{channel}" if channel else ""
        if len(numbers) and outside.mean() < _LEAST_BACKGROUND:
            doubts.append(
                f"Background{f' of {channel}' if channel else ''} doubtful: only "
                f"{outside.mean():.1%} of the pixels are in no nucleus, ring or cell."
            )
        columns |= {
            f"{key}{end}": values for key, values in _of_channel(plane, regions, outside).items()
        }
    return columns, doubts


@dataclass(frozen=True)
class _Pixels:
    """Flat indices of the pixels of each nucleus, one nucleus after the other."""

    places: npt.NDArray[np.intp]
    area: npt.NDArray[np.intp]


def _pixels(labels: Labels, numbers: npt.NDArray[Any]) -> _Pixels:
    flat = labels.ravel()
    places = np.flatnonzero(flat)
    which = np.searchsorted(numbers, flat[places])
    order = np.argsort(which, kind="stable")
    return _Pixels(places[order], np.bincount(which, minlength=len(numbers)).astype(np.intp))


def _of_channel(
    plane: npt.NDArray[Any], regions: Mapping[str, _Pixels], outside: npt.NDArray[np.bool_]
) -> Columns:
    ground = float(np.median(plane[outside])) if outside.any() else np.nan
    found: Columns = {"background": np.full(len(regions["nucleus"].area), ground)}
    for name, pixels in regions.items():
        for key, values in region_statistics(plane, pixels.places, pixels.area).items():
            found[f"{name}_{key}"] = values
        found[f"{name}_above"] = found[f"{name}_mean"] - ground
        found[f"{name}_sum_above"] = found[f"{name}_sum"] - ground * pixels.area
    if "ring" in regions:
        ring = found["ring_above"]
        ratio = np.full(len(ring), np.nan)
        np.divide(found["nucleus_above"], ring, out=ratio, where=ring > 0)
        found["nucleus_to_ring"] = ratio
    return found


def region_statistics(
    plane: npt.NDArray[Any], places: npt.NDArray[np.intp], area: npt.NDArray[np.intp]
) -> dict[str, Floats]:
    """Compute statistics of the pixels of regions; NaN for an empty region.

    Parameters
    ----------
    plane : ndarray, shape (H, W), real
    places : ndarray, shape (P,), intp
        Flat indices of the pixels, region after region.
    area : ndarray, shape (N,), intp
        Number of pixels of each region.

    Returns
    -------
    dict of str to ndarray, shape (N,), float64
        ``mean``, ``median``, ``std`` (with division by the number of pixels) and ``sum``.
    """
    values = plane.ravel()[places].astype(np.float64)
    region = np.repeat(np.arange(len(area)), area)
    values = values[np.lexsort((values, region))]
    filled = area > 0
    ends = np.cumsum(area)[filled]
    starts, size = ends - area[filled], area[filled]
    found = {name: np.full(len(area), np.nan) for name in ("mean", "median", "std", "sum")}
    if len(starts):
        total = np.add.reduceat(values, starts)
        mean = total / size
        squares = np.add.reduceat((values - np.repeat(mean, size)) ** 2, starts)
        middle = (values[starts + (size - 1) // 2] + values[starts + size // 2]) / 2
        for name, each in zip(found, (mean, middle, np.sqrt(squares / size), total), strict=True):
            found[name][filled] = each
    return found
