"""Granularity of nuclei: fraction of their intensity in bright grains of each size."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError
from nucseg.measure.nuclei import Columns

Labels = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]

# CellProfiler's defaults without its subsampling, which removes nuclei of about 20 pixels.
LENGTH, RADIUS, BACKGROUND_SAMPLE = 16, 10, 0.25


def measure_granularity(
    labels: Labels,
    plane: npt.NDArray[Any],
    *,
    length: int = LENGTH,
    radius: int = RADIUS,
    background_sample: float = BACKGROUND_SAMPLE,
) -> Columns:
    """Measure the granularity spectrum of each nucleus.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, nuclei above 0.
    plane : ndarray, shape (H, W), real
    length : int
        Number of grain sizes, in steps of one pixel of radius; at least 1.
    radius : int
        Radius of the disc for the opening that estimates the background, in pixels of the
        subsampled image.
    background_sample : float
        Subsampling factor of rows and columns for the background, above 0 to 1.

    Returns
    -------
    dict of str to ndarray, shape (N,), float64
        In the order of the labels, ``granularity_1`` to ``granularity_16``: loss from one grain
        size to the next, in percent of the mean intensity of the nucleus.

    Raises
    ------
    InputError
        The plane and the labels differ in shape, or a parameter is out of range.

    Notes
    -----
    Computed as in CellProfiler's MeasureGranularity of objects with a subsampling of 1 (Ravkin and
    Temov 1988, J Opt Eng): an opening with a disc is subtracted from the image. Then the image is
    repeatedly eroded with a cross of one pixel and reconstructed under the image. Value k is 100
    times the mean that the reconstruction loses at step k, divided by the mean of the nucleus
    before background subtraction. Step 1 also starts from that mean.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.ones((9, 9), int)
    >>> grain = np.zeros((9, 9))
    >>> grain[4, 4] = 1
    >>> table = measure_granularity(labels, grain, length=2)
    >>> table["granularity_1"].tolist(), table["granularity_2"].tolist()
    ([100.0], [0.0])
    """
    # Imported here because it is slow to import.
    from scipy.ndimage import grey_erosion
    from skimage.morphology import reconstruction

    if plane.shape != labels.shape:
        raise InputError(
            f"Expected a plane of the labels' height and width, {labels.shape}, got {plane.shape}."
        )
    if length < 1 or radius < 1 or not 0 < background_sample <= 1:
        raise InputError(
            "Expected a length and a radius of at least 1 and a sample above 0 to 1, got "
            f"{length}, {radius} and {background_sample}."
        )
    numbers, which = np.unique(np.where(labels > 0, labels, 0), return_inverse=True)
    count, flat = len(numbers), which.ravel()
    own = numbers > 0
    area = np.bincount(flat, minlength=count)[own]

    def means(values: npt.NDArray[Any]) -> Floats:
        return np.asarray(np.bincount(flat, values.ravel(), count)[own] / area)

    pixels = plane.astype(np.float64)
    before = means(pixels)
    start = np.maximum(before, np.finfo(np.float64).eps)
    pixels = np.maximum(pixels - _background(pixels, radius, background_sample), 0)
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)
    eroded = pixels
    found: Columns = {}
    for step in range(1, length + 1):
        # Pixels beyond the edges never lower the minimum, as in scikit-image's erosion.
        eroded = grey_erosion(eroded, footprint=cross, mode="nearest")
        rebuilt = reconstruction(eroded, pixels, footprint=cross)  # type: ignore[no-untyped-call]
        after = means(rebuilt)
        found[f"granularity_{step}"] = (before - after) * 100 / start
        before = after
    return found


def _background(pixels: Floats, radius: int, sample: float) -> Floats:
    """Open the subsampled image with a disc, and resize the result to the size of the image."""
    from scipy.ndimage import grey_dilation, grey_erosion, map_coordinates
    from skimage.morphology import disk

    small, shape = pixels, pixels.shape
    if sample < 1:
        size = np.maximum(np.array(shape) * sample, 1)
        rows, columns = np.mgrid[0 : size[0], 0 : size[1]] / sample
        small = map_coordinates(pixels, (rows, columns), order=1)
    footprint = disk(radius).astype(bool)  # type: ignore[no-untyped-call]
    least = grey_erosion(small, footprint=footprint, mode="constant", cval=np.inf)
    opened = grey_dilation(least, footprint=footprint, mode="constant", cval=-np.inf)
    if sample < 1:
        rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float64)
        rows *= (opened.shape[0] - 1) / max(shape[0] - 1, 1)
        columns *= (opened.shape[1] - 1) / max(shape[1] - 1, 1)
        opened = map_coordinates(opened, (rows, columns), order=1)
    return np.asarray(opened, np.float64)
