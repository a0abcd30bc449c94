"""What a format is, and what it is given to write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Segmented(Protocol):
    """What a format may write of an image; `nucseg.Segmentation` is one."""

    @property
    def image(self) -> npt.NDArray[Any]:
        """Pixels, shape (H, W) or (H, W, C)."""

    @property
    def labels(self) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Label image, shape (H, W), uint16 or uint32."""

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Micrometres from pixel to pixel along rows and columns, where known."""


@dataclass(frozen=True)
class Format:
    """A kind of file that is written for each image.

    Attributes
    ----------
    name : str
        Its name on the command line, and the folder that its files go to.
    suffix : str
        Of its files.
    description : str
        What it holds, for people.
    write : callable
        ``write(segmented, path)`` writes the file, whole or not at all.
    """

    name: str
    suffix: str
    description: str
    write: Callable[[Segmented, Path], None]
