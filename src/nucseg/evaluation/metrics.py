"""Metrics of agreement between predicted nuclei and ground truth, from label images.

Two label images are compared through their `overlap` table, which is computed once and from which
every metric of single nuclei follows. Masks are compared through `pixel_counts`. `pool` adds counts
of several images, so that each ratio exists per image and over all images.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from nucseg.core.overlap import Indices, Labels, Overlap, check_labels, overlap
from nucseg.errors import InputError

__all__ = [
    "KAGGLE_THRESHOLDS",
    "Matching",
    "Overlap",
    "PixelCounts",
    "aggregated_jaccard",
    "kaggle_map",
    "match",
    "overlap",
    "pixel_counts",
    "pool",
]

KAGGLE_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
# Two different nuclei of an image cannot both cover more than this fraction of a third one's union.
UNIQUE_FROM = 0.5


@dataclass(frozen=True)
class Agreement:
    """True and false positives and false negatives, of pixels or of nuclei, and their ratios.

    Every ratio is in [0, 1]. It is 1 if there is neither ground truth nor prediction, and 0 if only
    its denominator is empty.
    """

    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float:
        """Fraction of the prediction that is correct, TP / (TP + FP)."""
        return self._ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Fraction of the ground truth that is predicted, TP / (TP + FN)."""
        return self._ratio(self.true_positives, self.true_positives + self.false_negatives)

    def _union(self) -> int:
        return self.true_positives + self.false_positives + self.false_negatives

    def _jaccard(self) -> float:
        return self._ratio(self.true_positives, self._union())

    def _f1(self) -> float:
        return self._ratio(2 * self.true_positives, self.true_positives + self._union())

    def _ratio(self, part: float, whole: float) -> float:
        return _ratio(part, whole, empty=self._union() == 0)


@dataclass(frozen=True)
class PixelCounts(Agreement):
    """Pixels of a ground truth mask and a predicted mask; the metrics of the semantic model."""

    true_negatives: int

    @property
    def dice(self) -> float:
        """Dice coefficient of the masks, 2 TP / (2 TP + FP + FN)."""
        return self._f1()

    @property
    def iou(self) -> float:
        """Intersection over union of the masks, TP / (TP + FP + FN)."""
        return self._jaccard()

    @property
    def accuracy(self) -> float:
        """Fraction of all pixels, including background, that are correct."""
        return self._ratio(
            self.true_positives + self.true_negatives, self._union() + self.true_negatives
        )


@dataclass(frozen=True)
class Matching(Agreement):
    """True and predicted nuclei, matched one to one at an IoU threshold."""

    iou_sum: float
    """Sum of the IoU of the matched pairs."""

    @property
    def average_precision(self) -> float:
        """AP as in the 2018 Data Science Bowl, TP / (TP + FP + FN)."""
        return self._jaccard()

    @property
    def f1(self) -> float:
        """F1 score of the nuclei, 2 TP / (2 TP + FP + FN)."""
        return self._f1()

    @property
    def panoptic_quality(self) -> float:
        """Mean IoU of the matched pairs times F1.

        Panoptic quality as in Kirillov et al., CVPR 2019, equation 1, for the threshold 0.5.
        """
        return self._ratio(2 * self.iou_sum, self.true_positives + self._union())


Counts = TypeVar("Counts", PixelCounts, Matching)


def pixel_counts(truth: Labels, prediction: Labels) -> PixelCounts:
    """Count the pixels in which two masks agree and differ.

    Parameters
    ----------
    truth, prediction : ndarray, same shape, bool or integer
        Masks or label images; all values except 0 are nucleus.

    Raises
    ------
    InputError
        The shapes differ, or the values are not masks or labels.

    Examples
    --------
    >>> import numpy as np
    >>> counts = pixel_counts(np.array([[1, 1, 0, 0]]), np.array([[1, 0, 0, 0]]))
    >>> counts.iou, counts.precision, counts.accuracy
    (0.5, 1.0, 0.75)
    """
    check_labels(truth, prediction)
    true, predicted = truth != 0, prediction != 0
    both = int(np.count_nonzero(true & predicted))
    n_true, n_predicted = int(np.count_nonzero(true)), int(np.count_nonzero(predicted))
    return PixelCounts(
        true_positives=both,
        false_positives=n_predicted - both,
        false_negatives=n_true - both,
        true_negatives=truth.size - n_true - n_predicted + both,
    )


