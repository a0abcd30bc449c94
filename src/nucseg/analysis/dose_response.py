"""Dose-response curves: four parameters, and the dose of half the effect with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.optimize import brentq, minimize_scalar

from nucseg.errors import InputError

FloatArray = npt.NDArray[np.float64]

# Slopes that are searched, on a logarithmic scale; decades beyond the doses that are searched.
_SLOPES, _BEYOND = (0.3, 6.0), 2.0
_GRID = 61


@dataclass(frozen=True)
class DoseResponse:
    """A fitted curve: bottom + (top − bottom) / (1 + (half / dose) ** slope).

    Attributes
    ----------
    bottom, top : float
        Value without a dose, and at doses far above `half`.
    half : float
        Dose of half the effect (IC50, EC50), in the unit of the doses.
    low, high : float
        Confidence interval of `half` by the profile likelihood; 0 or infinity if the doses do not
        bound it.
    slope : float
        Hill slope, above 0.
    p : float
        p value of a flat line, by an F test.
    n, doses : int
        Numbers of units, and of different doses above 0.
    reached : bool
        Whether `half` is within the range of the doses, its interval is bounded on both sides, and
        the line is not flat (p < 0.05). If False, `half` is not a result.
    spread : float
        Residual standard deviation.
    """

    bottom: float
    top: float
    half: float
    low: float
    high: float
    slope: float
    p: float
    n: int
    doses: int
    reached: bool
    spread: float

    def at(self, dose: npt.ArrayLike) -> FloatArray:
        """Compute the curve at doses of 0 and above."""
        given = np.asarray(dose, np.float64)
        return np.asarray(
            self.bottom + (self.top - self.bottom) * _rise(given, np.log10(self.half), self.slope)
        )


def fit_dose_response(
    doses: FloatArray, values: FloatArray, *, confidence: float = 0.95
) -> DoseResponse:
    """Fit a four-parameter logistic curve to units, such as wells.

    Parameters
    ----------
    doses : ndarray, shape (N,), float64
        Doses, 0 and above; untreated units have 0.
    values : ndarray, shape (N,), float64
    confidence : float
        Level of the interval of the dose of half the effect.

    Returns
    -------
    DoseResponse

    Raises
    ------
    InputError
        There are fewer than four different doses above 0, or fewer than six units.
    """
    known = np.isfinite(doses) & np.isfinite(values)
    doses, values = doses[known], values[known]
    positive = np.unique(doses[doses > 0])
    if len(positive) < 4 or len(values) < 6:
        raise InputError(
            f"A dose-response curve needs four doses above 0 and six units, not {len(positive)} "
            f"and {len(values)}."
        )
    first, last = np.log10(positive[0]), np.log10(positive[-1])
    grid = np.linspace(first - _BEYOND, last + _BEYOND, _GRID)
    squares = np.array([_profile(doses, values, half)[0] for half in grid])
    best = int(squares.argmin())
    near = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
    found = minimize_scalar(
        lambda half: _profile(doses, values, half)[0], bounds=near, method="bounded"
    )
    half = float(found.x)
    least, slope, (bottom, top) = _profile(doses, values, half)
    freedom = len(values) - 4
    wider = _unequal(doses, values, (float(bottom), float(top), half, slope))
    limit = least * (1 + wider * float(stats.f.ppf(confidence, 1, freedom)) / freedom)
    low, high = (_crossing(doses, values, half, grid, squares, limit, side) for side in (-1, 1))
    flat = float(((values - values.mean()) ** 2).sum())
    ratio = (flat - least) / 3 / (least / freedom) if least > 0 else np.inf
    p = float(stats.f.sf(ratio, 3, freedom))
    reached = p < 0.05 and first <= half <= last and low > -np.inf and high < np.inf
    return DoseResponse(
        bottom=float(bottom),
        top=float(top),
        half=10**half,
        low=float(10.0**low),
        high=float(10.0**high),
        slope=slope,
        p=p,
        n=len(values),
        doses=len(positive),
        reached=bool(reached),
        spread=float(np.sqrt(least / freedom)),
    )


def _unequal(
    doses: FloatArray, values: FloatArray, curve: tuple[float, float, float, float]
) -> float:
    """Compute how much larger the variance of half is if units of some doses vary more.

    The result is the ratio of the variance that MacKinnon and White's HC3 estimates (J Econometrics
    29:305-325, 1985) to that for equal variances, at least 1. Multiplicative effects vary more at
    high doses, and an interval for equal variances would be too narrow.
    """
    bottom, top, half, slope = curve
    derivatives = _derivatives(bottom, top, half, slope, doses)
    inverse = np.linalg.pinv(derivatives.T @ derivatives)
    residuals = values - (bottom + (top - bottom) * _rise(doses, half, slope))
    leverage = np.einsum("ij,jk,ik->i", derivatives, inverse, derivatives)
    squares = (residuals / np.clip(1 - leverage, 0.05, 1)) ** 2
    robust = inverse @ (derivatives.T * squares) @ derivatives @ inverse
    plain = float(residuals @ residuals) / (len(values) - 4) * inverse[2, 2]
    return max(float(robust[2, 2]) / plain, 1.0) if plain > 0 else 1.0


def confidence_band(
    fitted: DoseResponse, doses: FloatArray, at: FloatArray, *, confidence: float = 0.95
) -> FloatArray:
    """Compute the confidence band of the curve at doses, by the delta method.

    Parameters
    ----------
    fitted : DoseResponse
    doses : ndarray, shape (N,), float64
        Doses of the units that the curve was fitted to.
    at : ndarray, shape (M,), float64
        Doses of 0 and above.
    confidence : float
        Level of the interval at each dose.

    Returns
    -------
    ndarray, shape (M,), float64
        Half width of the interval around the curve.
    """
    curve = fitted.bottom, fitted.top, float(np.log10(fitted.half)), fitted.slope
    inside, outside = (_derivatives(*curve, np.asarray(each, float)) for each in (doses, at))
    covariance = fitted.spread**2 * np.linalg.pinv(inside.T @ inside)
    variance = np.einsum("ij,jk,ik->i", outside, covariance, outside)
    times = float(stats.t.ppf((1 + confidence) / 2, fitted.n - 4))
    return np.asarray(times * np.sqrt(np.maximum(variance, 0)))


def _derivatives(
    bottom: float, top: float, half: float, slope: float, doses: FloatArray
) -> FloatArray:
    """Compute derivatives by bottom, top, the logarithm (base 10) of half, and slope."""
    rise = _rise(doses, half, slope)
    steep = (top - bottom) * rise * (1 - rise)
    with np.errstate(divide="ignore"):
        away = np.where(doses > 0, np.log10(np.where(doses > 0, doses, 1)) - half, 0.0)
    columns = [1 - rise, rise, -steep * slope * np.log(10), steep * away * np.log(10)]
    return np.column_stack(columns)


def _rise(doses: FloatArray, half: float, slope: float) -> FloatArray:
    """Compute the rise from 0 without a dose to 1 at high doses; half is a logarithm."""
    with np.errstate(divide="ignore", over="ignore"):
        away = slope * (half - np.log10(doses)) * np.log(10)
    return np.asarray(1 / (1 + np.exp(np.clip(away, -700, 700))))


def _line(
    doses: FloatArray, values: FloatArray, half: float, slope: float
) -> tuple[float, FloatArray]:
    """Return the residual sum of squares of the best bottom and top, and these."""
    rise = _rise(doses, half, slope)
    design = np.column_stack([1 - rise, rise])
    ends, *_ = np.linalg.lstsq(design, values, rcond=None)
    return float(((values - design @ ends) ** 2).sum()), np.asarray(ends, np.float64)


def _profile(doses: FloatArray, values: FloatArray, half: float) -> tuple[float, float, FloatArray]:
    """Return the residual sum of squares of the best curve with this half, its slope and ends."""
    bounds = tuple(np.log(_SLOPES))
    found = minimize_scalar(
        lambda slope: _line(doses, values, half, float(np.exp(slope)))[0],
        bounds=bounds,
        method="bounded",
        options={"xatol": 1e-3},
    )
    slope = float(np.exp(found.x))
    squares, ends = _line(doses, values, half, slope)
    return squares, slope, ends


def _crossing(
    doses: FloatArray,
    values: FloatArray,
    half: float,
    grid: FloatArray,
    squares: FloatArray,
    limit: float,
    side: int,
) -> float:
    """Find where the sum of squares exceeds a limit on one side of the best half, if it does."""
    places = grid[grid > half] if side > 0 else grid[grid < half][::-1]
    inside = half
    for place in places:
        if squares[np.searchsorted(grid, place)] > limit:
            return float(
                brentq(lambda at: _profile(doses, values, at)[0] - limit, inside, place, xtol=1e-4)
            )
        inside = float(place)
    return side * float("inf")
