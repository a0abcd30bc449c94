"""Figures of an analysis: each unit a point, dose-response curves, plates as heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nucseg.analysis.dose_response import DoseResponse
from nucseg.analysis.summaries import as_plate
from nucseg.errors import MissingExtraError
from nucseg.figures.pictures import BLUE, GREY, ORANGE, VERMILION
from nucseg.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of the axes of a figure, in inches.
_HEIGHT, _WIDTH = 3.2, 0.55


def save_figure(figure: Figure, folder: Path, name: str, data: pd.DataFrame) -> None:
    """Write a figure as SVG and PNG, and what it shows as CSV.

    Raises
    ------
    InputError
        A file cannot be written.
    """
    import matplotlib as mpl

    for suffix in (".svg", ".png"):
        with whole_file(folder / f"{name}{suffix}") as partial:
            # Dates and random names would make two runs differ.
            metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
            with mpl.rc_context({"svg.hashsalt": "nucseg", "svg.fonttype": "none"}):
                figure.savefig(partial, format=suffix[1:], dpi=150, metadata=metadata)
    with whole_file(folder / f"{name}.csv") as partial:
        data.to_csv(partial, index=False, lineterminator="\n")


def units_figure(
    units: pd.DataFrame, effects: pd.DataFrame, measure: str, controls: Sequence[str]
) -> Figure:
    """Show each unit of each condition as a point, with the mean and where it differs.

    Parameters
    ----------
    units : DataFrame
        Of `nucseg.analysis.summaries.per_replicate`.
    effects : DataFrame
        Of `nucseg.analysis.summaries.effects`.
    measure : str
    controls : sequence of str
        They come first.

    Returns
    -------
    matplotlib.figure.Figure
        A star marks conditions with a p value (Holm) below 0.05. Points of one plate have one
        colour (Lord et al. 2020, "SuperPlots", J Cell Biol 219:e202001064).
    """
    order = _ordered(units, controls)
    figure, axes = _axes(1.6 + _WIDTH * len(order), _HEIGHT)
    plates = list(dict.fromkeys(units["plate"])) if "plate" in units else [None]
    palette = _colours(len(plates))
    rng = np.random.default_rng(0)
    marked = set()
    if "p_holm" in effects:
        chosen = effects[(effects["measure"] == measure) & (effects["p_holm"] < 0.05)]
        marked = set(chosen["condition"])
    top = float(units[measure].max())
    for place, condition in enumerate(order):
        here = units[units["condition"] == condition]
        for plate, colour in zip(plates, palette, strict=True):
            some = here if plate is None else here[here["plate"] == plate]
            away = rng.uniform(-0.18, 0.18, len(some))
            axes.plot(place + away, some[measure], "o", color=colour, markersize=4, alpha=0.8)
        mean = float(here[measure].mean())
        axes.plot([place - 0.3, place + 0.3], [mean, mean], color="black", linewidth=1.5)
        if condition in marked:
            axes.annotate(
                "*", (place, top), ha="center", va="bottom", fontsize=13, annotation_clip=False
            )
    axes.set_xticks(range(len(order)), order, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_ylabel(_title(measure))
    axes.margins(y=0.1)
    return figure


def dose_figure(
    units: pd.DataFrame, fitted: DoseResponse, treatment: str, measure: str, controls: Sequence[str]
) -> Figure:
    """Show the units of a treatment over its doses, with the fitted curve.

    Returns
    -------
    matplotlib.figure.Figure
        Doses on a logarithmic scale, controls at its left end; the dose of half the effect with
        its interval, where it is reached.
    """
    own = units[(units["treatment"] == treatment) & (units["dose"] > 0)]
    control = units[units["condition"].isin(controls)]
    figure, axes = _axes(4.2, _HEIGHT)
    least, most = float(own["dose"].min()), float(own["dose"].max())
    left = least / 5
    axes.plot(np.full(len(control), left), control[measure], "o", color=_rgb(GREY), markersize=4)
    axes.plot(own["dose"], own[measure], "o", color=_rgb(BLUE), markersize=4)
    doses = np.geomspace(left, most * 1.5, 200)
    axes.plot(doses, fitted.at(doses), color="black", linewidth=1.2)
    if fitted.reached:
        axes.axvspan(fitted.low, fitted.high, color=_rgb(ORANGE), alpha=0.25, linewidth=0)
        axes.axvline(fitted.half, color=_rgb(VERMILION), linewidth=1)
    axes.set_xscale("log")
    unit = str(own["unit"].iloc[0]) if "unit" in own and pd.notna(own["unit"].iloc[0]) else ""
    axes.set_xlabel(f"{treatment}" + (f" ({unit})" if unit else "") + "; controls at the left")
    axes.set_ylabel(_title(measure))
    return figure


def plate_figure(wells: pd.DataFrame, measure: str, plate: str) -> Figure:
    """Show a measurement over the wells of a plate.

    Returns
    -------
    matplotlib.figure.Figure
    """
    values = as_plate(wells, measure).astype(float)
    rows, columns = values.shape
    figure, axes = _axes(1.8 + 0.36 * columns, 1.1 + 0.36 * rows)
    image = axes.imshow(values, cmap="viridis", aspect="equal")
    axes.set_xticks(range(columns), [str(number + 1) for number in range(columns)], fontsize=7)
    axes.set_yticks(range(rows), [_letters(row) for row in range(rows)], fontsize=7)
    axes.tick_params(length=0)
    axes.set_title(f"{plate} {_title(measure)}".strip(), fontsize=9)
    figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    return figure


def _letters(row: int) -> str:
    return chr(65 + row) if row < 26 else f"A{chr(65 + row - 26)}"


def _ordered(units: pd.DataFrame, controls: Sequence[str]) -> list[str]:
    """Put controls first, then treatments, each by rising dose."""
    keys = ["treatment", "dose"] if "dose" in units else ["treatment"]
    rest = units[~units["condition"].isin(controls)].sort_values(keys, kind="stable")
    return [*controls, *dict.fromkeys(rest["condition"])]


def _title(measure: str) -> str:
    """Name a measurement for people."""
    if measure == "nuclei":
        return "nuclei per image"
    return measure.replace("_um2", " (µm²)").replace("_um", " (µm)").replace("_", " ")


def _rgb(colour: tuple[int, int, int]) -> tuple[float, ...]:
    return tuple(part / 255 for part in colour)


def _colours(number: int) -> list[Any]:
    from matplotlib import colormaps

    if number == 1:
        return [_rgb(BLUE)]
    return [colormaps["viridis"](share) for share in np.linspace(0.1, 0.85, number)]


def _axes(width: float, height: float) -> tuple[Figure, Any]:
    """Make a figure without pyplot, so that nothing of a user's own plots changes."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("Drawing the figures of an analysis", "analysis") from error
    figure = Figure(figsize=(min(width, 16), height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
