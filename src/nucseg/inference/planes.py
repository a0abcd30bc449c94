"""A model on a plane of any size: in memory or, where it is too large, window by window."""

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

# Larger planes are never read at once, whatever the memory.
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
    """Find the nuclei of a plane, wherever its pixels are: the one path of batch and viewers.

    Parameters
    ----------
    model : Model
    plane : Windowed, shape (H, W) or (H, W, C), any real dtype
        An array, a `nucseg.images.Source`, or anything else that is read by windows.
    scratch : Path, optional
        Folder for the label image of a plane that does not fit in memory, while the block lasts; by
        default a temporary one.
    pixel_size : tuple of float, optional
        Micrometres from pixel to pixel along rows and columns.
    keep_probability : bool
        Keep the probability map of a plane that does not fit in memory too.
    progress : callable, optional
        ``progress(done, total)``, of the windows; an error that it raises ends the work. Not called
        where the plane is one window.

    Yields
    ------
    Segmentation or LargeSegmentation
        To be used in the block. Labels do not depend on which of the two it is.

    Raises
    ------
    InputError, ModelError
        As `Model.segment` and `segment_large`.

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
