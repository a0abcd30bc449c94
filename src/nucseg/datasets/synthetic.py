"""Synthetic microscope images with known nuclei, for tests, demonstrations and first trials."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError
from nucseg.files import atomic_write

Modality = Literal["fluorescence", "histology"]
FloatArray = npt.NDArray[np.float32]

TOUCHING = 0.3  # fraction of the nuclei that are placed against an earlier one
ATTEMPTS = 30
SMALLEST = 16
# Sample images for trying nucseg, by name.
SAMPLES: dict[str, Modality] = {"tissue": "histology", "fluorescence": "fluorescence"}


def sample_image(name: str) -> npt.NDArray[np.uint8]:
    """Draw a sample image for trying nucseg; the result is always the same.

    Parameters
    ----------
    name : str
        One of `SAMPLES`.

    Returns
    -------
    ndarray, shape (256, 320, 3), uint8

    Raises
    ------
    InputError
        The sample does not exist.
    """
    if name not in SAMPLES:
        raise InputError(f"Unknown sample {name!r}. Give one of {', '.join(SAMPLES)}.")
    rng = np.random.default_rng(0)
    image, _ = synthetic_image(rng, size=(256, 320), nuclei=40, modality=SAMPLES[name])
    return image


def synthetic_image(
    rng: np.random.Generator,
    *,
    size: tuple[int, int] = (256, 256),
    nuclei: int = 20,
    modality: Modality = "fluorescence",
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Draw an image of cell nuclei together with its label image.

    Parameters
    ----------
    rng : Generator
        The only source of randomness: the same state gives the same image.
    size : (height, width) in pixels, each at least 16
    nuclei : int
        Number of nuclei to draw; fewer are drawn if there is no room.
    modality : {"fluorescence", "histology"}
        Bright grey nuclei on a dark uneven background, or stained tissue: violet nuclei on pink.

    Returns
    -------
    image : ndarray, shape (height, width, 3), uint8
    labels : ndarray, shape (height, width), int32
        0 is background, 1…N are nuclei without gaps; some touch, none overlap.

    Raises
    ------
    InputError
        The size is too small, the number of nuclei is negative, or the modality is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> image, labels = synthetic_image(np.random.default_rng(0), size=(64, 96), nuclei=3)
    >>> image.shape, labels.shape, labels.max()
    ((64, 96, 3), (64, 96), np.int32(3))
    """
    if min(size) < SMALLEST:
        raise InputError(f"A synthetic image has at least {SMALLEST} pixels a side, not {size}.")
    if nuclei < 0:
        raise InputError(f"The number of nuclei must be 0 or more, not {nuclei}.")
    if modality not in get_args(Modality):
        raise InputError(f"Unknown modality {modality!r}. Expected fluorescence or histology.")
    labels = _place_nuclei(rng, size, nuclei)
    paint = _paint_fluorescence if modality == "fluorescence" else _paint_histology
    image = np.clip(paint(rng, labels), 0, 1)
    return np.round(image * 255).astype(np.uint8), labels


