"""Scale of the network input: nuclei are resized to the sizes that the network was trained on."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.config import INSTANCE_MAPS, OFFSET_MAPS, Scaling
from nucseg.core.filters import Labels
from nucseg.images.preprocess import FloatImage, resize_image

# Minimum number of nuclei for a scale estimate.
_ENOUGH = 3
# Number of pixels up to which the scale is estimated from the whole image; for larger images, side
# of the windows, rows or columns of the image per window, and maximum number of windows along an
# axis.
_WHOLE_LOOK, _LOOK, _LOOK_EVERY, _MOST_LOOKS = 2**20, 384, 2048, 6
# If nuclei seem large, the image is probed at this scale, in a tenth of the time. Nuclei 40 pixels
# wide, the largest that the bundled model segments well, are 12.5 wide there, above the smallest.
# Nuclei below PROBE_MIN_AREA pixels there, about 6 wide in the image, are dropped.
PROBE_SCALE, PROBE_MIN_AREA = 10 / 32, 3
# Pixel sizes that differ by less than this factor are treated as equal.
_SAME = 1.25
# `seems_large` works on an image reduced by this factor.
_GUESS = 4
# Images are resized in blocks of this side, each to a whole number of pixels. Windows start at such
# blocks, so that their pixels equal those of the whole resized image.
BLOCK = 32
_OFFSETS = [INSTANCE_MAPS.index(name) for name in OFFSET_MAPS]


def whole_areas(labels: Labels) -> npt.NDArray[np.int64]:
    """Measure the nuclei of a label image that are not cut off by its edge.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, 1…N nuclei.

    Returns
    -------
    ndarray, shape (M,), int64
        Area in pixels of each nucleus that does not touch the edge; of all nuclei if fewer than
        three do not touch it.

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


def typical_diameter(areas: npt.NDArray[np.number[Any]]) -> float | None:
    """Compute the median diameter of nuclei, each as that of a disc of equal area.

    Parameters
    ----------
    areas : ndarray, shape (N,)
        Areas in pixels.

    Returns
    -------
    float or None
        Diameter in pixels. None if there are fewer than three nuclei.

    Examples
    --------
    >>> round(typical_diameter(np.array([2, 5, 5, 90])), 2)
    2.52
    """
    if len(areas) < _ENOUGH:
        return None
    return float(2 * np.sqrt(np.median(areas) / np.pi))


def scale_for(diameter: float | None, scaling: Scaling) -> float:
    """Compute the factor by which an image is resized for the network.

    Parameters
    ----------
    diameter : float or None
        Typical diameter of the nuclei in pixels, if known.
    scaling : Scaling

    Returns
    -------
    float
        A multiple of 1/32. It is 1 if the diameter is within the range of the network, or unknown.

    Examples
    --------
    >>> scaling = Scaling(smallest=12, largest=40)
    >>> [scale_for(diameter, scaling) for diameter in (None, 30, 80, 12, 10, 1)]
    [1.0, 1.0, 0.25, 1.0, 1.4375, 2.0]
    """
    if diameter is None:
        return 1.0
    wished = (np.clip(diameter, scaling.smallest, scaling.largest) / diameter) ** 2
    return _rounded(float(wished), scaling)


def stated_scale(pixel_size: tuple[float, float], scaling: Scaling) -> float | None:
    """Compute the factor that resizes an image to the preferred pixel size of the network.

    Parameters
    ----------
    pixel_size : (float, float)
        Pixel size in µm along rows and columns.
    scaling : Scaling

    Returns
    -------
    float or None
        A multiple of 1/32. It is 1 if the two pixel sizes differ by less than a quarter. None if
        the network has no preferred pixel size.

    Examples
    --------
    >>> scaling = Scaling(pixel_size=0.25)
    >>> [stated_scale((size, size), scaling) for size in (0.1, 0.23, 0.325, 0.5, 2)]
    [0.40625, 1.0, 1.3125, 2.0, 2.0]
    """
    if scaling.pixel_size is None:
        return None
    wished = math.sqrt(math.prod(pixel_size)) / scaling.pixel_size
    return 1.0 if 1 / _SAME < wished < _SAME else _rounded(wished, scaling)


def scale_within(scale: float, diameter: float, scaling: Scaling) -> float:
    """Move a scale to the nearest at which the diameter of nuclei is within the network's range.

    Parameters
    ----------
    scale : float
    diameter : float
        Typical diameter of the nuclei, in pixels of the image.
    scaling : Scaling

    Returns
    -------
    float
        A multiple of 1/32.

    Examples
    --------
    >>> scaling = Scaling(smallest=12, largest=40)
    >>> [scale_within(scale, 20, scaling) for scale in (0.25, 1, 2)]
    [0.59375, 1, 2]
    >>> scale_within(2, 32, scaling)
    1.25
    """
    smallest, largest = scaling.smallest / diameter, scaling.largest / diameter
    if smallest <= scale <= largest:
        return scale
    return _rounded(float(np.clip(scale, smallest, largest)), scaling)


def _rounded(scale: float, scaling: Scaling) -> float:
    """Round a scale to a multiple of 1/32 within the limits of the network."""
    least, most = math.ceil(scaling.least * BLOCK), math.floor(scaling.most * BLOCK)
    return float(np.clip(np.rint(scale * BLOCK), least, most) / BLOCK)


