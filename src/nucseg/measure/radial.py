"""Radial distribution of intensity from the centre of a nucleus to its edge."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError
from nucseg.measure.nuclei import Columns

Labels = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]

# Number of rings, the default of CellProfiler.
BINS = 4
_WEDGES = 8


def measure_radial(labels: Labels, plane: npt.NDArray[Any], *, bins: int = BINS) -> Columns:
    """Measure the radial distribution of intensity from the centre of each nucleus to its edge.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, nuclei above 0.
    plane : ndarray, shape (H, W), real
    bins : int
        Number of rings of equal width from the centre to the edge, at least 1.

    Returns
    -------
    dict of str to ndarray, shape (N,), float64
        In the order of the labels, for each ring (1 is the innermost): ``radial_fraction_1``
        (fraction of the intensity of the nucleus), ``radial_mean_1`` (that fraction divided by the
        fraction of pixels; 1 if the intensity is even) and ``radial_cv_1`` (standard deviation
        divided by mean of the mean intensities in eight wedges). NaN for a ring without pixels, and
        if the intensities sum to 0.

    Raises
    ------
    InputError
        The plane and the labels differ in shape, or `bins` is below 1.

    Notes
    -----
    As CellProfiler's MeasureObjectIntensityDistribution with scaled bins: the centre is the pixel
    farthest from the edge. The position of a pixel is its distance to the centre, along steps
    inside the nucleus, divided by the sum of that distance and its distance to the edge (plus
    0.001).

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.pad(np.ones((9, 9), int), 1)
    >>> table = measure_radial(labels, labels)
    >>> table["radial_mean_1"].round(6).tolist()
    [1.0]
    """
    # Imported here because it is slow to import.
    from scipy.ndimage import find_objects

    if plane.shape != labels.shape:
        raise InputError(
            f"Expected a plane of the labels' height and width, {labels.shape}, got {plane.shape}."
        )
    if bins < 1:
        raise InputError(f"Expected at least 1 ring, got {bins}.")
    numbers, which = np.unique(np.where(labels > 0, labels, 0), return_inverse=True)
    numbers, which = numbers[numbers > 0], which.reshape(labels.shape)
    if len(numbers) and labels.min() > 0:
        which = which + 1
    found = np.full((3, len(numbers), bins), np.nan)
    for number, place in enumerate(find_objects(which)):
        # One more pixel on each side within the image; its border is no edge of a nucleus.
        wider = tuple(slice(max(each.start - 1, 0), each.stop + 1) for each in place)
        found[:, number] = _of_nucleus(which[wider] == number + 1, plane[wider], bins)
    return {
        f"radial_{name}_{ring + 1}": found[kind, :, ring]
        for kind, name in enumerate(("fraction", "mean", "cv"))
        for ring in range(bins)
    }


def rings(mask: npt.NDArray[np.bool_], bins: int) -> tuple[npt.NDArray[np.intp], tuple[int, int]]:
    """Assign a ring to each pixel of a nucleus, 0 for the innermost.

    Parameters
    ----------
    mask : ndarray, shape (h, w), bool
    bins : int
        Number of rings.

    Returns
    -------
    ring : ndarray, shape (h, w), intp
        Ring of each pixel, -1 outside the nucleus.
    centre : tuple of int
        Row and column of the centre.
    """
    from scipy.ndimage import distance_transform_edt
    from skimage.graph import MCP_Geometric

    # If the mask has no edge, the border of the image is the edge.
    edge = mask if not mask.all() else np.pad(mask, 1)
    to_edge = distance_transform_edt(edge)
    to_edge = to_edge if edge is mask else to_edge[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(to_edge)), mask.shape)
    centre = int(row), int(column)
    paths = MCP_Geometric(np.where(mask, 1.0, -1.0))
    from_centre, _ = paths.find_costs([centre])
    # Parts that are not connected to the centre are in the outermost ring.
    reached = mask & np.isfinite(from_centre)
    ring = np.where(mask, bins - 1, -1)
    far = from_centre[reached]
    ring[reached] = np.minimum(far / (far + to_edge[reached] + 0.001) * bins, bins - 1)
    return ring, centre


def _of_nucleus(mask: npt.NDArray[np.bool_], plane: npt.NDArray[Any], bins: int) -> Floats:
    """Compute fraction, relative mean and variation of each ring, shape (3, bins)."""
    ring, (row, column) = rings(mask, bins)
    rows, columns = np.nonzero(mask)
    values, ring = plane[mask].astype(np.float64), ring[mask]
    pixels = np.bincount(ring, minlength=bins)
    some = pixels > 0
    total = values.sum()
    share = np.full(bins, np.nan)
    if total != 0:
        share[some] = np.bincount(ring, values, bins)[some] / total
    even = np.divide(share * len(values), pixels, out=np.full(bins, np.nan), where=some)
    down, across = rows - row, columns - column
    wedge = (down > 0) + 2 * (across > 0) + 4 * (np.abs(down) > np.abs(across))
    cells = ring * _WEDGES + wedge
    counts = np.bincount(cells, minlength=bins * _WEDGES).reshape(bins, _WEDGES)
    sums = np.bincount(cells, values, bins * _WEDGES).reshape(bins, _WEDGES)
    spread = np.full(bins, np.nan)
    for number in np.flatnonzero(some):
        held = counts[number] > 0
        means = sums[number][held] / counts[number][held]
        if means.mean() != 0:
            spread[number] = means.std() / means.mean()
    return np.stack([share, even, spread])
