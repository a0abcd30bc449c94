"""Scores of nuclei: the expected IoU of each nucleus."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from nucseg.config import OFFSET_RANGE, Scoring
from nucseg.images.preprocess import FloatImage

FEATURES = (
    "probability", "doubt", "border", "distance", "spread", "shift", "radius", "tissue",
    "brightfield",
)  # fmt: skip
# Midpoint and width of two sigmoids: of the background, as a fraction of the range, between dark
# and bright; and of the colour, between grey and stained.
_BRIGHT, _COLOURFUL = (0.45, 0.05), (0.03, 0.006)


def mean_scores(labels: npt.NDArray[np.integer], probability: FloatImage) -> FloatImage:
    """Compute the mean probability inside each nucleus.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, 1…N nuclei, without gaps.
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


def kind_features(background: float, colour: float) -> tuple[float, float]:
    """Compute how similar an image is to stained tissue and to grey brightfield.

    Parameters
    ----------
    background, colour : float
        Background and colour, as returned by `nucseg.images.colours.image_kind`.

    Returns
    -------
    tissue, brightfield : float, in [0, 1]
        Both are 0 for fluorescence. They change smoothly, so that no image is at a threshold.

    Examples
    --------
    >>> [tuple(round(each, 2) for each in kind_features(*kind))
    ...  for kind in ((0.1, 0), (0.9, 0), (0.8, 0.3))]
    [(0.0, 0.0), (0.01, 0.99), (1.0, 0.0)]
    """
    bright, colourful = (
        float(expit((value - middle) / width))
        for value, (middle, width) in ((background, _BRIGHT), (colour, _COLOURFUL))
    )
    return bright * colourful, bright * (1 - colourful)


def nucleus_features(
    labels: npt.NDArray[np.integer],
    maps: FloatImage,
    kind: tuple[float, float],
    *,
    scale: float = 1.0,
) -> npt.NDArray[np.float64]:
    """Compute features of nuclei from the maps of a network, to predict their IoU.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, 1…N nuclei, without gaps.
    maps : ndarray, shape (H, W, 5), float32, in [0, 1]
        Maps in the order of `nucseg.config.INSTANCE_MAPS`.
    kind : (float, float)
        Kind of the image, as returned by `nucseg.images.colours.image_kind`.
    scale : float
        Factor by which the image was resized for the network.

    Returns
    -------
    ndarray, shape (N, 9), float64
        Features in the order of `FEATURES`: means inside the nucleus of the probability, of its
        closeness to one half, of the border and of the distance; spread of the votes for its
        centre, and distance of their mean from its centroid, both in radii of a disc of its area;
        binary logarithm of that radius in pixels of the network input; and the `kind_features` of
        the image.
    """
    pixels = np.flatnonzero(labels > 0)
    number = labels.ravel()[pixels].astype(np.intp) - 1
    areas = np.bincount(number)
    places = np.divmod(pixels, labels.shape[1])
    inside = maps[places].astype(np.float64)

    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(np.bincount(number, weights=values) / areas)

    probability, border, distance = inside[:, 0], inside[:, 1], inside[:, 2]
    radius = np.sqrt(areas / np.pi)
    shift, spread = np.zeros(len(areas)), np.zeros(len(areas))
    for place, offset in zip(places, inside[:, 3:].T, strict=True):
        away = (offset - 0.5) * (2 * OFFSET_RANGE)
        vote = place + away
        centre = mean(vote)
        shift += mean(away) ** 2
        spread += mean((vote - centre[number]) ** 2)
    return np.stack(
        [
            mean(probability),
            mean(4 * probability * (1 - probability)),
            mean(border),
            mean(distance),
            np.sqrt(spread) / radius,
            np.sqrt(shift) / radius,
            np.log2(radius * scale),
            *(np.full(len(areas), each) for each in kind_features(*kind)),
        ],
        axis=-1,
    )


def expected_iou(features: npt.NDArray[np.float64], scoring: Scoring) -> FloatImage:
    """Predict the IoU of each nucleus with the true nucleus from its features.

    Parameters
    ----------
    features : ndarray, shape (N, 9), float64
        Features, as returned by `nucleus_features`. For a scoring with seven weights, only the
        first seven are used.
    scoring : Scoring
        Weights fitted to validation images, see `nucseg.training.tuning`.

    Returns
    -------
    ndarray, shape (N,), float32, in (0, 1)
    """
    weights = np.array(scoring.weights)
    logits = features[:, : len(weights)] @ weights + scoring.bias
    expected = expit(logits)
    if scoring.curve:
        expected = np.interp(expected, *np.transpose(scoring.curve))
    return np.asarray(expected, np.float32)
