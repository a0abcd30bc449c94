"""A plane of an image file, read by windows."""

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
    """Which channel of a file was read, and why.

    Attributes
    ----------
    name : str
        Its name, its number counted from 0, or ``all``.
    number : int or None
        Its number, counted from 0; None of all.
    of : int
        Channels or colours of the file.
    by : {"only", "name", "asked", "first", "all", "colours"}
        It is the only one, its name is that of a nuclear stain, or it was asked for. Else all were
        read: no name says which shows nuclei, and the model sees the ``first`` of 2, the first 3
        of 4, or ``all`` 3; or they are ``colours``, which belong together.
    """

    name: str = "all"
    number: int | None = None
    of: int = 1
    by: Reason = "only"


@dataclass(frozen=True)
class Source:
    """A plane of an image file, read by windows.

    ``source[top:bottom, left:right]`` reads pixels, shape (h, w) or (h, w, C); ``source[:, :]``
    reads all. Several threads may read at once.

    Attributes
    ----------
    path : Path
        The file.
    plane : str
        What tells the plane from others of the file, such as ``t003_z012`` (counted from 0);
        empty where the file has one.
    shape : tuple of int
        (H, W) or (H, W, C), C at most 4.
    dtype : dtype
        Of the file, in the byte order of this computer.
    pixel_size : tuple of float or None
        Micrometres from one pixel to the next along rows (downwards) and columns; None where the
        file does not state one that is plausible.
    chosen : Chosen
        What was chosen of the file's channels, and why.
    lazy : bool
        Whether a window costs about as much memory as it has pixels. Else the first one decodes
        the whole plane, which stays in memory, as the format has no smaller parts.
    warnings : tuple of str
        What the file states and is not used, in sentences.
    place : Place or None
        Where the plane is in its file; None where that has no slices or time points.
    missing : bool
        Whether the file states the plane, but does not hold its pixels; to read it is an error.
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
        """Name of the channel that was chosen, its number, or ``all``."""
        return self.chosen.name

    def __getitem__(self, window: Window) -> Pixels:
        """Read a window.

        Parameters
        ----------
        window : tuple of two slices
            Rows and columns, without steps; what lies outside is left out, as NumPy does.

        Returns
        -------
        ndarray, shape (h, w) or (h, w, C)

        Raises
        ------
        InputError
            The file is gone, not readable any more, or damaged.
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
        # What a reader keeps for the next window, it has locked.
        return pixels if pixels.flags.writeable else pixels.copy()
