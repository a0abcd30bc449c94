"""Of large images, every so many pixels."""

from __future__ import annotations

import math

# Of so many pixels the percentiles are as good as those of all.
SAMPLED_PIXELS = 2**22


def sample_step(shape: tuple[int, ...]) -> int:
    """Every how many rows and columns of an image are looked at for its range of intensities."""
    return math.ceil(math.sqrt(math.prod(shape[:2]) / SAMPLED_PIXELS))
