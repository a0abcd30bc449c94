"""Pixel overlap of the nuclei of two label images: the table behind every comparison of the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from nucseg.errors import InputError

Labels = npt.NDArray[np.integer] | npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Overlap:
    """Pixel overlap of true and predicted nuclei, as returned by `overlap`.

    Attributes
    ----------
    true_labels, predicted_labels : ndarray, shape (T,) and (P,), int64
        Labels in ascending order.
    true_areas, predicted_areas : ndarray, shape (T,) and (P,), int64
        Areas in pixels.
    rows, columns : ndarray, shape (K,)
        Overlapping pairs, as indices into the true and the predicted labels, sorted by row and
        column.
    pixels : ndarray, shape (K,), int64
        Number of pixels that each pair shares.
    """

    true_labels: npt.NDArray[np.int64]
    predicted_labels: npt.NDArray[np.int64]
    true_areas: npt.NDArray[np.int64]
    predicted_areas: npt.NDArray[np.int64]
    rows: Indices
    columns: Indices
    pixels: npt.NDArray[np.int64]

    @property
    def unions(self) -> npt.NDArray[np.int64]:
        """Number of pixels in the union of each pair, shape (K,)."""
        return self.true_areas[self.rows] + self.predicted_areas[self.columns] - self.pixels

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        """Intersection over union of each pair, shape (K,), in (0, 1]."""
        return self.pixels / self.unions

    @property
    def count_error(self) -> int:
        """Number of predicted minus number of true nuclei; above 0 if too many are found."""
        return self.predicted_labels.size - self.true_labels.size


class Errors(NamedTuple):
    """Labels of incorrect nuclei by kind of error; each array is in ascending order."""

    missed: npt.NDArray[np.int64]
    """True nuclei without a prediction that fits."""
    extra: npt.NDArray[np.int64]
    """Predicted nuclei that fit no true one."""
    merged: npt.NDArray[np.int64]
    """Predicted nuclei that each cover most of two or more true ones."""
    split: npt.NDArray[np.int64]
    """True nuclei that each hold most of two or more predicted ones."""


def overlap(truth: Labels, prediction: Labels) -> Overlap:
    """Count the pixels that each pair of true and predicted nuclei shares.

    The table is sparse: time and memory grow with the number of pixels, not with the product of the
    numbers of nuclei.

    Parameters
    ----------
    truth, prediction : ndarray, same shape, integer
        Label images: 0 background, any other value a nucleus. Labels may have gaps.

    Raises
    ------
    InputError
        The shapes differ, or the values are not labels (not integer, or negative).

    Examples
    --------
    >>> import numpy as np
    >>> table = overlap(np.array([[1, 1, 0, 2]]), np.array([[5, 0, 0, 0]]))
    >>> table.iou.tolist(), table.count_error
    ([0.5], -1)
    """
    check_labels(truth, prediction)
    true_labels, true_areas, true_places = _compact(truth)
    predicted_labels, predicted_areas, predicted_places = _compact(prediction)
    both = (true_places > 0) & (predicted_places > 0)
    # Building the compressed matrix sums equal pairs, which is faster than sorting the pixels.
    table = sparse.coo_array(
        (
            np.ones(np.count_nonzero(both), np.int64),
            (true_places[both] - 1, predicted_places[both] - 1),
        ),
        shape=(true_labels.size, predicted_labels.size),
    ).tocsr()
    table.sort_indices()
    rows, columns = table.tocoo().coords
    return Overlap(
        true_labels,
        predicted_labels,
        true_areas,
        predicted_areas,
        rows.astype(np.intp),
        columns.astype(np.intp),
        table.data,
    )


def find_errors(table: Overlap) -> Errors:
    """Classify incorrect nuclei as missed, extra, merged or split.

    A predicted nucleus that covers more than half of each of two true nuclei merges them. A true
    nucleus that contains more than half of each of two predicted nuclei is split. All other nuclei
    without a partner of IoU above 0.5 are missed (true nuclei) or extra (predicted nuclei).

    Examples
    --------
    >>> import numpy as np
    >>> truth, prediction = np.array([[1, 2, 0, 3, 3]]), np.array([[4, 4, 5, 0, 0]])
    >>> [labels.tolist() for labels in find_errors(overlap(truth, prediction))]
    [[3], [5], [4], []]
    """
    rows, columns = table.rows, table.columns
    matched = table.iou > 0.5
    swallowed = 2 * table.pixels > table.true_areas[rows]
    fragment = 2 * table.pixels > table.predicted_areas[columns]
    merged = np.bincount(columns[swallowed], minlength=table.predicted_labels.size) > 1
    split = np.bincount(rows[fragment], minlength=table.true_labels.size) > 1
    missed, extra = ~split, ~merged
    missed[rows[matched | (swallowed & merged[columns])]] = False
    extra[columns[matched | (fragment & split[rows])]] = False
    return Errors(
        missed=table.true_labels[missed],
        extra=table.predicted_labels[extra],
        merged=table.predicted_labels[merged],
        split=table.true_labels[split],
    )


def check_labels(truth: npt.NDArray[np.generic], prediction: npt.NDArray[np.generic]) -> None:
    """Raise InputError unless both are masks or label images of the same shape."""
    if truth.shape != prediction.shape:
        raise InputError(
            f"Truth and prediction must have the same shape, not {truth.shape} and "
            f"{prediction.shape}. Resize one of them first."
        )
    for name, labels in (("truth", truth), ("prediction", prediction)):
        if labels.dtype.kind not in "bui":
            raise InputError(
                f"The {name} must hold labels or a mask as integers, not {labels.dtype}. "
                "Threshold probabilities first."
            )
        if labels.dtype.kind == "i" and labels.size and int(np.min(labels)) < 0:
            raise InputError(f"The {name} holds negative labels; background is 0, nuclei 1 and up.")


def _compact(labels: Labels) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Indices]:
    """Return labels, areas, and per pixel the 1-based index of its label, 0 for background."""
    flat = labels.ravel()
    if flat.size and int(flat.max()) <= flat.size:
        flat = flat.astype(np.intp, copy=False)
        areas = np.bincount(flat)
        areas[0] = 0
        present = np.flatnonzero(areas)
        places = np.zeros(areas.size, np.intp)
        places[present] = np.arange(1, present.size + 1)
        return present.astype(np.int64), areas[present].astype(np.int64), places[flat]
    # Labels far above the number of pixels would make the table of all values too large.
    present, inverse, areas = np.unique(flat, return_inverse=True, return_counts=True)
    nucleus = present != 0
    places = np.cumsum(nucleus) * nucleus
    return present[nucleus].astype(np.int64), areas[nucleus].astype(np.int64), places[inverse]
