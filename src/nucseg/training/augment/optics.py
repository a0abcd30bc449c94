"""What a microscope and a camera do to an image: light, focus, resolution, compression."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.training.augment.crowds import without_nuclei

FloatArray = npt.NDArray[np.float32]


def light_unevenly(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Light an image unevenly, or let light from out of focus lie over one of fluorescence."""
    knots = rng.random((4, 4), np.float32)
    field = cv2.resize(knots, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)[..., None]
    field = np.clip(field, 0, 1)
    strength = np.float32(rng.uniform(0.2, 0.7))
    if rng.random() < 0.5 or is_bright(image):
        return np.asarray(image * (1 - strength * field), np.float32)
    return np.asarray(image + (1 - image) * field * strength * np.float32(0.7), np.float32)


def thicken_unevenly(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Let a section be thicker in some places, where all stains absorb more."""
    knots = rng.uniform(-1, 1, (4, 4)).astype(np.float32)
    field = cv2.resize(knots, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)[..., None]
    exponent = np.exp2(np.float32(rng.uniform(0.2, 0.8)) * field)
    return np.asarray(np.power(np.clip(image, 0, 1), exponent), np.float32)


def defocus(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Blur as a lens out of focus does, over a disc."""
    radius = float(rng.uniform(0.8, 3.0))
    reach = int(np.ceil(radius))
    rows, columns = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1)
    blurred = cv2.filter2D(image, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.float32)


def coarsen(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Take away what a weaker objective does not resolve: made smaller and large again."""
    factor = float(np.exp(rng.uniform(np.log(0.25), np.log(0.7))))
    height, width = image.shape[:2]
    small = (max(round(width * factor), 1), max(round(height * factor), 1))
    made = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(made, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def compress(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Save as JPEG and open again."""
    pixels = np.asarray(np.clip(image, 0, 1) * 255 + 0.5, np.uint8)
    quality = int(rng.integers(30, 90))
    _, saved = cv2.imencode(".jpg", pixels[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    opened = np.asarray(cv2.imdecode(saved, cv2.IMREAD_COLOR), np.float32)
    return opened[..., ::-1] / np.float32(255)


def vary_nuclei(
    image: FloatArray, labels: npt.NDArray[np.integer], rng: np.random.Generator
) -> FloatArray:
    """Give each nucleus of fluorescence a brightness of its own, and some no focus.

    So dim and blurred nuclei lie between bright ones, as they do in a section.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), float32, in [0, 1]
    labels : ndarray, shape (H, W), integer
        0 background, 1…N nuclei; below 0 not known.
    rng : Generator

    Returns
    -------
    ndarray, shape (H, W, 3), float32, in [0, 1]
    """
    known = np.maximum(labels, 0)
    count = int(known.max()) + 1
    if count < 2:
        return image
    ground = without_nuclei(image, known > 0)
    shining = image - ground
    gain = np.clip(np.exp(rng.normal(0, rng.uniform(0.2, 0.6), count)), 0.3, 2)
    gain[0] = 1
    gains = cv2.GaussianBlur(gain[known].astype(np.float32), (0, 0), 1.0)
    blurred = rng.random(count) < rng.uniform(0, 0.5)
    blurred[0] = False
    share = cv2.GaussianBlur(blurred[known].astype(np.float32), (0, 0), 1.0)[..., None]
    shining = shining * gains[..., None]
    diameter = 2 * np.sqrt(np.count_nonzero(known) / (np.pi * max(len(np.unique(known)) - 1, 1)))
    sigma = float(rng.uniform(0.03, 0.15)) * max(float(diameter), 8)
    unsharp = cv2.GaussianBlur(shining * share, (0, 0), sigma)
    made = ground + shining * (1 - share) + unsharp
    if rng.random() < 0.4:  # from below
        haze = cv2.GaussianBlur(shining, (0, 0), float(rng.uniform(6, 25)))
        made = made + np.float32(rng.uniform(0.1, 0.6)) * np.maximum(haze, 0)
    return np.asarray(np.clip(made / max(float(made.max()), 1e-3), 0, 1), np.float32)


def is_bright(image: FloatArray) -> bool:
    """Tell whether most of an image is bright, as where stains absorb light."""
    return bool(np.median(image[::8, ::8]) > 0.5)


def is_grey(image: FloatArray) -> bool:
    """Tell whether red and green are the same everywhere, by some pixels."""
    return bool(np.array_equal(image[::8, ::8, 0], image[::8, ::8, 1]))
