"""Figure of the cell cycle: a histogram of DNA content with the fitted mixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nucseg.analysis.cell_cycle import PHASES, CellCycle
from nucseg.analysis.figures import new_axes, rgb
from nucseg.analysis.states import PlateCycle
from nucseg.figures.pictures import BLUE, GREEN, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Range of the DNA content relative to G1, and number of bars.
_MOST, _BINS = 3.0, 75


def cycle_figure(cycle: PlateCycle, fit: CellCycle) -> Figure:
    """Draw the histogram of DNA content, and the three phases of the mixture.

    Parameters
    ----------
    cycle : PlateCycle
    fit : CellCycle

    Returns
    -------
    matplotlib.figure.Figure
        DNA content relative to G1; values above 3 are not drawn.
    """
    table = cycle_data(cycle, fit)
    figure, axes = new_axes(5, 3.2)
    width = _MOST / _BINS
    axes.bar(table["dna_over_g1"], table["nuclei"], width, color=rgb(GREY), alpha=0.35)
    for name, colour in zip(PHASES, (BLUE, ORANGE, GREEN), strict=True):
        label = f"{name.replace('G2M', 'G2/M')} {100 * fit.shares[name]:.0f} %"
        axes.plot(table["dna_over_g1"], table[name], color=rgb(colour), linewidth=1.6, label=label)
    total = table[list(PHASES)].sum(axis=1)
    axes.plot(table["dna_over_g1"], total, color="black", linewidth=1, linestyle="--", label="fit")
    axes.set_xlabel("DNA content over that of G1")
    axes.set_ylabel("nuclei")
    axes.set_xlim(0, _MOST)
    axes.legend(frameon=False, fontsize=9)
    return figure


def cycle_data(cycle: PlateCycle, fit: CellCycle) -> pd.DataFrame:
    """Return the data of the figure: nuclei in each bar, and the part of each phase."""
    relative = cycle.content / fit.g1
    counts, edges = np.histogram(relative, _BINS, (0, _MOST))
    centres = (edges[1:] + edges[:-1]) / 2
    held = fit.within(relative).sum()
    each = fit.density(centres) * held * (edges[1] - edges[0])
    columns = dict(zip(PHASES, each, strict=True))
    return pd.DataFrame({"dna_over_g1": centres, "nuclei": counts, **columns})
