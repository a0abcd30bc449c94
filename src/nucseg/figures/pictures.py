"""Drawing in arrays with OpenCV alone, and writing them: what nucseg's pictures are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from nucseg.files import atomic_write

Picture = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]
Colour = tuple[int, int, int]

# The palette of Okabe and Ito (2008), made to be told apart with any colour vision.
ORANGE, SKY, GREEN = (230, 159, 0), (86, 180, 233), (0, 158, 115)
YELLOW, BLUE, VERMILION, PURPLE = (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)
BLACK, GREY = (0, 0, 0), (110, 110, 110)
SMALLEST, LARGEST = 256, 1024
STRIP, GAP = 26, 8


def label_colours(count: int) -> Picture:
    """Bright colours, of which those that follow one another differ most; shape (count, 3)."""
    turn = np.arange(count) * ((math.sqrt(5) - 1) / 2)
    hsv = np.ones((count, 1, 3), np.float32)
    hsv[:, 0, 0] = 360 * (turn % 1)
    hsv[:, 0, 1] = 0.45 + 0.4 * (np.arange(count) % 2)
    rgb = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float32)
    return (255 * rgb[:, 0] + 0.5).astype(np.uint8)


def bring_to_view(picture: Picture, *, smallest: int = SMALLEST) -> Picture:
    """Enlarge by a whole factor, or reduce, until the picture is good to look at."""
    height, width = picture.shape[:2]
    longer = max(height, width)
    if longer < smallest:
        factor = math.ceil(smallest / longer)
        return picture.repeat(factor, axis=0).repeat(factor, axis=1)
    if longer <= LARGEST:
        return picture.copy()
    size = (max(1, width * LARGEST // longer), max(1, height * LARGEST // longer))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def outlines(
    labels: Array, chosen: npt.NDArray[np.int64], size: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    """Mask of the rims of the chosen labels, two pixels wide, inside them, at another size."""
    present, place = np.unique(labels, return_inverse=True)
    kept = np.where(np.isin(present, chosen), np.arange(1, present.size + 1), 0)
    small = kept[place.reshape(labels.shape)].astype(np.float32)
    image = cv2.resize(small, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    kernel = np.ones((5, 5), np.uint8)
    lowest = cv2.erode(image, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray((lowest != cv2.dilate(image, kernel)) & (image > 0), bool)


def titled(picture: Picture, title: str) -> Picture:
    """Put a title above a picture, on white that is widened where the title is longer.

    The letters grow with the picture, so that they can be read where it is shown small.
    """
    size = max(1.0, 2 * picture.shape[1] / SMALLEST)
    height = round(STRIP * size)
    strip = np.full((height, _text_width(title, size) + 2 * GAP, 3), 255, np.uint8)
    _write(strip, title, (GAP, height - round(8 * size)), size)
    return stacked([strip, picture])


def legend(counts: Mapping[str, int], colours: Mapping[str, Colour], width: int) -> Picture:
    """Each kind with a square of its colour and its number, in as many lines as the width needs."""
    texts = {kind: f"{kind} {count}" for kind, count in counts.items()}
    column = STRIP + max(_text_width(text) for text in texts.values()) + GAP
    per_line = max(1, width // column)
    lines = math.ceil(len(texts) / per_line)
    strip = np.full((STRIP * lines, max(width, column), 3), 255, np.uint8)
    for index, (kind, text) in enumerate(texts.items()):
        top, left = STRIP * (index // per_line), column * (index % per_line)
        square = strip[top + 7 : top + STRIP - 7, left + GAP : left + STRIP - 6]
        square[:] = colours[kind]
        _write(strip, text, (left + STRIP, top + STRIP - 8))
    return strip


def stacked(pictures: Sequence[Picture]) -> Picture:
    """One above the other on white, narrower ones in the middle."""
    width = max(picture.shape[1] for picture in pictures)
    rows = []
    for picture in pictures:
        row = np.full((picture.shape[0], width, 3), 255, np.uint8)
        left = (width - picture.shape[1]) // 2
        row[:, left : left + picture.shape[1]] = picture
        rows.append(row)
    return np.vstack(rows)


def write_png(path: Path, picture: Picture) -> None:
    """Write a picture as a PNG file, whole or not at all.

    Parameters
    ----------
    path : Path
    picture : ndarray, shape (h, w, 3), uint8

    Raises
    ------
    InputError
        The file cannot be written.
    """
    with atomic_write(path) as partial:
        Image.fromarray(picture).save(partial, format="PNG")


def _write(picture: Picture, text: str, place: tuple[int, int], size: float = 1) -> None:
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, round(size)
    cv2.putText(picture, text, place, font, 0.5 * size, BLACK, thickness, cv2.LINE_AA)


def _text_width(text: str, size: float = 1) -> int:
    found = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * size, round(size))
    return int(found[0][0])
