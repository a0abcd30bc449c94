"""Made-up images without a nucleus, from which a network learns what is none."""

from __future__ import annotations

import string
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

FloatArray = npt.NDArray[np.float32]

_CHARACTERS = list(string.ascii_letters + string.digits + string.punctuation)
_HERSHEY = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)


def clutter_image(rng: np.random.Generator, size: int) -> npt.NDArray[np.uint8]:
    """Draw text, lines, blocks, a gradient or noise: dark on light or light on dark, some tinted.

    Parameters
    ----------
    rng : Generator
        The only source of randomness: the same state gives the same image.
    size : int
        Side in pixels.

    Returns
    -------
    ndarray, shape (size, size, 3), uint8

    Examples
    --------
    >>> import numpy as np
    >>> clutter_image(np.random.default_rng(0), 64).shape
    (64, 64, 3)
    """
    painters = (_text, _printed_text, _lines, _blocks, _gradient, _noise)
    # A page of text is what is taken for nuclei most easily.
    paint: Callable[[np.random.Generator, int], FloatArray] = painters[
        rng.choice(len(painters), p=(0.25, 0.25, 0.2, 0.1, 0.1, 0.1))
    ]
    ink = paint(rng, size)
    light, dark = rng.uniform(0.6, 1), rng.uniform(0, 0.3)
    grey = dark + (light - dark) * (ink if rng.random() < 0.5 else 1 - ink)
    tint = rng.uniform(0.5, 1, 3) if rng.random() < 0.3 else np.ones(3)
    noisy = grey[..., None] * tint + rng.normal(0, rng.uniform(0, 0.03), (size, size, 1))
    return np.round(np.clip(noisy, 0, 1) * 255).astype(np.uint8)


def _words(rng: np.random.Generator, length: int) -> str:
    letters = rng.choice(_CHARACTERS, length)
    letters[rng.random(length) < 0.15] = " "
    return "".join(letters)


def _some(rng: np.random.Generator, rows: range) -> list[int]:
    """All lines of a page, or, in two pages of five, one or two of them."""
    if rng.random() < 0.6:
        return list(rows)
    return [
        int(row) for row in rng.choice(np.asarray(rows), min(len(rows), 1 + int(rng.integers(2))))
    ]


def _text(rng: np.random.Generator, size: int) -> FloatArray:
    """Lines of text in a font of strokes."""
    canvas = np.zeros((size, size), np.uint8)
    font, scale = int(rng.choice(_HERSHEY)), float(np.exp(rng.uniform(np.log(0.3), np.log(2.5))))
    thickness = int(rng.integers(1, 2 + round(2 * scale)))
    step = int(30 * scale * rng.uniform(0.9, 1.6)) + thickness
    for row in _some(rng, range(int(rng.integers(step)), size + step, step)):
        begin = (int(rng.integers(-20, 20)), row)
        cv2.putText(canvas, _words(rng, 60), begin, font, scale, 255, thickness, cv2.LINE_AA)
    return np.asarray(canvas, np.float32) / np.float32(255)


def _printed_text(rng: np.random.Generator, size: int) -> FloatArray:
    """Lines of text in a font of outlines."""
    canvas = Image.new("L", (size, size))
    draw = ImageDraw.Draw(canvas)
    height = int(np.exp(rng.uniform(np.log(8), np.log(60))))
    font = ImageFont.load_default(height)
    step = int(height * rng.uniform(1, 1.6)) + 1
    for row in _some(rng, range(-int(rng.integers(step)), size, step)):
        draw.text((int(rng.integers(-20, 20)), row), _words(rng, 60), fill=255, font=font)
    return np.asarray(canvas, np.float32) / np.float32(255)


def _lines(rng: np.random.Generator, size: int) -> FloatArray:
    """Scratches, or a grid."""
    canvas = np.zeros((size, size), np.uint8)
    thickness = int(rng.integers(1, 5))
    if rng.random() < 0.4:
        step = int(rng.integers(8, 64))
        canvas[np.arange(size) % step < thickness] = 255
        canvas[:, np.arange(size) % step < thickness] = 255
    else:
        for _ in range(rng.integers(2, 40)):
            ends = rng.integers(-size // 2, size * 3 // 2, (2, 2)).tolist()
            cv2.line(canvas, ends[0], ends[1], int(rng.integers(80, 256)), thickness, cv2.LINE_AA)
    return np.asarray(canvas, np.float32) / np.float32(255)


def _blocks(rng: np.random.Generator, size: int) -> FloatArray:
    """Large rectangles, or a chessboard of them."""
    if rng.random() < 0.5:
        rows, columns = np.indices((size, size)) // int(rng.integers(24, 96))
        return np.asarray((rows + columns) % 2, np.float32)
    canvas = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(1, 5)):
        top, left = rng.integers(0, size, 2)
        height, width = rng.integers(size // 4, size, 2)
        canvas[top : top + height, left : left + width] = rng.uniform(0.3, 1)
    return canvas


def _gradient(rng: np.random.Generator, size: int) -> FloatArray:
    """Uneven light that rises towards one side or one corner."""
    rows, columns = np.indices((size, size)) / max(size - 1, 1)
    slope = rng.uniform(-1, 1, 2)
    ramp = slope[0] * rows + slope[1] * columns
    return np.asarray((ramp - ramp.min()) / max(np.ptp(ramp), 1e-6), np.float32)


def _noise(rng: np.random.Generator, size: int) -> FloatArray:
    """Noise of single pixels, evenly or normally distributed, or salt and pepper."""
    kind = rng.integers(3)
    if kind == 0:
        return rng.random((size, size), np.float32)
    if kind == 1:
        normal = rng.standard_normal((size, size), np.float32)
        return np.asarray(np.clip(0.5 + 0.2 * normal, 0, 1), np.float32)
    return np.asarray(rng.random((size, size)) < rng.uniform(0.001, 0.1), np.float32)
