"""Losses and metrics of training, in keras.ops, so that every Keras backend runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from nucseg.config import OFFSET_MAPS, OFFSET_RANGE

# With weight 1 the gradient of the offsets is ten times that of the nucleus map, which then stays
# rough: measured on a trained network.
OFFSET_WEIGHT = 0.1


def known(truth: Any) -> tuple[Any, Any]:
    """Tell where the truth is known: it is NaN where not.

    Parameters
    ----------
    truth : tensor

    Returns
    -------
    tensor, tensor
        The truth with 0 in place of NaN, and 1 where it is known, 0 where not.
    """
    right = ops.where(ops.isnan(truth), ops.zeros_like(truth), truth)
    return right, ops.cast(ops.logical_not(ops.isnan(truth)), truth.dtype)


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
    nuclei as much as one that is full of them. Where the truth is NaN both are silent.
    """
    right, weight = known(truth)
    pixels = keras.losses.binary_crossentropy(right, probability * weight)
    return ops.mean(pixels, axis=(1, 2)) + 1 - soft_dice(right, probability * weight)


def instance_loss(names: tuple[str, ...]) -> Callable[[Any, Any], Any]:
    """Make the loss of the maps that tell nuclei apart, per image.

    Parameters
    ----------
    names : tuple of str
        The maps that the network gives, of `INSTANCE_MAPS`.

    Returns
    -------
    callable
        Of truth, shape (N, H, W, C + 1), as `nucseg.training.targets.training_targets` gives it,
        and maps, shape (N, H, W, C); gives shape (N,).

    Notes
    -----
    Nucleus and border as `cross_entropy_dice`; the distance by its absolute error, which counts
    more where nuclei are, since it is 0 everywhere else; offsets by their absolute error on nuclei
    as a share of the nucleus's radius, so that small nuclei count as much as large ones, times
    `OFFSET_WEIGHT`. What is not known of the truth (NaN) counts as rightly predicted.
    """

    def instance_loss(truth: Any, maps: Any) -> Any:
        *rights, inverse_radius = ops.split(truth, len(names) + 1, axis=-1)
        nucleus, _ = known(rights[names.index("nucleus")])
        total = 0.0
        for name, truth_of_map, given in zip(
            names, rights, ops.split(maps, len(names), axis=-1), strict=True
        ):
            right, weight = known(truth_of_map)
            error = ops.abs(right - given) * weight
            if name in OFFSET_MAPS:
                pixels = ops.sum(error * inverse_radius, axis=(1, 2, 3)) * (2 * OFFSET_RANGE)
                total += OFFSET_WEIGHT * pixels / (ops.sum(nucleus, axis=(1, 2, 3)) + 1)
            elif name == "distance":
                total += ops.mean(error * (nucleus * 4 + 1), axis=(1, 2, 3))
            else:
                total += cross_entropy_dice(truth_of_map, given)
        return total

    return instance_loss


def dice(truth: Any, maps: Any) -> Any:
    """Dice coefficient of each image's nuclei at a threshold of one half, as a training metric."""
    right, weight = known(truth[..., :1])
    return soft_dice(right, ops.cast(maps[..., :1] > 0.5, truth.dtype) * weight)


def accuracy(truth: Any, maps: Any) -> Any:
    """Share of each image's pixels that are rightly in a nucleus or not, as a training metric."""
    right = (truth[..., :1] > 0.5) == (maps[..., :1] > 0.5)
    _, weight = known(truth[..., :1])
    counted = ops.cast(right, truth.dtype) * weight
    return ops.sum(counted, axis=(1, 2, 3)) / (
        ops.sum(weight, axis=(1, 2, 3)) + keras.config.epsilon()
    )
