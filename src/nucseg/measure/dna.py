"""DNA content of nuclei: the summed intensity of a DNA stain above the background."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError
from nucseg.measure.nuclei import Columns

Labels = npt.NDArray[np.integer[Any]]


def measure_dna(labels: Labels, plane: npt.NDArray[Any]) -> tuple[Columns, list[str]]:
    """Measure the DNA content of each nucleus.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, nuclei above 0.
    plane : ndarray, shape (H, W), real
        Fluorescence of a stoichiometric DNA stain, such as DAPI or Hoechst.

    Returns
    -------
    columns : dict of str to ndarray, shape (N,), float64
        In the order of the labels: ``dna_background``, the median of the pixels outside all nuclei,
        the same in each row, and ``dna_content``, the sum over a nucleus minus the background times
        its number of pixels, in the units of the image.
    doubts : list of str
        Warnings if the nuclei are not brighter than the background.

    Raises
    ------
    InputError
        The plane and the labels differ in shape, for example because it is a colour image.

    Examples
    --------
    >>> import numpy as np
    >>> table, _ = measure_dna(np.array([[0, 0, 1, 1, 0]]), np.array([[2, 2, 9, 7, 2]]))
    >>> table["dna_content"].tolist()
    [12.0]
    """
    if plane.shape != labels.shape:
        raise InputError(
            f"DNA content needs one value in each pixel, of a fluorescent stain of DNA, got an "
            f"image of {plane.shape} for labels of {labels.shape}. Choose a channel by --channel."
        )
    numbers, which = np.unique(labels, return_inverse=True)
    count = len(numbers)
    inside = labels.ravel() > 0
    total = np.bincount(which.ravel(), plane.ravel().astype(np.float64), count)[numbers > 0]
    area = np.bincount(which.ravel(), minlength=count)[numbers > 0]
    outside = plane.ravel()[~inside]
    ground = float(np.median(outside)) if outside.size else np.nan
    content = total - ground * area
    doubts = []
    if len(content) and not np.median(content) > 0:
        doubts.append(
            "DNA content doubtful: the nuclei are no brighter than the background. It is meant for "
            "fluorescence."
        )
    return {"dna_background": np.full(len(area), ground), "dna_content": content}, doubts
