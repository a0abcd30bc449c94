"""Synthetic sample images for trying the plugin."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from nucseg.datasets.synthetic import sample_image

LayerData = tuple[Any, dict[str, Any], str]

# Number of z-slices of the stack, their distance and the pixel size, in µm.
_SLICES = 5
_SPACING, _PIXEL = 1.0, 0.5


def tissue() -> list[LayerData]:
    """Make synthetic stained tissue."""
    return [(sample_image("tissue"), {"name": "tissue", "rgb": True}, "image")]


def fluorescence() -> list[LayerData]:
    """Make synthetic fluorescence, as one channel."""
    return [(sample_image("fluorescence")[..., 0], {"name": "fluorescence"}, "image")]


def stack() -> list[LayerData]:
    """Make a synthetic fluorescence z-stack, with the middle slice in focus."""
    sharp = sample_image("fluorescence")[..., 0]
    middle = _SLICES // 2
    blurred = [
        cv2.GaussianBlur(sharp, (0, 0), 0.01 + 1.5 * abs(depth - middle))
        for depth in range(_SLICES)
    ]
    about = {
        "name": "stack",
        "scale": (_SPACING, _PIXEL, _PIXEL),
        "units": ("um", "um", "um"),
        "axis_labels": ("z", "y", "x"),
    }
    return [(np.stack(blurred), about, "image")]
