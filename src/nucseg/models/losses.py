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


def dice(truth: Any, probability: Any) -> Any:
    """Dice coefficient of each image at a threshold of one half, as a training metric."""
    return soft_dice(truth, ops.cast(probability > 0.5, truth.dtype))
