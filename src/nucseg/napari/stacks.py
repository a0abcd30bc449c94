"""The pixels of an image layer as planes to segment: one plane, or a stack with any axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError
from nucseg.inference.tiling import Slices

Index = tuple[int, ...]

COLOURS = ("red", "green", "blue")
# A longer axis is not a channel axis.
_MOST_CHANNELS = 8
# Number of channels that the network reads together, as colours.
_AS_COLOURS = 3


@dataclass(frozen=True)
class Channel:
    """Channel of an image to segment.

    Attributes
    ----------
    axis : int
        The axis of channels, counted from the first axis.
    index : int or None
        Index of the channel, counted from 0; None for all channels, as colours.
    """

    axis: int
    index: int | None


@dataclass(frozen=True)
class Stack:
    """The planes of an image.

    Attributes
    ----------
    data : array, shape (..., H, W) or, with `rgb`, (..., H, W, 3 or 4)
        Array of NumPy, Dask, Zarr or another library that supports slicing.
    rgb : bool
        Whether the last axis contains colours.
    channel : Channel or None
        None reads all colours; each position along other axes is a plane.

    Raises
    ------
    InputError
        The data have no rows and columns, or do not contain the channel.
    """

    data: Any
    rgb: bool = False
    channel: Channel | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.data.shape)
        if len(shape) - self.rgb < 2 or 0 in shape:
            raise InputError(f"Expected an image with rows and columns, got one of shape {shape}.")
        if self.channel not in (None, *channels(shape, rgb=self.rgb).values()):
            raise InputError(
                f"An image of shape {shape} has no {self.channel}. Choose the channel anew."
            )

    @property
    def axes(self) -> tuple[int, ...]:
        """Axes of the data that the labels have; the last two are rows and columns."""
        axes = range(len(self.data.shape) - self.rgb)
        return tuple(a for a in axes if self.channel is None or a != self.channel.axis)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the labels, (..., H, W)."""
        return tuple(self.data.shape[axis] for axis in self.axes)

    @property
    def indices(self) -> Iterator[Index]:
        """Indices of the planes in the labels, in order."""
        return iter(np.ndindex(*self.shape[:-2]))

    def plane(self, index: Index) -> Plane:
        """Return one of the planes, which is read when its pixels are requested."""
        return Plane(self, index)

    def read(self, index: Index, window: Slices) -> npt.NDArray[Any]:
        """Read the pixels of a window of a plane, shape (h, w) or (h, w, C)."""
        where: dict[int, int | slice] = dict(zip(self.axes, (*index, *window), strict=True))
        if self.channel is not None and self.channel.index is not None:
            where[self.channel.axis] = self.channel.index
        every = slice(None)
        key = tuple(where.get(axis, every) for axis in range(len(self.data.shape)))
        pixels = np.asarray(self.data[key])
        if self.channel is not None and self.channel.index is None:
            pixels = np.moveaxis(pixels, 0, -1)
        return np.ascontiguousarray(pixels)


@dataclass(frozen=True)
class Plane:
    """A plane of a stack, read in windows: a `nucseg.export.format.Windowed`."""

    stack: Stack
    index: Index

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, (H, W) or (H, W, C)."""
        stack = self.stack
        colours = (stack.data.shape[-1],) if stack.rgb else ()
        if stack.channel is not None:
            all_of_them = stack.channel.index is None
            colours = (stack.data.shape[stack.channel.axis],) if all_of_them else ()
        return (*stack.shape[-2:], *colours)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the pixels."""
        dtype: np.dtype[Any] = np.dtype(self.stack.data.dtype)
        return dtype

    def __getitem__(self, window: Slices) -> npt.NDArray[Any]:
        return self.stack.read(self.index, window)

    def pixels(self) -> npt.NDArray[Any]:
        """Read the whole plane."""
        return self[slice(None), slice(None)]


def channels(
    shape: tuple[int, ...], *, rgb: bool, names: tuple[str, ...] = ()
) -> dict[str, Channel | None]:
    """List the channels of an image to choose from, by their display names.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    rgb : bool
        Whether the last axis contains colours.
    names : tuple of str
        Names of the axes; by default they are numbered.

    Returns
    -------
    dict of str to Channel or None
        The first value is None: all colours, or every plane by itself.

    Examples
    --------
    >>> list(channels((5, 5, 3), rgb=True))
    ['all colours', 'red', 'green', 'blue']
    >>> list(channels((2, 40, 5, 5), rgb=False))
    ['each plane', 'axis 0: 0', 'axis 0: 1']
    """
    if rgb:
        colours = {name: Channel(len(shape) - 1, index) for index, name in enumerate(COLOURS)}
        return {"all colours": None, **colours}
    found: dict[str, Channel | None] = {"each plane": None}
    for axis, length in enumerate(shape[:-2]):
        name = names[axis] if names else f"axis {axis}"
        if 2 <= length <= _MOST_CHANNELS:
            found |= {f"{name}: {index}": Channel(axis, index) for index in range(length)}
        if length == _AS_COLOURS:
            found[f"{name}: all, as colours"] = Channel(axis, None)
    return found
