"""Images that do not fit in memory: read, segmented, measured and written window by window.

The label image is stored in a file. Nuclei that a filter drops leave gaps between the labels in
that file; the labels are renumbered without gaps whenever a part of the file is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.classes import Classifier, Predicted
from nucseg.core.filters import keep_nuclei
from nucseg.core.segmented import Part, Place, Windowed
from nucseg.errors import InputError
from nucseg.files import PARTIAL
from nucseg.images.cached import cached
from nucseg.images.outliers import SeenRange, range_windows
from nucseg.images.preprocess import FloatImage, prepared_limits
from nucseg.images.sampling import sample_step
from nucseg.inference.confidence import Confidence
from nucseg.inference.finding import stitch
from nucseg.inference.segmenter import Model
from nucseg.inference.tiling import Slices, Stitcher
from nucseg.measure import Columns, is_grey, measure_tile, nearest_neighbours

# Side of the parts in which nuclei are measured and written, and maximum number of nuclei in one.
_PART, _NUCLEI = 2048, 65_536
# Bytes of an image in memory, per pixel, that the cache of decoded pixels may use here.
_CACHED_BYTES = 30
# Height in pixels of the bands in which pixels are sampled.
_BAND = 512


class FileCanvas:
    """An image in a file, initially all 0; implements `nucseg.inference.tiling.Canvas`.

    Parameters
    ----------
    path : Path
        File to create. It takes four bytes for each pixel that was written.
    shape : (height, width)
    dtype : dtype
        A dtype of four bytes.
    """

    def __init__(self, path: Path, shape: tuple[int, int], dtype: npt.DTypeLike = np.int32) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._file = path.open("w+b")
        self._file.truncate(shape[0] * shape[1] * self.dtype.itemsize)

    def close(self) -> None:
        """Close the file and delete it."""
        self._file.close()
        Path(self._file.name).unlink(missing_ok=True)

    def __getitem__(self, window: Slices) -> npt.NDArray[Any]:
        rows, columns, shape = self._bounds(window)
        part = np.empty(shape, self.dtype)
        for row, into in zip(rows, part, strict=True):
            self._seek(row, columns.start)
            self._file.readinto(into.data)
        return part

    def __setitem__(self, window: Slices, pixels: npt.NDArray[Any]) -> None:
        rows, columns, shape = self._bounds(window)
        part = np.ascontiguousarray(np.broadcast_to(pixels, shape), self.dtype)
        for row, values in zip(rows, part, strict=True):
            self._seek(row, columns.start)
            self._file.write(values.data)

    def _bounds(self, window: Slices) -> tuple[range, range, tuple[int, int]]:
        rows, columns = (
            range(*each.indices(length)) for each, length in zip(window, self.shape, strict=True)
        )
        return rows, columns, (len(rows), len(columns))

    def _seek(self, row: int, column: int) -> None:
        self._file.seek((row * self.shape[1] + column) * self.dtype.itemsize)


@dataclass(frozen=True)
class WindowedLabels:
    """The label image of the kept nuclei, read in windows.

    Attributes
    ----------
    canvas : FileCanvas
    number : ndarray, shape (K + 1,), uint16 or uint32
        New label for each label of the canvas, 0 for dropped nuclei.
    """

    canvas: FileCanvas
    number: npt.NDArray[np.unsignedinteger[Any]]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.canvas.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Unsigned integer: uint16, or uint32 for more than 65,535 nuclei."""
        return self.number.dtype

    def __getitem__(self, window: Slices) -> npt.NDArray[np.unsignedinteger[Any]]:
        return np.asarray(self.number[self.canvas[window]])


