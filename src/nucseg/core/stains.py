"""Optical densities of stains, which add up where stains mix.

Stains are unmixed by the vectors of Ruifrok & Johnston 2001, "Quantification of histochemical
staining by color deconvolution", Anal Quant Cytol Histol 23:291-299.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# Optical density in red, green and blue that a stain gives.
HAEMATOXYLIN = (0.650, 0.704, 0.286)
EOSIN = (0.072, 0.990, 0.105)
DAB = (0.268, 0.570, 0.776)
# The least light: an optical density of 5.5.
DARKEST = np.float32(1 / 255)


def densities(image: FloatArray) -> FloatArray:
    """Compute optical densities.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), float32, in [0, 1]

    Returns
    -------
    ndarray, shape (H, W, 3), float32, from 0
    """
    return np.asarray(-np.log(np.clip(image, DARKEST, 1)), np.float32)


def light(density: FloatArray) -> FloatArray:
    """Compute the light that optical densities let through, in [0, 1]."""
    return np.asarray(np.exp(-np.maximum(density, 0)), np.float32)


def stain_matrix(*vectors: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """Give stain vectors of length 1, one a row; a third is at right angles to the first two."""
    rows = [np.array(vector) / np.linalg.norm(vector) for vector in vectors]
    if len(rows) == 2:
        rest = np.cross(rows[0], rows[1])
        rows.append(rest / np.linalg.norm(rest))
    return np.stack(rows)


def unmix(image: FloatArray, vectors: npt.NDArray[np.float64]) -> FloatArray:
    """Compute how much of each stain lies where.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), float32, in [0, 1]
    vectors : ndarray, shape (3, 3)
        As `stain_matrix` gives them.

    Returns
    -------
    ndarray, shape (H, W, 3), float32
        One stain after the other; below 0 where colours are none of their mixtures.
    """
    return np.asarray(densities(image) @ np.linalg.inv(vectors).astype(np.float32), np.float32)