def match(table: Overlap, threshold: float = 0.5) -> Matching:
    """Match true and predicted nuclei one to one where their IoU is above a threshold.

    From 0.5 on, no nucleus has two such partners. Below 0.5, the matching with the most pairs is
    used and, among these, one with the largest sum of IoU.

    Parameters
    ----------
    table : Overlap
        See `overlap`.
    threshold : float, in [0, 1)
        A pair matches if its IoU is greater. StarDist's ``matching`` also accepts pairs whose IoU
        equals the threshold. The comparison of, for example, an IoU of 3 / 4 with a threshold of
        0.75 is exact, because division and decimal fractions are rounded in the same way.

    Raises
    ------
    InputError
        The threshold is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> truth, prediction = np.array([[1, 1, 1, 2]]), np.array([[1, 1, 0, 0]])
    >>> match(overlap(truth, prediction), 0.5).average_precision
    0.5
    """
    if not 0 <= threshold < 1:
        raise InputError(f"An IoU threshold must lie from 0 to below 1, not {threshold}.")
    iou = table.iou
    chosen = np.flatnonzero(iou > threshold)
    if threshold < UNIQUE_FROM:
        chosen = _assign(table, iou, chosen)
    return Matching(
        true_positives=chosen.size,
        false_positives=table.predicted_labels.size - chosen.size,
        false_negatives=table.true_labels.size - chosen.size,
        iou_sum=float(iou[chosen].sum()),
    )


def kaggle_map(table: Overlap) -> float:
    """Compute the 2018 Data Science Bowl score of an image: mean AP over t = 0.50, 0.55 … 0.95.

    The score of a data set is the mean over its images.

    Examples
    --------
    >>> import numpy as np
    >>> square = np.ones((4, 4), int)
    >>> kaggle_map(overlap(square, square))
    1.0
    """
    return float(np.mean([match(table, t).average_precision for t in KAGGLE_THRESHOLDS]))


def aggregated_jaccard(table: Overlap) -> float:
    """Compute the aggregated Jaccard index (AJI) of one image, in [0, 1].

    Each true nucleus is paired with the predicted nucleus of the highest IoU, the first one if
    several are equal. The pixels of the intersections of these pairs are divided by the pixels of
    their unions, of the true nuclei without a partner, and of the unpaired predicted nuclei. As in
    the original, a predicted nucleus can be paired with several true ones. The AJI is 1 if there
    are no nuclei at all.

    References
    ----------
    Kumar et al., "A dataset and a technique for generalized nuclear segmentation for computational
    pathology", IEEE Transactions on Medical Imaging 36 (2017), algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> aggregated_jaccard(overlap(np.array([[1, 1, 0, 2]]), np.array([[1, 0, 3, 2]])))
    0.5
    """
    order = np.lexsort((table.columns, -table.iou, table.rows))
    with_partner, first = np.unique(table.rows[order], return_index=True)
    best = order[first]
    alone = np.ones(table.true_labels.size, bool)
    alone[with_partner] = False
    untaken = np.ones(table.predicted_labels.size, bool)
    untaken[table.columns[best]] = False
    shared = int(table.pixels[best].sum())
    united = int(table.unions[best].sum())
    united += int(table.true_areas[alone].sum() + table.predicted_areas[untaken].sum())
    return _ratio(shared, united, empty=united == 0)


def pool(counts: Iterable[Counts]) -> Counts:
    """Add the counts of several images, for metrics over all their pixels or nuclei.

    Parameters
    ----------
    counts : iterable of PixelCounts, or of Matching at one threshold

    Raises
    ------
    InputError
        There are no counts.

    Examples
    --------
    >>> pool([Matching(1, 0, 0, 0.9), Matching(0, 0, 1, 0.0)]).average_precision
    0.5
    """
    together = list(counts)
    if not together:
        raise InputError("There are no counts to pool: give those of at least one image.")
    return type(together[0])(*(sum(field) for field in zip(*map(astuple, together), strict=True)))


def _ratio(part: float, whole: float, *, empty: bool) -> float:
    if empty:
        return 1.0
    return part / whole if whole else 0.0


def _assign(table: Overlap, iou: npt.NDArray[np.float64], candidates: Indices) -> Indices:
    """Choose the pairs of the best one-to-one assignment, in each group of overlapping nuclei."""
    rows, columns = table.rows[candidates], table.columns[candidates]
    n_true = table.true_labels.size
    n_nodes = n_true + table.predicted_labels.size
    links = sparse.coo_array(
        (np.ones(rows.size, np.int8), (rows, columns + n_true)), shape=(n_nodes, n_nodes)
    )
    _, groups = sparse.csgraph.connected_components(links, directed=False)
    group = groups[rows]
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    chosen = []
    for members in np.split(order, starts[1:]) if order.size else []:
        if members.size == 1:
            chosen.append(members)
            continue
        _, row = np.unique(rows[members], return_inverse=True)
        _, column = np.unique(columns[members], return_inverse=True)
        pair = np.full((row.max() + 1, column.max() + 1), -1)
        pair[row, column] = members
        # One more pair always outweighs any gain of IoU, whose sum stays below 1.
        gain = np.where(pair >= 0, 1 + iou[candidates[pair]] / (2 * members.size), 0)
        picked = pair[linear_sum_assignment(gain, maximize=True)]
        chosen.append(picked[picked >= 0])
    return np.sort(candidates[np.concatenate(chosen)]) if chosen else candidates