@dataclass(frozen=True)
class LargeSegmentation:
    """The nuclei of an image that is not in memory; as `nucseg.Segmentation`, but read in windows.

    Attributes
    ----------
    image : Windowed, shape (H, W) or (H, W, C)
    labels : Windowed, shape (H, W), uint16 or uint32
        Label image: 0 background, 1…N nuclei.
    scores : ndarray, shape (N,), float32
    boxes : ndarray, shape (N, 4), int64
        Bounding box of each nucleus: first row, first column, row and column after the last.
    pixel_size : tuple of float or None
        Pixel size in µm along rows and columns, if known.
    kept_probability : Windowed or None, shape (H, W), float32
    confidence : Confidence or None
    place : Place or None
        See `nucseg.Segmentation`.
    grey : bool
        Whether the image is stored as colour but is grey everywhere, see `nucseg.measure.is_grey`.
    classifier : Classifier or None
        See `nucseg.Segmentation`.
    """

    image: Windowed
    labels: Windowed
    scores: FloatImage
    boxes: npt.NDArray[np.int64]
    pixel_size: tuple[float, float] | None = None
    kept_probability: Windowed | None = None
    confidence: Confidence | None = None
    place: Place | None = None
    grey: bool = False
    classifier: Classifier | None = None

    @property
    def count(self) -> int:
        """Number of nuclei."""
        return len(self.scores)

    @property
    def highest(self) -> int:
        """Highest label, equal to the number of nuclei."""
        return self.count

    @property
    def probability(self) -> Windowed:
        """Probability that each pixel is in a nucleus, shape (H, W), float32.

        Raises
        ------
        InputError
            The probability map was not kept.
        """
        if self.kept_probability is None:
            raise InputError(
                "The probability map of this image was not kept. Segment it again, with "
                "keep_probability."
            )
        return self.kept_probability

    def parts(self) -> Iterator[Part]:
        """Iterate over parts of the image, each with a group of nuclei with consecutive labels."""
        for first, last in _divided(self.boxes):
            yield self._part(first, last)

    def _part(self, first: int, last: int) -> Part:
        boxes = self.boxes[first:last] if last > first else np.array([[0, 0, 1, 1]])
        (top, left), (bottom, right) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        labels = self.labels[slice(int(top), int(bottom)), slice(int(left), int(right))]
        wanted = (labels > first) & (labels <= last)
        return Part(np.where(wanted, labels, 0), (int(top), int(left)), first)

    def measurements(self) -> Columns:
        """Measure and classify each nucleus, as in `nucseg.Segmentation`."""
        return dict(self._table) | (self.predicted.columns() if self.predicted else {})

    @property
    def class_numbers(self) -> npt.NDArray[np.intp] | None:
        """Class of each nucleus, counted from 0, shape (N,); None without a classifier."""
        return None if self.predicted is None else self.predicted.numbers

    @cached_property
    def predicted(self) -> Predicted | None:
        """Class and class probability of each nucleus; None without a classifier."""
        if self.classifier is None:
            return None
        return self.classifier.predict(self._table, pixel_size=self.pixel_size)

    @cached_property
    def _table(self) -> Columns:
        parts = [self._measured(first, last) for first, last in _divided(self.boxes)]
        columns = {name: np.concatenate([part.pop(name) for part in parts]) for name in [*parts[0]]}
        rows, across = columns["centroid_row"], columns["centroid_column"]
        return columns | nearest_neighbours(rows, across, pixel_size=self.pixel_size)

    def _measured(self, first: int, last: int) -> Columns:
        part = self._part(first, last)
        (top, left), (height, width) = part.origin, part.labels.shape
        pixels = self.image[slice(top, top + height), slice(left, left + width)]
        return measure_tile(
            part.labels,
            pixels[..., 0] if self.grey else pixels,
            origin=part.origin,
            shape=self.image.shape[:2],
            scores=self.scores[first:last],
            pixel_size=self.pixel_size,
        )


