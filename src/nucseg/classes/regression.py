"""Multinomial logistic regression on few examples, and its cross-validated accuracy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer[Any]]

# Maximum number of examples for leave-one-out, and number of folds for more examples.
LEAVE_ONE_OUT = 30
PARTS = 10


def fit_weights(
    values: Floats, classes: Integers, count: int, *, strength: float, sparsity: float
) -> Floats:
    """Fit a multinomial logistic regression with an elastic net.

    Parameters
    ----------
    values : ndarray, shape (N, F), float64
        Features on one scale, without missing values.
    classes : ndarray, shape (N,), integer
        Classes from 0 to `count` − 1.
    count : int
        Number of classes.
    strength : float
        Weight of the examples relative to the penalty, ``C`` of scikit-learn's
        ``LogisticRegression``: the fit minimizes `strength` times the sum of the negative log
        likelihoods, plus the penalty. Intercepts are not penalized.
    sparsity : float
        Fraction of the L1 norm in the penalty, in [0, 1), ``l1_ratio`` of scikit-learn. The L1
        norm sets the weights of less useful features to 0. The rest of the penalty is half the
        squared L2 norm.

    Returns
    -------
    ndarray, shape (F + 1, count), float64
        Weights, and the intercepts in the last row.

    Notes
    -----
    Zou and Hastie 2005, doi:10.1111/j.1467-9868.2005.00503.x. Each weight is the difference of two
    non-negative numbers, so that the penalty is smooth and L-BFGS-B finds the minimum.

    Examples
    --------
    >>> values = np.array([[-2.0], [-1], [1], [2]])
    >>> weights = fit_weights(values, np.array([0, 0, 1, 1]), 2, strength=1, sparsity=0.5)
    >>> class_probabilities(np.array([[-3.0], [3.0]]), weights).argmax(axis=1).tolist()
    [0, 1]
    """
    # Imported here because it is slow to import.
    from scipy.optimize import minimize

    with_one = np.column_stack([values, np.ones(len(values))])
    wanted = np.eye(count)[classes]
    size = values.shape[1] * count

    def loss(flat: Floats) -> tuple[float, Floats]:
        above, below, intercepts = flat[:size], flat[size : 2 * size], flat[2 * size :]
        slopes = above - below
        logits = with_one @ np.concatenate([slopes, intercepts]).reshape(-1, count)
        logits -= logits.max(axis=1, keepdims=True)
        log_shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        gradient = strength * (with_one.T @ (np.exp(log_shares) - wanted)).ravel()
        slope = gradient[:size] + (1 - sparsity) * slopes
        penalty = sparsity * (above + below).sum() + (1 - sparsity) / 2 * (slopes**2).sum()
        total = penalty - strength * (wanted * log_shares).sum()
        return total, np.concatenate([slope + sparsity, sparsity - slope, gradient[size:]])

    bounds = [(0, None)] * (2 * size) + [(None, None)] * count
    start = np.zeros(2 * size + count)
    options = {"maxiter": 1000, "ftol": 1e-10}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    slopes, intercepts = found[:size] - found[size : 2 * size], found[2 * size :]
    # A constant added to all intercepts does not change the probabilities.
    return np.concatenate([slopes, intercepts - intercepts.mean()]).reshape(-1, count)


def class_probabilities(values: Floats, weights: Floats) -> Floats:
    """Compute the probability of each class.

    Parameters
    ----------
    values : ndarray, shape (N, F), float64
    weights : ndarray, shape (F + 1, K), float64
        Weights, as returned by `fit_weights`.

    Returns
    -------
    ndarray, shape (N, K), float64
        Each row sums to 1.
    """
    logits = values @ weights[:-1] + weights[-1]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def left_out_together(classes: Integers) -> list[npt.NDArray[np.intp]]:
    """Divide examples into folds for cross-validation.

    Up to 30 examples are left out one by one. More are divided into 10 folds, stratified by class.

    Examples
    --------
    >>> [part.tolist() for part in left_out_together(np.array([0, 1, 0]))]
    [[0], [1], [2]]
    """
    if len(classes) <= LEAVE_ONE_OUT:
        return [np.array([place]) for place in range(len(classes))]
    order = np.argsort(classes, kind="stable")
    return [order[part::PARTS] for part in range(PARTS)]


def cross_validated(
    values: Floats, classes: Integers, count: int, *, strength: float, sparsity: float
) -> npt.NDArray[np.intp]:
    """Predict each example with a regression that was fitted without it.

    Parameters
    ----------
    values, classes, count, strength, sparsity
        See `fit_weights`.

    Returns
    -------
    ndarray, shape (N,), integer
    """
    predicted = np.empty(len(classes), np.intp)
    for part in left_out_together(classes):
        rest = np.ones(len(classes), bool)
        rest[part] = False
        weights = fit_weights(
            values[rest], classes[rest], count, strength=strength, sparsity=sparsity
        )
        predicted[part] = class_probabilities(values[part], weights).argmax(axis=1)
    return predicted


def wilson_interval(right: int, of: int) -> tuple[float, float]:
    """Compute the 95 % interval of a fraction (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    Examples
    --------
    >>> [round(end, 3) for end in wilson_interval(19, 20)]
    [0.764, 0.991]
    """
    if of == 0:
        return 0.0, 1.0
    z = 1.959963984540054
    share = right / of
    middle = share + z**2 / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z**2 / (4 * of**2))
    scale = 1 + z**2 / of
    # Rounding must not exclude the fraction itself.
    return max(min((middle - half) / scale, share), 0.0), min(
        max((middle + half) / scale, share), 1
    )
