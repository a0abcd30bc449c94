"""Draw contact sheets of small pictures, with outlines of nuclei and captions."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from nucseg.figures.pictures import Picture
from nucseg.images.colours import to_rgb
from nucseg.images.preprocess import resize_image, stretch

CAPTION = 16
GAP = 4
PAPER = 255
OUTLINE = (255, 210, 0)
INK = (30, 30, 30)
ALARM = (200, 0, 0)


def thumbnail(
    pixels: npt.NDArray[np.generic],
    labels: npt.NDArray[np.integer],
    side: int,
    *,
    percentiles: tuple[float, float] | None = (1.0, 99.8),
) -> Picture:
    """Draw a thumbnail of an image, with an outline around each nucleus.

    Parameters
    ----------
    pixels : ndarray, shape (H, W) or (H, W, C), real dtype
    labels : ndarray, shape (H, W), integer
        0 is background; for a mask, the common outline of all nuclei is drawn.
    side : int
        Longer side of the picture in pixels.
    percentiles : (low, high) or None
        Percentiles of the intensities that become black and white; None keeps the intensities.

    Returns
    -------
    ndarray, shape (h, w, 3), uint8
        Picture with the aspect ratio of the image.

    Examples
    --------
    >>> import numpy as np
    >>> thumbnail(np.zeros((20, 40)), np.zeros((20, 40), int), 60).shape
    (30, 60, 3)
    """
    height, width = labels.shape
    scale = side / max(height, width)
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    bright = resize_image(stretch(to_rgb(pixels), percentiles), size)
    picture = np.round(bright * 255).astype(np.uint8)
    picture[_outlines(labels, size)] = OUTLINE
    return picture


def sheet(pictures: Sequence[tuple[Picture, str, bool]], *, columns: int, side: int) -> Picture:
    """Arrange pictures in rows, each with its caption below.

    Parameters
    ----------
    pictures : sequence of (picture, caption, alarm)
        Pictures of shape (h, w, 3), uint8, at most `side` pixels in both directions; the caption
        is red if `alarm` is set.
    columns : int
        Pictures per row.
    side : int
        Space in pixels for each picture, in both directions.

    Returns
    -------
    ndarray, shape (height, width, 3), uint8
    """
    rows = -(-len(pictures) // columns)
    cell_height, cell_width = side + CAPTION + GAP, side + GAP
    shape = (max(rows, 1) * cell_height + GAP, columns * cell_width + GAP, 3)
    image = Image.fromarray(np.full(shape, PAPER, np.uint8))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(11)
    for index, (picture, caption, alarm) in enumerate(pictures):
        left = GAP + index % columns * cell_width
        top = GAP + index // columns * cell_height
        inset = (side - picture.shape[1]) // 2, (side - picture.shape[0]) // 2
        image.paste(Image.fromarray(picture), (left + inset[0], top + inset[1]))
        while caption and draw.textlength(caption, font=font) > side:
            caption = caption[:-1]  # noqa: PLW2901 - shortened until it fits
        draw.text((left, top + side + 1), caption, fill=ALARM if alarm else INK, font=font)
    return np.asarray(image)


def _outlines(labels: npt.NDArray[np.integer], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the pixels of a resized picture that contain the border of a nucleus."""
    lines = np.zeros(size, np.uint8)
    scale = np.array([size[1] / labels.shape[1], size[0] / labels.shape[0]])
    # Contours are traced at full size, which preserves thin gaps, and drawn small.
    for label, (rows, columns) in _boxes(labels):
        mask = (labels[rows, columns] == label).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        offset = np.array([columns.start, rows.start])
        moved = [((contour + offset + 0.5) * scale).astype(np.int32) for contour in contours]
        cv2.polylines(lines, moved, isClosed=True, color=1)
    return lines > 0


def _boxes(labels: npt.NDArray[np.integer]) -> list[tuple[int, tuple[slice, slice]]]:
    from scipy.ndimage import find_objects

    found = find_objects(np.asarray(labels, np.int32))
    return [(number, box) for number, box in enumerate(found, start=1) if box is not None]
