from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nucseg.config import Watershed
from nucseg.datasets.synthetic import synthetic_image
from nucseg.evaluation.metrics import kaggle_map, overlap
from nucseg.inference.loading import load_model
from nucseg.inference.scores import FEATURES, expected_iou
from nucseg.training.targets import instance_maps
from nucseg.training.tuning import fit_scoring, tuned


class Rough:
    """A data set and a network in one: it gives the true maps, made worse."""

    def __init__(self, change):
        self.truth, self.change = {}, change
        for seed in range(4):
            rng = np.random.default_rng(seed)
            pixels, labels = synthetic_image(rng, size=(96, 96), nuclei=12)
            self.truth[str(seed)] = (pixels, labels)

    def read(self, image_id):
        pixels, labels = self.truth[image_id]
        return type("Sample", (), {"pixels": pixels, "labels": labels})

    def __call__(self, batch):
        # Which image it is, shows in the pixels.
        from nucseg.images.preprocess import prepare

        for pixels, labels in self.truth.values():
            if np.array_equal(prepare(pixels, self.preprocessing), batch[0]):
                return self.change(instance_maps(labels))[None].astype(np.float32)
        raise AssertionError


@pytest.fixture
def rough(bright_instance_model: Path):
    def make(change):
        model = load_model(bright_instance_model)
        source = Rough(change)
        source.preprocessing = model.card.preprocessing
        return replace(model, runtime=source), source

    return make


def judged(model, source):
    return np.mean(
        [
            kaggle_map(overlap(labels, model.segment(pixels).labels))
            for pixels, labels in source.truth.values()
        ]
    )


def test_thresholds_follow_the_metric(rough):
    def fainter(maps):
        maps[..., 0] *= 0.45
        return maps

    model, source = rough(fainter)
    assert judged(model, source) == 0
    seen = []
    better = tuned(
        model, source, list(source.truth), progress=lambda done, total: seen.append((done, total))
    )
    assert better.card.postprocessing.threshold < 0.45
    assert judged(better, source) > 0.9
    assert seen == [(k, 4) for k in range(1, 5)]


def test_settings_that_are_good_stay(rough):
    model, source = rough(lambda maps: maps)
    better = tuned(model, source, list(source.truth))
    assert better.card.postprocessing == model.card.postprocessing
    assert len(better.card.scoring.weights) == len(FEATURES)


def test_false_nuclei_are_dropped_by_their_score(rough):
    def with_ghosts(maps):
        ghosts = np.zeros((96, 96), int)
        for number, place in enumerate(range(4, 90, 12), start=1):
            ghosts[place : place + 6, 88:94] = number
        ghosts[maps[..., 0] > 0] = 0
        extra = instance_maps(ghosts)
        extra[..., 1] = 0.3
        return np.where((ghosts > 0)[..., None], extra, maps)

    model, source = rough(with_ghosts)
    better = tuned(model, source, list(source.truth))
    assert better.card.postprocessing.min_score > 0
    assert judged(better, source) > judged(model, source) + 0.05


def test_nothing_to_learn_from_changes_nothing(rough, bright_model: Path):
    model, source = rough(lambda maps: maps)
    assert tuned(model, source, []) is model
    other = load_model(bright_model)
    assert tuned(other, source, []) is other
    assert isinstance(model.card.postprocessing, Watershed)


def test_the_score_learns_what_predicts_the_iou():
    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, (2000, len(FEATURES)))
    ious = 1 / (1 + np.exp(-(features[:, 2] - 0.5 * features[:, 4] - 1)))
    scoring = fit_scoring(features, ious)
    assert np.abs(expected_iou(features, scoring) - ious).mean() < 0.02
    assert scoring.weights[2] > 0 > scoring.weights[4]


def test_a_curve_corrects_what_the_regression_cannot_say():
    rng = np.random.default_rng(1)
    features = rng.normal(0, 2, (4000, len(FEATURES)))
    # Steeper than a logistic function where it is high.
    ious = np.clip(0.6 + 0.25 * np.tanh(3 * features[:, 0]) + 0.1 * (features[:, 0] > 2), 0, 1)
    scoring = fit_scoring(features, ious)
    scores = expected_iou(features, scoring)
    bare = expected_iou(features, scoring.model_copy(update={"curve": ()}))
    order = np.argsort(bare)
    errors = [
        np.mean([abs(each[b].mean() - ious[b].mean()) for b in np.array_split(order, 8)])
        for each in (scores, bare)
    ]
    assert errors[0] < errors[1] / 2
    np.testing.assert_array_equal(np.argsort(scores[order], kind="stable"), np.arange(len(order)))
    assert fit_scoring(features[:100], ious[:100]).curve == ()


def test_nuclei_that_are_all_alike_get_their_mean_iou():
    features = np.ones((50, len(FEATURES)))
    scores = expected_iou(features, fit_scoring(features, np.full(50, 0.7)))
    np.testing.assert_allclose(scores, 0.7, atol=0.01)


def test_a_network_that_finds_nothing_is_left_as_it_is(rough):
    model, source = rough(np.zeros_like)
    assert tuned(model, source, list(source.truth)) is model
