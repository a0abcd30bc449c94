"""Filters that decide which nuclei are kept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nucseg.config import Filtering

Labels = npt.NDArray[np.int32]
FloatImage = npt.NDArray[np.float32]


def kept_nuclei(
    labels: Labels, scores: FloatImage, settings: Filtering
) -> tuple[Labels, FloatImage]:
    """Drop nuclei that have a low score, are too large, or touch the edge of the image.

    Parameters
    ----------
    labels : ndarray, shape (H, W), int32
        0 background, 1…N nuclei, without gaps and without nuclei below the minimum area.
    scores : ndarray, shape (N,), float32
    settings : Filtering
        ``min_area`` is not used here: it is applied before nuclei have a score.

    Returns
    -------
    labels : ndarray, shape (H, W), int32
        0 background, 1…M kept nuclei, in the same order.
    scores : ndarray, shape (M,), float32

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([[0, 0, 0, 0, 0], [1, 0, 2, 2, 0], [0, 0, 0, 0, 0]], np.int32)
    >>> kept, scores = kept_nuclei(labels, np.ones(2), Filtering(border_nuclei="drop"))
    >>> kept[1].tolist(), scores.tolist()
    ([0, 0, 1, 1, 0], [1.0])
    """
    edges = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    at_edge = np.isin(np.arange(1, len(scores) + 1), edges)
    areas = np.zeros(len(scores), np.int64)
    if settings.max_area is not None:
        areas = np.bincount(labels.ravel(), minlength=len(scores) + 1)[1:]
    keep = keep_nuclei(areas, at_edge, scores, settings)
    if keep.all():
        return labels, scores
    return renumbered(labels, np.concatenate([[False], keep])), scores[keep]


def keep_nuclei(
    areas: npt.NDArray[np.int64],
    at_edge: npt.NDArray[np.bool_],
    scores: FloatImage,
    settings: Filtering,
) -> npt.NDArray[np.bool_]:
    """Return which nuclei `kept_nuclei` keeps.

    Parameters
    ----------
    areas : ndarray, shape (N,), int64
        Areas in pixels.
    at_edge : ndarray, shape (N,), bool
        Whether each nucleus touches the edge of the image.
    scores : ndarray, shape (N,), float32
    settings : Filtering

    Returns
    -------
    ndarray, shape (N,), bool
    """
    keep = scores >= settings.min_score
    if settings.max_area is not None:
        keep &= areas <= settings.max_area
    if settings.border_nuclei == "drop":
        keep &= ~at_edge
    return np.asarray(keep)


def renumbered(labels: Labels, keep: npt.NDArray[np.bool_]) -> Labels:
    """Renumber the kept labels from 1 on, in their order; the other labels become 0.

    Parameters
    ----------
    labels : ndarray, shape (H, W), int32
    keep : ndarray, shape (N + 1,), bool
        Whether to keep each label. The first is that of the background, which stays 0.
    """
    keep = keep.copy()
    keep[0] = False
    renumbered = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return np.asarray(renumbered[labels], np.int32)
