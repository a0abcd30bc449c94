"""From a label image to what a network is trained to predict."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.config import INSTANCE_MAPS, OFFSET_RANGE

# Pixels this near to two nuclei, give or take half a pixel, are border.
_REACH = 2
# Relative distance above which is a nucleus's core, no border however small the nucleus is.
_CORE = 0.5


def foreground(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Mask of all nuclei, the target of the semantic recipe.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, 1…N nuclei.

    Returns
    -------
    ndarray, shape (H, W, 1), float32, 0 or 1

    Examples
    --------
    >>> import numpy as np
    >>> foreground(np.array([[0, 7]]))[..., 0].tolist()
    [[0.0, 1.0]]
    """
    return (labels > 0).astype(np.float32)[..., None]


def instance_maps(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Draw the maps that tell nuclei apart, the target of the instance recipe.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, any other number up to 2²⁴ a nucleus; gaps between numbers do not matter.

    Returns
    -------
    ndarray, shape (H, W, 5), float32, in [0, 1]
        As `nucseg.config.INSTANCE_MAPS` names them. Nucleus: 1 on every nucleus. Border: 1 within
        two pixels of two nuclei, on them or in the gap between, but for the core of each. Distance:
        to the nucleus's own outline, where it touches another too, as a share of the largest such
        distance in this nucleus; 0 outside. The edge of the image is no outline. Offsets: see
        `centre_offsets`.

    Examples
    --------
    >>> import numpy as np
    >>> maps = instance_maps(np.array([[0, 1, 1, 1, 2, 0]]))
    >>> nucleus, border, distance, *offsets = np.moveaxis(maps, 2, 0)
    >>> nucleus.tolist()
    [[0.0, 1.0, 1.0, 1.0, 1.0, 0.0]]
    >>> border.tolist()
    [[0.0, 0.0, 0.0, 1.0, 0.0, 1.0]]
    >>> distance.tolist()
    [[0.0, 0.5, 1.0, 0.5, 1.0, 0.0]]
    """
    numbers = labels.astype(np.float32)
    nucleus = numbers > 0
    distance = _relative_distance(numbers, nucleus)
    # OpenCV's own ellipse is not the same along rows and columns.
    row, column = np.ogrid[-_REACH : _REACH + 1, -_REACH : _REACH + 1]
    disc = (row**2 + column**2 <= (_REACH + 0.5) ** 2).astype(np.uint8)
    # The largest and the smallest label around: where they differ, two nuclei are near.
    largest = cv2.dilate(numbers, disc)
    smallest = cv2.erode(np.where(nucleus, numbers, np.float32(np.inf)), disc)
    border = (largest > smallest) & (distance <= _CORE)
    apart = np.stack([nucleus, border, distance], axis=-1, dtype=np.float32)
    return np.concatenate([apart, centre_offsets(labels)], axis=-1)


def centre_offsets(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Draw how far each pixel is from the centroid of its nucleus.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, any other number a nucleus.

    Returns
    -------
    ndarray, shape (H, W, 2), float32, in [0, 1]
        As `nucseg.config.OFFSET_MAPS` names them, along rows and columns: 0 for `OFFSET_RANGE`
        pixels or more towards smaller indices, 0.5 for none, 1 for as many towards larger ones;
        0.5 outside.

    Examples
    --------
    >>> import numpy as np
    >>> from nucseg.config import OFFSET_RANGE
    >>> ((centre_offsets(np.array([[0, 1, 1, 1]]))[..., 1] - 0.5) * 2 * OFFSET_RANGE).tolist()
    [[0.0, 1.0, 0.0, -1.0]]
    """
    flat = labels.ravel().astype(np.intp)
    areas = np.maximum(np.bincount(flat), 1)
    offsets = []
    for place in np.indices(labels.shape, np.float64):
        centre = np.bincount(flat, weights=place.ravel()) / areas
        away = np.where(labels > 0, centre[flat].reshape(labels.shape) - place, 0)
        offsets.append(np.clip(0.5 + away / (2 * OFFSET_RANGE), 0, 1))
    return np.stack(offsets, axis=-1).astype(np.float32)


def inverse_radius(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Draw one over the radius of each nucleus, of a disc of its area, in 1 / pixels.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, any other number a nucleus.

    Returns
    -------
    ndarray, shape (H, W, 1), float32
        0 outside.
    """
    flat = labels.ravel().astype(np.intp)
    areas = np.bincount(flat).astype(np.float64)
    inverse = np.sqrt(np.pi / np.maximum(areas, 1))
    inverse[0] = 0
    return inverse[flat].reshape(*labels.shape, 1).astype(np.float32)


def training_targets(
    labels: npt.NDArray[np.integer], names: tuple[str, ...], *, borders: bool = True
) -> npt.NDArray[np.float32]:
    """Draw the maps that a network is to give, and what its loss needs besides.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, any other number up to 2²⁴ a nucleus, `nucseg.core.labelling.UNKNOWN` where
        it is not known.
    names : tuple of str
        Of `INSTANCE_MAPS`, in any order.
    borders : bool
        Whether the labels tell nuclei that touch apart. If not, the border is not known.

    Returns
    -------
    ndarray, shape (H, W, len(names) + 1), float32
        The maps in the order of the names, then the `inverse_radius`. NaN where a map is not
        known; the loss passes over it.
    """
    known = np.maximum(labels, 0)
    maps = instance_maps(known)
    if not borders:
        maps[..., INSTANCE_MAPS.index("border")] = np.nan
    if labels.min() < 0:
        hidden = cv2.dilate((labels < 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        maps[hidden] = np.nan
    chosen = [INSTANCE_MAPS.index(name) for name in names]
    return np.concatenate([maps[..., chosen], inverse_radius(known)], axis=-1)


def _relative_distance(
    numbers: npt.NDArray[np.float32], nucleus: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inside = nucleus & (cv2.dilate(numbers, cross) == cv2.erode(numbers, cross))
    # To the centre of the nearest pixel on the outline, which itself counts as 1 away.
    distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    if not nucleus.any():
        return np.zeros_like(distance)
    # A nucleus that fills the image has no outline at all, which gives a huge number.
    distance = np.minimum(distance, np.float32(sum(numbers.shape)))
    # Its last bits depend on where in memory the array lies; its square is a whole number.
    distance = np.sqrt(np.rint(distance * distance)) + 1
    which = numbers.astype(np.intp)
    largest = np.zeros(which.max() + 1, np.float32)
    np.maximum.at(largest, which.ravel(), distance.ravel())
    return np.where(nucleus, distance / largest[which], np.float32(0))
