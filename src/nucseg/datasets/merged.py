"""Label images made from binary masks, which merge touching nuclei: separate or flag these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.feature import peak_local_max
from skimage.measure import regionprops
from skimage.segmentation import watershed

from nucseg.core.labelling import UNKNOWN

Labels = npt.NDArray[np.int32]

# Solidity: share of its convex hull that an object fills. Below the first value, an object may be
# several nuclei. Parts above the second value are accepted. An object below the third value without
# such parts is unknown.
DOUBTFUL, CONVEX, SEVERAL = 0.90, 0.90, 0.85
# Objects and parts of fewer pixels are too small for a nucleus.
LEAST_AREA = 20
# Minimum area of a part, as a fraction of the median nucleus.
LEAST_PART = 0.25
# A set seems to be made from binary masks if none of this many nuclei touch, and this fraction of
# the larger ones has a solidity below SEVERAL.
ENOUGH_NUCLEI, SEVERAL_SHARE = 200, 0.02


def seem_merged(labels: Sequence[Labels]) -> bool:
    """Return whether the label images of a set seem to be made from binary masks.

    Parameters
    ----------
    labels : sequence of ndarray, each shape (H, W), int32

    Returns
    -------
    bool
        True if there are `ENOUGH_NUCLEI`, none of them touch, and some are not convex.
    """
    if any(touching(each) for each in labels):
        return False
    nuclei = several = 0
    for each in labels:
        regions = [region for region in _regions(each) if region.area >= LEAST_AREA]
        nuclei += len(regions)
        several += sum(region.solidity < SEVERAL for region in regions)
    return bool(nuclei >= ENOUGH_NUCLEI and several >= SEVERAL_SHARE * nuclei)


def touching(labels: npt.NDArray[np.integer]) -> bool:
    """Return whether two nuclei of a label image share a border."""
    across = (labels[1:] != labels[:-1]) & (labels[1:] > 0) & (labels[:-1] > 0)
    along = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
    return bool(across.any() or along.any())


def part_merged(labels: Labels) -> Labels:
    """Separate nuclei that a binary mask has merged, and label possible merges as unknown.

    Parameters
    ----------
    labels : ndarray, shape (H, W), int32
        0 is background, 1…N are connected components of a mask.

    Returns
    -------
    ndarray, shape (H, W), int32
        Objects with a waist are separated by a watershed on the distance to the outline, if each
        part is convex; other objects with a solidity below `SEVERAL`, and specks, are `UNKNOWN`.
    """
    made = labels.copy()
    regions = _regions(labels)
    if not regions:
        return made
    median = float(np.median([region.area for region in regions]))
    following = int(labels.max()) + 1
    for region in regions:
        box = made[region.slice]
        if region.area < LEAST_AREA:
            box[region.image] = UNKNOWN
            continue
        if region.solidity >= DOUBTFUL:
            continue
        parts = _parts(region.image, max(LEAST_PART * median, LEAST_AREA))
        if parts is not None:
            later = region.image & (parts > 1)
            box[later] = (parts[later] - 2 + following).astype(np.int32)
            following += int(parts.max()) - 1
        elif region.solidity < SEVERAL:
            box[region.image] = UNKNOWN
    return made


def _regions(labels: npt.NDArray[np.int32]) -> list[Any]:
    return list(regionprops(labels))  # type: ignore[no-untyped-call]


def _parts(piece: npt.NDArray[np.bool_], least: float) -> Labels | None:
    """Separate an object; None if its parts do not look like nuclei."""
    distance = gaussian_filter(distance_transform_edt(np.pad(piece, 1)), 1.0)[1:-1, 1:-1]
    apart = max(int(np.sqrt(least / np.pi)), 3)
    peaks = peak_local_max(  # type: ignore[no-untyped-call]
        distance, min_distance=apart, labels=piece.astype(np.int32)
    )
    if len(peaks) < 2:
        return None
    seeds = np.zeros(piece.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    grown = watershed(-distance, seeds, mask=piece)  # type: ignore[no-untyped-call]
    parts = np.asarray(grown, np.int32)
    found = _regions(parts)
    good = all(part.area >= least and part.solidity >= CONVEX for part in found)
    return parts if good and len(found) > 1 else None