def _divided(boxes: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Divide nuclei, in their order, into one or more groups that fit in memory."""
    if not len(boxes):
        yield 0, 0
    first = 0
    while first < len(boxes):
        some = boxes[first : first + _NUCLEI]
        top, left = np.minimum.accumulate(some[:, :2]).T
        bottom, right = np.maximum.accumulate(some[:, 2:]).T
        fitting = int(np.count_nonzero((bottom - top) * (right - left) <= _PART**2))
        last = first + max(fitting, 1)
        yield first, last
        first = last


@contextmanager
def segment_large(
    model: Model,
    image: Windowed,
    scratch: Path,
    *,
    pixel_size: tuple[float, float] | None = None,
    keep_probability: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[LargeSegmentation]:
    """Segment the nuclei of an image that is read window by window.

    Parameters
    ----------
    model : Model
        A model that does not resize all images to one size.
    image : Windowed, shape (H, W) or (H, W, C), any real dtype
    scratch : Path
        Folder for the label image, which exists only inside the ``with`` block and takes 4 bytes
        per pixel.
    pixel_size : tuple of float, optional
        Pixel size in µm along rows and columns, used for measurements.
    keep_probability : bool
        Also keep the probability that each pixel is in a nucleus: 4 more bytes per pixel.
    progress : callable, optional
        Called as ``progress(done, total)`` after each window.

    Yields
    ------
    LargeSegmentation
        Valid inside the ``with`` block.

    Raises
    ------
    InputError
        The image contains values that are not finite numbers, the model resizes all images to one
        size, or the folder is not writable.
    ModelError
        The output of the network does not match the description of the model.
    """
    if model.card.preprocessing.size is not None:
        raise InputError(
            f"The model {model.card.name} sees each image at {model.card.preprocessing.size}, "
            "and this image is too large for the memory. Use a model of the instance recipe, such "
            "as nuclei, or allow more memory (--max-memory)."
        )
    shape = (image.shape[0], image.shape[1])
    with ExitStack() as stack:
        canvas = FileCanvas(scratch / f"{PARTIAL}labels", shape)
        stack.callback(canvas.close)
        probability = None
        if keep_probability:
            probability = FileCanvas(scratch / f"{PARTIAL}probability", shape, np.float32)
            stack.callback(probability.close)
        image = cached(image, model.image_pixels * _CACHED_BYTES, model.window)
        limits, grey = _sampled(model, image)
        model = model.for_image(image, limits=limits, pixel_size=pixel_size)
        stitcher, scores = stitch(
            model, image, canvas, limits=limits, probability=probability, progress=progress
        )
        keep, labels = _kept(model, canvas, stitcher, scores)
        yield LargeSegmentation(
            image,
            labels,
            scores[keep],
            stitcher.boxes[keep],
            pixel_size,
            probability,
            model.confidence(scores, int(np.count_nonzero(keep))),
            grey=grey,
            classifier=model.classifier,
        )


def _sampled(model: Model, image: Windowed) -> tuple[SeenRange, bool]:
    """Compute intensity limits and `is_grey` of an image, the limits from evenly spaced pixels."""
    step = sample_step(image.shape)
    band = -(-_BAND // step) * step
    every = slice(None, None, step)
    columns = slice(0, image.shape[1])
    sample, grey = [], True
    for row in range(0, image.shape[0], band):
        read = image[slice(row, min(row + band, image.shape[0])), columns]
        # Uses all pixels, as in memory: a few coloured pixels may be between the nuclei.
        grey = grey and is_grey(read)
        # A view would keep the whole band in memory.
        sample.append(read[every, every].copy())
    limits = prepared_limits(
        np.concatenate(sample), model.card.preprocessing, windows=range_windows(image)
    )
    return limits, grey


def _kept(
    model: Model, canvas: FileCanvas, stitcher: Stitcher, scores: FloatImage
) -> tuple[npt.NDArray[np.bool_], WindowedLabels]:
    """Return which nuclei pass the filters, and the label image of these nuclei."""
    first, last = stitcher.boxes[:, :2], stitcher.boxes[:, 2:]
    at_edge = (first == 0).any(axis=1) | (last == canvas.shape).any(axis=1)
    keep = keep_nuclei(stitcher.areas, at_edge, scores, model.card.postprocessing)
    number = np.append(0, np.where(keep, np.cumsum(keep), 0))
    dtype = np.uint16 if number.max() <= np.iinfo(np.uint16).max else np.uint32
    return keep, WindowedLabels(canvas, number.astype(dtype))
