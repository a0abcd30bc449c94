"""Effects of conditions compared with controls, with intervals. The unit is the replicate.

Nuclei of a well share its seeding, its staining and its position on the plate, so they are not
replicates of a treatment. A test that counts them finds effects where there are none (Hurlbert
1984, "Pseudoreplication and the design of ecological field experiments", Ecol Monogr 54:187-211).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from nucseg.errors import InputError

FloatArray = npt.NDArray[np.float64]

# Minimum number of units of each kind for resampling; below it, Student's t is used.
ENOUGH_TO_RESAMPLE = 5
RESAMPLES = 2000
IN_BLOCKS = "linear model with blocks"


@dataclass(frozen=True)
class Effect:
    """Difference between a condition and its control.

    Attributes
    ----------
    mean, control_mean : float
        Means over units.
    n, control_n : int
        Numbers of units, such as wells.
    difference, low, high : float
        Difference of the means, with its confidence interval.
    percent : float
        Difference in percent of the control mean; NaN if that is 0.
    hedges_g : float
        Difference in pooled standard deviations, corrected for small samples (Hedges 1981).
    p : float
        p value of no difference: `cautious_p`, or from the linear model with blocks.
    method : str
        Method of the interval.
    """

    mean: float
    control_mean: float
    n: int
    control_n: int
    difference: float
    low: float
    high: float
    percent: float
    hedges_g: float
    p: float
    method: str


def effect(
    values: Sequence[float] | FloatArray,
    control: Sequence[float] | FloatArray,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Effect:
    """Compare the units of a condition with those of its control.

    Parameters
    ----------
    values, control : sequence of float, shapes (N,) and (M,)
        One value per unit, such as the mean of a well; at least two each.
    confidence : float
        Level of the interval, between 0 and 1.
    seed : int
        Seed of the resampling.

    Returns
    -------
    Effect
        With at least five units on both sides, the interval is that of the studentized bootstrap
        over units (Efron and Tibshirani 1993, chapter 12), widened at either end to Welch's where
        it is narrower, because units that are similar by chance make it too narrow. With fewer
        units it is Welch's interval.

    Raises
    ------
    InputError
        A side has fewer than two units.
    """
    treated, untreated = _finite(values), _finite(control)
    if min(len(treated), len(untreated)) < 2:
        raise InputError(
            f"An effect needs two or more replicates on both sides, not {len(treated)} and "
            f"{len(untreated)} of the control."
        )
    difference = float(treated.mean() - untreated.mean())
    deviation, freedom = _standard_error(treated, untreated)
    p = cautious_p(treated, untreated)
    if deviation <= _rounding(treated, untreated):
        low = high = difference
        method = "no variation"
    else:
        reach = float(stats.t.ppf((1 + confidence) / 2, freedom)) * deviation
        low, high, method = difference - reach, difference + reach, "Welch's t"
        if min(len(treated), len(untreated)) >= ENOUGH_TO_RESAMPLE:
            rng = np.random.default_rng(seed)
            ends = _studentized(treated, untreated, confidence, rng)
            low, high = min(low, ends[0]), max(high, ends[1])
            method = "studentized bootstrap over replicates, no narrower than Welch's t"
    return _effect(treated, untreated, (difference, low, high), p, method)


def effect_in_blocks(
    values: FloatArray,
    is_treated: npt.NDArray[np.bool_],
    blocks: npt.NDArray[np.generic],
    *,
    confidence: float = 0.95,
) -> Effect:
    """Compare a condition with its control within blocks, such as plates.

    Parameters
    ----------
    values : ndarray, shape (N,), float64
        One value per unit.
    is_treated : ndarray, shape (N,), bool
        Whether a unit belongs to the condition; the others belong to the control.
    blocks : ndarray, shape (N,)
        Plate, donor or day of each unit.
    confidence : float

    Returns
    -------
    Effect
        From a linear model of the value with an effect of each block. With one unit of each kind
        in each block this is the paired t test.

    Raises
    ------
    InputError
        No block has both, or there are too few units to estimate the variance.
    """
    _, number = np.unique(blocks, return_inverse=True)
    both = np.array([
        is_treated[number == each].any() and (~is_treated[number == each]).any()
        for each in range(number.max() + 1)
    ])  # fmt: skip
    kept = both[number] & np.isfinite(values)
    if not kept.any():
        raise InputError("No block holds both the condition and its control.")
    y, treated, place = (
        values[kept],
        is_treated[kept],
        np.unique(number[kept], return_inverse=True)[1],
    )
    design = np.column_stack([treated, *(place == each for each in range(place.max() + 1))])
    design = design.astype(np.float64)
    freedom = len(y) - design.shape[1]
    if freedom < 1:
        raise InputError(
            f"{len(y)} units in {place.max() + 1} blocks are too few to estimate their variation."
        )
    solution, *_ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ solution
    variance = float(residual @ residual) / freedom
    deviation = float(np.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0]))
    difference = float(solution[0])
    reach = float(stats.t.ppf((1 + confidence) / 2, freedom)) * deviation
    p = float(2 * stats.t.sf(abs(difference) / deviation, freedom)) if deviation else 0.0
    interval = difference, difference - reach, difference + reach
    return _effect(y[treated], y[~treated], interval, p, IN_BLOCKS)


def welch_p(values: FloatArray, control: FloatArray) -> float:
    """Compute the two-sided p value of Welch's t test; 1 or 0 without variance.

    Parameters
    ----------
    values, control : ndarray, shapes (N,) and (M,), float64
        At least two values each.
    """
    difference = float(values.mean() - control.mean())
    deviation, freedom = _standard_error(values, control)
    rounding = _rounding(values, control)
    if deviation <= rounding:
        return float(abs(difference) <= rounding)
    return float(2 * stats.t.sf(abs(difference) / deviation, freedom))


def cautious_p(values: FloatArray, control: FloatArray) -> float:
    """Compute the larger of the p values of Student's and of Welch's t test.

    Parameters
    ----------
    values, control : ndarray, shapes (N,) and (M,), float64
        At least two values each.

    Returns
    -------
    float
        Two-sided. At the very small p values that pass a correction for many tests, Welch's alone
        is too small: if the few units of a condition are similar by chance, the standard error is
        too small, and the degrees of freedom, which are then those of the many controls, are too
        many. Student's alone is too small if a condition varies more than its control.
    """
    welch = welch_p(values, control)
    freedom = len(values) + len(control) - 2
    squares = sum(float(((each - each.mean()) ** 2).sum()) for each in (values, control))
    deviation = float(np.sqrt(squares / freedom * (1 / len(values) + 1 / len(control))))
    if deviation <= _rounding(values, control):
        return welch
    difference = abs(float(values.mean() - control.mean()))
    return max(welch, float(2 * stats.t.sf(difference / deviation, freedom)))


def holm(p_values: Sequence[float] | FloatArray) -> FloatArray:
    """Correct p values for multiple tests (Holm 1979, Scand J Stat 6:65-70).

    Parameters
    ----------
    p_values : sequence of float, shape (N,)
        NaN stays and is not counted.

    Returns
    -------
    ndarray, shape (N,), float64

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    given = np.asarray(p_values, np.float64)
    corrected = np.full(len(given), np.nan)
    known = np.flatnonzero(np.isfinite(given))
    order = known[np.argsort(given[known], kind="stable")]
    times = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(given[order] * times), 1)
    return corrected


