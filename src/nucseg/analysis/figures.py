"""Figures of an analysis: units as points, dose-response curves, plates as heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nucseg.analysis.dose_response import DoseResponse, confidence_band
from nucseg.analysis.states import IN_PHASE, IS_CANDIDATE
from nucseg.analysis.summaries import as_plate
from nucseg.errors import MissingExtraError
from nucseg.figures.pictures import BLUE, GREY, ORANGE, VERMILION
from nucseg.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Size of the axes of a figure, in inches.
_HEIGHT, _LINE = 3.2, 0.34
# Number of nuclei of a condition that are drawn behind its units.
NUCLEI = 300


def save_figure(figure: Figure, folder: Path, name: str, data: pd.DataFrame) -> None:
    """Write a figure as SVG and PNG, and its data as CSV.

    Raises
    ------
    InputError
        A file cannot be written.
    """
    import matplotlib as mpl

    for suffix in (".svg", ".png"):
        with atomic_write(folder / f"{name}{suffix}") as partial:
            # Dates and random ids would make the files of two runs differ.
            metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
            with mpl.rc_context({"svg.hashsalt": "nucseg", "svg.fonttype": "none"}):
                figure.savefig(partial, format=suffix[1:], dpi=150, metadata=metadata)
    with atomic_write(folder / f"{name}.csv") as partial:
        data.to_csv(partial, index=False, lineterminator="\n")


def units_figure(
    units: pd.DataFrame,
    effects: pd.DataFrame,
    measure: str,
    controls: Sequence[str],
    nuclei: pd.DataFrame | None = None,
) -> Figure:
    """Draw each unit of each condition as a point, with its nuclei behind, and the mean.

    Parameters
    ----------
    units : DataFrame
        Table of `nucseg.analysis.summaries.per_replicate`.
    effects : DataFrame
        Table of `nucseg.analysis.summaries.effects`.
    measure : str
    controls : sequence of str
        Conditions that come first.
    nuclei : DataFrame, optional
        Table of `drawn_nuclei`.

    Returns
    -------
    matplotlib.figure.Figure
        One condition per line, with the number of its units in brackets. A star marks conditions
        with a p value (Holm) below 0.05. Points of the same plate have the same colour (Lord et al.
        2020, "SuperPlots", J Cell Biol 219:e202001064).
    """
    order = conditions_in_order(units, controls)
    figure, axes = new_axes(5, 0.9 + _LINE * len(order))
    plates = list(dict.fromkeys(units["plate"])) if "plate" in units else [None]
    palette = _colours(len(plates))
    rng = np.random.default_rng(0)
    marked = set()
    if "p_holm" in effects:
        chosen = effects[(effects["measure"] == measure) & (effects["p_holm"] < 0.05)]
        marked = set(chosen["condition"])
    names = []
    for place, condition in enumerate(order):
        if nuclei is not None:
            cells = nuclei[nuclei["condition"] == condition][measure]
            away = rng.uniform(-0.38, 0.38, len(cells))
            axes.plot(
                cells, place + away, ".", color=rgb(GREY), alpha=0.18, markersize=3,
                markeredgewidth=0, rasterized=True,
            )  # fmt: skip
        here = units[units["condition"] == condition]
        for plate, colour in zip(plates, palette, strict=True):
            some = here if plate is None else here[here["plate"] == plate]
            away = rng.uniform(-0.18, 0.18, len(some))
            axes.plot(
                some[measure], place + away, "o", color=colour, markersize=5.5,
                markeredgecolor="white", markeredgewidth=0.5,
            )  # fmt: skip
        mean = float(here[measure].mean())
        axes.plot([mean, mean], [place - 0.36, place + 0.36], color="black", linewidth=1.6)
        star = "  *" if condition in marked else ""
        names.append(f"{condition} ({here[measure].notna().sum()}){star}")
    axes.set_yticks(range(len(order)), names)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlabel(_title(measure))
    if nuclei is not None and len(nuclei):
        _limit(axes, units[measure], nuclei[measure])
    return figure


def drawn_nuclei(
    nuclei: pd.DataFrame, images: pd.DataFrame, measures: Sequence[str], *, most: int = NUCLEI
) -> pd.DataFrame:
    """Choose the nuclei that are drawn behind their units; the choice is reproducible.

    Parameters
    ----------
    nuclei : DataFrame
        A row for each nucleus.
    images : DataFrame
        Table of `nucseg.analysis.summaries.per_image`.
    measures : sequence of str
    most : int
        Maximum number of nuclei of each condition.

    Returns
    -------
    DataFrame
        Columns condition, image, label and the measurements.
    """
    keys = ["image", "plane"] if "plane" in images and "plane" in nuclei else ["image"]
    joined = nuclei.merge(images[[*keys, "condition"]], on=keys)
    rng = np.random.default_rng(0)
    shown = joined.iloc[rng.permutation(len(joined))].groupby("condition", sort=False).head(most)
    columns = ["condition", *keys, "label", *(name for name in measures if name in joined)]
    return shown[[name for name in dict.fromkeys(columns) if name in shown]].sort_values(
        [name for name in ("condition", *keys, "label") if name in shown], ignore_index=True
    )


def _limit(axes: Any, units: pd.Series[Any], nuclei: pd.Series[Any]) -> None:
    """Clip the axis, so that few extreme nuclei do not compress the rest."""
    low, high = np.nanpercentile(nuclei, (1, 99))
    low, high = min(low, units.min()), max(high, units.max())
    room = 0.04 * (high - low)
    if room > 0:
        axes.set_xlim(low - room, high + room)


def dose_figure(
    units: pd.DataFrame, fitted: DoseResponse, treatment: str, measure: str, controls: Sequence[str]
) -> Figure:
    """Draw the units of a treatment over its doses, with the fitted curve and its band.

    Returns
    -------
    matplotlib.figure.Figure
        Doses on a logarithmic scale, controls at its left end; the dose of half the effect with
        its interval, if it is reached.
    """
    own = units[(units["treatment"] == treatment) & (units["dose"] > 0)]
    control = units[units["condition"].isin(controls)]
    figure, axes = new_axes(4.2, _HEIGHT)
    least, most = float(own["dose"].min()), float(own["dose"].max())
    left = least / 5
    doses = np.geomspace(left, most * 1.5, 200)
    given = np.concatenate([own["dose"].to_numpy(float), np.zeros(len(control))])
    curve, reach = fitted.at(doses), confidence_band(fitted, given, doses)
    colour = rgb(BLUE)
    axes.fill_between(doses, curve - reach, curve + reach, color=colour, alpha=0.15, linewidth=0)
    axes.plot(np.full(len(control), left), control[measure], "o", color=rgb(GREY), markersize=4)
    axes.plot(own["dose"], own[measure], "o", color=colour, markersize=4)
    axes.plot(doses, curve, color="black", linewidth=1.2)
    if fitted.reached:
        axes.axvspan(fitted.low, fitted.high, color=rgb(ORANGE), alpha=0.25, linewidth=0)
        axes.axvline(fitted.half, color=rgb(VERMILION), linewidth=1)
    values = pd.concat([own[measure], control[measure]])
    room = 0.35 * max(float(values.max() - values.min()), 1e-12)
    low, high = float(values.min()) - room, float(values.max()) + room
    axes.set_ylim(max(low, 0.0) if values.min() >= 0 else low, high)
    axes.set_xscale("log")
    unit = str(own["unit"].iloc[0]) if "unit" in own and pd.notna(own["unit"].iloc[0]) else ""
    axes.set_xlabel(f"{treatment}" + (f" ({unit})" if unit else "") + "; controls at the left")
    axes.set_ylabel(_title(measure))
    return figure


def plate_figure(wells: pd.DataFrame, measure: str, plate: str) -> Figure:
    """Draw a measurement over the wells of a plate; dead wells are crossed out.

    Returns
    -------
    matplotlib.figure.Figure
    """
    values = as_plate(wells, measure).astype(float)
    rows, columns = values.shape
    figure, axes = new_axes(1.8 + 0.36 * columns, 1.1 + 0.36 * rows)
    image = axes.imshow(values, cmap="viridis", aspect="equal")
    axes.set_xticks(range(columns), [str(number + 1) for number in range(columns)], fontsize=9)
    axes.set_yticks(range(rows), [_letters(row) for row in range(rows)], fontsize=9)
    axes.tick_params(length=0)
    if "dead" in wells:
        dead = np.argwhere(as_plate(wells, "dead") == True)  # noqa: E712 - dtype object
        axes.plot(dead[:, 1], dead[:, 0], "x", color=rgb(VERMILION), markersize=9, mew=2)
    axes.set_title(f"{plate} {_title(measure)}".strip(), fontsize=10)
    figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    return figure


def _letters(row: int) -> str:
    return chr(65 + row) if row < 26 else f"A{chr(65 + row - 26)}"


def conditions_in_order(units: pd.DataFrame, controls: Sequence[str]) -> list[str]:
    """List controls first, then treatments, each by increasing dose."""
    keys = ["treatment", "dose"] if "dose" in units else ["treatment"]
    rest = units[~units["condition"].isin(controls)].sort_values(keys, kind="stable")
    return [*controls, *dict.fromkeys(rest["condition"])]


def _title(measure: str) -> str:
    """Return the display name of a measurement."""
    if measure == "nuclei":
        return "nuclei per image"
    if measure.startswith(IN_PHASE):
        return f"share of nuclei in {measure.removeprefix(IN_PHASE).replace('G2M', 'G2/M')}"
    if measure.startswith(IS_CANDIDATE):
        return f"share of candidates: {measure.removeprefix(IS_CANDIDATE)}"
    return measure.replace("_um2", " (µm²)").replace("_um", " (µm)").replace("_", " ")


def rgb(colour: tuple[int, int, int]) -> tuple[float, ...]:
    """Convert a colour to matplotlib's format."""
    return tuple(part / 255 for part in colour)


def _colours(number: int) -> list[Any]:
    from matplotlib import colormaps

    if number == 1:
        return [rgb(BLUE)]
    return [colormaps["viridis"](share) for share in np.linspace(0.1, 0.85, number)]


def new_axes(width: float, height: float) -> tuple[Figure, Any]:
    """Make a figure without pyplot, so that the user's own figures do not change."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("Drawing the figures of an analysis", "analysis") from error
    figure = Figure(figsize=(min(width, 16), height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
