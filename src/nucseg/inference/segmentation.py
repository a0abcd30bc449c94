"""The nuclei of an image: what every front end gets and passes on."""

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
    """The nuclei of an image.

    Attributes
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
        What was segmented.
    labels : ndarray, shape (H, W), uint16, or uint32 where there are more than 65,535 nuclei
        0 background, 1…N nuclei.
    scores : ndarray, shape (N,), float32, in [0, 1]
        How sure the model is of each nucleus.
    probability : ndarray, shape (H, W), float32, in [0, 1]
        Of each pixel to lie in a nucleus.
    pixel_size : tuple of float or None
        Micrometres from pixel to pixel along rows and columns, where known.
    confidence : Confidence or None
        How sure the model is of the image as a whole, and at what scale it saw it; None where the
        nuclei do not come from a model.
    place : Place or None
        Where the plane is in its file, where that is a stack.
    classifier : Classifier or None
        What gives each nucleus its class, see `Model.with_classes`.
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
        """Say what there is in a line, without the pixels."""
        height, width = self.labels.shape
        size = "" if self.pixel_size is None else f", {self.pixel_size[0]:g} µm a pixel"
        nuclei = "1 nucleus" if self.count == 1 else f"{self.count:,} nuclei"
        return f"<Segmentation: {nuclei} in {height} × {width} pixels{size}>"

    @property
    def count(self) -> int:
        """Number of nuclei."""
        return len(self.scores)

    def measurements(self) -> Columns:
        """Measure each nucleus: columns of a table, one row per nucleus; see `measure`.

        With a classifier, ``class`` and ``class_probability`` follow.

        Raises
        ------
        InputError
            A measurement that the classifier needs is not there.
        """
        return dict(self._table) | (self.predicted.columns() if self.predicted else {})

    @property
    def class_numbers(self) -> npt.NDArray[np.intp] | None:
        """Class of each nucleus, counted from 0, shape (N,); None without a classifier."""
        return None if self.predicted is None else self.predicted.numbers

    @cached_property
    def predicted(self) -> Predicted | None:
        """Class of each nucleus with its probability; None without a classifier."""
        if self.classifier is None:
            return None
        return self.classifier.predict(self._table, pixel_size=self.pixel_size)

    @cached_property
    def _table(self) -> Columns:
        return measure(self.labels, self.image, scores=self.scores, pixel_size=self.pixel_size)

    def overlay(self) -> npt.NDArray[np.uint8]:
        """Draw the outlines of the nuclei on the image: an array of shape (H, W, 3)."""
        from nucseg.export.overlay import draw_overlay

        return draw_overlay(self.image, self.labels, classes=self.class_numbers)

    def _repr_html_(self) -> str:
        """Show the image with outlines, the count and the head of the table in a notebook."""
        from nucseg.export.notebook import notebook_html

        return notebook_html(self)

    def save(
        self,
        folder: str | Path,
        *,
        name: str = "image",
        formats: Sequence[str] = Segmenting().save,
    ) -> list[Path]:
        """Write the nuclei to files, each whole or not at all.

        Parameters
        ----------
        folder : str or Path
            Made where it is missing. Files of the same name in it are replaced.
        name : str
            Name of the image, without suffix.
        formats : sequence of str
            Formats to write, of `nucseg.export.FORMATS`.

        Returns
        -------
        list of Path
            The written files: one per format, and ``measurements.csv``.

        Raises
        ------
        InputError
            There is no such format, or the folder cannot be written.
        """
        from nucseg.export import save_formats
        from nucseg.export.tables import write_table

        table = Path(folder) / "measurements.csv"
        written = save_formats(self, Path(folder), name, formats)
        write_table(table, [{"image": [name] * self.count, **self.measurements()}])
        return [*written, table]