def _rounding(values: FloatArray, control: FloatArray) -> float:
    """Return by how much equal values may differ because of rounding."""
    return 1e-9 * max(float(np.abs(values).max()), float(np.abs(control).max()))


def _finite(values: Sequence[float] | FloatArray) -> FloatArray:
    array = np.asarray(values, np.float64)
    return array[np.isfinite(array)]


def _standard_error(treated: FloatArray, control: FloatArray) -> tuple[float, float]:
    """Compute the standard error of the difference of means, and Welch's degrees of freedom."""
    parts = [each.var(ddof=1) / len(each) for each in (treated, control)]
    total = sum(parts)
    if total == 0:
        return 0.0, 1.0
    spent = sum(
        part**2 / (len(each) - 1) for part, each in zip(parts, (treated, control), strict=True)
    )
    return float(np.sqrt(total)), float(total**2 / spent)


def _studentized(
    treated: FloatArray, control: FloatArray, confidence: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Compute the interval of the difference by the studentized bootstrap over units."""
    difference = treated.mean() - control.mean()
    deviation, _ = _standard_error(treated, control)
    drawn = [
        each[rng.integers(len(each), size=(RESAMPLES, len(each)))] for each in (treated, control)
    ]
    means = drawn[0].mean(axis=1) - drawn[1].mean(axis=1)
    errors = np.sqrt(sum(each.var(axis=1, ddof=1) / each.shape[1] for each in drawn))
    t = (means - difference)[errors > 0] / errors[errors > 0]
    share = (1 - confidence) / 2
    low, high = np.quantile(t, (share, 1 - share))
    return float(difference - high * deviation), float(difference - low * deviation)


def _effect(
    treated: FloatArray,
    control: FloatArray,
    interval: tuple[float, float, float],
    p: float,
    method: str,
) -> Effect:
    difference, low, high = interval
    freedom = len(treated) + len(control) - 2
    squares = sum(float(((each - each.mean()) ** 2).sum()) for each in (treated, control))
    pooled = float(np.sqrt(squares / freedom)) if freedom > 0 else 0.0
    correction = 1 - 3 / (4 * freedom - 1) if freedom > 0 else np.nan
    mean = float(control.mean())
    return Effect(
        mean=float(treated.mean()),
        control_mean=mean,
        n=len(treated),
        control_n=len(control),
        difference=difference,
        low=low,
        high=high,
        percent=100 * difference / mean if mean else float("nan"),
        hedges_g=correction * difference / pooled if pooled else float("nan"),
        p=p,
        method=method,
    )
