"""Label images from anywhere, as something that formats can write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from nucseg.core.labelling import whole_numbers
from nucseg.core.segmented import InMemory, Place
from nucseg.errors import InputError
from nucseg.export.runs import column_runs

UnsignedLabels = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class LabelImage(InMemory):
    """A label image without the image and the model that it comes from.

    Attributes
    ----------
    labels : ndarray, shape (H, W), uint16 or uint32
        0 background, other numbers nuclei.
    pixel_size : tuple of float or None
        Micrometres from pixel to pixel along rows and columns, where known.
    scores : None
        Nobody knows them.
    place : Place or None
        Where the plane is in its file, where that is a stack.
    """

    labels: UnsignedLabels
    pixel_size: tuple[float, float] | None = None
    scores: None = None
    place: Place | None = None

    @property
    def count(self) -> int:
        """Number of nuclei."""
        return len(column_runs(self.labels).labels)

    @property
    def image(self) -> NoReturn:
        """Raise InputError: there is none."""
        raise _lacking("the image")

    @property
    def probability(self) -> NoReturn:
        """Raise InputError: there is none."""
        raise _lacking("the probability map")

    def measurements(self) -> dict[str, npt.NDArray[Any]]:
        """Give no measurements, since there is no image to measure in."""
        return {}


def _lacking(what: str) -> InputError:
    return InputError(
        f"This format needs {what}, which a label image does not hold. Give another format, or "
        "segment the image with --save."
    )


def to_label_image(
    values: npt.NDArray[Any], pixel_size: tuple[float, float] | None = None
) -> LabelImage:
    """Take the pixels of an image file as labels.

    Parameters
    ----------
    values : ndarray, shape (H, W), whole numbers from 0 to 4,294,967,295
        Of any data type; ImageJ has no 32-bit integers and keeps large labels as floats.
    pixel_size : tuple of float, optional

    Returns
    -------
    LabelImage
        With the same numbers, so that nuclei keep their names.

    Raises
    ------
    InputError
        The values are colours, fractions, negative or too large.

    Examples
    --------
    >>> import numpy as np
    >>> to_label_image(np.array([[0, 9, 70_000]])).labels
    array([[    0,     9, 70000]], dtype=uint32)
    """
    if values.ndim != 2:
        raise InputError(
            f"Expected one number per pixel, got colours or channels: shape {values.shape}. "
            "Give a grey image whose values are the labels."
        )
    values = whole_numbers(values)
    high = values.max() if values.size else 0
    dtype = np.uint16 if high <= np.iinfo(np.uint16).max else np.uint32
    return LabelImage(values.astype(dtype), pixel_size)
