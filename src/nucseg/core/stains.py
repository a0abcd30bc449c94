"""Optical densities of stains, which are additive in mixtures of stains.

Stains are unmixed with the vectors of Ruifrok & Johnston 2001, "Quantification of histochemical
staining by color deconvolution", Anal Quant Cytol Histol 23:291-299.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# Optical density of each stain in red, green and blue.
HAEMATOXYLIN = (0.650, 0.704, 0.286)
EOSIN = (0.072, 0.990, 0.105)
DAB = (0.268, 0.570, 0.776)
# Lower limit of the light: an optical density of 5.5.
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
    """Compute the fraction of light transmitted at given optical densities, in [0, 1]."""
    return np.asarray(np.exp(-np.maximum(density, 0)), np.float32)


def stain_matrix(*vectors: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """Return unit stain vectors, one per row; a third is orthogonal to the first two."""
    rows = [np.array(vector) / np.linalg.norm(vector) for vector in vectors]
    if len(rows) == 2:
        rest = np.cross(rows[0], rows[1])
        rows.append(rest / np.linalg.norm(rest))
    return np.stack(rows)


def unmix(image: FloatArray, vectors: npt.NDArray[np.float64]) -> FloatArray:
    """Compute the amount of each stain in each pixel.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), float32, in [0, 1]
    vectors : ndarray, shape (3, 3)
        Stain vectors, as returned by `stain_matrix`.

    Returns
    -------
    ndarray, shape (H, W, 3), float32
        Amounts of the three stains. They are below 0 for colours that are not mixtures.
    """
    return np.asarray(densities(image) @ np.linalg.inv(vectors).astype(np.float32), np.float32)
