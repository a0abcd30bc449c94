"""The segmentation of one image: label image, scores and measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.classes import Classifier, Predicted
from nucseg.config import Segmenting
from nucseg.core.segmented import InMemory, Place
from nucseg.images.preprocess import FloatImage
from nucseg.inference.confidence import Confidence
from nucseg.measure import Columns, measure


@dataclass(frozen=True, repr=False)
class Segmentation(InMemory):
    """The segmented nuclei of an image.

    Attributes
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
        Segmented image.
    labels : ndarray, shape (H, W), uint16, or uint32 for more than 65,535 nuclei
        Label image: 0 background, 1…N nuclei.
    scores : ndarray, shape (N,), float32, in [0, 1]
        Score of each nucleus.
    probability : ndarray, shape (H, W), float32, in [0, 1]
        Probability that each pixel is in a nucleus.
    pixel_size : tuple of float or None
        Pixel size in µm along rows and columns, if known.
    confidence : Confidence or None
        Confidence of the image as a whole, and its scale. None if the nuclei do not come from a
        model.
    place : Place or None
        Position of the plane in its file, if the file is a stack.
    classifier : Classifier or None
        Assigns a class to each nucleus, see `Model.with_classes`.
    """

    image: npt.NDArray[Any]
    labels: npt.NDArray[np.unsignedinteger[Any]]
    scores: FloatImage
    probability: FloatImage
    pixel_size: tuple[float, float] | None = None
    confidence: Confidence | None = None
    place: Place | None = None
    classifier: Classifier | None = None

    def __repr__(self) -> str:
        """Return the number of nuclei, the image size and the pixel size."""
        height, width = self.labels.shape
        size = "" if self.pixel_size is None else f", {self.pixel_size[0]:g} µm a pixel"
        nuclei = "1 nucleus" if self.count == 1 else f"{self.count:,} nuclei"
        return f"<Segmentation: {nuclei} in {height} × {width} pixels{size}>"

    @property
    def count(self) -> int:
        """Number of nuclei."""
        return len(self.scores)

    def measurements(self) -> Columns:
        """Measure each nucleus and return a table with one row per nucleus; see `measure`.

        With a classifier, the table also has the columns ``class`` and ``class_probability``.

        Raises
        ------
        InputError
            The classifier needs a measurement that is missing.
        """
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
        return measure(self.labels, self.image, scores=self.scores, pixel_size=self.pixel_size)

    def overlay(self) -> npt.NDArray[np.uint8]:
        """Draw the outlines of the nuclei on the image and return an array of shape (H, W, 3)."""
        from nucseg.export.overlay import draw_overlay

        return draw_overlay(self.image, self.labels, classes=self.class_numbers)

    def _repr_html_(self) -> str:
        """Show the image with outlines, the count and the first rows of the table in a notebook."""
        from nucseg.export.notebook import notebook_html

        return notebook_html(self)

    def save(
        self,
        folder: str | Path,
        *,
        name: str = "image",
        formats: Sequence[str] = Segmenting().save,
    ) -> list[Path]:
        """Write the nuclei to files. Each write is atomic.

        Parameters
        ----------
        folder : str or Path
            Output folder, created if it does not exist. Files with the same names are replaced.
        name : str
            Name of the image, without suffix.
        formats : sequence of str
            Formats to write, from `nucseg.export.FORMATS`.

        Returns
        -------
        list of Path
            The written files: one per format, and ``measurements.csv``.

        Raises
        ------
        InputError
            A format does not exist, or the folder is not writable.
        """
        from nucseg.export import save_formats
        from nucseg.export.tables import write_table

        table = Path(folder) / "measurements.csv"
        written = save_formats(self, Path(folder), name, formats)
        write_table(table, [{"image": [name] * self.count, **self.measurements()}])
        return [*written, table]
