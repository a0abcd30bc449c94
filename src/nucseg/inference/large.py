"""Images that do not fit in memory: read, segmented, measured and written window by window.

The label image grows in a file. Nuclei that a filter drops leave gaps between the numbers there,
which are closed whenever a part of it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError
from nucseg.export.format import Windowed
from nucseg.files import PARTIAL
from nucseg.inference.filters import keep_nuclei
from nucseg.inference.segmenter import Model
from nucseg.inference.tiling import Slices, Stitcher, tiles
from nucseg.measure import Columns, measure_tile, nearest_neighbours
from nucseg.preprocess import FloatImage, Limits, prepared_limits, sample_step

# Side of the parts in which nuclei are measured, and height of those in which pixels are sampled.
_PART = 2048
_BAND = 512


class FileCanvas:
    """A label image in a file, all 0 at first: a `nucseg.inference.tiling.Canvas`.

    Parameters
    ----------
    path : Path
        The file, which is made; it takes four bytes per pixel where something was written.
    shape : (height, width)
    """

    _DTYPE = np.dtype("<i4")

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._file = path.open("w+b")
        self._file.truncate(shape[0] * shape[1] * self._DTYPE.itemsize)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __getitem__(self, window: Slices) -> npt.NDArray[np.int32]:
        rows, columns, shape = self._bounds(window)
        part = np.empty(shape, self._DTYPE)
        for row, into in zip(rows, part, strict=True):
            self._seek(row, columns.start)
            into[:] = np.frombuffer(self._file.read(into.nbytes), self._DTYPE)
        return part.astype(np.int32, copy=False)

    def __setitem__(self, window: Slices, labels: npt.NDArray[Any]) -> None:
        rows, columns, shape = self._bounds(window)
        part = np.ascontiguousarray(np.broadcast_to(labels, shape), self._DTYPE)
        for row, values in zip(rows, part, strict=True):
            self._seek(row, columns.start)
            self._file.write(values.tobytes())

    def _bounds(self, window: Slices) -> tuple[range, range, tuple[int, int]]:
        rows, columns = (
            range(*each.indices(length)) for each, length in zip(window, self.shape, strict=True)
        )
        return rows, columns, (len(rows), len(columns))

    def _seek(self, row: int, column: int) -> None:
        self._file.seek((row * self.shape[1] + column) * self._DTYPE.itemsize)


@dataclass(frozen=True)
class WindowedLabels:
    """The label image of what is kept, read by windows.

    Attributes
    ----------
    canvas : FileCanvas
    number : ndarray, shape (K + 1,), uint16 or uint32
        The number of each label of the canvas, 0 of what is dropped.
    """

    canvas: FileCanvas
    number: npt.NDArray[np.unsignedinteger[Any]]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.canvas.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Unsigned integers of 16 bits, or of 32 above 65,535 nuclei."""
        return self.number.dtype

    def __getitem__(self, window: Slices) -> npt.NDArray[np.unsignedinteger[Any]]:
        return self.number[self.canvas[window]]


@dataclass(frozen=True)
class LargeSegmentation:
    """The nuclei of an image that is not in memory; as `nucseg.Segmentation`, read by windows.

    Attributes
    ----------
    image : Windowed, shape (H, W) or (H, W, C)
    labels : Windowed, shape (H, W), uint16 or uint32
        0 background, 1…N nuclei.
    scores : ndarray, shape (N,), float32
    boxes : ndarray, shape (N, 4), int64
        First row, first column, and the row and column behind the last of each nucleus.
    pixel_size : tuple of float or None
        Micrometres from pixel to pixel along rows and columns, where known.
    """

    image: Windowed
    labels: Windowed
    scores: FloatImage
    boxes: npt.NDArray[np.int64]
    pixel_size: tuple[float, float] | None = None

    @property
    def count(self) -> int:
        """Number of nuclei."""
        return len(self.scores)

    @property
    def probability(self) -> FloatImage:
        """Not kept: raises `InputError`."""
        raise InputError(
            "The probability map of an image of this size is not kept. Allow more memory "
            "(--max-memory), or leave out probability."
        )

    def measurements(self) -> Columns:
        """Measure each nucleus: columns of a table, one row per nucleus; see `nucseg.measure`."""
        shape = (self.image.shape[0], self.image.shape[1])
        parts: list[Columns] = []
        for part in tiles(shape, size=_PART, margin=0):
            numbers = self._beginning_in(part.core)
            if len(numbers) or not parts:
                parts.append(self._measured(numbers, shape))
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        order = np.argsort(columns["label"], kind="stable")
        columns = {name: values[order] for name, values in columns.items()}
        rows, across = columns["centroid_row"], columns["centroid_column"]
        return columns | nearest_neighbours(rows, across, pixel_size=self.pixel_size)

    def _beginning_in(self, core: Slices) -> npt.NDArray[np.intp]:
        """Numbers of the nuclei whose bounding box begins in a part of the image."""
        inside = np.ones(self.count, bool)
        for axis, each in enumerate(core):
            inside &= (self.boxes[:, axis] >= each.start) & (self.boxes[:, axis] < each.stop)
        return np.flatnonzero(inside) + 1

    def _measured(self, numbers: npt.NDArray[np.intp], shape: tuple[int, int]) -> Columns:
        boxes = self.boxes[numbers - 1] if len(numbers) else np.array([[0, 0, 1, 1]])
        (top, left), (bottom, right) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        window = (slice(int(top), int(bottom)), slice(int(left), int(right)))
        wanted = np.zeros(self.count + 1, bool)
        wanted[numbers] = True
        labels = self.labels[window]
        return measure_tile(
            np.where(wanted[labels], labels, 0),
            self.image[window],
            origin=(int(top), int(left)),
            shape=shape,
            scores=self.scores[numbers - 1],
            pixel_size=self.pixel_size,
        )


