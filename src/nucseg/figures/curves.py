"""Training curves: loss and accuracy of each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nucseg.errors import InputError
from nucseg.figures.figure import finish, hex_colour, new_figure, save, shown_in_notebook
from nucseg.figures.pictures import BLUE, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HISTORY_PLOTS = {"accuracy": "epoch_acc.png", "loss": "epoch_loss.png"}


def history_plots(history: Mapping[str, Sequence[float]], folder: Path) -> None:
    """Draw the training curves into ``epoch_acc.png`` and ``epoch_loss.png``.

    Both mark the best epoch, the one of lowest validation loss, whose weights training keeps.

    Parameters
    ----------
    history : mapping of str to sequence of float
        A value per epoch under each of ``accuracy``, ``val_accuracy``, ``loss`` and ``val_loss``;
        other curves are not drawn.
    folder : Path
        Made where missing.

    Raises
    ------
    InputError
        A curve is missing, or they are empty or of different lengths, or the folder cannot be
        written.
    MissingExtraError
        matplotlib is not installed.
    """
    _check_history(history)
    for name, file in HISTORY_PLOTS.items():
        figure = new_figure(7, 4.5)
        _draw_curves(figure.subplots(), history, name)
        save(figure, Path(folder) / file)


def learning_curves(history: Mapping[str, Sequence[float]]) -> Figure | None:
    """Show the training curves in a notebook: loss and accuracy, one above the other.

    Parameters
    ----------
    history : mapping of str to sequence of float
        As for `history_plots`; ``pandas.read_csv("run/history.csv")`` is one.

    Returns
    -------
    matplotlib.figure.Figure or None
        The figure, unless it was shown in a notebook.

    Raises
    ------
    InputError
        A curve is missing, or they are empty or of different lengths.
    MissingExtraError
        matplotlib is not installed.

    Examples
    --------
    >>> curve = [0.5, 0.4]
    >>> names = ("loss", "val_loss", "accuracy", "val_accuracy")
    >>> figure = learning_curves(dict.fromkeys(names, curve))
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['loss', 'accuracy']
    """
    _check_history(history)
    figure = new_figure(7, 7)
    for axes, name in zip(figure.subplots(2), ("loss", "accuracy"), strict=True):
        _draw_curves(axes, history, name)
    return None if shown_in_notebook(figure) else figure


def _check_history(history: Mapping[str, Sequence[float]]) -> None:
    needed = [key for name in HISTORY_PLOTS for key in (name, f"val_{name}")]
    missing = [key for key in needed if key not in history]
    if missing:
        raise InputError(
            f"The history has no {', '.join(missing)}, but {', '.join(history) or 'nothing'}. "
            "Train with the metric accuracy and with validation images."
        )
    lengths = {key: len(history[key]) for key in needed}
    if len(set(lengths.values())) > 1 or not lengths["loss"]:
        raise InputError(f"The curves must have equally many epochs, at least one, not {lengths}.")


def _draw_curves(axes: Axes, history: Mapping[str, Sequence[float]], name: str) -> None:
    """Draw a curve of training and of validation, and mark the best epoch."""
    from matplotlib.ticker import MaxNLocator

    best = int(np.argmin(history["val_loss"]))
    epochs = range(1, len(history["loss"]) + 1)
    for key, label, colour in ((name, "training", BLUE), (f"val_{name}", "validation", ORANGE)):
        axes.plot(epochs, history[key], color=hex_colour(colour), label=label, marker=".")
    value = np.asarray(history[f"val_{name}"])[best]
    axes.plot([best + 1], [value], "o", ms=11, mfc="none", mec="black")
    axes.axvline(best + 1, color="0.6", lw=1, ls=":", label=f"best epoch {best + 1}: {value:.4f}")
    axes.set(xlabel="epoch", ylabel=name, title=f"{name.capitalize()} per epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    finish(axes)
