"""Losses and metrics of training, in keras.ops, so that every Keras backend runs them."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def soft_dice(truth: Any, probability: Any) -> Any:
    """Dice coefficient of each image with probabilities in place of a mask.

    Parameters
    ----------
    truth, probability : tensors, shape (N, H, W, C), in [0, 1]

    Returns
    -------
    tensor, shape (N,), in [0, 1]
        Smoothed by one pixel, so that an empty image predicted empty scores 1.
        Milletari et al. 2016, "V-Net".
    """
    axes = (1, 2, 3)
    overlap = ops.sum(truth * probability, axis=axes)
    total = ops.sum(truth, axis=axes) + ops.sum(probability, axis=axes)
    return (2 * overlap + 1) / (total + 1)


def cross_entropy_dice(truth: Any, probability: Any) -> Any:
    """Binary cross-entropy plus one minus soft Dice, per image.

    The cross-entropy keeps single pixels calibrated; the Dice term weighs an image with few
    nuclei as much as one that is full of them.
    """
    pixels = keras.losses.binary_crossentropy(truth, probability)
    return ops.mean(pixels, axis=(1, 2)) + 1 - soft_dice(truth, probability)


def instance_loss(truth: Any, maps: Any) -> Any:
    """Loss of the maps of nucleus, touching border and distance, per image.

    Parameters
    ----------
    truth, maps : tensors, shape (N, H, W, 3), in [0, 1]
        As `nucseg.targets.instance_maps` gives them.

    Notes
    -----
    Nucleus and border as `cross_entropy_dice`; the distance by its absolute error, which counts
    more where nuclei are, since it is 0 everywhere else.
    """
    nucleus, border, distance = (truth[..., channel : channel + 1] for channel in range(3))
    weight = nucleus * 4 + 1
    error = ops.abs(distance - maps[..., 2:3]) * weight
    return (
        cross_entropy_dice(nucleus, maps[..., 0:1])
        + cross_entropy_dice(border, maps[..., 1:2])
        + ops.mean(error, axis=(1, 2, 3))
    )


def dice(truth: Any, maps: Any) -> Any:
    """Dice coefficient of each image's nuclei at a threshold of one half, as a training metric."""
    return soft_dice(truth[..., :1], ops.cast(maps[..., :1] > 0.5, truth.dtype))


def accuracy(truth: Any, maps: Any) -> Any:
    """Share of each image's pixels that are rightly in a nucleus or not, as a training metric."""
    right = (truth[..., :1] > 0.5) == (maps[..., :1] > 0.5)
    return ops.mean(ops.cast(right, truth.dtype), axis=(1, 2, 3))
