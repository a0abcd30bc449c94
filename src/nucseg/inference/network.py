"""Run a network on prepared images of any size: resize, pad to its stride, check the output."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
from scipy.special import expit, softmax

from nucseg.errors import ModelError
from nucseg.images.preprocess import FloatImage
from nucseg.inference.runtimes import Runtime
from nucseg.inference.scaling import at_scale, maps_at_size
from nucseg.inference.tta import average_over_orientations
from nucseg.models.zoo import Interface, ModelCard


def run_network(
    runtime: Runtime,
    card: ModelCard,
    prepared: FloatImage,
    *,
    scale: float = 1.0,
    start: tuple[int, int] = (0, 0),
) -> FloatImage:
    """Run a network on a prepared image, or on a window of one.

    Parameters
    ----------
    runtime : Runtime
    card : ModelCard
        Description of the model of the runtime.
    prepared : ndarray, shape (H, W, 3), float32
        Image, as returned by `nucseg.images.preprocess.prepare`.
    scale : float
        Factor by which the image is resized for the network, a multiple of 1/32.
    start : (row, column)
        Position of the window in the image, in pixels. A network that halves an image five times
        gives the same maps as in the whole image only if rows and columns are halved at the same
        positions. Test-time augmentation does not keep these positions.

    Returns
    -------
    ndarray, shape (H, W, M), float32
        One map for each name in ``card.outputs``.

    Raises
    ------
    ModelError
        The output of the network does not match the description of the model.
    """
    seen = at_scale(prepared, scale)
    run = partial(_run, runtime, card)
    if card.tta:
        maps = average_over_orientations(run, seen, card.outputs)
    else:
        above, left = (round(place * scale) % card.interface.stride for place in start)
        maps = run(seen, above=above, left=left)
    return maps_at_size(maps, prepared.shape[:2], scale)


def _run(
    runtime: Runtime, card: ModelCard, image: FloatImage, *, above: int = 0, left: int = 0
) -> FloatImage:
    """Run a network on an image padded by at least `above` rows and `left` columns."""
    height, width = image.shape[:2]
    stride = card.interface.stride
    below, right = -(above + height) % stride, -(left + width) % stride
    sides = above, below, left, right
    padded = cv2.copyMakeBorder(image, *sides, cv2.BORDER_REPLICATE) if any(sides) else image
    given = runtime(_as_input(np.asarray(padded, np.float32)[None], card.interface))
    if card.interface.layout == "NCHW" and given.ndim == 4:
        given = np.moveaxis(given, 1, -1)
    expected = (1, *padded.shape[:2], len(card.channels))
    if given.shape != expected:
        raise ModelError(
            f"The network of {card.name} gave maps of shape {given.shape}, expected "
            f"{expected} from its description. Export the model again."
        )
    return _as_maps(given[0, above : above + height, left : left + width], card)


def _as_input(batch: FloatImage, interface: Interface) -> FloatImage:
    """Convert images, shape (N, H, W, 3), in [0, 1], to the input format of a network."""
    if interface.channels == 1:
        batch = batch.mean(axis=-1, keepdims=True, dtype=np.float32)
    if interface.mean != (0.0,) or interface.deviation != (1.0,):
        shift = np.array(interface.mean, np.float32)
        shifted = (batch - shift) / np.array(interface.deviation, np.float32)
        batch = np.asarray(shifted, np.float32)
    return np.ascontiguousarray(np.moveaxis(batch, -1, 1)) if interface.layout == "NCHW" else batch


def _as_maps(given: FloatImage, card: ModelCard) -> FloatImage:
    """Convert network output, shape (H, W, C), to probabilities in the order of the card."""
    if card.interface.activation == "sigmoid":
        given = np.asarray(expit(given), np.float32)
    elif card.interface.activation == "softmax":
        given = np.asarray(softmax(given, axis=-1), np.float32)
    if card.outputs == card.channels:
        return given
    return np.asarray(given[..., [card.channels.index(name) for name in card.outputs]])
