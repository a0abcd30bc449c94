"""Encode label images for the page."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def runs(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.uint32]:
    """Encode a label image by runs of equal pixels.

    Parameters
    ----------
    labels : ndarray, shape (H, W), int32

    Returns
    -------
    ndarray, shape (2 N,), uint32
        Label and length of each run, row by row; a run may continue in the next row.

    Examples
    --------
    >>> import numpy as np
    >>> runs(np.array([[0, 0, 7], [7, 7, 0]], np.int32)).tolist()
    [0, 2, 7, 3, 0, 1]
    """
    flat = labels.ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    lengths = np.diff(np.append(starts, len(flat)))
    return np.column_stack([flat[starts], lengths]).astype("<u4").ravel()
