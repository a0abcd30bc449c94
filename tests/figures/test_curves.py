"""Training curves: what they draw, mark and refuse."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from nucseg.errors import InputError, MissingExtraError
from nucseg.figures import curves, plotting
from nucseg.figures.curves import history_plots, learning_curves
from nucseg.figures.figure import new_figure

HISTORY = {
    "epoch": [1, 2, 3],
    "accuracy": [0.5, 0.6, 0.7],
    "val_accuracy": [0.4, 0.6, 0.5],
    "loss": [3.0, 2.0, 1.0],
    "val_loss": [3.0, 1.5, 2.5],
}


def test_history_plots_write_both_files(tmp_path: Path) -> None:
    history_plots(HISTORY, tmp_path / "plots")
    for name in ("epoch_acc.png", "epoch_loss.png"):
        picture = cv2.imread(str(tmp_path / "plots" / name))
        assert picture is not None
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_learning_curves_mark_the_best_epoch() -> None:
    figure = learning_curves(HISTORY)
    assert figure is not None
    loss, accuracy = figure.axes
    assert [line.get_ydata().tolist() for line in loss.lines[:2]] == [[3, 2, 1], [3, 1.5, 2.5]]
    assert accuracy.lines[1].get_ydata().tolist() == [0.4, 0.6, 0.5]
    assert "best epoch 2: 1.5000" in [line.get_label() for line in loss.lines]
    with pytest.raises(InputError, match="no val_loss"):
        learning_curves({key: values for key, values in HISTORY.items() if key != "val_loss"})


def test_learning_curves_are_shown_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "shown_in_notebook", lambda _figure: True)
    assert learning_curves(HISTORY) is None


def far_off(epochs: int = 20) -> dict[str, list[float]]:
    """History whose first validation loss is far above, and first accuracy far below, the rest."""
    falling = [0.5 - 0.01 * epoch for epoch in range(epochs)]
    rising = [0.9 + 0.002 * epoch for epoch in range(epochs)]
    return {
        "loss": falling,
        "val_loss": [50.0, *falling[1:]],
        "accuracy": rising,
        "val_accuracy": [0.2, *rising[1:]],
    }


def test_a_first_epoch_far_off_does_not_flatten_the_others() -> None:
    figure = learning_curves(far_off())
    assert figure is not None
    loss, accuracy = figure.axes
    assert loss.get_ylim()[1] < 0.6
    assert accuracy.get_ylim()[0] > 0.8
    assert [text.get_text() for text in loss.texts] == [
        "Above the axis: validation in epoch 1 (50)"
    ]
    assert [text.get_text() for text in accuracy.texts] == [
        "Below the axis: validation in epoch 1 (0.2)"
    ]


def test_several_epochs_far_off_are_listed() -> None:
    history = far_off(40)
    history["val_loss"][:8] = [50.0, 9.0, 8.0, 7.0, 6.0, 5.5, 5.0, 4.5]
    figure = learning_curves(history)
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].texts] == [
        "Above the axis: validation in epochs 1, 2, 3, 4, 5, 6, … (up to 50)"
    ]


def test_curves_without_values_far_off_are_shown_whole() -> None:
    figure = learning_curves(HISTORY)
    assert figure is not None
    assert [list(axes.texts) for axes in figure.axes] == [[], []]
    assert figure.axes[0].get_ylim()[1] > 3


def test_a_loss_that_is_not_a_number_is_never_the_best() -> None:
    for loss in (float("nan"), float("inf")):
        figure = learning_curves({**HISTORY, "val_loss": [loss, 1.5, 2.5]})
        assert figure is not None
        labels = [line.get_label() for line in figure.axes[0].lines]
        assert "best epoch 2: 1.5000" in labels
    undefined = {key: [float("nan")] * 3 for key in HISTORY}
    assert learning_curves(undefined) is not None


def test_the_kept_epoch_is_marked_beside_the_best(tmp_path: Path) -> None:
    figure = new_figure(4, 3)
    axes = figure.subplots(2)
    for each, kept in zip(axes, (2, 3), strict=True):
        curves._draw_curves(each, HISTORY, "loss", kept)
    labels = [[text.get_text() for text in each.get_legend().get_texts()] for each in axes]
    assert labels[0][2:] == ["best and kept epoch 2: 1.5000"]
    assert labels[1][2:] == ["best epoch 2: 1.5000", "kept epoch 3: 2.5000"]


def test_seconds_are_drawn_where_they_are_known(tmp_path: Path) -> None:
    history_plots(HISTORY, tmp_path)
    assert not (tmp_path / "epoch_seconds.png").exists()
    history_plots({**HISTORY, "seconds": [9.0, 2.0, 2.1]}, tmp_path)
    assert cv2.imread(str(tmp_path / "epoch_seconds.png")) is not None


def test_history_plots_take_a_single_epoch(tmp_path: Path) -> None:
    history_plots({key: values[:1] for key, values in HISTORY.items()}, tmp_path)
    assert (tmp_path / "epoch_acc.png").is_file()


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({"loss": [1.0], "val_loss": [1.0]}, "no accuracy, val_accuracy, but loss, val_loss"),
        ({}, "but nothing"),
        ({**HISTORY, "loss": [1.0]}, "equally many epochs"),
        ({key: [] for key in HISTORY}, "at least one"),
    ],
    ids=["no accuracy", "nothing", "one shorter", "no epochs"],
)
def test_an_incomplete_history_is_an_error(
    history: dict[str, list[float]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        history_plots(history, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("without_matplotlib")
def test_curves_name_the_extra_that_they_need(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"nucseg\[train\]"):
        history_plots(HISTORY, tmp_path)


def test_the_former_place_works_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match=r"nucseg\.figures\.curves"):
        moved = plotting.learning_curves
    assert moved is learning_curves
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = plotting.nothing
