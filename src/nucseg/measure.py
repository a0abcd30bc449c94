"""Measure nuclei: position, size, shape and intensity."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError

Columns = dict[str, npt.NDArray[Any]]


def measure(
    labels: npt.NDArray[np.integer[Any]],
    image: npt.NDArray[Any],
    *,
    scores: npt.NDArray[np.floating[Any]] | None = None,
    pixel_size: tuple[float, float] | None = None,
) -> Columns:
    """Measure each nucleus of a label image.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, others nuclei.
    image : ndarray, shape (H, W) or (H, W, C), real
        Where the intensities are measured. With 2 or 4 channels the last is alpha and left out.
    scores : ndarray, shape (N,), optional
        One per nucleus, in the order of the labels.
    pixel_size : tuple of float, optional
        Micrometres from pixel to pixel along rows and columns.

    Returns
    -------
    dict of str to ndarray, shape (N,)
        Columns of a table with one row per nucleus, in the order of the labels. Positions are
        counted in pixels from the centre of the upper left one.

        - ``label``, ``score`` (where given), ``centroid_row``, ``centroid_column``;
        - ``bbox_row``, ``bbox_column``, ``bbox_height``, ``bbox_width``: upper left pixel and size
          of the bounding box;
        - ``area``, ``perimeter``; ``major_axis``, ``minor_axis`` (lengths), ``eccentricity`` and
          ``orientation`` (radians from the rows' direction, −π/2 to π/2, anticlockwise) of the
          ellipse with the same second moments; ``solidity`` (area over that of the convex hull);
          ``form_factor`` (4π area / perimeter², 1 for a circle);
        - ``intensity_mean``, ``_std``, ``_min``, ``_max`` and ``_sum``, which end in ``_0``, ``_1``
          and so on where there are several channels;
        - with a pixel size ``area_um2``, ``perimeter_um``, ``major_axis_um``, ``minor_axis_um``.
          The perimeter is NaN where pixels are not square.

    Raises
    ------
    InputError
        The image, or the scores, do not belong to the labels.

    Notes
    -----
    Shapes are scikit-image's `regionprops`, the perimeter its Crofton estimate in 4 directions:
    within 1 % for circles of a radius of 5 pixels and more, where counting border steps is off by
    up to 5 %.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([[1, 1, 0], [1, 1, 2]])
    >>> table = measure(labels, np.array([[10, 20, 0], [30, 40, 7]], np.uint8))
    >>> table["area"].tolist(), table["intensity_mean"].tolist()
    ([4, 1], [25.0, 7.0])
    """
    if labels.ndim != 2 or image.shape[:2] != labels.shape or image.ndim not in (2, 3):
        raise InputError(
            f"Expected an image of the labels' height and width, got an image of {image.shape} "
            f"and labels of {labels.shape}."
        )
    areas = np.bincount(labels.ravel(), minlength=1)
    areas[0] = 0
    numbers = np.flatnonzero(areas)
    if scores is not None and len(scores) != len(numbers):
        raise InputError(f"Expected one score per nucleus: {len(numbers)}, got {len(scores)}.")
    columns: Columns = {"label": numbers}
    if scores is not None:
        columns["score"] = np.asarray(scores)
    columns |= _shapes(labels)
    columns |= _intensities(labels, image, numbers, areas)
    if pixel_size is not None:
        columns |= _in_micrometres(labels, columns, pixel_size)
    return columns


def _regions(labels: npt.NDArray[Any], *properties: str, **options: Any) -> Columns:
    # Slow to import, so that only what measures pays for it.
    from skimage.measure import regionprops_table

    if labels.dtype == np.uint32:
        labels = labels.astype(np.int64)
    table: Columns = regionprops_table(  # type: ignore[no-untyped-call]
        labels, properties=properties, **options
    )
    return table


def _shapes(labels: npt.NDArray[Any]) -> Columns:
    table = _regions(
        labels,
        "centroid",
        "bbox",
        "area",
        "perimeter_crofton",
        "axis_major_length",
        "axis_minor_length",
        "eccentricity",
        "solidity",
        "orientation",
    )
    area, perimeter = table["area"].astype(np.int64), table["perimeter_crofton"]
    return {
        "centroid_row": table["centroid-0"],
        "centroid_column": table["centroid-1"],
        "bbox_row": table["bbox-0"],
        "bbox_column": table["bbox-1"],
        "bbox_height": table["bbox-2"] - table["bbox-0"],
        "bbox_width": table["bbox-3"] - table["bbox-1"],
        "area": area,
        "perimeter": perimeter,
        "major_axis": table["axis_major_length"],
        "minor_axis": table["axis_minor_length"],
        "eccentricity": table["eccentricity"],
        "solidity": table["solidity"],
        "orientation": table["orientation"],
        "form_factor": 4 * np.pi * area / perimeter**2,
    }


def _intensities(
    labels: npt.NDArray[Any],
    image: npt.NDArray[Any],
    numbers: npt.NDArray[np.intp],
    areas: npt.NDArray[np.intp],
) -> Columns:
    """Intensities per nucleus and channel; 64-bit sums, so that 16-bit images do not overflow."""
    channels = image[:, :, None] if image.ndim == 2 else image
    if channels.shape[2] in (2, 4):
        channels = channels[:, :, :-1]
    inside = labels > 0
    order = np.argsort(labels[inside], kind="stable")
    areas = areas[numbers]
    starts = np.cumsum(areas) - areas
    columns: Columns = {}
    for channel in range(channels.shape[2]):
        ending = f"_{channel}" if channels.shape[2] > 1 else ""
        values = channels[..., channel][inside][order].astype(np.float64)
        if len(numbers) == 0:
            # There is nothing to reduce, and the columns are those of an image with nuclei.
            total = mean = variance = lowest = highest = np.zeros(0)
        else:
            total = np.add.reduceat(values, starts)
            mean = total / areas
            variance = np.add.reduceat((values - np.repeat(mean, areas)) ** 2, starts) / areas
            lowest = np.minimum.reduceat(values, starts)
            highest = np.maximum.reduceat(values, starts)
        columns[f"intensity_mean{ending}"] = mean
        columns[f"intensity_std{ending}"] = np.sqrt(variance)
        columns[f"intensity_min{ending}"] = lowest
        columns[f"intensity_max{ending}"] = highest
        columns[f"intensity_sum{ending}"] = total
    return columns


def _in_micrometres(
    labels: npt.NDArray[Any], columns: Columns, pixel_size: tuple[float, float]
) -> Columns:
    down, across = pixel_size
    if down == across:
        perimeter = columns["perimeter"] * down
        major, minor = columns["major_axis"] * down, columns["minor_axis"] * down
    else:
        # An ellipse of oblong pixels has other axes, and Crofton's formula holds for squares.
        table = _regions(labels, "axis_major_length", "axis_minor_length", spacing=pixel_size)
        perimeter = np.full(len(columns["label"]), np.nan)
        major, minor = table["axis_major_length"], table["axis_minor_length"]
    return {
        "area_um2": columns["area"] * (down * across),
        "perimeter_um": perimeter,
        "major_axis_um": major,
        "minor_axis_um": minor,
    }
