"""Pictures of an image with its nuclei outlined, to judge a segmentation by eye."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError
from nucseg.export.format import Format, Segmented, Windowed
from nucseg.files import whole_file
from nucseg.preprocess import intensity_limits, stretch, to_rgb

Picture = npt.NDArray[np.uint8]

# Okabe and Ito's colours, which people with any colour vision can tell apart; those that stand
# out from dark and from bright images. Neighbours get different ones, so that it shows where two
# nuclei touch.
_ON_DARK = ((240, 228, 66), (86, 180, 233), (230, 159, 0), (204, 121, 167))
_ON_BRIGHT = ((0, 158, 115), (240, 228, 66), (213, 94, 0))
_DISPLAYED_PERCENTILES = (1.0, 99.8)
# From this size on, a picture is shown smaller than it is and a line of one pixel would vanish.
_THICK_FROM = 1024
# Longest side of the picture of an image that is not in memory, and rows worked on at once.
_REDUCED_SIDE, _BAND = 4096, 512


def display_image(image: npt.NDArray[Any]) -> Picture:
    """Bring an image to 8-bit colours in which its nuclei can be seen.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
    """
    colour = to_rgb(image)
    limits = intensity_limits(colour, _DISPLAYED_PERCENTILES)
    picture = np.empty(colour.shape, np.uint8)
    for top in range(0, len(colour), _BAND):
        rows = slice(top, top + _BAND)
        picture[rows] = np.rint(stretch(colour[rows], None, limits=limits) * 255)
    return picture


def outlines(labels: npt.NDArray[np.integer[Any]], *, thickness: int = 1) -> npt.NDArray[np.bool_]:
    """Mark the outermost pixels of each nucleus.

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
    image: npt.NDArray[Any], labels: npt.NDArray[np.integer[Any]], *, thickness: int | None = None
) -> Picture:
    """Draw the outlines of nuclei on an image.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
    labels : ndarray, shape (H, W), integer
    thickness : int, optional
        Width of the outlines in pixels; by default 1, and 2 on large images.

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
    picture = display_image(image)
    if thickness is None:
        thickness = 1 if max(labels.shape) < _THICK_FROM else 2
    colours = np.array(_ON_DARK if np.median(picture) < 128 else _ON_BRIGHT, np.uint8)
    for top in range(0, len(labels), _BAND):
        above = min(top, thickness)
        band = labels[top - above : top + _BAND + thickness]
        line = outlines(band, thickness=thickness)[above : above + _BAND]
        numbers = band[above : above + _BAND][line]
        picture[top : top + _BAND][line] = colours[numbers % len(colours)]
    return picture


def write_overlay(segmented: Segmented, path: Path, _name: str) -> None:
    """Write an overlay as PNG.

    Parameters
    ----------
    segmented : Segmented
        Its `image` and `labels` are drawn; smaller, where they are not in memory.
    path : Path

    Raises
    ------
    InputError
        There is no image, or the file cannot be written.
    """
    image, labels = segmented.image, segmented.labels
    if not (isinstance(image, np.ndarray) and isinstance(labels, np.ndarray)):
        image, labels = _reduced(image, labels)
    picture = draw_overlay(image, labels)
    _, data = cv2.imencode(".png", picture[:, :, ::-1])
    with whole_file(path) as partial:
        partial.write_bytes(data.tobytes())


def _reduced(
    image: Windowed, labels: Windowed
) -> tuple[npt.NDArray[Any], npt.NDArray[np.integer[Any]]]:
    """Read an image by every so many rows and columns, and its labels, until it can be drawn."""
    step = -(-max(labels.shape) // _REDUCED_SIDE)
    band = step * (_BAND // step + 1)
    every = slice(step // 2, None, step)
    pixels, numbers = [], []
    for top in range(0, labels.shape[0], band):
        window = (slice(top, min(top + band, labels.shape[0])), slice(0, labels.shape[1]))
        # A view would keep all that was read.
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
