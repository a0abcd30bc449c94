"""The scale at which a network sees an image: that of the nuclei that it was trained on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nucseg.config import INSTANCE_MAPS, OFFSET_MAPS, Scaling
from nucseg.inference.instances import Labels
from nucseg.preprocess import FloatImage, resize_image

# Fewer nuclei than this tell no scale.
_ENOUGH = 3
_OFFSETS = [INSTANCE_MAPS.index(name) for name in OFFSET_MAPS]


def whole_areas(labels: Labels) -> npt.NDArray[np.int64]:
    """Measure the nuclei of a label image of which nothing is cut off.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, 1…N nuclei.

    Returns
    -------
    ndarray, shape (M,), int64
        Pixels of each nucleus that does not touch the edge; of all where fewer than three do not.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.pad(np.array([[1, 0, 2, 2, 0, 3, 0, 4]]), 1)
    >>> whole_areas(image).tolist(), whole_areas(image[:, 1:]).tolist()
    ([1, 2, 1, 1], [2, 1, 1])
    """
    areas = np.bincount(labels.ravel())
    whole = areas.copy()
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        whole[edge] = 0
    kept = whole if np.count_nonzero(whole[1:]) >= _ENOUGH else areas
    return kept[1:][kept[1:] > 0]


def typical_diameter(areas: npt.NDArray[np.int64]) -> float | None:
    """Median diameter of nuclei, each taken for a disc of its area.

    Parameters
    ----------
    areas : ndarray, shape (N,), int64
        In pixels.

    Returns
    -------
    float or None
        In pixels; None where there are too few nuclei to tell.

    Examples
    --------
    >>> round(typical_diameter(np.array([2, 5, 5, 90])), 2)
    2.52
    """
    if len(areas) < _ENOUGH:
        return None
    return float(2 * np.sqrt(np.median(areas) / np.pi))


def scale_for(diameter: float | None, scaling: Scaling) -> float:
    """Factor by which an image is resized for the network.

    Parameters
    ----------
    diameter : float or None
        Typical diameter of its nuclei in pixels, where known.
    scaling : Scaling

    Returns
    -------
    float
        1 where the network can see the nuclei as they are, or nothing is known.

    Examples
    --------
    >>> scaling = Scaling(smallest=10, largest=40, target=(16, 20))
    >>> [scale_for(diameter, scaling) for diameter in (None, 30, 80, 10, 8, 1)]
    [1.0, 1.0, 0.25, 1.0, 2.0, 2.0]
    """
    if diameter is None or scaling.smallest <= diameter <= scaling.largest:
        return 1.0
    target = scaling.target[0] if diameter < scaling.smallest else scaling.target[1]
    return float(np.clip(target / diameter, scaling.least, scaling.most))


def at_scale(prepared: FloatImage, scale: float) -> FloatImage:
    """Resize a prepared image for the network.

    Parameters
    ----------
    prepared : ndarray, shape (H, W, 3), float32
    scale : float

    Returns
    -------
    ndarray, shape (about scale × H, about scale × W, 3), float32
    """
    size = (max(round(prepared.shape[0] * scale), 1), max(round(prepared.shape[1] * scale), 1))
    return resize_image(prepared, size)


def maps_at_size(maps: FloatImage, size: tuple[int, int], scale: float) -> FloatImage:
    """Resize maps of the network back to the image.

    Parameters
    ----------
    maps : ndarray, shape (h, w, 5), float32
        In the order of `nucseg.config.INSTANCE_MAPS`.
    size : (height, width) of the image in pixels
    scale : float
        By which the image was resized.

    Returns
    -------
    ndarray, shape (height, width, 5), float32
        With offsets in pixels of the image; where nuclei are large, beyond 0 to 1.
    """
    resized = resize_image(maps, size)
    if scale == 1:
        return resized
    resized = resized if resized is not maps else maps.copy()
    resized[..., _OFFSETS] = (resized[..., _OFFSETS] - np.float32(0.5)) / np.float32(scale) + 0.5
    return resized


def sampled_windows(shape: tuple[int, int], side: int) -> list[tuple[slice, slice]]:
    """Choose windows that show what an image is like: one in the middle of each quarter.

    Parameters
    ----------
    shape : (height, width) of the image, in pixels
    side : int
        Of the windows, in pixels.

    Returns
    -------
    list of (slice, slice)
        Rows and columns; they do not go beyond the image.

    Examples
    --------
    >>> sampled_windows((100, 40), 30)[0]
    (slice(10, 40, None), slice(0, 30, None))
    """
    row_starts, column_starts = (_starts(length, side) for length in shape)
    return [
        (slice(row, min(row + side, shape[0])), slice(column, min(column + side, shape[1])))
        for row in row_starts
        for column in column_starts
    ]


def _starts(length: int, side: int) -> list[int]:
    last = max(length - side, 0)
    middles = (length // 4, length * 3 // 4)
    return sorted({min(max(middle - side // 2, 0), last) for middle in middles})
