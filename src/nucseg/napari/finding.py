"""All nuclei of a stack, found once; filters then act on them without the network."""

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

# Side of the parts in which labels of an image that is not in memory are copied.
_PART = 2048


@dataclass(frozen=True)
class Found:
    """The nuclei of a stack before any is dropped for its score, size or place.

    Attributes
    ----------
    labels : ndarray, shape (..., H, W), uint16 or uint32
        In each plane 0 background, 1…N nuclei.
    tables : tuple of dict of str to ndarray
        Measurements of each plane, see `nucseg.measure.measure`.
    pixel_size : tuple of float or None
        Micrometres from pixel to pixel along rows and columns, where known.
    min_area : int
        Pixels that a nucleus must have had to be found at all.
    """

    labels: Labels
    tables: tuple[Columns, ...]
    pixel_size: PixelSize | None
    min_area: int


@dataclass(frozen=True)
class Kept:
    """The nuclei of a stack that are kept.

    Attributes
    ----------
    labels : ndarray, shape (..., H, W), uint16, or uint32 above 65,535 nuclei
        0 background, 1…N nuclei of all planes, one after the other.
    features : dict of str to ndarray, shape (N,)
        A row for each nucleus: ``index`` (its number), where there are several planes ``plane_0``
        and so on (in which it lies, along each axis), and the columns of `nucseg.measure.measure`.
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
        Of its filters the minimum area alone is applied: `kept_nuclei` applies the others.
    stack : Stack
        Planes are read one by one, and those that do not fit the model's memory window by window.
    pixel_size : tuple of float, optional
        Micrometres from pixel to pixel along rows and columns.
    progress : callable, optional
        ``progress(done, total)``, of the planes, with fractions for their windows; an error that
        it raises ends the work.

    Raises
    ------
    InputError, ModelError
        As `Model.segment`.
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
    """Drop nuclei by score, area and place, and number the others anew.

    Parameters
    ----------
    found : Found
    settings : Filtering
        A minimum area under that of `found` changes nothing.

    Returns
    -------
    Kept
        Of one plane the same as `Model.segment` gives with these settings.
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
    """Put features of planes one below the other; a column that one lacks is NaN there.

    Planes may differ: one that is grey has a single channel to measure.
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
    # Those that were dropped are no neighbours any more.
    nearest = nearest_neighbours(
        kept["centroid_row"], kept["centroid_column"], pixel_size=pixel_size
    )
    return {"index": numbers[keep], **planes, **kept, **nearest}
