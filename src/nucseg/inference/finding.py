"""Find the nuclei of an image or a part of it, in one window or several, before filtering."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nucseg.core.filters import Labels
from nucseg.core.segmented import Windowed
from nucseg.images.colours import image_kind
from nucseg.images.outliers import SeenRange
from nucseg.images.preprocess import FloatImage, prepare
from nucseg.inference.instances import label_image
from nucseg.inference.network import run_network
from nucseg.inference.scores import expected_iou, mean_scores, nucleus_features
from nucseg.inference.tiling import Canvas, Stitcher, Tile, tiles, window_and_margin

if TYPE_CHECKING:
    from nucseg.inference.segmenter import Model


@dataclass(frozen=True)
class Found:
    """The nuclei of an image or a part of it, before filtering.

    Attributes
    ----------
    labels : ndarray, shape (H, W), int32
        Label image: 0 background, 1…N nuclei, without gaps.
    scores : ndarray, shape (N,), float32
    probability : ndarray, shape (H, W), float32
        Probability that each pixel is in a nucleus.
    """

    labels: Labels
    scores: FloatImage
    probability: FloatImage

    @property
    def areas(self) -> npt.NDArray[np.int64]:
        """Area of each nucleus in pixels, shape (N,)."""
        return np.bincount(self.labels.ravel(), minlength=len(self.scores) + 1)[1:]


def find(
    model: Model,
    part: npt.NDArray[Any],
    *,
    limits: SeenRange,
    scale: float,
    prepared: FloatImage | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Found:
    """Find the nuclei in a part of an image at a given scale, without filtering.

    Parameters
    ----------
    model : Model
    part : ndarray, shape (h, w) or (h, w, C), any real dtype
    limits : (low, high)
        Intensity limits of the image, see `nucseg.images.preprocess.prepared_limits`.
    scale : float
        A multiple of 1/32.
    prepared : ndarray, shape (h, w, 3), float32, optional
        The part as returned by `nucseg.images.preprocess.prepare`, if already computed.
    progress : callable, optional
        Called as ``progress(done, total)`` after each window, if there are several.

    Raises
    ------
    ModelError
        The output of the network does not match the description of the model.
    """
    model = replace(model, scale=scale)
    if fits(model, part.shape):
        if prepared is None:
            prepared = prepare(part, model.card.preprocessing, limits=limits)
        maps = maps_of(model, prepared)
        labels = label_image(maps, model.card.postprocessing)
        probability = np.ascontiguousarray(maps[..., 0])
        return Found(labels, scores_of(model, part, labels, maps), probability)
    labels = np.zeros(part.shape[:2], np.int32)
    probability = np.zeros(part.shape[:2], np.float32)
    _, scores = stitch(
        model, part, labels, limits=limits, probability=probability, progress=progress
    )
    return Found(labels, scores, probability)


def windows_of(model: Model, shape: tuple[int, int]) -> list[Tile]:
    """Return the windows in which an image of (height, width) is segmented.

    The windows do not depend on the available memory.
    """
    if fits(model, shape):
        whole = (slice(0, shape[0]), slice(0, shape[1]))
        return [Tile(whole, whole)]
    margin = model.card.interface.margin
    return tiles(shape, **window_and_margin(model.window, model.scale or 1.0, margin))


def fits(model: Model, shape: tuple[int, ...]) -> bool:
    """Return whether the image fits in one window."""
    return math.prod(shape[:2]) * max(model.scale or 1.0, 1.0) ** 2 <= model.window**2


def stitch(
    model: Model,
    image: Windowed,
    canvas: Canvas,
    *,
    limits: SeenRange,
    probability: Canvas | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Stitcher, FloatImage]:
    """Find the nuclei of an image in overlapping windows, without filtering.

    Parameters
    ----------
    model : Model
    image : Windowed, shape (H, W) or (H, W, C), any real dtype
    canvas : Canvas, shape (H, W)
        Output label image, initially all 0.
    limits : (low, high)
        Intensity limits of the image, see `nucseg.images.preprocess.prepared_limits`.
    probability : Canvas, shape (H, W), optional
        Output for the probability that each pixel is in a nucleus.
    progress : callable, optional
        Called as ``progress(done, total)`` after each window.

    Returns
    -------
    stitcher : Stitcher
        Number, areas and bounding boxes of the nuclei.
    scores : ndarray, shape (N,), float32
    """
    shape = (image.shape[0], image.shape[1])
    stitcher, scores = Stitcher(canvas, shape), []
    windows = windows_of(model, shape)
    for done, tile in enumerate(windows, start=1):
        part = image[tile.window]
        prepared = prepare(part, model.card.preprocessing, limits=limits)
        maps = maps_of(model, prepared, start=(tile.window[0].start, tile.window[1].start))
        labels = label_image(maps, model.card.postprocessing)
        each = scores_of(model, part, labels, maps)
        scores.append(each[stitcher.add(tile, labels) - 1])
        if probability is not None:
            probability[tile.core] = maps[tile.core_in_window][..., 0]
        if progress is not None:
            progress(done, len(windows))
    return stitcher, np.concatenate(scores)


def scores_of(
    model: Model, part: npt.NDArray[Any], labels: npt.NDArray[np.int32], maps: FloatImage
) -> FloatImage:
    """Compute the scores of the nuclei in a part of an image from the maps at its size."""
    if model.card.scoring is None:
        return mean_scores(labels, maps[..., 0])
    features = nucleus_features(labels, maps, image_kind(part), scale=model.scale or 1.0)
    return expected_iou(features, model.card.scoring)


def maps_of(model: Model, prepared: FloatImage, *, start: tuple[int, int] = (0, 0)) -> FloatImage:
    """Run the network on a prepared image, or on a window that starts at (row, column) `start`."""
    scale = model.scale or 1.0
    return run_network(model.runtime, model.card, prepared, scale=scale, start=start)