def write_synthetic_dataset(
    folder: Path,
    *,
    images: int,
    seed: int = 0,
    size: tuple[int, int] = (256, 256),
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a data set of synthetic images in Kaggle's layout; every fourth is stained tissue.

    Parameters
    ----------
    folder : Path
        Receives ``<id>/images/<id>.png`` and ``<id>/masks/*.png``; it must be new or empty.
    images : int
        Number of images, at least 1.
    seed : int
        The same seed gives the same files.
    size : (height, width) in pixels
    progress : callable, optional
        ``progress(done, total)``.

    Raises
    ------
    InputError
        The folder is not empty or cannot be written, or a number is out of range.
    """
    if images < 1:
        raise InputError(f"The number of images must be 1 or more, not {images}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder. Choose a new one.")
    # Each image has its own generator, so that the first images do not depend on their number.
    for number, each in enumerate(np.random.SeedSequence(seed).spawn(images)):
        rng = np.random.default_rng(each)
        modality: Modality = "histology" if number % 4 == 3 else "fluorescence"
        count = int(rng.integers(4, 5 + size[0] * size[1] // 2000))
        image, labels = synthetic_image(rng, size=size, nuclei=count, modality=modality)
        name = f"synthetic-{number:04d}"
        _write_png(folder / name / "images" / f"{name}.png", image[:, :, ::-1])
        for label in range(1, int(labels.max()) + 1):
            mask = np.where(labels == label, np.uint8(255), np.uint8(0))
            _write_png(folder / name / "masks" / f"{label:04d}.png", mask)
        if progress:
            progress(number + 1, images)


def _write_png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    with atomic_write(path) as partial:
        partial.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def _place_nuclei(
    rng: np.random.Generator, size: tuple[int, int], nuclei: int
) -> npt.NDArray[np.int32]:
    """Draw the outlines one after another, each in a free place."""
    labels = np.zeros(size, np.int32)
    typical = float(np.clip(rng.uniform(0.03, 0.06) * min(size), 4, 30))
    placed: list[tuple[float, float, float]] = []
    for _ in range(nuclei):
        radius = typical * float(np.exp(rng.normal(0, 0.25)))
        for _attempt in range(ATTEMPTS):
            row, column = (float(rng.uniform(0, side)) for side in size)
            if placed and rng.random() < TOUCHING:
                row, column = _beside(rng, placed, radius)
            outline = _outline(rng, row, column, radius)
            mask = np.zeros(size, np.uint8)
            cv2.fillPoly(mask, [outline], 1)
            inside = mask > 0
            area = int(np.count_nonzero(inside))
            covered = np.count_nonzero(labels[inside])
            # A small overlap is removed, so that the two nuclei touch.
            if area >= radius**2 and covered <= 0.12 * area:
                labels[inside & (labels == 0)] = len(placed) + 1
                placed.append((row, column, radius))
                break
    return labels


def _beside(
    rng: np.random.Generator, placed: list[tuple[float, float, float]], radius: float
) -> tuple[float, float]:
    row, column, other = placed[int(rng.integers(len(placed)))]
    angle = rng.uniform(0, 2 * np.pi)
    distance = 0.95 * (radius + other)
    return row + distance * float(np.sin(angle)), column + distance * float(np.cos(angle))


def _outline(
    rng: np.random.Generator, row: float, column: float, radius: float
) -> npt.NDArray[np.int32]:
    """Return points along an ellipse with a few random bulges, in OpenCV's format."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    stretch = np.exp(rng.uniform(0, 0.3))
    bulges = sum(
        rng.normal(0, 0.05 / order) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
        for order in (2, 3, 4, 5)
    )
    x = radius * (1 + bulges) * stretch * np.cos(angle)
    y = radius * (1 + bulges) / stretch * np.sin(angle)
    turn = rng.uniform(0, np.pi)
    columns = column + x * np.cos(turn) - y * np.sin(turn)
    rows = row + x * np.sin(turn) + y * np.cos(turn)
    return np.round(np.stack([columns, rows], axis=1)).astype(np.int32)


def _cloud(rng: np.random.Generator, size: tuple[int, int], sigma: float) -> FloatArray:
    """Make a smooth random field of mean 0 and standard deviation 1."""
    noise = rng.standard_normal(
        (max(int(4 * size[0] / sigma), 4), max(int(4 * size[1] / sigma), 4))
    )
    smooth = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 2)
    resized = np.asarray(cv2.resize(smooth, size[::-1], interpolation=cv2.INTER_CUBIC), np.float32)
    centred: FloatArray = (resized - resized.mean()) / (resized.std() + np.float32(1e-6))
    return centred


def _per_nucleus(
    rng: np.random.Generator, labels: npt.NDArray[np.int32], mean: float, spread: float
) -> FloatArray:
    """Draw a random value for each nucleus and assign it to its pixels; background is 0."""
    values = mean * np.exp(rng.normal(0, spread, int(labels.max()) + 1))
    values[0] = 0
    spread_out: FloatArray = values.astype(np.float32)[labels]
    return spread_out


def _paint_fluorescence(rng: np.random.Generator, labels: npt.NDArray[np.int32]) -> FloatArray:
    shape = (labels.shape[0], labels.shape[1])
    exposure = float(np.exp(rng.uniform(np.log(0.15), np.log(0.8))))
    nuclei = _per_nucleus(rng, labels, 1.0, 0.3)
    # Chromatin gives texture; a nucleus is thinner, and so darker, towards its border.
    depth = cv2.distanceTransform((labels > 0).astype(np.uint8), cv2.DIST_L2, 5)
    dome = 1 - 0.4 * np.exp(-depth / 3)
    signal = nuclei * dome * (1 + 0.12 * _cloud(rng, shape, 4))
    haze = 0.06 * np.asarray(cv2.GaussianBlur(signal, (0, 0), max(shape) / 25), np.float32)
    background = rng.uniform(0.02, 0.15) * (1 + 0.25 * _cloud(rng, shape, max(shape) / 2))
    blurred = cv2.GaussianBlur(signal.astype(np.float32), (0, 0), rng.uniform(0.6, 1.6))
    light = exposure * (blurred + haze + background)
    # Shot noise: it grows with the square root of the intensity.
    photons = rng.uniform(150, 1500)
    noisy = light + np.sqrt(np.clip(light, 0, None) / photons) * rng.standard_normal(shape)
    noisy += 0.006 * rng.standard_normal(shape)
    return np.repeat(noisy.astype(np.float32)[:, :, None], 3, axis=2)


def _paint_histology(rng: np.random.Generator, labels: npt.NDArray[np.int32]) -> FloatArray:
    shape = (labels.shape[0], labels.shape[1])
    # Stains absorb light (Beer-Lambert): absorbances add up, transmittances multiply.
    haematoxylin = np.array([0.65, 0.70, 0.29], np.float32) + rng.normal(0, 0.03, 3)
    eosin = np.array([0.07, 0.99, 0.11], np.float32) + rng.normal(0, 0.03, 3)
    edge = np.asarray(cv2.GaussianBlur((labels > 0).astype(np.float32), (0, 0), 1.0), np.float32)
    amount = np.asarray(
        cv2.GaussianBlur(_per_nucleus(rng, labels, rng.uniform(0.8, 1.3), 0.2), (0, 0), 1.0)
    )
    nuclear = amount * (1 + 0.15 * _cloud(rng, shape, 5)) + 0.05
    fibres = 0.35 + 0.12 * _cloud(rng, shape, 30) + 0.06 * _cloud(rng, shape, 6)
    tissue = np.clip(fibres, 0.02, None) * (1 - 0.5 * edge)
    absorbed = nuclear[:, :, None] * haematoxylin + tissue[:, :, None] * eosin
    light = 0.95 * np.exp(-absorbed) + 0.012 * rng.standard_normal((*shape, 3))
    return np.asarray(light, np.float32)
