"""Interfaces of segmented images, in memory or not, for measuring, drawing and writing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Place:
    """Position of a plane in its file, counted from 0.

    Attributes
    ----------
    channel : int or None
        Channel that was read. None if the file has one channel, or all were read.
    z, t : int or None
        z-slice and time point. None if there is only one, or slices were projected. `t` also counts
        planes along unnamed axes, as Bio-Formats does, with which QuPath reads files.
    single : bool
        Whether the file has only one of these axes, so that ImageJ opens it as a plain stack.
    """

    channel: int | None = None
    z: int | None = None
    t: int | None = None
    single: bool = False


class Windowed(Protocol):
    """Pixels that are read in windows: an array, or an image that is not in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (H, W) or (H, W, C)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the pixels."""

    def __getitem__(self, window: tuple[slice, slice], /) -> npt.NDArray[Any]:
        """Return the pixels of a range of rows and columns."""


@dataclass(frozen=True)
class Part:
    """Some complete nuclei of an image, in the part of the image that contains them.

    Attributes
    ----------
    labels : ndarray, shape (h, w), unsigned integer
        Labels of these nuclei, 0 elsewhere, also in other nuclei.
    origin : tuple of int
        Row and column of the upper left pixel of the part in the image.
    first : int
        Number of nuclei before these, in the order of the labels.
    """

    labels: npt.NDArray[np.unsignedinteger[Any]]
    origin: tuple[int, int] = (0, 0)
    first: int = 0


class InMemory:
    """Base class for `Segmented` images in memory: all nuclei are one part."""

    labels: npt.NDArray[np.unsignedinteger[Any]]
    place: Place | None = None

    @property
    def highest(self) -> int:
        """Highest label, 0 without nuclei."""
        return int(self.labels.max(initial=0))

    @property
    def class_numbers(self) -> npt.NDArray[np.intp] | None:
        """None, because nuclei have no classes."""
        return None

    def parts(self) -> Iterator[Part]:
        """Yield all nuclei at once."""
        yield Part(self.labels)


class Segmented(Protocol):
    """Interface for writing formats; implemented by `nucseg.Segmentation` and `LabelImage`."""

    @property
    def image(self) -> Windowed:
        """Pixels, shape (H, W) or (H, W, C)."""

    @property
    def labels(self) -> Windowed:
        """Label image, shape (H, W), uint16 or uint32."""

    @property
    def place(self) -> Place | None:
        """Position of the plane in its file, if the file is a stack."""

    @property
    def highest(self) -> int:
        """Highest label, 0 without nuclei."""

    def parts(self) -> Iterator[Part]:
        """Iterate over all nuclei in the order of their labels, in parts that fit in memory."""

    @property
    def scores(self) -> npt.NDArray[np.floating[Any]] | None:
        """Score of each nucleus, in the order of the labels, if known."""

    @property
    def probability(self) -> Windowed:
        """Probability that each pixel is in a nucleus, shape (H, W), float32, in [0, 1]."""

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Pixel size in µm along rows and columns, if known."""

    @property
    def class_numbers(self) -> npt.NDArray[np.intp] | None:
        """Class of each nucleus from 0 on, in the order of the labels; None without classes."""

    def measurements(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return a table with one row per nucleus, in the order of the labels; it may be empty."""
