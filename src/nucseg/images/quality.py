"""Image quality: focus, contrast, saturation, scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.images.colours import to_rgb
from nucseg.images.preprocess import FloatImage

# Limits of `warnings_of`. All were chosen on the 664 training images of the 2018 Data Science Bowl
# with their annotated nuclei, unchanged and modified.
#
# Width of edges over the square root of the diameter: larger nuclei have wider edges, but not in
# proportion. 1 % of the images, the least focused, are above the limit; 99 % and more of all when
# blurred with a sigma of 4 pixels; one in ten when enlarged to twice their size.
WIDEST_EDGES = 0.65
# Pure noise has 0.5, whatever its kind; unchanged images have 40 and more, with added noise of 30 %
# of their range 1.5 and more.
LEAST_CONTRAST = 1.2
# Unchanged images have at most 0.13.
MOST_SATURATED = 0.2
# Medians per image are between 7 and 94 pixels (single nuclei between 5 and 120).
SMALLEST_DIAMETER, LARGEST_DIAMETER = 6.0, 100.0
# In µm; outside this range, the pixel size is probably wrong.
SMALLEST_UM, LARGEST_UM = 2.0, 60.0
# Maximum aspect ratio of pixels. Binning gives 2 or 4.
MOST_OBLONG = 5.0

# Images with more pixels are sampled in windows, in this number of rows and columns.
_WHOLE_PIXELS, _WINDOWS, _WINDOW_SIDE = 200_000, 4, 112
# Images with larger nuclei are reduced, so that their edges fit the filters.
_LARGEST_SEEN, _MOST_SHRUNK = 50, 4
# Sigmas of the two Gaussians for the comparison of gradients.
_FINE, _COARSE = 1.0, 3.0
# Fraction of pixels treated as edges if there are no nuclei, and maximum fraction.
_EDGES, _MOST_EDGES = 0.01, 0.05
# Width of edges that cannot be distinguished from no edges.
_NO_EDGES = 20.0
# Upper limit of the contrast, and lower limit of the noise relative to the range.
_MOST_CONTRAST, _LEAST_NOISE = 1000.0, 1e-6
# Stride of the sampled values for percentiles.
_EVERY = 7
# Median absolute deviation over sigma of a Gaussian.
_MAD = 0.6745
# Filter of norm 1 for noise without edges (Immerkær 1996, doi:10.1006/cviu.1996.0060).
_NOISE = (np.outer((1, -2, 1), (1, -2, 1)) / 6).astype(np.float32)


class Pixels(Protocol):
    """An array, or an image that is read in windows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (H, W) or (H, W, C)."""

    def __getitem__(self, window: tuple[slice, slice], /) -> npt.NDArray[Any]:
        """Return the pixels of a range of rows and columns."""


def image_quality(
    image: Pixels,
    areas: npt.NDArray[np.number[Any]],
    levels: npt.NDArray[np.number[Any]] | None = None,
) -> dict[str, float]:
    """Measure the quality of an image.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
        Image in memory or read in windows. Images with more than 200,000 pixels are sampled to
        about that number, in up to 16 windows.
    areas : ndarray, shape (N,)
        Area in pixels of each nucleus found in the image.
    levels : ndarray, shape (N,), optional
        Mean intensity of each nucleus, over all channels.

    Returns
    -------
    dict of str to float
        - ``edge_width``: blur of the strongest edges, as the sigma in pixels of a Gaussian, at most
          80; 20 and more also if there are no edges. It is computed from how much smaller the
          gradient across edges is under a Gaussian of 3 pixels than under one of 1 pixel (after
          Zhuo and Sim 2011, doi:10.1016/j.patcog.2011.03.009), along the gradient under the
          former, so that noise cancels out;
        - ``contrast``: range of the smoothed intensities (percentiles 1 to 99.8) over the standard
          deviation of the noise, at most 1000; or that of the nuclei to the background, if it is
          larger: a few nuclei are outside that range;
        - ``saturated``: area of the pixels of the largest value over that of the nuclei, in [0, 1];
          0 unless they accumulate there, and for bright backgrounds;
        - ``diameter``: of a circle with the median area of the nuclei, in pixels; 0 without nuclei.

    Raises
    ------
    InputError
        The array is not an image of real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> quality = image_quality(np.zeros((40, 40), np.uint8), np.array([80, 78.5, 70]))
    >>> {name: round(value, 1) for name, value in quality.items()}
    {'edge_width': 20.0, 'contrast': 0.0, 'saturated': 0.0, 'diameter': 10.0}
    """
    height, width = image.shape[:2]
    diameter = 2 * math.sqrt(float(np.median(areas)) / math.pi) if len(areas) else 0.0
    covered = min(float(np.sum(areas)) / (height * width), 1.0)
    factor = min(max(1, int(diameter / _LARGEST_SEEN)), _MOST_SHRUNK)
    # Area of the outlines of circles, about two pixels wide.
    outlines = 4 * math.sqrt(math.pi) * float(np.sum(np.sqrt(areas))) * factor / (height * width)
    edges = min(outlines, _MOST_EDGES) if len(areas) else _EDGES

    parts = [image[window] for window in _windows((height, width), factor)]
    windows, step, scaled = _in_grey(parts, levels)
    saturated = _saturated(windows, step, covered)
    windows = [_shrunk(window, factor) for window in windows]
    coarse = [_smoothed(window, _COARSE) for window in windows]
    return {
        "edge_width": factor * _edge_width(windows, coarse, edges),
        "contrast": _contrast(windows, coarse, step, scaled),
        "saturated": saturated,
        "diameter": diameter,
    }


def warnings_of(
    quality: Mapping[str, float], *, pixel_size: Sequence[float] | None = None
) -> list[str]:
    """Return warnings about the quality of an image.

    Parameters
    ----------
    quality : mapping of str to float
        Quality, as returned by `image_quality`.
    pixel_size : sequence of two floats, optional
        Pixel size in µm along rows and columns.

    Returns
    -------
    list of str
        One sentence per problem, the most serious first; empty without problems.

    Examples
    --------
    >>> warnings_of({"edge_width": 6.1, "contrast": 90, "saturated": 0, "diameter": 20})
    ['Out of focus: edges are blurred by about 6 pixels.']
    """
    width, contrast, saturated, diameter = (
        quality[name] for name in ("edge_width", "contrast", "saturated", "diameter")
    )
    found = []
    if contrast < LEAST_CONTRAST:
        found.append("Empty or low contrast: hardly anything stands out from the noise.")
    # Edges of noise are not informative, and without nuclei no edges have to be sharp.
    elif diameter and width > WIDEST_EDGES * math.sqrt(diameter):
        found.append(f"Out of focus: edges are blurred by about {width:.0f} pixels.")
    if saturated > MOST_SATURATED:
        found.append(
            f"Saturated: pixels of the largest value cover {saturated:.0%} of the nuclei's area, "
            "so that intensities are too low there."
        )
    if diameter and not SMALLEST_DIAMETER <= diameter <= LARGEST_DIAMETER:
        side = "Small" if diameter < SMALLEST_DIAMETER else "Large"
        found.append(
            f"{side} nuclei: their median diameter is {diameter:.0f} pixels, and the bundled model "
            f"was trained on {SMALLEST_DIAMETER:.0f} to {LARGEST_DIAMETER:.0f}."
        )
    return [*found, *_pixel_size_warnings(diameter, pixel_size)]


def _pixel_size_warnings(diameter: float, pixel_size: Sequence[float] | None) -> list[str]:
    """Warn if the diameter in µm is too small or too large for nuclei, or pixels are elongated."""
    if not diameter or pixel_size is None:
        return []
    found = []
    if (longer := max(pixel_size) / min(pixel_size)) > MOST_OBLONG:
        found.append(
            f"Pixel size: pixels of {pixel_size[0]:.4g} by {pixel_size[1]:.4g} µm are {longer:.3g} "
            "times longer along one axis than along the other. Give --pixel-size."
        )
    wide = diameter * math.sqrt(pixel_size[0] * pixel_size[1])
    if SMALLEST_UM <= wide <= LARGEST_UM:
        return found
    return [
        *found,
        f"Pixel size: by {pixel_size[0]:.4g} by {pixel_size[1]:.4g} µm per pixel the median "
        f"nucleus is {wide:.3g} µm wide, and nuclei have {SMALLEST_UM:g} to {LARGEST_UM:g}. Is it "
        "that of the camera, without the objective? Give --pixel-size.",
    ]


def _windows(shape: tuple[int, int], factor: int) -> list[tuple[slice, slice]]:
    """Return the whole image or, for a large one, evenly spaced windows of bounded size."""
    if shape[0] * shape[1] <= _WHOLE_PIXELS:
        return [(slice(0, shape[0]), slice(0, shape[1]))]
    side, count = _WINDOW_SIDE * factor, _WINDOWS // factor
    rows, columns = (
        [slice(start, start + side) for start in _starts(length - side, count)] for length in shape
    )
    return [(row, column) for row in rows for column in columns]


def _starts(last: int, count: int) -> list[int]:
    """Return evenly spaced start positions."""
    return [int(last * (place + 0.5) / count) for place in range(count)] if last > 0 else [0]


def _in_grey(
    parts: Sequence[npt.NDArray[Any]], levels: npt.NDArray[Any] | None
) -> tuple[list[FloatImage], float, npt.NDArray[Any]]:
    """Convert parts of an image to grey in [0, 1].

    Returns
    -------
    parts : list of ndarray, shape (h, w), float32
    step : float
        Difference between adjacent intensities; 0 for floating-point images.
    levels : ndarray, shape (N,)
        Intensities of nuclei, scaled to the same range.
    """
    levels = np.zeros(0) if levels is None else np.asarray(levels, np.float64)
    grey = [_grey(part) for part in parts]
    low = min(float(part.min()) for part in grey)
    reach = max(float(part.max()) for part in grey) - low
    if reach <= 0:
        return [np.zeros_like(part) for part in grey], 0.0, np.zeros(0)
    step = 1 / reach if parts[0].dtype.kind in "bui" else 0.0
    scaled = [(part - np.float32(low)) / np.float32(reach) for part in grey]
    return scaled, step, (levels - low) / reach


def _grey(part: npt.NDArray[Any]) -> FloatImage:
    """Compute the mean of the channels."""
    colour = to_rgb(part)
    if part.ndim == 2 or part.shape[2] < 3:
        return colour[:, :, 0].astype(np.float32)
    grey = colour[:, :, 0].astype(np.float32)
    for channel in (1, 2):
        np.add(grey, colour[:, :, channel], out=grey)
    return np.divide(grey, 3, out=grey)


def _shrunk(window: FloatImage, factor: int) -> FloatImage:
    size = [max(1, length // factor) for length in window.shape[::-1]]
    return np.asarray(cv2.resize(window, size, interpolation=cv2.INTER_AREA), np.float32)


def _smoothed(window: FloatImage, sigma: float) -> FloatImage:
    return np.asarray(cv2.GaussianBlur(window, (0, 0), sigma), np.float32)


def _edge_width(windows: Sequence[FloatImage], coarse: Sequence[FloatImage], share: float) -> float:
    """Compute the width of the strongest edges, which cover a fraction of the pixels."""
    squares, products = [], []
    for window, smooth in zip(windows, coarse, strict=True):
        gradient, sharper = _gradient(smooth), _gradient(_smoothed(window, _FINE))
        squares.append((gradient[0] ** 2 + gradient[1] ** 2).ravel())
        products.append((gradient[0] * sharper[0] + gradient[1] * sharper[1]).ravel())
    square, product = np.concatenate(squares), np.concatenate(products)
    strong = square >= np.quantile(square[::_EVERY], 1 - share)
    changes = float(square[strong].sum()), float(product[strong].sum())
    # The gradient of an edge of width s under a Gaussian is 1 / sqrt(s² + sigma²).
    ratio = changes[1] / changes[0] if changes[0] else 0.0
    if ratio <= 1:
        return _NO_EDGES
    squared = (_COARSE**2 - (ratio * _FINE) ** 2) / (ratio**2 - 1)
    return min(math.sqrt(max(squared, 0.0)), _NO_EDGES)


def _gradient(image: FloatImage) -> tuple[FloatImage, FloatImage]:
    return (
        np.asarray(cv2.Sobel(image, cv2.CV_32F, 1, 0, ksize=1), np.float32),
        np.asarray(cv2.Sobel(image, cv2.CV_32F, 0, 1, ksize=1), np.float32),
    )


def _contrast(
    windows: Sequence[FloatImage],
    coarse: Sequence[FloatImage],
    step: float,
    levels: npt.NDArray[Any],
) -> float:
    values = np.concatenate([smooth.ravel()[::_EVERY] for smooth in coarse])
    low, high = np.percentile(values, (1, 99.8))
    residue = [cv2.filter2D(each, cv2.CV_32F, _NOISE).ravel()[::_EVERY] for each in windows]
    noise = float(np.median(np.abs(np.concatenate(residue)))) / _MAD
    # Quantization is noise too.
    noise = max(noise, step / math.sqrt(12))
    reach = float(high - low)
    if len(levels):
        reach = max(reach, abs(float(np.median(levels)) - float(np.median(values))))
    return min(reach / max(noise, _LEAST_NOISE), _MOST_CONTRAST)


def _saturated(windows: Sequence[FloatImage], step: float, covered: float) -> float:
    """Compute the area at the top of the range over the fraction of the image covered by nuclei."""
    values = np.concatenate([window.ravel() for window in windows])
    low, background, high = np.quantile(values[::_EVERY], (0.01, (1 - covered) / 2, 0.998))
    if not covered or background - low > (high - low) / 2:
        return 0.0
    top = float(np.mean(values > 1 - 1 / 128))
    # There is no accumulation if the next range, seven times as wide, has as many pixels.
    below = float(np.mean(values > 1 - max(1 / 16, 8 * step))) - top
    return min(top / covered, 1.0) if top > below else 0.0
