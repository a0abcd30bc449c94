"""Histograms as SVG, to stand in a page of HTML."""

from __future__ import annotations

import math
from html import escape

import numpy as np
import numpy.typing as npt

from nucseg.figures.html import counted, number

Floats = npt.NDArray[np.float64]

_FEWEST_BINS, _MOST_BINS = 6, 40
# The picture in its own units, and what is around the bars.
_WIDTH, _HEIGHT = 440, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 16, 12, 54
_ACROSS, _UP = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
_BASE = _TOP + _UP
_TICKS = 5
# About the width of a digit.
_DIGIT = 7.5


def histogram_svg(values: Floats, label: str, *, log: bool = False, weight: int = 1) -> str:
    """Draw how often values occur.

    Parameters
    ----------
    values : ndarray, shape (N,), float
        At least one, all finite, and positive where the axis is logarithmic.
    label : str
        What they are, with their unit.
    log : bool
        Whether the axis is logarithmic, with bins of equal width on it.
    weight : int
        Nuclei that each value stands for.

    Returns
    -------
    str
        An ``svg`` element; the page's style sheet gives the colours of its classes ``bars``,
        ``grid`` and ``axis``. The outermost 0.1 % of the values are in the first and last bar.

    Examples
    --------
    >>> import numpy as np
    >>> svg = histogram_svg(np.array([1.0, 2, 2, 3]), "area (pixels)")
    >>> svg.count("<rect"), "2 nuclei" in svg
    (3, True)
    """
    scaled = np.log10(values) if log else values
    edges = _edges(scaled)
    counts = np.histogram(np.clip(scaled, edges[0], edges[-1]), edges)[0] * weight
    name = escape(label)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Histogram of {name}">'
        f"{_upward_axis(int(counts.max()))}{_bars(counts.tolist(), edges, log)}"
        f"{_across_axis(edges, log)}"
        f'<text x="{_LEFT + _ACROSS // 2}" y="{_HEIGHT - 10}" text-anchor="middle">{name}</text>'
        f'<text transform="translate(14 {_TOP + _UP // 2}) rotate(-90)" text-anchor="middle">'
        "nuclei</text></svg>"
    )


def _edges(values: Floats) -> Floats:
    low, high = (float(value) for value in np.percentile(values, (0.1, 99.9)))
    if high - low < 1e-6 * max(abs(low), abs(high), 1e-6):  # all the same
        margin = abs(low) / 10 or 1.0
        low, high = low - margin, high + margin
    bins = min(max(math.isqrt(len(values)), _FEWEST_BINS), _MOST_BINS)
    return np.linspace(low, high, bins + 1)


def _bars(counts: list[int], edges: Floats, log: bool) -> str:
    width, top = _ACROSS / len(counts), max(counts)
    values = 10**edges if log else edges
    bars = [
        f'<rect x="{_LEFT + index * width:.1f}" y="{_BASE - _UP * count / top:.1f}" '
        f'width="{width - 1:.1f}" height="{_UP * count / top:.1f}">'
        f"<title>{number(values[index])} to {number(values[index + 1])}: "
        f"{counted(count, 'nucleus', 'nuclei')}</title></rect>"
        for index, count in enumerate(counts)
        if count
    ]
    return f'<g class="bars">{"".join(bars)}</g>'


def _upward_axis(top: int) -> str:
    parts = []
    for value in _ticks(0.0, float(top)):
        if value.is_integer():  # there is no half nucleus
            y = _BASE - _UP * value / top
            parts.append(
                f'<path class="grid" d="M{_LEFT} {y:.1f}h{_ACROSS}"/>'
                f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{value:,.0f}</text>'
            )
    return "".join(parts)


def _across_axis(edges: Floats, log: bool) -> str:
    low, high = float(edges[0]), float(edges[-1])
    ticks = _log_ticks(low, high) if log else [(each, each) for each in _ticks(low, high)]
    parts = [f'<path class="axis" d="M{_LEFT} {_BASE}h{_ACROSS}"/>']
    free_from = 0.0
    for place, value in ticks:
        x = _LEFT + _ACROSS * (place - low) / (high - low)
        parts.append(f'<path class="axis" d="M{x:.1f} {_BASE}v5"/>')
        text = f"{value:,.10g}"
        # A number that would run into the one before is left out.
        if x - _DIGIT * len(text) / 2 >= free_from:
            parts.append(f'<text x="{x:.1f}" y="{_BASE + 19}" text-anchor="middle">{text}</text>')
            free_from = x + _DIGIT * (len(text) / 2 + 1)
    return "".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers in a range, some five of them."""
    size = 10.0 ** math.floor(math.log10((high - low) / _TICKS))
    step = next(size * each for each in (1, 2, 5, 10) if (high - low) / (size * each) <= _TICKS)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[tuple[float, float]]:
    """Round numbers between two powers of ten, each with its logarithm."""
    decades = range(math.floor(low), math.ceil(high))
    for digits in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        ticks = [digit * 10.0**decade for decade in decades for digit in digits]
        found = [(math.log10(each), each) for each in ticks if low <= math.log10(each) <= high]
        if len(found) >= _TICKS - 1:
            break
    return found
