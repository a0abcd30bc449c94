"""From a label image to what a network is trained to predict."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def foreground(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Mask of all nuclei, the target of the semantic recipe.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, 1…N nuclei.

    Returns
    -------
    ndarray, shape (H, W, 1), float32, 0 or 1

    Examples
    --------
    >>> import numpy as np
    >>> foreground(np.array([[0, 7]]))[..., 0].tolist()
    [[0.0, 1.0]]
    """
    return (labels > 0).astype(np.float32)[..., None]
