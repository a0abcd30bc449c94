"""How sure a model is of each nucleus."""

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
# Share of the range at which the background is half way to that of an image through which light
# goes, and colours at which it is half way to stained; and how soon both change.
_BRIGHT, _COLOURFUL = (0.45, 0.05), (0.03, 0.006)


def mean_scores(labels: npt.NDArray[np.integer], probability: FloatImage) -> FloatImage:
    """Mean probability inside each nucleus.

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


def kind_features(background: float, colour: float) -> tuple[float, float]:
    """Tell how much an image is stained tissue, and how much grey brightfield.

    Parameters
    ----------
    background, colour : float
        As `nucseg.images.colours.image_kind` gives them.

    Returns
    -------
    tissue, brightfield : float, in [0, 1]
        Both are 0 for fluorescence. They change smoothly, so that no image is on an edge.

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
    """Measure in the maps of a network what tells good nuclei from bad ones.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, 1…N nuclei, every number used.
    maps : ndarray, shape (H, W, 5), float32, in [0, 1]
        In the order of `nucseg.config.INSTANCE_MAPS`.
    kind : (float, float)
        Of the image, as `nucseg.images.colours.image_kind` gives it.
    scale : float
        By which the image was resized for the network.

    Returns
    -------
    ndarray, shape (N, 9), float64
        As `FEATURES` names them: means inside the nucleus of the probability, of how near that is
        to one half, of border and of distance; how widely the votes for its centre are spread and
        how far their mean is from its centroid, in radii of a disc of its area; the binary
        logarithm of that radius in pixels, as the network saw it; and `kind_features` of the image.
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
    """Predict the IoU of each nucleus with the true one from its features.

    Parameters
    ----------
    features : ndarray, shape (N, 9), float64
        As `nucleus_features` gives them; of scorings with seven weights the first seven count.
    scoring : Scoring
        What was learnt from validation images, see `nucseg.training.tuning`.

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
