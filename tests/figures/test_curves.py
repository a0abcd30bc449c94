"""Training curves: what they draw, mark and refuse."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from nucseg.errors import InputError, MissingExtraError
from nucseg.figures import curves
from nucseg.figures.curves import history_plots, learning_curves

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
