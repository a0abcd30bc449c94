"""Other stains and strengths of stain, by optical densities, which add up where stains mix.

Stains are unmixed by the vectors of `nucseg.core.stains`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.core.stains import (
    DAB,
    DARKEST,
    EOSIN,
    HAEMATOXYLIN,
    FloatArray,
    densities,
    light,
    stain_matrix,
    unmix,
)

__all__ = [
    "DAB",
    "DARKEST",
    "EOSIN",
    "HAEMATOXYLIN",
    "FloatArray",
    "Immunostained",
    "densities",
    "immunostain",
    "immunostain_with_truth",
    "light",
    "restain",
    "stain_fluorescence",
    "stain_matrix",
    "strengthen",
    "unmix",
]


def restain(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Give an image that absorbs light other colours, by mixing the densities of its channels."""
    order = rng.permutation(3) if rng.random() < 0.35 else np.arange(3)
    mixture = np.eye(3)[order] + rng.uniform(-0.35, 0.35, (3, 3))
    strength = np.exp(rng.uniform(np.log(0.5), np.log(1.2)))
    return light(densities(image) @ (mixture * strength).astype(np.float32))


def strengthen(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Stain stronger or weaker with haematoxylin and eosin, of slightly other colours."""
    amounts = unmix(image, stain_matrix(HAEMATOXYLIN, EOSIN))
    strengths = np.exp(rng.normal(0, (0.35, 0.5, 0.2)))
    return light((amounts * strengths.astype(np.float32)) @ _near(rng, HAEMATOXYLIN, EOSIN))


@dataclass(frozen=True)
class Immunostained:
    """Immunohistochemistry that was made of an image, and what is true of it.

    Attributes
    ----------
    image : ndarray, shape (H, W, 3), float32, in [0, 1]
    positive : ndarray, shape (N + 1,), bool
        Whether the nucleus of each label turned brown; False at 0, the background.
    dab : ndarray, shape (H, W), float32
        Amount of DAB that was put into nuclei, without what lies in cytoplasm and at membranes.
    """

    image: FloatArray
    positive: npt.NDArray[np.bool_]
    dab: FloatArray


def immunostain(
    image: FloatArray,
    labels: npt.NDArray[np.integer],
    rng: np.random.Generator,
    *,
    positive_share: float | None = None,
) -> FloatArray:
    """Make immunohistochemistry of an image stained with haematoxylin and eosin.

    Some nuclei turn brown (DAB), as strongly as they were stained, each on its own; the others
    stay blue. Eosin goes, and cytoplasm, membranes or the ground may turn brown.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), float32, in [0, 1]
    labels : ndarray, shape (H, W), integer
        0 background, 1…N nuclei; below 0 not known.
    rng : Generator
    positive_share : float, optional
        Share of the nuclei that turn brown, from 0 to 1; by default drawn.

    Returns
    -------
    ndarray, shape (H, W, 3), float32, in [0, 1]
    """
    return immunostain_with_truth(image, labels, rng, positive_share=positive_share).image


def immunostain_with_truth(
    image: FloatArray,
    labels: npt.NDArray[np.integer],
    rng: np.random.Generator,
    *,
    positive_share: float | None = None,
) -> Immunostained:
    """Make immunohistochemistry as `immunostain` does, and tell which nuclei are positive.

    Parameters
    ----------
    image, labels, rng, positive_share
        As for `immunostain`, which gives the same image for the same state of the generator.

    Returns
    -------
    Immunostained
    """
    amounts = np.maximum(unmix(image, stain_matrix(HAEMATOXYLIN, EOSIN)), 0)
    blue, pink = amounts[..., 0], amounts[..., 1]
    known = np.maximum(labels, 0)
    count = int(known.max()) + 1
    drawn = (0.0, 1.0, float(rng.uniform(0.05, 0.95)))[rng.choice(3, p=(0.35, 0.15, 0.5))]
    positive = rng.random(count) < (drawn if positive_share is None else positive_share)
    # Weak and strong positive nuclei lie side by side; some keep a little blue.
    brown = np.where(positive, np.exp(rng.normal(rng.uniform(-0.2, 0.7), 0.4, count)), 0)
    rest = np.where(positive, rng.uniform(0, 0.5, count), np.exp(rng.normal(-0.1, 0.25, count)))
    brown[0], rest[0] = rng.uniform(0, 0.1), rng.uniform(0.3, 0.9)
    soft = (0, 0), float(rng.uniform(0.6, 1.4))
    nuclear = cv2.GaussianBlur(brown[known].astype(np.float32), *soft)
    counterstain = cv2.GaussianBlur(rest[known].astype(np.float32), *soft)
    counterstain *= np.float32(np.exp(rng.uniform(np.log(0.35), np.log(1.1))))
    in_nuclei = dab = blue * nuclear
    if rng.random() < 0.4:  # in the cytoplasm, here and there
        dab = dab + pink * np.float32(rng.uniform(0.1, 1.5)) * _patches(rng, labels.shape)
    if rng.random() < 0.4:  # in the cytoplasm of some of the cells
        dab = dab + _cytoplasm(known, rng) * (0.3 + pink) * np.float32(rng.uniform(0.2, 1.5))
    if rng.random() < 0.25:  # whole glands, dense and fibrous
        dab = dab + _glands(known, rng) * np.float32(rng.uniform(0.5, 1.6))
    if rng.random() < 0.3:  # at membranes
        dab = dab + _membranes(known, rng) * np.float32(rng.uniform(0.2, 1.0))
    vectors = _near(rng, HAEMATOXYLIN, EOSIN, DAB)
    kept = pink * np.float32(rng.uniform(0, 0.25))
    made = light(np.stack([blue * counterstain, kept, dab], axis=-1) @ vectors)
    positive[0] = False
    return Immunostained(made, positive, in_nuclei)


def stain_fluorescence(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Make tissue of fluorescence: what shines is stained with haematoxylin, on a pink ground.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), float32, in [0, 1]
    rng : Generator

    Returns
    -------
    ndarray, shape (H, W, 3), float32, in [0, 1]
    """
    shining = image.max(axis=-1) ** np.float32(rng.uniform(0.35, 0.8))
    chromatin = 1 + np.float32(rng.uniform(0.1, 0.4)) * _fibres(rng, shining.shape, 1.0)
    width, grain = float(rng.uniform(0.8, 2.5)), np.float32(rng.uniform(0.1, 0.35))
    ground = 0.3 + 0.6 * _patches(rng, shining.shape) + grain * _fibres(rng, shining.shape, width)
    ground = np.maximum(ground, 0)
    blue = shining * chromatin * np.float32(rng.uniform(0.7, 2.0))
    blue = blue + np.float32(rng.uniform(0, 0.2)) * ground
    pink = ground * np.float32(rng.uniform(0.1, 0.7)) * (1 - 0.6 * shining)
    amounts = np.stack([blue, pink], axis=-1)
    return light(np.asarray(amounts @ _near(rng, HAEMATOXYLIN, EOSIN)[:2], np.float32))


