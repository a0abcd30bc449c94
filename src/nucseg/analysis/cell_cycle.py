"""Phases of the cell cycle from the DNA content of nuclei, by a mixture fitted per plate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError

Floats = npt.NDArray[np.float64]

PHASES = ("G1", "S", "G2M")
SUB_G1, ABOVE_G2M = "below_G1", "above_G2M"
# Fewer nuclei do not show two peaks.
FEWEST = 200
# A fit is unreliable if its distribution differs by more than this from that of the nuclei.
WORST_DISTANCE = 0.05
# A nucleus this many standard deviations below G1, or above G2/M, is flagged.
_BEYOND = 3.0
# Relative widths at which the peaks are distinguishable.
_WIDTHS = (0.02, 0.25)
_STEPS = 24


@dataclass(frozen=True)
class CellCycle:
    """A mixture of G1, S and G2/M fitted to the DNA content of nuclei.

    Attributes
    ----------
    g1 : float
        DNA content of the G1 peak, in the units of the intensities. That of G2/M is twice it.
    width : float
        Standard deviation of a peak over its DNA content (coefficient of variation).
    shares : dict of str to float
        Fraction of each phase among the nuclei that the mixture explains; they sum to 1.
    distance : float
        Goodness of fit: largest difference of the cumulative distributions of nuclei and mixture
        (Kolmogorov-Smirnov), 0 to 1; small is good.
    nuclei : int
        Number of nuclei that the mixture was fitted to.
    doubts : tuple of str
        Reasons why the phases are unreliable; empty without any.
    """

    g1: float
    width: float
    shares: dict[str, float]
    distance: float
    nuclei: int
    doubts: tuple[str, ...]

    def phases(self, content: npt.NDArray[Any]) -> npt.NDArray[np.str_]:
        """Assign each nucleus the phase that explains its DNA content best.

        Parameters
        ----------
        content : ndarray, shape (N,), real

        Returns
        -------
        ndarray, shape (N,), str
            ``G1``, ``S``, ``G2M``; ``below_G1`` (fragments, debris) and ``above_G2M`` (clumps,
            polyploid nuclei), which are flagged, not dropped; empty if the content is NaN.
        """
        relative = np.asarray(content, np.float64) / self.g1
        weights = np.array([self.shares[name] for name in PHASES])
        best = np.argmax(_densities(relative, self.width) * weights[:, None], axis=0)
        found = np.array(PHASES, dtype="<U9")[best]
        found[relative < 1 - _BEYOND * self.width] = SUB_G1
        found[relative > 2 * (1 + _BEYOND * self.width)] = ABOVE_G2M
        found[np.isnan(relative)] = ""
        return np.asarray(found, np.str_)

    def within(self, relative: Floats) -> npt.NDArray[np.bool_]:
        """Return which contents, relative to that of G1, are in the cycle."""
        low, high = 1 - _BEYOND * self.width, 2 * (1 + _BEYOND * self.width)
        return np.asarray((relative >= low) & (relative <= high))

    def density(self, relative: Floats) -> Floats:
        """Return the density of each phase at contents relative to that of G1, shape (3, N)."""
        weights = np.array([self.shares[name] for name in PHASES])
        grid = np.linspace(0, 4, 4001)
        areas = _densities(grid, self.width).sum(axis=1) * (grid[1] - grid[0])
        return np.asarray(_densities(relative, self.width) * (weights / areas)[:, None])


def dna_content(total: npt.NDArray[Any], area: npt.NDArray[Any], background: float) -> Floats:
    """Compute the integrated intensity of nuclei minus the background of the same area.

    Parameters
    ----------
    total : ndarray, shape (N,), real
        Sum of the intensities of a DNA stain in each nucleus.
    area : ndarray, shape (N,), real
        Area in pixels.
    background : float
        Intensity per pixel.

    Examples
    --------
    >>> dna_content(np.array([500.0]), np.array([10]), 20.0).tolist()
    [300.0]
    """
    return np.asarray(total - np.asarray(area) * background, np.float64)


def fit_cell_cycle(content: npt.NDArray[Any]) -> CellCycle:
    """Fit G1, S and G2/M to the DNA content of the nuclei of a plate.

    Parameters
    ----------
    content : ndarray, shape (N,), real
        DNA content, see `dna_content`, of complete nuclei that were stained and imaged together:
        exclude those that touch the border. Values of 0 and below are ignored.

    Returns
    -------
    CellCycle

    Raises
    ------
    InputError
        There are fewer than 200 nuclei.

    Notes
    -----
    G1 and G2/M are normal distributions at 1 and 2 with the same coefficient of variation. S is
    uniform between them, widened by the same coefficient. This is the model of Dean and Jett
    (1974) with an S phase of constant rate. The fractions are fitted by expectation maximisation
    for each position of the G1 peak and each width on a grid; the most likely is refined. A
    thousandth of the nuclei may have any value, so that debris and clumps do not move the peaks.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> peaks = np.repeat([1.0, 2.0], [600, 200])
    >>> fit = fit_cell_cycle(50 * peaks * rng.normal(1, 0.06, 800))
    >>> round(fit.g1), round(fit.shares["G1"], 1), fit.doubts
    (50, 0.8, ())
    """
    values = np.asarray(content, np.float64)
    values = values[np.isfinite(values) & (values > 0)]
    if len(values) < FEWEST:
        raise InputError(
            f"Expected the DNA content of at least {FEWEST} nuclei to fit the cell cycle, got "
            f"{len(values)}. Take all fields of a plate together."
        )
    low, high = np.quantile(values, (0.005, 0.995))
    # Many nuclei are represented equally well by their histogram.
    counts, edges = np.histogram(values, 200, (low, high))
    centres = (edges[1:] + edges[:-1]) / 2
    g1, width = _best(
        centres, counts, np.geomspace(low, high, 2 * _STEPS), np.geomspace(*_WIDTHS, 8)
    )
    for reach in (0.07, 0.02, 0.005):
        near = np.linspace(1 - reach, 1 + reach, 9)
        g1, width = _best(
            centres,
            counts,
            g1 * near,
            np.clip(width * np.linspace(1 - 5 * reach, 1 + 5 * reach, 7), *_WIDTHS),
        )
    weights, _ = _shares(centres / g1, counts, width)
    held = (values > g1 * (1 - _BEYOND * width)) & (values < 2 * g1 * (1 + _BEYOND * width))
    distance = _distance(values[held] / g1, width, weights)
    shares = dict(zip(PHASES, (weights / weights.sum()).tolist(), strict=True))
    return CellCycle(
        float(g1), float(width), shares, distance, len(values),
        _doubts(shares, float(width), distance, float(np.mean(~held))),
    )  # fmt: skip


def _densities(relative: Floats, width: float) -> Floats:
    """Compute the densities of G1, S and G2/M, shape (3, N), of contents relative to G1."""
    from scipy.stats import norm

    # S is uniform between the peaks, widened by a mean width.
    soft = 1.5 * width
    between = norm.cdf((relative - 1) / soft) - norm.cdf((relative - 2) / soft)
    first, second = norm.pdf(relative, 1, width), norm.pdf(relative, 2, 2 * width)
    return np.stack([first, between, second])


def _shares(relative: Floats, counts: npt.NDArray[Any], width: float) -> tuple[Floats, float]:
    """Fit the fractions of the phases by expectation maximisation; return the log-likelihood."""
    density = _densities(relative, width)
    stray = 0.001 / max(float(np.ptp(relative)), 1e-9)
    weights = np.full(3, 1 / 3)
    for _ in range(60):
        parts = density * weights[:, None]
        whole = parts.sum(axis=0) + stray
        weights = (parts / whole * counts).sum(axis=1) / counts.sum()
    whole = (density * weights[:, None]).sum(axis=0) + stray
    return weights, float(np.sum(counts * np.log(whole)))


def _best(
    centres: Floats, counts: npt.NDArray[Any], places: Floats, widths: Floats
) -> tuple[Any, Any]:
    """Return the most likely position of G1 and width."""

    def likelihood(pair: tuple[float, float]) -> float:
        # Densities of absolute contents are comparable, those of relative ones are not.
        explained = _shares(centres / pair[0], counts, pair[1])[1]
        return explained - float(counts.sum() * np.log(pair[0]))

    return max(((place, width) for place in places for width in widths), key=likelihood)


def _distance(relative: Floats, width: float, weights: Floats) -> float:
    """Compute the Kolmogorov-Smirnov distance between nuclei and mixture."""
    grid = np.linspace(1 - _BEYOND * width, 2 * (1 + _BEYOND * width), 2000)
    cumulative = np.cumsum(_densities(grid, width).T @ weights)
    ordered = np.sort(relative)
    expected = np.interp(ordered, grid, cumulative / cumulative[-1])
    seen = np.arange(1, len(ordered) + 1) / len(ordered)
    return float(np.abs(seen - expected).max()) if len(ordered) else 1.0


def _doubts(
    shares: dict[str, float], width: float, distance: float, beyond: float
) -> tuple[str, ...]:
    found = []
    if distance > WORST_DISTANCE:
        found.append(f"The mixture fits badly: distance {distance:.3f}, at most {WORST_DISTANCE}.")
    if width > 0.15:
        found.append(f"The peaks are wide ({width:.0%} of their DNA content): phases overlap.")
    if shares["G1"] < 0.15 or shares["G2M"] < 0.02:
        found.append("One of the two peaks is hardly there: which one is G1 is a guess.")
    if beyond > 0.2:
        found.append(
            f"{beyond:.0%} of the nuclei lie outside the cycle: debris, clumps, polyploidy."
        )
    return tuple(found)