def seems_large(prepared: FloatImage, scaling: Scaling) -> bool:
    """Guess without a network whether nuclei are larger than the range of the network.

    Otsu's threshold (1979, doi:10.1109/TSMC.1979.4310076) divides the image into two classes. The
    class with fewer pixels is taken as nuclei; touching nuclei count as one.

    Parameters
    ----------
    prepared : ndarray, shape (H, W, 3), float32, in [0, 1]
    scaling : Scaling

    Returns
    -------
    bool
        Also False if nuclei just above the range would be too small for the network in a
        low-resolution probe.

    Examples
    --------
    >>> yes, xes = np.mgrid[:256, :256]
    >>> discs = [((yes % 128 - 64) ** 2 + (xes % 128 - 64) ** 2 < r**2) for r in (15, 30)]
    >>> [seems_large(np.stack([disc] * 3, -1).astype(np.float32), Scaling()) for disc in discs]
    [False, True]
    """
    if PROBE_SCALE * scaling.largest < scaling.smallest:
        return False
    size = [max(length // _GUESS, 1) for length in prepared.shape[1::-1]]
    small = cv2.resize(prepared, size, interpolation=cv2.INTER_AREA)
    grey = np.rint(small.mean(axis=2) * 255).astype(np.uint8)
    _, bright = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    nuclei = bright if 2 * np.count_nonzero(bright) <= bright.size else 1 - bright
    nuclei = cv2.morphologyEx(nuclei, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, _, statistics, _ = cv2.connectedComponentsWithStats(nuclei)
    diameter = typical_diameter(statistics[1:, cv2.CC_STAT_AREA])
    return diameter is not None and _GUESS * diameter >= scaling.largest


def are_mostly_large(areas: npt.NDArray[np.float64], scaling: Scaling) -> bool:
    """Return whether three in four nuclei are larger than the range of the network.

    Parameters
    ----------
    areas : ndarray, shape (N,), float64
        Areas in pixels of nuclei that are not cut off.
    scaling : Scaling

    Returns
    -------
    bool
        False if there are fewer than three nuclei.

    Examples
    --------
    >>> scaling = Scaling(largest=40)
    >>> are_mostly_large(np.array([90, 1300, 1300, 1300]), scaling)
    False
    >>> are_mostly_large(np.array([90, 1300, 1300, 1300, 1300]), scaling)
    True
    """
    if len(areas) < _ENOUGH:
        return False
    return bool(2 * np.sqrt(np.percentile(areas, 25) / np.pi) >= scaling.largest)


def at_scale(prepared: FloatImage, scale: float) -> FloatImage:
    """Resize a prepared image for the network.

    Parameters
    ----------
    prepared : ndarray, shape (H, W, 3), float32
    scale : float
        A multiple of 1/32.

    Returns
    -------
    ndarray, shape (scale × H', scale × W', 3), float32
        H' and W' are H and W rounded up to multiples of 32. The last row and column are repeated
        to fill them. At scale 1 the image is returned unchanged.
    """
    if scale == 1:
        return prepared
    height, width = prepared.shape[:2]
    below, right = -height % BLOCK, -width % BLOCK
    padded = cv2.copyMakeBorder(prepared, 0, below, 0, right, cv2.BORDER_REPLICATE)
    size = (round(padded.shape[0] * scale), round(padded.shape[1] * scale))
    return resize_image(np.asarray(padded, np.float32), size)


def maps_at_size(maps: FloatImage, size: tuple[int, int], scale: float) -> FloatImage:
    """Resize maps of the network back to the size of the image.

    Parameters
    ----------
    maps : ndarray, shape (scale × H', scale × W', 5), float32
        Maps of the output of `at_scale`, in the order of `nucseg.config.INSTANCE_MAPS`.
    size : (height, width) of the image in pixels
    scale : float
        Factor by which the image was resized.

    Returns
    -------
    ndarray, shape (height, width, 5), float32
        Centre offsets are in pixels of the image; in large nuclei they exceed the range 0 to 1.
    """
    if scale == 1:
        return maps
    whole = (round(maps.shape[0] / scale), round(maps.shape[1] / scale))
    resized = np.ascontiguousarray(resize_image(maps, whole)[: size[0], : size[1]])
    resized[..., _OFFSETS] = (resized[..., _OFFSETS] - np.float32(0.5)) / np.float32(scale) + 0.5
    return resized


def probe_windows(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Choose the windows from which the scale of an image is estimated.

    Parameters
    ----------
    shape : (height, width) of the image, in pixels

    Returns
    -------
    list of (slice, slice)
        One window for the whole image or, for a large image, `sampled_windows`. The choice
        depends on the size of the image only, so the scale does not depend on the memory.
    """
    if shape[0] * shape[1] <= _WHOLE_LOOK:
        return [(slice(0, shape[0]), slice(0, shape[1]))]
    return sampled_windows(shape, _LOOK)


def sampled_windows(shape: tuple[int, int], side: int) -> list[tuple[slice, slice]]:
    """Choose windows that are representative of an image: one in the centre of each of its parts.

    Each axis is divided into two parts, or more if it is longer than about 6,000 pixels.

    Parameters
    ----------
    shape : (height, width) of the image, in pixels
    side : int
        Side of the windows, in pixels.

    Returns
    -------
    list of (slice, slice)
        Rows and columns of each window, within the image.

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
    parts = min(max(length // _LOOK_EVERY, 2), _MOST_LOOKS)
    middles = (length * (2 * part + 1) // (2 * parts) for part in range(parts))
    return sorted({min(max(middle - side // 2, 0), last) for middle in middles})
