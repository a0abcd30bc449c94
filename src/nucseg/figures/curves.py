"""Training curves: loss and accuracy of each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nucseg.errors import InputError
from nucseg.figures.figure import finish, hex_colour, new_figure, save, shown_in_notebook
from nucseg.figures.pictures import BLUE, ORANGE, Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HISTORY_PLOTS = {"accuracy": "epoch_acc.png", "loss": "epoch_loss.png"}
SECONDS_PLOT = "epoch_seconds.png"
# Values are outliers beyond so many times the range of the better three quarters.
_REACH = 6.0


def history_plots(
    history: Mapping[str, Sequence[float]], folder: Path, *, kept: int | None = None
) -> None:
    """Draw the training curves into ``epoch_acc.png``, ``epoch_loss.png``, ``epoch_seconds.png``.

    The plots of loss and accuracy mark the best epoch, which has the lowest validation loss, and
    the epoch whose weights were kept. Outliers, such as the validation loss of the first epochs,
    are outside the axis; a note gives their values.

    Parameters
    ----------
    history : mapping of str to sequence of float
        A value per epoch under each of ``accuracy``, ``val_accuracy``, ``loss`` and ``val_loss``;
        ``seconds`` is optional. Other curves are not drawn.
    folder : Path
        Created if missing.
    kept : int, optional
        Number of the epoch whose weights were kept, from 1.

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
        figure = new_figure(7.5, 4.5)
        _draw_curves(figure.subplots(), history, name, kept)
        save(figure, Path(folder) / file)
    if "seconds" in history:
        figure = new_figure(7.5, 3)
        _draw_seconds(figure.subplots(), history["seconds"])
        save(figure, Path(folder) / SECONDS_PLOT)


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
        _draw_curves(axes, history, name, None)
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


def _draw_curves(
    axes: Axes, history: Mapping[str, Sequence[float]], name: str, kept: int | None
) -> None:
    """Draw the training and the validation curve, and mark the best and the kept epoch."""
    curves = {
        label: np.asarray(history[key], float)
        for key, label in ((name, "training"), (f"val_{name}", "validation"))
    }
    epochs = range(1, len(history["loss"]) + 1)
    for (label, values), colour in zip(curves.items(), (BLUE, ORANGE), strict=True):
        axes.plot(epochs, values, color=hex_colour(colour), label=label, marker=".")
    losses = np.asarray(history["val_loss"], float)
    best = int(np.argmin(np.where(np.isnan(losses), np.inf, losses))) + 1
    _mark(axes, best, curves["validation"], "best and kept epoch" if kept == best else "best epoch")
    if kept is not None and kept != best:
        _mark(axes, kept, curves["validation"], "kept epoch", mark="s", line="--")
    notes = _limit(axes, curves, high_is_good=name == "accuracy")
    axes.set_title(f"{name.capitalize()} per epoch", pad=10 + 11 * len(notes))
    if notes:
        axes.text(0, 1.02, "\n".join(notes), transform=axes.transAxes, fontsize=8, color="0.35")
    _label_epochs(axes, name)


def _mark(
    axes: Axes, epoch: int, values: Array, label: str, *, mark: str = "o", line: str = ":"
) -> None:
    """Mark an epoch by a vertical line and a ring around its value."""
    value = values[epoch - 1]
    axes.plot([epoch], [value], mark, ms=11, mfc="none", mec="black")
    axes.axvline(epoch, color="0.6", lw=1, ls=line, label=f"{label} {epoch}: {value:.4f}")


def _limit(axes: Axes, curves: Mapping[str, Array], *, high_is_good: bool) -> list[str]:
    """Exclude outliers on the bad side from the axis, and return a note for each curve."""
    sign = -1 if high_is_good else 1
    bad = sign * np.concatenate(list(curves.values()))
    bad = bad[np.isfinite(bad)]
    if not bad.size:
        return []
    limit = bad.min() + _REACH * (np.percentile(bad, 75) - bad.min())
    inside = bad[bad <= limit]
    if inside.size == bad.size or inside.max() == inside.min():
        return []
    room = 0.05 * (inside.max() - inside.min())
    edges = sign * (inside.min() - room), sign * (inside.max() + room)
    axes.set_ylim(min(edges), max(edges))
    notes = []
    for (label, values), colour in zip(curves.items(), (BLUE, ORANGE), strict=True):
        beyond = np.flatnonzero(sign * values > limit) + 1
        if not beyond.size:
            continue
        # In the margin of the axes, where the curve leaves them.
        axes.plot(beyond, [edges[1]] * beyond.size, "v" if high_is_good else "^",
                  color=hex_colour(colour), clip_on=False)  # fmt: skip
        notes.append(_beyond(label, values, beyond, high_is_good=high_is_good))
    return notes


def _beyond(label: str, values: Array, epochs: Array, *, high_is_good: bool) -> str:
    """Describe which epochs are outside the axis, and how far."""
    side, word, worst = ("Below", "down", "min") if high_is_good else ("Above", "up", "max")
    extreme = f"{getattr(np, worst)(values[epochs - 1]):.4g}"
    if epochs.size == 1:
        return f"{side} the axis: {label} in epoch {epochs[0]} ({extreme})"
    listed = ", ".join(str(epoch) for epoch in epochs[:6]) + ", …" * (epochs.size > 6)
    return f"{side} the axis: {label} in epochs {listed} ({word} to {extreme})"


def _draw_seconds(axes: Axes, seconds: Sequence[float]) -> None:
    """Draw the duration of each epoch."""
    epochs = range(1, len(seconds) + 1)
    middle = float(np.median(seconds))
    axes.set_axisbelow(True)
    axes.bar(epochs, seconds, color=hex_colour(BLUE))
    axes.axhline(middle, color="0.4", lw=1, ls=":", label=f"median {middle:.3g} s")
    axes.set_title("Seconds per epoch")
    _label_epochs(axes, "seconds")


def _label_epochs(axes: Axes, name: str) -> None:
    """Label the axes, with integers for the epochs."""
    from matplotlib.ticker import MaxNLocator

    axes.set(xlabel="epoch", ylabel=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    finish(axes)
