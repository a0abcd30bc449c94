import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from nucseg.classes.regression import (
    class_probabilities,
    cross_validated,
    fit_weights,
    left_out_together,
    wilson_interval,
)


def blobs(classes: int, seed: int = 0, each: int = 15) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(classes), each)
    centres = rng.normal(size=(classes, 5)) * 1.5
    return centres[numbers] + rng.normal(size=(len(numbers), 5)), numbers


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("classes", [3, 4])
@pytest.mark.parametrize("strength", [0.5, 5.0])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_probabilities_are_those_of_scikit_learn(classes, strength, sparsity):
    linear_model = pytest.importorskip("sklearn.linear_model")
    values, numbers = blobs(classes)
    theirs = linear_model.LogisticRegression(
        C=strength,
        penalty="elasticnet",
        l1_ratio=sparsity,
        solver="saga",
        tol=1e-8,
        max_iter=100_000,
    ).fit(values, numbers)
    weights = fit_weights(values, numbers, classes, strength=strength, sparsity=sparsity)
    found = class_probabilities(values, weights)
    assert np.abs(found - theirs.predict_proba(values)).max() < 2e-3


def test_two_classes_are_those_of_scikit_learn_with_weights_halved():
    linear_model = pytest.importorskip("sklearn.linear_model")
    values, numbers = blobs(2)
    # One weight for each class, half as large and of either sign, in place of one for both.
    theirs = linear_model.LogisticRegression(C=2 * 3.0, tol=1e-10, max_iter=10_000)
    theirs.fit(values, numbers)
    weights = fit_weights(values, numbers, 2, strength=3.0, sparsity=0.0)
    found = class_probabilities(values, weights)
    assert np.abs(found - theirs.predict_proba(values)).max() < 1e-3


def test_features_without_use_have_no_weight():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 6))
    weights = fit_weights(values, (values[:, 2] > 0).astype(int), 2, strength=1, sparsity=0.9)
    assert np.abs(weights[2]).min() > 0.5
    assert np.count_nonzero(np.abs(weights[:-1]).max(axis=1) > 1e-6) <= 3


def test_large_values_give_finite_probabilities():
    weights = np.array([[1e3, -1e3], [0.0, 0.0]])
    found = class_probabilities(np.array([[1e3], [-1e3]]), weights)
    assert found.tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("count", [6, 30, 31, 47, 200])
def test_each_example_is_left_out_once(count):
    numbers = np.random.default_rng(0).integers(0, 3, count)
    parts = left_out_together(numbers)
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))
    assert len(parts) == (count if count <= 30 else 10)
    if count == 200:
        shares = [np.bincount(numbers[part], minlength=3) for part in parts]
        assert np.ptp(shares, axis=0).max() <= 1


def test_what_is_left_out_is_not_seen():
    # Noise cannot be predicted: a classifier that had seen the examples would get them right.
    rng = np.random.default_rng(3)
    values, numbers = rng.normal(size=(60, 45)), rng.integers(0, 2, 60)
    weights = fit_weights(values, numbers, 2, strength=100, sparsity=0.5)
    seen = (class_probabilities(values, weights).argmax(axis=1) == numbers).mean()
    unseen = (cross_validated(values, numbers, 2, strength=100, sparsity=0.5) == numbers).mean()
    assert seen > 0.8
    assert 0.25 < unseen < 0.7


@given(st.integers(1, 500), st.data())
def test_the_interval_is_scipys(of, data):
    right = data.draw(st.integers(0, of))
    low, high = wilson_interval(right, of)
    theirs = binomtest(right, of).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert 0 <= low <= right / of <= high <= 1


def test_nothing_known_is_an_interval_of_all():
    assert wilson_interval(0, 0) == (0.0, 1.0)
