"""Pictures to look at: panels, errors drawn into the image, AP curves.

Pictures that end in an array are drawn with OpenCV alone. Figures need matplotlib, which comes with
the ``train`` extra.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nucseg.core.overlap import find_errors, overlap
from nucseg.errors import InputError
from nucseg.figures import curves
from nucseg.figures.figure import finish, hex_colour, new_figure, save, shown_in_notebook
from nucseg.figures.pictures import (
    BLACK,
    BLUE,
    GAP,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    Array,
    Colour,
    Picture,
    bring_to_view,
    label_colours,
    legend,
    outlines,
    stacked,
    titled,
)
from nucseg.images.colours import to_rgb
from nucseg.images.preprocess import stretch

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def __getattr__(name: str) -> Any:
    """Find functions that have moved; to be removed after the next release."""
    if name not in ("history_plots", "learning_curves"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"{name} has moved: import it from nucseg.figures.curves.", DeprecationWarning, stacklevel=2
    )
    return getattr(curves, name)


ERROR_COLOURS: dict[str, Colour] = {
    "correct": GREEN,
    "missed": VERMILION,
    "extra": SKY,
    "merged": YELLOW,
    "split": PURPLE,
}
TITLES = ("Input Image", "True Mask", "Predicted Mask")
PERCENTILES = (1.0, 99.8)


def panel(image: Array, truth: Array, prediction: Array) -> Picture:
    """Show an image, its true and its predicted mask side by side, with titles.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
        Stretched between its percentiles 1 and 99.8.
    truth, prediction : ndarray, shape (H, W)
        A mask (bool) is shown white on black, a label image (integer) with a colour for each
        nucleus, and probabilities (floating point) as grey from 0 to 1.

    Returns
    -------
    ndarray, shape (H', W', 3), uint8
        Red, green, blue. Small images are enlarged and very large ones reduced, so that the longer
        side of each of the three lies between 256 and 1024 pixels.

    Raises
    ------
    InputError
        The arrays are no image and masks, or differ in height or width.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.eye(128, dtype=int)
    >>> panel(np.zeros((128, 128)), labels > 0, labels).shape
    (308, 784, 3)
    """
    pictures = [
        titled(bring_to_view(picture), title)
        for picture, title in zip(_three(image, truth, prediction), TITLES, strict=True)
    ]
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    return np.hstack([pictures[0], gap, pictures[1], gap, pictures[2]])


def display(
    images: Sequence[Array],
    truths: Sequence[Array],
    predictions: Sequence[Array],
    *,
    path: Path | str | None = None,
) -> Figure | None:
    """Show images with their true and predicted masks, a row of three for each.

    Parameters
    ----------
    images, truths, predictions : sequences of ndarray, of equal length
        As in `panel`.
    path : Path, optional
        Write the figure there (.png, .pdf or .svg) instead of showing it.

    Returns
    -------
    matplotlib.figure.Figure or None
        The figure, unless it was written, or shown in a notebook.

    Raises
    ------
    InputError
        There are no images, or not equally many of each; or as in `panel`.
    MissingExtraError
        matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.eye(32) > 0
    >>> figure = display([np.zeros((32, 32))], [mask], [mask])
    >>> [axes.get_title() for axes in figure.axes]
    ['Input Image', 'True Mask', 'Predicted Mask']
    """
    if not len(images) == len(truths) == len(predictions) or not len(images):
        raise InputError(
            "Expected as many images as true and predicted masks, at least one of each, not "
            f"{len(images)}, {len(truths)} and {len(predictions)}."
        )
    figure = new_figure(10, 3.5 * len(images))
    grid = figure.subplots(len(images), len(TITLES), squeeze=False)
    for row, arrays in zip(grid, zip(images, truths, predictions, strict=True), strict=True):
        for axes, picture, title in zip(row, _three(*arrays), TITLES, strict=True):
            axes.imshow(picture, interpolation="nearest")
            axes.set_title(title)
            axes.axis("off")
    if path is not None:
        save(figure, Path(path))
        return None
    return None if shown_in_notebook(figure) else figure


def error_overlay(image: Array, truth: Array, prediction: Array) -> Picture:
    """Outline right and wrong nuclei on the image, each kind in its colour, above a legend.

    Missed and split nuclei are outlined as they truly are, correct, extra and merged ones as they
    were predicted; see `nucseg.core.overlap.find_errors`. The image is shown grey and dimmed, so
    that its own colours do not mix with those of the outlines.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
    truth, prediction : ndarray, shape (H, W), integer
        Label images.

    Returns
    -------
    ndarray, shape (H', W', 3), uint8
        Red, green, blue. The image is enlarged or reduced so that its longer side lies between
        512 and 1024 pixels.

    Raises
    ------
    InputError
        The arrays are no image and label images, or differ in height or width.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((256, 256), int)
    >>> labels[10:40, 10:40] = 1
    >>> error_overlay(np.zeros((256, 256)), labels, np.zeros_like(labels)).shape
    (538, 512, 3)
    """
    table = overlap(truth, prediction)
    grey = _picture(image, truth.shape).mean(axis=2, keepdims=True)
    view = bring_to_view(np.repeat((0.7 * grey).astype(np.uint8), 3, axis=2), smallest=512)
    errors = find_errors(table)
    fits = (table.iou > 0.5) & ~np.isin(table.true_labels[table.rows], errors.split)
    correct = np.setdiff1d(table.predicted_labels[table.columns[fits]], errors.merged)
    outlined = {
        "correct": (prediction, correct),
        "missed": (truth, errors.missed),
        "extra": (prediction, errors.extra),
        "merged": (prediction, errors.merged),
        "split": (truth, errors.split),
    }
    for kind, (labels, chosen) in outlined.items():
        view[outlines(labels, chosen, view.shape[:2])] = ERROR_COLOURS[kind]
    counts = {kind: chosen.size for kind, (_, chosen) in outlined.items()}
    return stacked([view, legend(counts, ERROR_COLOURS, view.shape[1])])


def ap_plot(
    thresholds: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    path: Path,
    *,
    references: Mapping[str, Sequence[float]] | None = None,
    references_title: str = "",
) -> None:
    """Draw average precision against the IoU threshold.

    Parameters
    ----------
    thresholds : sequence of float
        IoU thresholds.
    curves : mapping of str to sequence of float
        Average precision at each threshold, by the name of the curve.
    path : Path
        Where to write the figure (.png, .pdf or .svg).
    references : mapping of str to sequence of float, optional
        Further curves, drawn thin and dashed; a shorter one ends at an earlier threshold.
    references_title : str
        Where these come from, above the axes.

    Raises
    ------
    InputError
        The path cannot be written.
    MissingExtraError
        matplotlib is not installed.
    """
    figure = new_figure(8.5, 5)
    axes = figure.subplots()
    strong = (BLACK, VERMILION)
    for index, (label, values) in enumerate(curves.items()):
        colour = hex_colour(strong[index % len(strong)])
        axes.plot(thresholds, values, color=colour, label=label, lw=2.5, marker="o")
    weak = (BLUE, ORANGE, GREEN, PURPLE, SKY, GREY)
    for index, (label, values) in enumerate((references or {}).items()):
        colour = hex_colour(weak[index % len(weak)])
        axes.plot(thresholds[: len(values)], values, color=colour, label=label, lw=1.3, ls="--")
    axes.set(xlabel="IoU threshold", ylabel="average precision", ylim=(0, 1))
    if references:
        axes.set_title(textwrap.fill(f"Dashed: {references_title}", 70), fontsize=9)
    finish(axes)
    save(figure, Path(path))


def _three(image: Array, truth: Array, prediction: Array) -> tuple[Picture, Picture, Picture]:
    return (
        _picture(image, truth.shape),
        _mask_picture(truth, "true mask"),
        _mask_picture(prediction, "predicted mask", truth.shape),
    )


def _picture(image: Array, shape: tuple[int, ...]) -> Picture:
    """Stretch an image for the eye, after checking that it belongs to a mask of this shape."""
    rgb = to_rgb(image)
    if rgb.shape[:2] != shape:
        raise InputError(f"The image is of shape {rgb.shape[:2]}, its true mask of {shape}.")
    return (255 * stretch(rgb, PERCENTILES) + 0.5).astype(np.uint8)


def _mask_picture(mask: Array, name: str, shape: tuple[int, ...] | None = None) -> Picture:
    if mask.ndim != 2 or mask.dtype.kind not in "buif":
        raise InputError(
            f"Expected a {name} of shape (height, width) and real numbers, got {mask.shape} "
            f"and {mask.dtype}."
        )
    if shape is not None and mask.shape != shape:
        raise InputError(f"The {name} is of shape {mask.shape}, the true mask of {shape}.")
    if mask.dtype.kind in "iu":
        present, place = np.unique(mask, return_inverse=True)
        colours = label_colours(present.size)
        colours[present == 0] = BLACK
        coloured: Picture = colours[place.reshape(mask.shape)]
        return coloured
    grey = np.clip(np.nan_to_num(mask.astype(np.float32)), 0, 1)
    return np.repeat((255 * grey + 0.5).astype(np.uint8)[..., None], 3, axis=2)
