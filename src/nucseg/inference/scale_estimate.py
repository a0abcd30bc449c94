"""Estimate the scale at which the network segments an image.

If the image has a pixel size, it is resized to the preferred pixel size of the network, unless
its nuclei then have an unusual diameter. Otherwise the scale is estimated from the nuclei of a
probe: the image as it is or, if its nuclei seem large, at low resolution; of a large image, some
windows. If the nuclei then have low scores, a few other scales are tried on the same pixels. One
of them is used if it is clearly better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nucseg.config import Scaling
from nucseg.core.segmented import Windowed
from nucseg.images.outliers import SeenRange
from nucseg.images.preprocess import FloatImage, prepare
from nucseg.inference.confidence import (
    CREDIBLE,
    USUAL_UM,
    Source,
    View,
    clearly_better,
    median_is_low,
)
from nucseg.inference.finding import Found, find
from nucseg.inference.instances import label_image
from nucseg.inference.network import run_network
from nucseg.inference.scaling import (
    PROBE_MIN_AREA,
    PROBE_SCALE,
    are_mostly_large,
    at_scale,
    probe_windows,
    scale_for,
    scale_within,
    seems_large,
    stated_scale,
    typical_diameter,
    whole_areas,
)

if TYPE_CHECKING:
    from nucseg.inference.segmenter import Model

# Scales to try if scores are low, and the factor below which a scale is too close to the estimate.
_TRIED, _NEAR = (0.25, 0.5, 1.0, 2.0), 1.2


def estimate_view(
    model: Model,
    image: Windowed,
    limits: SeenRange,
    scaling: Scaling,
    *,
    pixel_size: tuple[float, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[View, Found | None]:
    """Estimate the scale of an image.

    Parameters
    ----------
    model : Model
    image : Windowed, shape (H, W) or (H, W, C), any real dtype
    limits : (low, high)
        Intensity limits of the image, see `nucseg.images.preprocess.prepared_limits`.
    scaling : Scaling
    pixel_size : tuple of float, optional
        Pixel size in µm along rows and columns.
    progress : callable, optional
        Called as ``progress(done, total)`` after each window, if the image is probed as a whole
        but does not fit in one window.

    Returns
    -------
    view : View
    found : Found or None
        The nuclei of the whole image at that scale, if they are already known.
    """
    windows = probe_windows((image.shape[0], image.shape[1]))
    whole = len(windows) == 1
    parts = [image[window] for window in windows]
    finder = partial(find, model, limits=limits, progress=progress if whole else None)
    look = partial(_scale_by_probes, model, parts, limits, scaling, finder)
    stated = None if pixel_size is None else stated_scale(pixel_size, scaling)
    if pixel_size is None or stated is None:
        view, seen = look()
    else:
        view, seen = _by_pixel_size(parts, stated, scaling, pixel_size, finder, look)
    view = replace(view, outliers=limits.outliers, bright=limits.bright)
    scale = view.scale
    if model.card.scoring is None:
        return view, seen[0] if whole else None
    found = [
        finder(part, scale=scale) if nuclei is None else nuclei
        for part, nuclei in zip(parts, seen, strict=True)
    ]
    scores = np.concatenate([each.scores for each in found])
    # If the probe found nuclei and the chosen scale finds none, the scale is wrong.
    lost = not len(scores) and scale != 1
    if lost or _is_doubtful(model, scores):
        view, found = _best_of_several(model, parts, limits, view, found)
    return view, found[0] if whole else None


def _by_pixel_size(
    parts: Sequence[npt.NDArray[Any]],
    stated: float,
    scaling: Scaling,
    pixel_size: tuple[float, float],
    finder: Callable[..., Found],
    look: Callable[[], tuple[View, Sequence[Found | None]]],
) -> tuple[View, Sequence[Found | None]]:
    """Use the scale of the pixel size, or estimate it if the nuclei contradict the pixel size."""
    found = [finder(part, scale=stated) for part in parts]
    micrometre = float(np.sqrt(np.prod(pixel_size)))
    diameter = typical_diameter(np.concatenate([whole_areas(each.labels) for each in found]))
    if diameter is not None and _is_usual(diameter * micrometre):
        scale = scale_within(stated, diameter, scaling)
        view = View(scale, "pixel size", diameter)
        return view, found if scale == stated else [None] * len(parts)
    view, seen = look()
    if view.diameter is None:  # nothing contradicts the pixel size
        return View(stated, "pixel size"), found
    if _is_usual(view.diameter * micrometre):
        return view, seen
    return replace(view, doubt=view.diameter * micrometre), seen


def _is_usual(micrometres: float) -> bool:
    return USUAL_UM[0] <= micrometres <= USUAL_UM[1]


def _scale_by_probes(
    model: Model,
    parts: Sequence[npt.NDArray[Any]],
    limits: SeenRange,
    scaling: Scaling,
    finder: Callable[..., Found],
) -> tuple[View, Sequence[Found | None]]:
    """Estimate the scale from the nuclei of probes."""
    looks = [_probe(model, part, limits, scaling, finder) for part in parts]
    diameter = typical_diameter(np.concatenate([areas for areas, _ in looks]))
    scale = scale_for(diameter, scaling)
    source: Source = "none" if diameter is None else "estimate"
    return View(scale, source, diameter), [nuclei if scale == 1 else None for _, nuclei in looks]


def _probe(
    model: Model,
    part: npt.NDArray[Any],
    limits: SeenRange,
    scaling: Scaling,
    finder: Callable[..., Found],
) -> tuple[npt.NDArray[np.number[Any]], Found | None]:
    """Return the areas of nuclei in a part of an image, and the nuclei if found at scale 1."""
    prepared = prepare(part, model.card.preprocessing, limits=limits)
    large = _large_areas(model, prepared, scaling)
    if large is not None:
        return large, None
    nuclei = finder(part, scale=1.0, prepared=prepared)
    return whole_areas(nuclei.labels), nuclei


def _large_areas(
    model: Model, prepared: FloatImage, scaling: Scaling
) -> npt.NDArray[np.float64] | None:
    """Return areas of nuclei from a low-resolution run, or None if they are not mostly large."""
    if not seems_large(prepared, scaling):
        return None
    maps = run_network(model.runtime, model.card, at_scale(prepared, PROBE_SCALE))
    settings = model.card.postprocessing.model_copy(update={"min_area": PROBE_MIN_AREA})
    areas = whole_areas(label_image(maps, settings)) / PROBE_SCALE**2
    return areas if are_mostly_large(areas, scaling) else None


def _best_of_several(
    model: Model,
    parts: Sequence[npt.NDArray[Any]],
    limits: SeenRange,
    view: View,
    found: Sequence[Found],
) -> tuple[View, list[Found]]:
    """Try other scales and return the best of those that are clearly better, if any."""
    best, chosen = 0.0, (view, list(found))
    before = _joined(found)
    for scale in _other_scales(view.scale, model.card.scaling or Scaling()):
        tried = [find(model, part, limits=limits, scale=scale) for part in parts]
        scores, areas = _joined(tried)
        # If no nuclei were found before, a few with low scores are no improvement.
        if not len(before[0]) and _is_doubtful(model, scores):
            continue
        worth = clearly_better((scores, areas), before)
        if worth is not None and worth > best:
            diameter = typical_diameter(areas[scores >= CREDIBLE])
            better = replace(view, scale=scale, source="scores", diameter=diameter)
            best, chosen = worth, (better, tried)
    return chosen


def _other_scales(scale: float, scaling: Scaling) -> list[float]:
    """Return the allowed scales that are not close to the one already tried."""
    return [
        other
        for other in _TRIED
        if max(other / scale, scale / other) >= _NEAR and scaling.least <= other <= scaling.most
    ]


def _is_doubtful(model: Model, scores: FloatImage) -> bool:
    """Return whether the median score is below the limit of the model."""
    scoring = model.card.scoring
    return scoring is not None and median_is_low(scores, scoring.confident_from)


def _joined(found: Sequence[Found]) -> tuple[FloatImage, npt.NDArray[np.int64]]:
    """Concatenate the scores and areas of the nuclei of all parts."""
    scores = np.concatenate([each.scores for each in found])
    return scores, np.concatenate([each.areas for each in found])
