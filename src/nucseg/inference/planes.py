"""Segment a plane of any size: in memory or, if it is too large, window by window."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nucseg.core.segmented import Windowed
from nucseg.files import PARTIAL
from nucseg.inference.large import LargeSegmentation, segment_large
from nucseg.inference.segmentation import Segmentation
from nucseg.inference.segmenter import Model

# Larger planes are always read in windows, even with enough memory.
_MOST_PIXELS = 2**30


@contextmanager
def segment_plane(
    model: Model,
    plane: Windowed,
    *,
    scratch: Path | None = None,
    pixel_size: tuple[float, float] | None = None,
    keep_probability: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Segmentation | LargeSegmentation]:
    """Segment the nuclei of a plane in memory or in a file; used by batches and viewers.

    Parameters
    ----------
    model : Model
    plane : Windowed, shape (H, W) or (H, W, C), any real dtype
        An array, a `nucseg.images.Source`, or another object that is read in windows.
    scratch : Path, optional
        Folder for the label image of a plane that does not fit in memory. The label image exists
        only inside the ``with`` block. Default: a temporary folder.
    pixel_size : tuple of float, optional
        Pixel size in µm along rows and columns.
    keep_probability : bool
        Also keep the probability map of a plane that does not fit in memory.
    progress : callable, optional
        Called as ``progress(done, total)`` after each window. An error that it raises stops the
        segmentation. It is not called if the plane fits in one window.

    Yields
    ------
    Segmentation or LargeSegmentation
        Valid inside the ``with`` block. Labels do not depend on the type.

    Raises
    ------
    InputError, ModelError
        See `Model.segment` and `segment_large`.

    Examples
    --------
    >>> import nucseg, numpy as np
    >>> with segment_plane(nucseg.load_model(), np.zeros((64, 64), np.uint8)) as found:
    ...     found.count
    0
    """
    height, width = plane.shape[:2]
    if model.fits_memory(plane.shape) and math.prod((height, width)) <= _MOST_PIXELS:
        pixels = plane[slice(0, height), slice(0, width)]
        yield model.segment(pixels, pixel_size=pixel_size, progress=progress)
        return
    with (
        tempfile.TemporaryDirectory(prefix=PARTIAL, dir=scratch) as folder,
        segment_large(
            model,
            plane,
            Path(folder),
            pixel_size=pixel_size,
            keep_probability=keep_probability,
            progress=progress,
        ) as found,
    ):
        yield found
