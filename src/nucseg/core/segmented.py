"""The nuclei of an image, in memory or not: what is measured, drawn and written of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Place:
    """Where a plane is in its file, counted from 0.

    Attributes
    ----------
    channel : int or None
        The one that was read; None where there is one, or all were.
    z, t : int or None
        Slice and time point; None where there is one, or slices were projected. `t` counts planes
        of which the file does not say what they are, as Bio-Formats does, which QuPath reads by.
    single : bool
        Whether the file has one of these axes alone, so that ImageJ opens it as a plain stack.
    """

    channel: int | None = None
    z: int | None = None
    t: int | None = None
    single: bool = False


class Windowed(Protocol):
    """Pixels that are read by windows: an array, or an image that is not in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, C)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels."""

    def __getitem__(self, window: tuple[slice, slice], /) -> npt.NDArray[Any]:
        """Pixels of some rows and columns."""


@dataclass(frozen=True)
class Part:
    """Some nuclei of an image, whole, in the part of it where they are.

    Attributes
    ----------
    labels : ndarray, shape (h, w), unsigned integer
        Their labels; 0 elsewhere, where other nuclei are too.
    origin : tuple of int
        Row and column of the part's upper left pixel in the image.
    first : int
        How many nuclei come before, in the order of the labels.
    """

    labels: npt.NDArray[np.unsignedinteger[Any]]
    origin: tuple[int, int] = (0, 0)
    first: int = 0


class InMemory:
    """A label image in memory, for those that are `Segmented`: all its nuclei are one part."""

    labels: npt.NDArray[np.unsignedinteger[Any]]
    place: Place | None = None

    @property
    def highest(self) -> int:
        """The highest label, 0 where there are no nuclei."""
        return int(self.labels.max(initial=0))

    @property
    def class_numbers(self) -> npt.NDArray[np.intp] | None:
        """None: nuclei have no classes."""
        return None

    def parts(self) -> Iterator[Part]:
        """Give all nuclei at once."""
        yield Part(self.labels)


class Segmented(Protocol):
    """What a format may write of an image; `nucseg.Segmentation` is one, `LabelImage` another."""

    @property
    def image(self) -> Windowed:
        """Pixels, shape (H, W) or (H, W, C)."""

    @property
    def labels(self) -> Windowed:
        """Label image, shape (H, W), uint16 or uint32."""

    @property
    def place(self) -> Place | None:
        """Where the plane is in its file, where that is a stack."""

    @property
    def highest(self) -> int:
        """The highest label, 0 where there are no nuclei."""

    def parts(self) -> Iterator[Part]:
        """All nuclei in the order of their labels, in one or more parts that fit in memory."""

    @property
    def scores(self) -> npt.NDArray[np.floating[Any]] | None:
        """How sure the model is of each nucleus, in the order of the labels, where known."""

    @property
    def probability(self) -> Windowed:
        """Of each pixel to lie in a nucleus, shape (H, W), float32, in [0, 1]."""

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Micrometres from pixel to pixel along rows and columns, where known."""

    @property
    def class_numbers(self) -> npt.NDArray[np.intp] | None:
        """Class of each nucleus, counted from 0, in the order of the labels; None without."""

    def measurements(self) -> Mapping[str, npt.NDArray[Any]]:
        """Columns of a table with a row per nucleus, in the order of the labels, or none."""
