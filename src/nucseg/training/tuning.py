"""Fit what comes behind the network on validation images, by the metric itself.

Two things: the thresholds of the step from maps to nuclei, and the score of each nucleus.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from nucseg.config import Scoring, Watershed
from nucseg.datasets.reading import Dataset
from nucseg.evaluation.metrics import kaggle_map, overlap
from nucseg.images.colours import image_kind
from nucseg.images.preprocess import FloatImage
from nucseg.inference.instances import watershed
from nucseg.inference.scores import expected_iou, nucleus_features
from nucseg.inference.segmenter import Model

logger = logging.getLogger(__name__)

# Tried one after the other, each with the best of those before; the order matters little.
CHOICES: dict[str, tuple[float, ...]] = {
    "seed_threshold": (0.2, 0.3, 0.4, 0.5, 0.6),
    "join_votes": (0.15, 0.2, 0.3, 0.4, 0.5),
    "threshold": (0.3, 0.4, 0.5, 0.6, 0.7),
    "relative_threshold": (0.0, 0.3, 0.4, 0.5, 0.6),
}
MIN_SCORES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
# What a change must gain in Kaggle mAP: less is chance.
GAIN = 0.001
# Of the weights of the score, against chance in few nuclei.
RIDGE = 1e-3
# Nuclei from which the regression is corrected by a curve, and its points, of equally many.
LEAST_FOR_CURVE, BINS = 300, 10


@dataclass(frozen=True)
class Example:
    """The maps of a validation image, shape (H, W, 5), float32, its true label image, its kind."""

    maps: FloatImage
    truth: npt.NDArray[np.integer]
    kind: tuple[float, float]


def tuned(
    model: Model,
    dataset: Dataset,
    image_ids: Sequence[str],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Model:
    """Fit thresholds and score of a model of the instance recipe.

    Parameters
    ----------
    model : Model
        Its method is `Watershed`.
    dataset : Dataset
    image_ids : sequence of str
        Annotated images that the network was not trained on.
    progress : callable, optional
        ``progress(done, total)``, of the images.

    Returns
    -------
    Model
        With other settings in its card, and the same network.
    """
    examples = []
    for done, image_id in enumerate(image_ids, start=1):
        sample = dataset.read(image_id)
        if sample.labels.any():
            maps = model.network_maps(sample.pixels)
            examples.append(Example(maps, sample.labels, image_kind(sample.pixels)))
        if progress is not None:
            progress(done, len(image_ids))
    before = model.card.postprocessing
    if not examples or not isinstance(before, Watershed):
        return model
    settings = _best_thresholds(examples, before)
    features, ious = _nuclei(examples, settings)
    if not len(features):  # the network finds nothing
        return model
    scoring = fit_scoring(features, ious)
    settings = _best_min_score(examples, settings, scoring)
    card = model.card.model_copy(update={"postprocessing": settings, "scoring": scoring})
    return replace(model, card=card)


def _best_thresholds(examples: Sequence[Example], settings: Watershed) -> Watershed:
    def judged(settings: Watershed) -> float:
        found = (watershed(example.maps, settings) for example in examples)
        return _mean_map(examples, found)

    best = judged(settings)
    for name, values in CHOICES.items():
        tried = {value: settings.model_copy(update={name: value}) for value in values}
        maps = {value: judged(changed) for value, changed in tried.items()}
        value = max(maps, key=lambda value: maps[value])
        logger.debug("Kaggle mAP by %s: %s", name, maps)
        if maps[value] > best + GAIN:
            best, settings = maps[value], tried[value]
    return settings


def _mean_map(examples: Sequence[Example], found: Any) -> float:
    scores = [
        kaggle_map(overlap(example.truth, labels))
        for example, labels in zip(examples, found, strict=True)
    ]
    return float(np.mean(scores))


def _nuclei(
    examples: Sequence[Example], settings: Watershed
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Features and greatest IoU of all nuclei that are found."""
    features, ious = [], []
    for example in examples:
        labels = watershed(example.maps, settings)
        features.append(nucleus_features(labels, example.maps, example.kind))
        table = overlap(example.truth, labels)
        best = np.zeros(len(table.predicted_labels))
        np.maximum.at(best, table.columns, table.iou)
        ious.append(best)
    return np.concatenate(features), np.concatenate(ious)


def fit_scoring(features: npt.NDArray[np.float64], ious: npt.NDArray[np.float64]) -> Scoring:
    """Fit weights by which features of nuclei predict their IoU: logistic regression, and a curve.

    Parameters
    ----------
    features : ndarray, shape (N, F), float64
    ious : ndarray, shape (N,), float64, in [0, 1]

    Returns
    -------
    Scoring
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    scaled = (features - mean) / deviation

    def loss(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        logits = scaled @ weights[1:] + weights[0]
        entropy = np.logaddexp(0, logits) - ious * logits
        error = expit(logits) - ious
        gradient = np.concatenate([[error.mean()], scaled.T @ error / len(error)])
        gradient[1:] += 2 * RIDGE * weights[1:]
        return float(entropy.mean() + RIDGE * np.sum(weights[1:] ** 2)), gradient

    found = minimize(loss, np.zeros(features.shape[1] + 1), jac=True, method="L-BFGS-B").x
    weights = found[1:] / deviation
    scoring = Scoring(weights=tuple(weights.tolist()), bias=float(found[0] - weights @ mean))
    return scoring.model_copy(update={"curve": _curve(expected_iou(features, scoring), ious)})


def _curve(
    expected: npt.NDArray[np.floating], ious: npt.NDArray[np.float64]
) -> tuple[tuple[float, float], ...]:
    """Points of a rising curve from what the regression expects to the mean IoU there."""
    if len(ious) < LEAST_FOR_CURVE:
        return ()
    bins = np.array_split(np.argsort(expected, kind="stable"), BINS)
    points = np.array([(expected[each].mean(), ious[each].mean()) for each in bins])
    points[:, 1] = np.maximum.accumulate(points[:, 1])
    inside = np.clip(points, 1e-6, 1 - 1e-6)
    rising = inside[np.append(True, np.diff(inside[:, 0]) > 1e-6)]
    return tuple((float(x), float(y)) for x, y in [(0, 0), *rising, (1, 1)])


def _best_min_score(
    examples: Sequence[Example], settings: Watershed, scoring: Scoring
) -> Watershed:
    def kept(min_score: float) -> list[npt.NDArray[np.integer]]:
        return [np.where(scores[labels] >= min_score, labels, 0) for labels, scores in found]

    found = []
    for example in examples:
        labels = watershed(example.maps, settings)
        scores = expected_iou(nucleus_features(labels, example.maps, example.kind), scoring)
        found.append((labels, np.concatenate([[1], scores])))
    maps = {score: _mean_map(examples, kept(score)) for score in MIN_SCORES}
    best = max(maps, key=lambda score: maps[score])
    chosen = best if maps[best] > maps[MIN_SCORES[0]] + GAIN else MIN_SCORES[0]
    return settings.model_copy(update={"min_score": chosen})
