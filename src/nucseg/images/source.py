"""A plane of an image file, read in windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nucseg.core.segmented import Place
from nucseg.errors import InputError
from nucseg.images.faults import damaged, reading
from nucseg.images.units import PixelSize

Pixels = npt.NDArray[Any]


Window = tuple[slice, slice]


Reason = Literal["only", "name", "asked", "first", "all", "colours"]


@dataclass(frozen=True)
class Chosen:
    """The channel that is read, and the reason.

    Attributes
    ----------
    name : str
        Name of the channel, its number counted from 0, or ``all``.
    number : int or None
        Number of the channel, counted from 0; None for all.
    of : int
        Number of channels or colours in the file.
    by : {"only", "name", "asked", "first", "all", "colours"}
        ``only``: it is the only channel. ``name``: it has the name of a nuclear stain. ``asked``:
        the user chose it. Otherwise all channels are read, because no name is that of a nuclear
        stain: the model uses the ``first`` of 2, the first 3 of 4, or ``all`` 3; or they are
        ``colours``, which belong together.
    """

    name: str = "all"
    number: int | None = None
    of: int = 1
    by: Reason = "only"


@dataclass(frozen=True)
class Source:
    """A plane of an image file, read in windows.

    ``source[top:bottom, left:right]`` reads pixels, shape (h, w) or (h, w, C); ``source[:, :]``
    reads the whole plane. Several threads may read at once.

    Attributes
    ----------
    path : Path
        Path of the file.
    plane : str
        Name of the plane in the file, such as ``t003_z012`` (counted from 0); empty if the file has
        one plane.
    shape : tuple of int
        (H, W) or (H, W, C), C at most 4.
    dtype : dtype
        Data type of the file, in the byte order of this computer.
    pixel_size : tuple of float or None
        Pixel size in µm along rows (downwards) and columns. None if the file has no plausible
        pixel size.
    chosen : Chosen
        The chosen channel, and the reason.
    lazy : bool
        Whether a window takes about as much memory as its pixels. If not, the first window decodes
        the whole plane, which stays in memory, because the format has no smaller parts.
    warnings : tuple of str
        Sentences about metadata of the file that are not used.
    place : Place or None
        Position of the plane in its file; None if the file has no slices or time points.
    missing : bool
        Whether the plane is missing: the file declares it but does not contain its pixels. Reading
        it raises an error.
    """

    path: Path
    plane: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pixel_size: PixelSize | None
    chosen: Chosen
    lazy: bool
    read: Callable[[slice, slice], Pixels] = field(repr=False, compare=False)
    warnings: tuple[str, ...] = ()
    place: Place | None = None
    missing: bool = False

    @property
    def channel(self) -> str:
        """Name of the chosen channel, its number, or ``all``."""
        return self.chosen.name

    def __getitem__(self, window: Window) -> Pixels:
        """Read a window.

        Parameters
        ----------
        window : tuple of two slices
            Rows and columns, without steps. As in NumPy, parts outside the plane are ignored.

        Returns
        -------
        ndarray, shape (h, w) or (h, w, C)

        Raises
        ------
        InputError
            The file no longer exists, is no longer readable, or is damaged.
        ValueError
            A slice has a step.
        """
        spans = [range(n)[part] for n, part in zip(self.shape, window, strict=False)]
        if any(span.step != 1 for span in spans):
            raise ValueError(f"Expected slices without steps, got {window}.")
        shape = (*map(len, spans), *self.shape[2:])
        if self.missing:
            raise InputError(
                f"{self.path} states the plane {self.plane} and does not hold it. Save the file "
                "again, or leave the plane out."
            )
        if 0 in shape:
            return np.empty(shape, self.dtype)
        with reading(str(self.path)):
            pixels = self.read(*(slice(span.start, span.stop) for span in spans))
        if (pixels.shape, pixels.dtype) != (shape, self.dtype):
            raise damaged(str(self.path), "it has changed since it was opened")
        pixels = np.ascontiguousarray(pixels)
        # Pixels that a reader caches for the next window are read-only.
        return pixels if pixels.flags.writeable else pixels.copy()
