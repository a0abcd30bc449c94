"""Multinomial logistic regression on few examples, and how often it is right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer[Any]]

# Up to so many examples are left out one by one; more in so many parts.
LEAVE_ONE_OUT = 30
PARTS = 10


def fit_weights(
    values: Floats, classes: Integers, count: int, *, strength: float, sparsity: float
) -> Floats:
    """Fit a multinomial logistic regression with an elastic net.

    Parameters
    ----------
    values : ndarray, shape (N, F), float64
        Features of one scale, without missing values.
    classes : ndarray, shape (N,), integer
        From 0 to `count` − 1.
    count : int
        Number of classes.
    strength : float
        How much the examples weigh against small weights, ``C`` of scikit-learn's
        ``LogisticRegression``: minimised is `strength` times the sum of the negative log
        likelihoods, plus the penalty. Intercepts are free.
    sparsity : float
        In [0, 1): the share of absolute weights in the penalty, scikit-learn's ``l1_ratio``. They
        make weights of features 0 that add little; the rest is half the squared weights.

    Returns
    -------
    ndarray, shape (F + 1, count), float64
        Weights, and in the last row the intercepts.

    Notes
    -----
    Zou and Hastie 2005, doi:10.1111/j.1467-9868.2005.00503.x. Each weight is the difference of two
    that are not negative, so that the penalty is smooth and L-BFGS-B finds the minimum.

    Examples
    --------
    >>> values = np.array([[-2.0], [-1], [1], [2]])
    >>> weights = fit_weights(values, np.array([0, 0, 1, 1]), 2, strength=1, sparsity=0.5)
    >>> class_probabilities(np.array([[-3.0], [3.0]]), weights).argmax(axis=1).tolist()
    [0, 1]
    """
    # Slow to import, so that only what trains pays for it.
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
    # A constant added to all intercepts changes nothing.
    return np.concatenate([slopes, intercepts - intercepts.mean()]).reshape(-1, count)


def class_probabilities(values: Floats, weights: Floats) -> Floats:
    """Probability of each class.

    Parameters
    ----------
    values : ndarray, shape (N, F), float64
    weights : ndarray, shape (F + 1, K), float64
        As `fit_weights` gives them.

    Returns
    -------
    ndarray, shape (N, K), float64
        Rows sum up to 1.
    """
    logits = values @ weights[:-1] + weights[-1]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def left_out_together(classes: Integers) -> list[npt.NDArray[np.intp]]:
    """Divide examples for cross-validation.

    Up to 30 are left out one by one; more in 10 parts, in each of which the classes have about
    their shares.

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
    """Predict each example by a regression that was fitted without it.

    Parameters
    ----------
    values, classes, count, strength, sparsity
        As for `fit_weights`.

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
    """95 % interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953).

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
    # Rounding must not leave the share itself outside.
    return max(min((middle - half) / scale, share), 0.0), min(
        max((middle + half) / scale, share), 1
    )