def _near(rng: np.random.Generator, *vectors: tuple[float, float, float]) -> FloatArray:
    """Give stain vectors near to others, as other dyes and cameras have them."""
    moved = [
        tuple(np.maximum(np.array(vector) + rng.normal(0, 0.08, 3), 0.02)) for vector in vectors
    ]
    return np.asarray(stain_matrix(*moved), np.float32)


def _patches(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Draw a smooth field in [0, 1] that is strong in some places and weak in others."""
    knots = rng.random((6, 6), np.float32)
    field = cv2.resize(knots, shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(field, 0, 1), np.float32)


def _fibres(rng: np.random.Generator, shape: tuple[int, ...], thickness: float) -> FloatArray:
    """Draw fibres: noise smoothed more along a direction than across; deviation 1."""
    height, width = shape[:2]
    side = int(np.ceil(np.hypot(height, width)))
    noise = rng.standard_normal((side, side), np.float32)
    drawn = cv2.GaussianBlur(noise, (0, 0), sigmaX=thickness * 4, sigmaY=thickness)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(rng.uniform(0, 180)), 1)
    turn[0, 2] -= (side - width) / 2
    turn[1, 2] -= (side - height) / 2
    turned = cv2.warpAffine(drawn, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(turned / max(float(turned.std()), 1e-6), np.float32)


def _cytoplasm(labels: npt.NDArray[np.integer], rng: np.random.Generator) -> FloatArray:
    """Draw what lies around some of the nuclei, and part of the nuclei themselves."""
    away, nearest = cv2.distanceTransformWithLabels(
        (labels == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP
    )
    chosen = rng.random(int(nearest.max()) + 1) < rng.uniform(0.2, 1)
    reach = float(rng.uniform(4, 16))
    inside = np.where(away > 0, 1, np.float32(rng.uniform(0, 0.6)))
    drawn = chosen[nearest] * inside * np.clip(2 - away / reach, 0, 1)
    soft = cv2.GaussianBlur(drawn.astype(np.float32), (0, 0), float(rng.uniform(0.8, 2.5)))
    return np.asarray(soft, np.float32)


def _glands(labels: npt.NDArray[np.integer], rng: np.random.Generator) -> FloatArray:
    """Draw fibrous cytoplasm that fills parts of an image, and lies thinly over nuclei too."""
    sharp = np.clip(3 * (_patches(rng, labels.shape) - rng.uniform(0, 0.6)), 0, 1)
    fibres = np.clip(1 + 0.4 * _fibres(rng, labels.shape, float(rng.uniform(0.6, 1.6))), 0.1, None)
    over = np.where(labels > 0, np.float32(rng.uniform(0.05, 0.45)), 1).astype(np.float32)
    return np.asarray(sharp * fibres * cv2.GaussianBlur(over, (0, 0), 1.0), np.float32)


def _membranes(labels: npt.NDArray[np.integer], rng: np.random.Generator) -> FloatArray:
    """Draw thin rings some pixels around nuclei."""
    away = cv2.distanceTransform((labels == 0).astype(np.uint8), cv2.DIST_L2, 3)
    distance, width = rng.uniform(2, 8), rng.uniform(0.7, 1.5)
    return np.asarray(np.exp(-((away - distance) ** 2) / (2 * width**2)), np.float32)
