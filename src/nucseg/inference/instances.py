"""From the maps of a network to separate nuclei."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.config import ConnectedComponents
from nucseg.preprocess import FloatImage

Labels = npt.NDArray[np.int32]


def connected_components(probability: FloatImage, settings: ConnectedComponents) -> Labels:
    """Label connected pixels above a threshold.

    Parameters
    ----------
    probability : ndarray, shape (H, W), float32, in [0, 1]
    settings : ConnectedComponents

    Returns
    -------
    ndarray, shape (H, W), int32
        0 background, 1…N nuclei in the order of their first pixels.

    Examples
    --------
    >>> import numpy as np
    >>> probability = np.array([[0.9, 0.8, 0.1, 0.2], [0.9, 0.1, 0.7, 0.7]], np.float32)
    >>> connected_components(probability, ConnectedComponents(min_area=2)).tolist()
    [[1, 1, 0, 0], [1, 0, 2, 2]]
    """
    nuclei = (probability >= settings.threshold).astype(np.uint8)
    # Pixels that touch by a corner alone stay apart: between touching nuclei a thin gap is often
    # all there is, and where it runs diagonally 8-connectivity would bridge it.
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(
        nuclei, connectivity=4, ltype=cv2.CV_32S
    )
    keep = statistics[:, cv2.CC_STAT_AREA] >= settings.min_area
    keep[0] = False
    renumbered = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return np.asarray(renumbered[labels], np.int32)


def mean_scores(labels: npt.NDArray[np.integer], probability: FloatImage) -> FloatImage:
    """Mean probability inside each nucleus, which says how sure the network is of it.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, 1…N nuclei, every number used.
    probability : ndarray, shape (H, W), float32

    Returns
    -------
    ndarray, shape (N,), float32

    Examples
    --------
    >>> import numpy as np
    >>> mean_scores(np.array([[1, 1, 0, 2]]), np.array([[0.5, 1, 0, 0.75]], np.float32)).tolist()
    [0.75, 0.75]
    """
    flat = labels.ravel()
    areas = np.bincount(flat)[1:]
    sums = np.bincount(flat, weights=probability.ravel())[1:]
    return (sums / areas).astype(np.float32)
