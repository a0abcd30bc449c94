"""Sampling of large images at evenly spaced pixels."""

from __future__ import annotations

import math

# This many pixels are enough for accurate percentiles.
SAMPLED_PIXELS = 2**22


def sample_step(shape: tuple[int, ...]) -> int:
    """Return the step between the rows and columns that are sampled for the intensity range."""
    return math.ceil(math.sqrt(math.prod(shape[:2]) / SAMPLED_PIXELS))
