"""Label images of any origin, in a form that formats can write."""

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
    """A label image without its image and model.

    Attributes
    ----------
    labels : ndarray, shape (H, W), uint16 or uint32
        0 is background, other numbers are nuclei.
    pixel_size : tuple of float or None
        Pixel size along rows and columns in µm per pixel, if known.
    scores : None
        Scores are unknown.
    place : Place or None
        Position of the plane in its file, if the file is a stack.
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
        """Raise InputError: a label image has no image."""
        raise _lacking("the image")

    @property
    def probability(self) -> NoReturn:
        """Raise InputError: a label image has no probability map."""
        raise _lacking("the probability map")

    def measurements(self) -> dict[str, npt.NDArray[Any]]:
        """Return no measurements, because there is no image to measure."""
        return {}


def _lacking(what: str) -> InputError:
    return InputError(
        f"This format needs {what}, which a label image does not hold. Give another format, or "
        "segment the image with --save."
    )


def to_label_image(
    values: npt.NDArray[Any], pixel_size: tuple[float, float] | None = None
) -> LabelImage:
    """Convert the pixels of an image file to a label image.

    Parameters
    ----------
    values : ndarray, shape (H, W), whole numbers from 0 to 4,294,967,295
        Of any data type; ImageJ has no 32-bit integers and keeps large labels as floats.
    pixel_size : tuple of float, optional

    Returns
    -------
    LabelImage
        Label image with the same numbers, so that nuclei keep their names.

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
