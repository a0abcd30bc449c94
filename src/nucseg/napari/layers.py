"""Convert layers to images, and nuclei to options of a labels layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.inference.loading import load_model
from nucseg.measure import Columns
from nucseg.napari.finding import Found, PixelSize, find_nuclei
from nucseg.napari.saving import pixel_size
from nucseg.napari.stacks import Channel, Stack, channels


@dataclass(frozen=True)
class Job:
    """Work that a click on Run starts.

    Attributes
    ----------
    layer : napari.layers.Image
    stack : Stack
        Its pixels, at full resolution.
    model : str
        Name or folder of the model.
    max_memory : float
        Memory limit in gigabytes.
    diameter : float or None
        Typical diameter of the nuclei in pixels; None estimates it.
    filters : dict
        Settings of `nucseg.config.Filtering`.
    """

    layer: Any
    stack: Stack
    model: str
    max_memory: float
    diameter: float | None = None
    filters: dict[str, Any] = field(default_factory=dict)

    @property
    def pixel_size(self) -> PixelSize | None:
        """Pixel size along rows and columns in µm per pixel, from the layer."""
        return pixel_size(self.layer.scale, self.layer.units)

    def run(self, progress: Callable[[float, int], None]) -> Found:
        """Load the model and find the nuclei, without changing any layer."""
        model = load_model(self.model, max_memory=self.max_memory)
        model = model.with_postprocessing(**self.filters)
        if self.diameter is not None:
            model = model.with_diameter(self.diameter)
        return find_nuclei(model, self.stack, pixel_size=self.pixel_size, progress=progress)


def stack_of(layer: Any, channel: Channel | None = None) -> Stack:
    """Return the planes of an image layer, at full resolution if it is multiscale."""
    data = layer.data[0] if layer.multiscale else layer.data
    return Stack(data, layer.rgb, channel)


def channels_of(layer: Any) -> dict[str, Channel | None]:
    """Return the channels of an image layer to choose from, by their display names."""
    data = layer.data[0] if layer.multiscale else layer.data
    names = tuple(
        label if label.isidentifier() else f"axis {axis}"
        for axis, label in enumerate(layer.axis_labels)
    )
    return channels(tuple(data.shape), rgb=layer.rgb, names=names)


def placement(layer: Any, axes: tuple[int, ...]) -> dict[str, Any]:
    """Return the options of a new layer that place labels on the given axes of an image layer."""
    options: dict[str, Any] = {
        "scale": [layer.scale[axis] for axis in axes],
        "translate": [layer.translate[axis] for axis in axes],
        "units": [layer.units[axis] for axis in axes],
        "axis_labels": [layer.axis_labels[axis] for axis in axes],
    }
    if len(axes) == layer.ndim:
        options |= {name: getattr(layer, name) for name in ("rotate", "shear", "affine")}
    return options


def numeric(features: Columns) -> list[str]:
    """Return the names of the measurements by which nuclei can be coloured."""
    return [name for name, values in features.items() if name != "index" and len(values)]


def relative(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Rescale measurements to [0, 1] between their percentiles 1 and 99; 0 if unknown."""
    known = np.asarray(values, np.float64)
    finite = known[np.isfinite(known)]
    if not len(finite):
        return np.zeros(len(known))
    low, high = np.percentile(finite, (1, 99))
    share = (np.nan_to_num(known, nan=low) - low) / max(high - low, 1e-12)
    return np.asarray(np.clip(share, 0, 1))
