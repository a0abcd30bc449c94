"""Quality of a plate: separation of controls, effects of rows, columns and edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucseg.analysis.effects import welch_p

FloatArray = npt.NDArray[np.float64]

# Standard deviation of a Gaussian divided by its median absolute deviation.
_MAD = 1.4826


def z_prime(positive: FloatArray, negative: FloatArray) -> float:
    """Compute Z′, the separation band of an assay (Zhang et al. 1999, J Biomol Screen 4:67-73).

    Parameters
    ----------
    positive, negative : ndarray, shapes (N,) and (M,), float64
        Values of the wells of both controls, at least two each.

    Returns
    -------
    float
        At most 1; above 0.5 an assay is excellent, below 0 the controls overlap. NaN if there are
        too few wells or the controls do not differ.

    Examples
    --------
    >>> round(z_prime(np.array([99.0, 100, 101]), np.array([9.0, 10, 11])), 3)
    0.933
    """
    if min(len(positive), len(negative)) < 2:
        return float("nan")
    away = abs(positive.mean() - negative.mean())
    if away == 0:
        return float("nan")
    return float(1 - 3 * (positive.std(ddof=1) + negative.std(ddof=1)) / away)


def ssmd(positive: FloatArray, negative: FloatArray) -> float:
    """Compute the strictly standardised mean difference (Zhang 2007, Genomics 89:552-561).

    Parameters
    ----------
    positive, negative : ndarray, shapes (N,) and (M,), float64

    Returns
    -------
    float
        Difference of means divided by the root of the summed variances; NaN if that is 0 or there
        are too few wells.

    Examples
    --------
    >>> round(ssmd(np.array([4.0, 6]), np.array([0.0, 2])), 2)
    2.0
    """
    if min(len(positive), len(negative)) < 2:
        return float("nan")
    spread = positive.var(ddof=1) + negative.var(ddof=1)
    return float((positive.mean() - negative.mean()) / np.sqrt(spread)) if spread else float("nan")


def b_score(plate: FloatArray, *, rounds: int = 10) -> FloatArray:
    """Remove row and column effects from a plate (Brideau et al. 2003, J Biomol Screen 8:634).

    Parameters
    ----------
    plate : ndarray, shape (rows, columns), float64
        Values; NaN without a well.
    rounds : int
        Rounds of the median polish (Tukey 1977, "Exploratory data analysis").

    Returns
    -------
    ndarray, shape (rows, columns), float64
        Residuals divided by their median absolute deviation, scaled to the standard deviation of a
        Gaussian.

    Examples
    --------
    >>> rows, columns = np.mgrid[:4, :6].astype(float)
    >>> plate = 10 + rows + 2 * columns
    >>> plate[1, 2] += 50
    >>> scores = b_score(plate)
    >>> np.unravel_index(scores.argmax(), scores.shape)
    (np.int64(1), np.int64(2))
    """
    residual = np.array(plate, np.float64)
    if not np.isfinite(residual).any():
        return residual
    residual -= np.nanmedian(residual)
    for _ in range(rounds):
        for axis in (1, 0):
            residual -= _medians(residual, axis)
    spread = _MAD * float(np.nanmedian(np.abs(residual - np.nanmedian(residual))))
    return residual / spread if spread > 0 else residual


def _medians(values: FloatArray, axis: int) -> FloatArray:
    """Compute medians along an axis, 0 without wells."""
    known = np.isfinite(values).any(axis=axis, keepdims=True)
    filled = np.where(known, values, 0.0)
    return np.asarray(np.nanmedian(filled, axis=axis, keepdims=True))


@dataclass(frozen=True)
class EdgeEffect:
    """Difference between wells at the edge of a plate and the others.

    Attributes
    ----------
    percent : float
        Mean at the edge divided by that inside, within conditions, in percent above 100.
    p : float
        p value of no difference.
    edge, inside : int
        Numbers of wells.
    """

    percent: float
    p: float
    edge: int
    inside: int


def edge_effect(plate: FloatArray, conditions: npt.NDArray[np.generic]) -> EdgeEffect | None:
    """Compare wells at the edge with those inside, within conditions that have both.

    Parameters
    ----------
    plate : ndarray, shape (rows, columns), float64
        Values; NaN without a well.
    conditions : ndarray, shape (rows, columns)
        Condition of each well.

    Returns
    -------
    EdgeEffect or None
        From Welch's t test of values relative to the median of their condition; None if fewer than
        three wells of either kind are comparable.
    """
    at_edge = np.zeros(plate.shape, bool)
    at_edge[[0, -1], :] = at_edge[:, [0, -1]] = True
    shares: tuple[list[float], list[float]] = ([], [])
    for condition in np.unique(conditions[np.isfinite(plate)]):
        here = (conditions == condition) & np.isfinite(plate)
        middle = np.median(plate[here])
        if middle == 0 or not (here & at_edge).any() or not (here & ~at_edge).any():
            continue
        shares[0].extend((plate[here & at_edge] / middle).tolist())
        shares[1].extend((plate[here & ~at_edge] / middle).tolist())
    if min(map(len, shares)) < 3:
        return None
    edge, inside = map(np.asarray, shares)
    percent = float(100 * (edge.mean() / inside.mean() - 1))
    return EdgeEffect(percent, welch_p(edge, inside), len(edge), len(inside))