@contextmanager
def segment_large(
    model: Model,
    image: Windowed,
    scratch: Path,
    *,
    pixel_size: tuple[float, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[LargeSegmentation]:
    """Find the nuclei of an image that is read window by window.

    Parameters
    ----------
    model : Model
        One that works at the size of the image.
    image : Windowed, shape (H, W) or (H, W, C), any real dtype
    scratch : Path
        Folder for the label image while the block lasts: 4 bytes per pixel.
    pixel_size : tuple of float, optional
        Micrometres from pixel to pixel along rows and columns, for measurements.
    progress : callable, optional
        ``progress(done, total)``, of the windows.

    Yields
    ------
    LargeSegmentation
        To be used in the block.

    Raises
    ------
    InputError
        The image holds values that are no numbers, its model sees whole images at one size, or the
        folder cannot be written.
    ModelError
        The network does not give what the model's description says.
    """
    if model.card.preprocessing.size is not None:
        raise InputError(
            f"The model {model.card.name} sees each image at {model.card.preprocessing.size}, "
            "and this image is too large for the memory. Use a model of the instance recipe, such "
            "as nuclei, or allow more memory (--max-memory)."
        )
    shape = (image.shape[0], image.shape[1])
    path = scratch / f"{PARTIAL}labels"
    try:
        canvas = FileCanvas(path, shape)
        try:
            limits = _limits(model, image)
            at_scale = model.for_image(image, limits=limits)
            stitcher, scores = at_scale.stitch(image, canvas, limits=limits, progress=progress)
            yield _kept(model, image, canvas, stitcher, scores, pixel_size)
        finally:
            canvas.close()
    finally:
        path.unlink(missing_ok=True)


def _limits(model: Model, image: Windowed) -> Limits:
    """Intensities of 0 and 1 from evenly spaced pixels, as `prepared_limits` takes them."""
    step = sample_step(image.shape)
    band = -(-_BAND // step) * step
    every = slice(None, None, step)
    sample = [
        image[slice(row, min(row + band, image.shape[0])), slice(0, image.shape[1])][every, every]
        for row in range(0, image.shape[0], band)
    ]
    return prepared_limits(np.concatenate(sample), model.card.preprocessing)


def _kept(
    model: Model,
    image: Windowed,
    canvas: FileCanvas,
    stitcher: Stitcher,
    scores: FloatImage,
    pixel_size: tuple[float, float] | None,
) -> LargeSegmentation:
    first, last = stitcher.boxes[:, :2], stitcher.boxes[:, 2:]
    at_edge = (first == 0).any(axis=1) | (last == image.shape[:2]).any(axis=1)
    keep = keep_nuclei(stitcher.areas, at_edge, scores, model.card.postprocessing)
    number = np.append(0, np.where(keep, np.cumsum(keep), 0))
    dtype = np.uint16 if number.max() <= np.iinfo(np.uint16).max else np.uint32
    labels = WindowedLabels(canvas, number.astype(dtype))
    return LargeSegmentation(image, labels, scores[keep], stitcher.boxes[keep], pixel_size)
