"""Pictures: their shapes, their colours where they matter, and what they refuse."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from nucseg.errors import InputError, MissingExtraError
from nucseg.figures.figure import require_matplotlib
from nucseg.figures.pictures import bring_to_view, label_colours
from nucseg.figures.plotting import (
    ERROR_COLOURS,
    ap_plot,
    display,
    error_overlay,
    panel,
)


def squares(*corners: tuple[int, int], side: int = 20) -> npt.NDArray[np.int32]:
    labels = np.zeros((128, 128), np.int32)
    for label, (row, column) in enumerate(corners, start=1):
        labels[row : row + side, column : column + side] = label
    return labels


def colours_in(picture: npt.NDArray[np.uint8]) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}


def test_a_panel_shows_input_truth_and_prediction_from_left_to_right() -> None:
    image = np.arange(256 * 256, dtype=np.uint16).reshape(256, 256)
    truth = np.zeros((256, 256), bool)
    truth[:, :128] = True
    picture = panel(image, truth, ~truth)
    assert picture.dtype == np.uint8
    assert picture.shape == (52 + 256, 3 * 256 + 2 * 8, 3)
    first, second, third = picture[52:, :256], picture[52:, 264:520], picture[52:, 528:]
    assert first[0].max() < 10
    assert first[-1].min() > 245
    assert (second == 255 * truth[..., None]).all()
    assert (third == 255 * ~truth[..., None]).all()


def test_a_panel_colours_each_nucleus_of_a_label_image() -> None:
    labels = squares((0, 0), (50, 50))
    picture = panel(np.zeros((128, 128)), labels, labels > 0)
    middle = picture[52:, 264:520]
    assert len(colours_in(middle)) == 3
    assert (0, 0, 0) in colours_in(middle)


def test_a_panel_shows_probabilities_as_grey() -> None:
    picture = panel(np.zeros((256, 256)), np.zeros((256, 256), bool), np.full((256, 256), 0.5))
    assert colours_in(picture[52:, 528:]) == {(128, 128, 128)}


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (300, 2), (1500, 40), (256, 256)])
def test_pictures_of_any_size_come_to_a_size_good_to_look_at(shape: tuple[int, int]) -> None:
    view = bring_to_view(np.zeros((*shape, 3), np.uint8))
    assert 256 <= max(view.shape) <= 1024
    assert min(view.shape[:2]) > 0
    labels = np.ones(shape, np.int32)
    assert panel(np.zeros(shape), labels, labels).dtype == np.uint8
    assert error_overlay(np.zeros(shape), labels, labels).dtype == np.uint8


def test_colours_of_labels_that_follow_one_another_differ() -> None:
    colours = label_colours(300).astype(int)
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 60
    assert colours.max(axis=1).min() > 200  # none is hard to see on black


@pytest.mark.parametrize(
    ("truth", "found", "kinds"),
    [
        (squares((10, 10)), squares((11, 10)), {"correct"}),
        (squares((10, 10)), squares(), {"missed"}),
        (squares(), squares((10, 10)), {"extra"}),
        (squares((10, 10), (10, 30)), squares((10, 10), (10, 30)) > 0, {"merged"}),
        (squares((10, 10), (10, 30)) > 0, squares((10, 10), (10, 30)), {"split"}),
        (squares((10, 10)), squares((60, 60)), {"missed", "extra"}),
    ],
    ids=["correct", "missed", "extra", "merged", "split", "missed and extra"],
)
def test_the_overlay_outlines_each_kind_of_error_in_its_colour(
    truth: npt.NDArray[np.int32], found: npt.NDArray[np.int32], kinds: set[str]
) -> None:
    picture = error_overlay(np.zeros((128, 128)), truth.astype(int), found.astype(int))
    drawn = colours_in(picture[:512])
    assert drawn == {(0, 0, 0)} | {ERROR_COLOURS[kind] for kind in kinds}
    assert set(ERROR_COLOURS.values()) <= colours_in(picture[512:])


def test_an_outline_lies_inside_its_nucleus() -> None:
    labels = squares((10, 10))
    picture = error_overlay(np.zeros((128, 128)), labels, labels)[:512]
    rows, columns = np.nonzero(picture.any(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40, 119, 40, 119)
    assert not picture[44:116, 44:116].any()


def test_display_has_the_classic_titles_and_writes_a_file(tmp_path: Path) -> None:
    images, masks = [np.zeros((16, 16, 3))] * 2, [np.eye(16) > 0] * 2
    figure = display(images, masks, masks)
    assert figure is not None
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["Input Image", "True Mask", "Predicted Mask"] * 2
    assert display(images, masks, masks, path=tmp_path / "new" / "three.png") is None
    assert cv2.imread(str(tmp_path / "new" / "three.png")) is not None


def test_display_shows_itself_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[bytes] = []
    inside = SimpleNamespace(Image=lambda data: data, display=shown.append)
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", inside)
    mask = np.eye(8) > 0
    assert display([np.zeros((8, 8))], [mask], [mask]) is None
    assert shown[0].startswith(b"\x89PNG")
    del shell.kernel  # IPython in a terminal has none, and cannot show a picture
    assert display([np.zeros((8, 8))], [mask], [mask]) is not None
    assert len(shown) == 1


def test_ap_plot_draws_its_curves_beside_published_ones(tmp_path: Path) -> None:
    path = tmp_path / "ap.svg"
    ap_plot([0.5, 0.7, 0.9], {"mine": [1, 0.8, 0.3]}, path, references={"theirs": [0.9, 0.7]})
    text = path.read_text()
    assert "mine" in text
    assert "theirs" in text


def test_a_long_name_leaves_the_curves_room(tmp_path: Path) -> None:
    long = "/data/microscope/2026/plate-0017/" + "nuclei-" * 200
    curves = {f"{long}: {which}": [1, 0.8, 0.3] for which in ("mean", "pooled")}
    ap_plot([0.5, 0.7, 0.9], curves, tmp_path / "ap.svg")
    text = (tmp_path / "ap.svg").read_text()
    assert all(part in text for part in ("/data/microscope/2026/plate-", ": mean", ": pooled"))


def test_a_figure_of_an_unknown_format_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ap\.xyz: its name must end in \.png, \.pdf, \.svg"):
        ap_plot([0.5], {"mine": [1]}, tmp_path / "ap.xyz")


@pytest.mark.parametrize(
    ("image", "truth", "found", "message"),
    [
        (np.zeros((4, 4)), np.eye(5, dtype=int), np.eye(5, dtype=int), "its true mask of"),
        (np.zeros((4, 4)), np.eye(4, dtype=int), np.eye(5, dtype=int), "predicted mask is of"),
        (np.zeros((4, 4)), np.eye(4, dtype=int), np.eye(4, dtype=complex), "real numbers"),
        (np.zeros((4, 4, 1)), np.zeros((4, 4)), np.zeros((4, 4, 1)), r"shape \(height, width\)"),
        (np.full((4, 4), np.nan), np.zeros((4, 4)), np.zeros((4, 4)), "NaN"),
    ],
)
def test_arrays_that_do_not_belong_together_are_an_error(
    image: npt.NDArray[np.float64],
    truth: npt.NDArray[np.int64],
    found: npt.NDArray[np.int64],
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        panel(image, truth, found)


def test_the_overlay_refuses_what_is_no_label_image() -> None:
    with pytest.raises(InputError, match="same shape"):
        error_overlay(np.zeros((4, 4)), np.eye(4, dtype=int), np.eye(5, dtype=int))
    with pytest.raises(InputError, match="its true mask of"):
        error_overlay(np.zeros((5, 4)), np.eye(4, dtype=int), np.eye(4, dtype=int))


def test_display_needs_as_many_masks_as_images() -> None:
    with pytest.raises(InputError, match="not 0, 0 and 0"):
        display([], [], [])
    with pytest.raises(InputError, match="not 1, 0 and 1"):
        display([np.zeros((4, 4))], [], [np.zeros((4, 4))])


@pytest.mark.usefixtures("without_matplotlib")
def test_figures_name_the_extra_that_they_need(tmp_path: Path) -> None:
    mask = np.eye(4) > 0
    for draw in (
        lambda: display([mask], [mask], [mask], path=tmp_path / "a.png"),
        lambda: ap_plot([0.5], {"mine": [1]}, tmp_path / "ap.png"),
        lambda: require_matplotlib("This plot"),
    ):
        with pytest.raises(MissingExtraError, match=r"nucseg\[train\]"):
            draw()
    assert panel(mask, mask, mask).size
