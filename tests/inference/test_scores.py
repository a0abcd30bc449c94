import numpy as np
import pytest

from nucseg.config import Scoring
from nucseg.datasets.synthetic import synthetic_image
from nucseg.inference.scores import FEATURES, expected_iou, mean_scores, nucleus_features
from nucseg.training.targets import instance_maps


def test_score_is_the_mean_inside_the_nucleus():
    labels = np.array([[1, 1, 0, 2]])
    probability = np.array([[0.5, 1.0, 0.2, 0.75]], np.float32)
    assert mean_scores(labels, probability).tolist() == pytest.approx([0.75, 0.75])


def features_of(labels, maps):
    features = nucleus_features(labels, maps, (0.1, 0.0))
    assert features.shape == (labels.max(), len(FEATURES))
    return dict(zip(FEATURES, features.T, strict=True))


def test_features_of_perfect_maps():
    _, labels = synthetic_image(np.random.default_rng(0), size=(96, 128), nuclei=9)
    features = features_of(labels, instance_maps(labels))
    assert (features["probability"] == 1).all()
    np.testing.assert_allclose(features["doubt"], 0)
    np.testing.assert_allclose(features["spread"], 0, atol=1e-3)
    np.testing.assert_allclose(features["shift"], 0, atol=1e-3)
    areas = np.bincount(labels.ravel())[1:]
    np.testing.assert_allclose(np.pi * 4 ** features["radius"], areas)


def test_a_label_over_two_nuclei_has_spread_votes_and_a_label_of_a_half_is_shifted():
    truth = np.zeros((20, 40), int)
    truth[5:15, 5:20], truth[5:15, 20:35] = 1, 2
    maps = instance_maps(truth)
    merged = features_of((truth > 0).astype(int), maps)
    assert merged["spread"][0] > 0.5
    assert merged["shift"][0] == pytest.approx(0, abs=1e-3)
    halves = features_of(np.where(np.arange(40) < 12, truth == 1, 0) * 1, maps)
    assert halves["shift"][0] > 0.5
    assert halves["spread"][0] == pytest.approx(0, abs=1e-3)


def test_features_without_nuclei():
    labels = np.zeros((5, 6), int)
    assert nucleus_features(labels, instance_maps(labels), (0.1, 0.0)).shape == (0, len(FEATURES))


def test_expected_iou_by_hand():
    scoring = Scoring(weights=(1, 0, 0, 0, -2, 0, 0), bias=0.5)
    features = np.zeros((2, len(FEATURES)))
    features[1, 0], features[1, 4] = 1.5, 1
    assert expected_iou(features, scoring).tolist() == pytest.approx(
        [1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(0))]
    )


def test_the_kind_of_image_counts_where_the_scoring_knows_it():
    _, labels = synthetic_image(np.random.default_rng(0), size=(96, 128), nuclei=9)
    maps = instance_maps(labels)
    kinds = {"fluorescence": (0.05, 0.0), "brightfield": (0.8, 0.0), "tissue": (0.8, 0.3)}
    first_seven = (1.0,) * 7
    knows = Scoring(weights=(*first_seven, 2.0, -2.0), bias=-5)
    ignores = Scoring(weights=first_seven, bias=-5)
    features = {name: nucleus_features(labels, maps, kind) for name, kind in kinds.items()}
    scores = {name: expected_iou(each, knows) for name, each in features.items()}
    assert (scores["tissue"] > scores["fluorescence"]).all()
    assert (scores["fluorescence"] > scores["brightfield"]).all()
    same = [expected_iou(each, ignores).tolist() for each in features.values()]
    assert same[0] == same[1] == same[2]
