"""Draw images with the outlines of their nuclei, to check a segmentation visually."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.core.segmented import Segmented, Windowed
from nucseg.errors import InputError
from nucseg.export.format import Format
from nucseg.files import atomic_write
from nucseg.images.colours import to_rgb
from nucseg.images.preprocess import Limits, displayed_limits, stretch

Picture = npt.NDArray[np.uint8]

# Okabe and Ito's colours, which are distinguishable with any colour vision; only those that stand
# out on dark or on bright images. Neighbours get different colours, so that touching nuclei are
# distinguishable.
_ON_DARK = ((240, 228, 66), (86, 180, 233), (230, 159, 0), (204, 121, 167))
_ON_BRIGHT = ((0, 158, 115), (240, 228, 66), (213, 94, 0))
# One colour per class of nuclei, the same for all images of a run.
CLASS_COLOURS = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
    (153, 102, 51),
)
CLASS_COLOUR_NAMES = (
    "light blue",
    "orange",
    "green",
    "pink",
    "yellow",
    "vermilion",
    "blue",
    "brown",
)
_DISPLAYED_PERCENTILES = (1.0, 99.8)
# Pictures from this size on are displayed downsampled, and a line of one pixel would vanish.
_THICK_FROM = 1024
# Longest side of the picture of an image that is not in memory, and rows processed at once.
_REDUCED_SIDE, _BAND = 4096, 512
# Compared with OpenCV's default: smaller and faster for fluorescence, larger for stained tissue.
_COMPRESSION = [
    cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE
]  # fmt: skip


def display_image(image: npt.NDArray[Any], *, every: int = 1) -> Picture:
    """Convert an image to 8-bit colours in which its nuclei are visible.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
    every : int
        Step between the rows and columns that determine the range of intensities.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
    """
    colour = to_rgb(image)
    limits = displayed_limits(colour[::every, ::every], _DISPLAYED_PERCENTILES)
    if colour.dtype == np.uint8:
        # Each of 256 values is computed only once.
        values = _in_bytes(np.arange(256, dtype=np.uint8), limits)
        return np.asarray(cv2.LUT(np.ascontiguousarray(colour), values), np.uint8)
    picture = np.empty(colour.shape, np.uint8)
    for top in range(0, len(colour), _BAND):
        rows = slice(top, top + _BAND)
        picture[rows] = _in_bytes(colour[rows], limits)
    return picture


def _in_bytes(values: npt.NDArray[Any], limits: Limits) -> Picture:
    return np.asarray(np.rint(stretch(values, None, limits=limits) * 255), np.uint8)


def outlines(labels: npt.NDArray[np.integer[Any]], *, thickness: int = 1) -> npt.NDArray[np.bool_]:
    """Return the outermost pixels of each nucleus.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
    thickness : int
        Width of the outlines in pixels.

    Returns
    -------
    ndarray, shape (H, W), bool

    Examples
    --------
    >>> import numpy as np
    >>> outlines(np.ones((3, 3), int)).astype(int).tolist()
    [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    """
    rest = np.asarray(labels)
    for _ in range(thickness):
        padded = np.pad(rest, 1)
        inner = padded[1:-1, 1:-1] > 0
        for neighbours in (
            padded[:-2, 1:-1],
            padded[2:, 1:-1],
            padded[1:-1, :-2],
            padded[1:-1, 2:],
        ):
            inner &= neighbours == rest
        rest = np.where(inner, rest, 0)
    return np.asarray((labels > 0) & (rest == 0), np.bool_)


def draw_overlay(
    image: npt.NDArray[Any],
    labels: npt.NDArray[np.integer[Any]],
    *,
    classes: npt.NDArray[np.integer[Any]] | None = None,
    thickness: int | None = None,
    every: int = 1,
) -> Picture:
    """Draw the outlines of nuclei on an image.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
    labels : ndarray, shape (H, W), integer
    classes : ndarray, shape (N,), integer, optional
        Class of the nuclei 1 to N, counted from 0, which determines the colour of outlines.
    thickness : int, optional
        Width of the outlines in pixels; by default 1, and 2 on large images.
    every : int
        Step between the rows that determine the brightness.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8

    Raises
    ------
    InputError
        Image and labels differ in size.
    """
    if image.shape[:2] != labels.shape:
        raise InputError(
            f"Expected labels of the image's size {image.shape[:2]}, got {labels.shape}."
        )
    picture = display_image(image, every=every)
    if thickness is None:
        thickness = 1 if max(labels.shape) < _THICK_FROM else 2
    seen = picture[::every, ::every]
    on_dark = 2 * np.count_nonzero(seen < 128) > seen.size
    colours = np.array(_ON_DARK if on_dark else _ON_BRIGHT, np.uint8)
    if classes is not None:
        colours = np.array(CLASS_COLOURS, np.uint8)
        of_label = np.append(0, classes)
    for top in range(0, len(labels), _BAND):
        above = min(top, thickness)
        band = labels[top - above : top + _BAND + thickness]
        line = outlines(band, thickness=thickness)[above : above + _BAND]
        numbers = band[above : above + _BAND][line]
        which = numbers if classes is None else of_label[numbers]
        picture[top : top + _BAND][line] = colours[which % len(colours)]
    return picture


def write_overlay(segmented: Segmented, path: Path, _name: str) -> None:
    """Write an overlay as PNG.

    Parameters
    ----------
    segmented : Segmented
        Its `image` and `labels` are drawn; downsampled if they are not in memory.
    path : Path

    Raises
    ------
    InputError
        There is no image, or the file cannot be written.
    """
    image, labels = segmented.image, segmented.labels
    if not (isinstance(image, np.ndarray) and isinstance(labels, np.ndarray)):
        image, labels = reduced(image, labels, _REDUCED_SIDE)
    picture = draw_overlay(image, labels, classes=segmented.class_numbers)
    _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _COMPRESSION)
    with atomic_write(path) as partial:
        partial.write_bytes(data.tobytes())


def reduced(
    image: Windowed, labels: Windowed, side: int
) -> tuple[npt.NDArray[Any], npt.NDArray[np.integer[Any]]]:
    """Read an image and its labels at reduced resolution, by skipping rows and columns.

    Parameters
    ----------
    image : Windowed, shape (H, W) or (H, W, C)
    labels : Windowed, shape (H, W)
    side : int
        Maximum number of rows or columns.

    Returns
    -------
    image, labels : ndarray
    """
    step = -(-max(labels.shape) // side)
    band = step * (_BAND // step + 1)
    every = slice(step // 2, None, step)
    pixels, numbers = [], []
    for top in range(0, labels.shape[0], band):
        window = (slice(top, min(top + band, labels.shape[0])), slice(0, labels.shape[1]))
        # A view would keep all pixels that were read.
        pixels.append(image[window][every, every].copy())
        numbers.append(labels[window][every, every].copy())
    return np.concatenate(pixels), np.concatenate(numbers)


OVERLAY_PNG = Format(
    "overlays",
    ".png",
    "picture of the image with outlines",
    write_overlay,
    from_labels=False,
)
