"""Figures by matplotlib: made, finished, saved and shown.

They are made without pyplot, so that nothing of a user's own plots changes.
"""

from __future__ import annotations

import io
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nucseg.errors import InputError, MissingExtraError
from nucseg.figures.pictures import Colour
from nucseg.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURE_SUFFIXES = (".png", ".pdf", ".svg")
# Letters in a line of a legend.
_LEGEND_WIDTH = 32


def require_matplotlib(feature: str) -> None:
    """Raise MissingExtraError unless matplotlib can be imported, before long work begins."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(feature, "train") from error


def new_figure(width: float, height: float) -> Figure:
    """Make a figure, size in inches, that belongs to no window and no global state."""
    require_matplotlib("This figure")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def finish(axes: Axes) -> None:
    """Add a grid, and a legend beside the axes whose long lines are wrapped."""
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    for text in legend.get_texts():  # the path of a folder would leave the curves no room
        lines = textwrap.wrap(text.get_text(), _LEGEND_WIDTH)
        text.set_text("\n".join(lines if len(lines) <= 6 else [*lines[:2], "…", *lines[-3:]]))


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole, in the format that its name ends in."""
    if path.suffix not in FIGURE_SUFFIXES:
        raise InputError(
            f"Cannot write a figure as {path.name}: its name must end in "
            f"{', '.join(FIGURE_SUFFIXES)}."
        )
    with atomic_write(path) as partial:
        figure.savefig(partial)


def shown_in_notebook(figure: Figure) -> bool:
    """Show the figure as a picture where a notebook runs this code."""
    ipython: Any = sys.modules.get("IPython")
    if not hasattr(ipython and ipython.get_ipython(), "kernel"):
        return False
    data = io.BytesIO()
    figure.savefig(data, format="png")
    from_ipython = import_module("IPython.display")
    from_ipython.display(from_ipython.Image(data.getvalue()))
    return True


def hex_colour(colour: Colour) -> str:
    """Write a colour as matplotlib takes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
