"""Find all nuclei of a stack once; filters then select among them without the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.config import Filtering
from nucseg.core.filters import keep_nuclei
from nucseg.inference.planes import segment_plane
from nucseg.inference.segmenter import Model
from nucseg.inference.tiling import tiles
from nucseg.measure import Columns, nearest_neighbours
from nucseg.napari.stacks import Index, Stack

Labels = npt.NDArray[np.unsignedinteger[Any]]
PixelSize = tuple[float, float]
Progress = Callable[[float, int], None]

# Side length of the blocks in which labels of an image that is not in memory are copied.
_PART = 2048


@dataclass(frozen=True)
class Found:
    """Nuclei of a stack before filtering by score, size or position.

    Attributes
    ----------
    labels : ndarray, shape (..., H, W), uint16 or uint32
        In each plane, 0 is background and 1…N are nuclei.
    tables : tuple of dict of str to ndarray
        Measurements of each plane, see `nucseg.measure.measure`.
    pixel_size : tuple of float or None
        Pixel size along rows and columns in µm per pixel, if known.
    min_area : int
        Minimum area in pixels that was used in finding nuclei.
    """

    labels: Labels
    tables: tuple[Columns, ...]
    pixel_size: PixelSize | None
    min_area: int


@dataclass(frozen=True)
class Kept:
    """Nuclei of a stack after filtering.

    Attributes
    ----------
    labels : ndarray, shape (..., H, W), uint16, or uint32 above 65,535 nuclei
        0 is background, 1…N are nuclei, numbered across planes.
    features : dict of str to ndarray, shape (N,)
        A row for each nucleus: ``index`` (its number); with several planes, ``plane_0`` and so on
        (the position of its plane along each axis); and the columns of `nucseg.measure.measure`.
    """

    labels: Labels
    features: Columns


def find_nuclei(
    model: Model,
    stack: Stack,
    *,
    pixel_size: PixelSize | None = None,
    progress: Progress | None = None,
) -> Found:
    """Find and measure the nuclei of each plane of a stack.

    Parameters
    ----------
    model : Model
        Of its filters only the minimum area is applied: `kept_nuclei` applies the others.
    stack : Stack
        Planes are read one by one; planes that do not fit the model's memory are read in windows.
    pixel_size : tuple of float, optional
        Pixel size along rows and columns in µm per pixel.
    progress : callable, optional
        ``progress(done, total)`` in planes, with fractions for their windows; an exception that
        it raises ends the work.

    Raises
    ------
    InputError, ModelError
        As in `Model.segment`.
    """
    everything = model.with_postprocessing(min_score=0.0, max_area=None, border_nuclei="keep")
    places = list(stack.indices)
    labels: Labels = np.zeros(stack.shape, np.uint16)
    tables = []
    for done, index in enumerate(places):

        def of_windows(window: int, windows: int, done: int = done) -> None:
            if progress is not None:
                progress(done + window / (windows + 1), len(places))

        of_windows(0, 1)
        found, table = _in_plane(everything, stack, index, pixel_size, of_windows)
        labels = labels.astype(np.promote_types(labels.dtype, found.dtype), copy=False)
        labels[index] = found
        tables.append(table)
        if progress is not None:
            progress(done + 1, len(places))
    min_area = model.card.postprocessing.min_area
    return Found(labels, tuple(tables), pixel_size, min_area)


def _in_plane(
    model: Model,
    stack: Stack,
    index: Index,
    pixel_size: PixelSize | None,
    progress: Callable[[int, int], None],
) -> tuple[Labels, Columns]:
    plane = stack.plane(index)
    with segment_plane(model, plane, pixel_size=pixel_size, progress=progress) as found:
        labels: Labels = np.zeros(found.labels.shape, found.labels.dtype)
        for part in tiles((labels.shape[0], labels.shape[1]), size=_PART, margin=0):
            labels[part.core] = found.labels[part.core]
        return labels, found.measurements()


def kept_nuclei(found: Found, settings: Filtering) -> Kept:
    """Filter nuclei by score, area and position, and renumber the others.

    Parameters
    ----------
    found : Found
    settings : Filtering
        A minimum area below that of `found` has no effect.

    Returns
    -------
    Kept
        For one plane, the same as `Model.segment` returns with these settings.
    """
    number, tables, count = [], [], 0
    places = list(np.ndindex(*found.labels.shape[:-2]))
    for index, table in zip(places, found.tables, strict=True):
        keep = keep_nuclei(table["area"], table["touches_border"], table["score"], settings)
        keep &= table["area"] >= settings.min_area
        numbers = np.where(keep, count + np.cumsum(keep), 0)
        number.append(np.append(0, numbers))
        tables.append(_features(table, keep, numbers, index, found.pixel_size))
        count += int(np.count_nonzero(keep))
    dtype = np.uint16 if count <= np.iinfo(np.uint16).max else np.uint32
    labels: Labels = np.empty(found.labels.shape, dtype)
    for index, numbers in zip(places, number, strict=True):
        labels[index] = numbers.astype(dtype)[found.labels[index]]
    return Kept(labels, joined(tables))


def joined(tables: Sequence[Columns]) -> Columns:
    """Concatenate features of planes; a column that a plane lacks is NaN there.

    Planes may differ: a grey plane has only one channel to measure.
    """
    some = [table for table in tables if len(table["index"])] or tables[:1]
    return {
        name: np.concatenate(
            [table.get(name, np.full(len(table["index"]), np.nan)) for table in some]
        )
        for name in dict.fromkeys(name for table in some for name in table)
    }


def _features(
    table: Columns,
    keep: npt.NDArray[np.bool_],
    numbers: npt.NDArray[np.int64],
    index: Index,
    pixel_size: PixelSize | None,
) -> Columns:
    kept = {name: values[keep] for name, values in table.items() if name != "label"}
    planes = {
        f"plane_{axis}": np.full(np.count_nonzero(keep), place) for axis, place in enumerate(index)
    }
    # Removed nuclei are no longer neighbours.
    nearest = nearest_neighbours(
        kept["centroid_row"], kept["centroid_column"], pixel_size=pixel_size
    )
    return {"index": numbers[keep], **planes, **kept, **nearest}
