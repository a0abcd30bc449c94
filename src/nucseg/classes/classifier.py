"""A classifier of nuclei and its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from nucseg.classes.features import (
    PixelSize,
    Table,
    Transform,
    feature_names,
    feature_values,
    transform_of,
)
from nucseg.classes.regression import Floats, class_probabilities
from nucseg.config import Frozen
from nucseg.errors import InputError

# Minimum number of marked nuclei per class.
FEWEST_MARKS = 3
# Minimum number of nuclei in an image for a comparison of its median with the training data, and
# the maximum difference in spreads.
_ENOUGH, _ALIKE = 5, 4.0
# Maximum number of classes, as many as there are distinguishable colours.
MOST_CLASSES = 8
_LONGEST = 40
# Names that table programs interpret as missing values.
_MISSING = ("na", "n/a", "nan", "none", "null", "<na>")

CLASS, PROBABILITY = "class", "class_probability"

ABOUT = (
    "A classifier of cell nuclei by their measurements, which nucseg segment --classes applies. "
    "Each feature is a column of measurements.csv, in pixels and in the image's own intensities. "
    "Of those with the transform log the natural logarithm is taken. Where pixel_size (micrometres "
    "along rows and columns) and that of an image are known, sizes are brought to pixel_size. The "
    "median is subtracted, the result divided by the spread (half the distance from percentile 16 "
    "to 84), and a missing value is 0. Multiplied by the weights, one for each class, summed up "
    "and with the intercepts added, e to the power of that, divided by the sum over all classes, "
    "is the probability of each class; the largest wins."
)

Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class MarkedClass(Frozen):
    """A class, and its number of marked nuclei."""

    name: str = Field(min_length=1, max_length=_LONGEST)
    marks: int = Field(ge=FEWEST_MARKS)


class Feature(Frozen):
    """A measurement with its scale and one weight per class."""

    name: str
    transform: Transform
    median: Number
    spread: float = Field(gt=0, allow_inf_nan=False)
    weights: tuple[Number, ...]


class Accuracy(Frozen):
    """Cross-validated accuracy: marked nuclei predicted by a classifier not trained on them.

    Attributes
    ----------
    right, of : int
    low, high : float
        95 % interval of the accuracy, after Wilson.
    commonest : float
        Accuracy of always predicting the class with the most marks.
    confusion : tuple of tuple of int
        Number of marked nuclei by marked class (rows) and predicted class (columns).
    method : str
        Method of cross-validation.
    """

    right: Count
    of: Count
    low: Number
    high: Number
    commonest: Number
    confusion: tuple[tuple[Count, ...], ...]
    method: str

    @property
    def share(self) -> float:
        """Fraction of the marked nuclei that were classified correctly."""
        return self.right / self.of

    def told(self) -> str:
        """Return the accuracy as text.

        Examples
        --------
        >>> Accuracy(right=19, of=20, low=0.764, high=0.991, commonest=0.5, confusion=(),
        ...          method="").told()
        '19 of 20 marked nuclei right (95 %, 95 % interval 76 to 99 %)'
        """
        return (
            f"{self.right} of {self.of} marked nuclei right ({100 * self.share:.0f} %, 95 % "
            f"interval {100 * self.low:.0f} to {100 * self.high:.0f} %)"
        )


@dataclass(frozen=True)
class Predicted:
    """Predicted classes of nuclei.

    Attributes
    ----------
    names : tuple of str
        Names of all classes.
    numbers : ndarray, shape (N,), integer
        Class of each nucleus, counted from 0.
    probabilities : ndarray, shape (N, K), float64
        Probability of each class.
    unlike : tuple of str
        Features used by the classifier whose median in the image is far from that of the training
        data, so that the classes are uncertain.
    """

    names: tuple[str, ...]
    numbers: npt.NDArray[np.intp]
    probabilities: Floats
    unlike: tuple[str, ...] = ()

    @property
    def classes(self) -> npt.NDArray[np.str_]:
        """Name of the class of each nucleus, shape (N,)."""
        return np.asarray(self.names)[self.numbers]

    @property
    def probability(self) -> Floats:
        """Probability of the predicted class of each nucleus, shape (N,)."""
        return np.asarray(self.probabilities[np.arange(len(self.numbers)), self.numbers])

    @property
    def margin(self) -> Floats:
        """Difference between the two highest probabilities, shape (N,); near 0 if uncertain."""
        ordered = np.sort(self.probabilities, axis=1)
        return np.asarray(ordered[:, -1] - ordered[:, -2])

    def warnings(self) -> list[str]:
        """Return a warning if the classes are uncertain, else an empty list."""
        if not self.unlike:
            return []
        return [
            f"Classes: {', '.join(self.unlike)} of these nuclei is far from where the classes were "
            "trained, as with another exposure or magnification. Mark nuclei of such images too."
        ]

    def counts(self) -> dict[str, int]:
        """Count the nuclei of each class."""
        found = np.bincount(self.numbers, minlength=len(self.names))
        return dict(zip(self.names, found.tolist(), strict=True))

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the table columns ``class`` and ``class_probability``."""
        return {CLASS: self.classes, PROBABILITY: self.probability}


class Classifier(Frozen):
    """A classifier of nuclei, trained on marked nuclei.

    Attributes
    ----------
    classes : tuple of MarkedClass
    features : tuple of Feature
    intercepts : tuple of float
        One intercept per class.
    pixel_size : tuple of float or None
        Pixel size in µm along rows and columns to which sizes in pixels refer, if known.
    strength, sparsity : float
        Regularization of the fit, see `nucseg.classes.regression.fit_weights`.
    images, nuclei : int
        Number of images with marked nuclei, and of nuclei used to scale the features.
    accuracy : Accuracy
    versions : dict of str to str
        Versions of the packages used for training.
    """

    format: Literal["nucseg classes"] = "nucseg classes"
    version: Literal[1] = 1
    about: str = ABOUT
    classes: tuple[MarkedClass, ...] = Field(min_length=2, max_length=MOST_CLASSES)
    features: tuple[Feature, ...] = Field(min_length=1)
    intercepts: tuple[Number, ...]
    pixel_size: tuple[float, float] | None = None
    strength: float
    sparsity: float
    images: Count
    nuclei: Count
    accuracy: Accuracy
    versions: dict[str, str]

    @model_validator(mode="after")
    def _of_one_piece(self) -> Classifier:
        check_names([each.name for each in self.classes])
        count = len(self.classes)
        if any(len(each) != count for each in (self.intercepts, *self._weights())):
            raise ValueError(f"each feature needs {count} weights, one for each class")
        names = [each.name for each in self.features]
        if feature_names(names) != names or len(set(names)) < len(names):
            raise ValueError(f"unknown or repeated features among {', '.join(names)}")
        wrong = [each.name for each in self.features if each.transform != transform_of(each.name)]
        if wrong:
            raise ValueError(f"the transform of {wrong[0]} must be {transform_of(wrong[0])}")
        if self.pixel_size is not None and min(self.pixel_size) <= 0:
            raise ValueError(f"pixel_size must be above 0, not {self.pixel_size}")
        return self

    def _weights(self) -> list[tuple[float, ...]]:
        return [each.weights for each in self.features]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(each.name for each in self.classes)

    def predict(self, table: Table, *, pixel_size: PixelSize | None = None) -> Predicted:
        """Classify each nucleus.

        Parameters
        ----------
        table : mapping of str to ndarray, shape (N,)
            Measurements, see `nucseg.measure.measure`.
        pixel_size : sequence of two floats, optional
            Pixel size of the image in µm along rows and columns.

        Returns
        -------
        Predicted

        Raises
        ------
        InputError
            A feature was not measured, or the image has a different number of channels.
        """
        names = [each.name for each in self.features]
        raw = feature_values(table, names, pixel_size=pixel_size, reference=self.pixel_size)
        median = np.array([each.median for each in self.features])
        spread = np.array([each.spread for each in self.features])
        weights = np.array([*self._weights(), self.intercepts])
        values = scaled(raw, median, spread)
        probabilities = class_probabilities(values, weights)
        return Predicted(
            self.names, probabilities.argmax(axis=1), probabilities, self._unlike(values)
        )

    def _unlike(self, values: Floats) -> tuple[str, ...]:
        if len(values) < _ENOUGH:
            return ()
        far = np.abs(np.median(values, axis=0)) > _ALIKE
        return tuple(
            each.name
            for each, is_far in zip(self.features, far, strict=True)
            if is_far and any(each.weights)
        )


def scaled(values: Floats, median: Floats, spread: Floats) -> Floats:
    """Standardize features; missing values become 0, like the median."""
    return np.nan_to_num((values - median) / spread, nan=0.0, posinf=0.0, neginf=0.0)


def check_names(names: Sequence[str]) -> None:
    """Check that the names of classes are unique and can be written to files.

    Raises
    ------
    InputError
        A name is empty, too long, not printable or duplicated, or there are too many names.
    """
    if len(names) > MOST_CLASSES:
        raise InputError(f"Expected at most {MOST_CLASSES} classes, got {len(names)}.")
    for place, name in enumerate(names):
        if not name or name != name.strip() or len(name) > _LONGEST or not name.isprintable():
            raise InputError(
                f"A class cannot be called {name!r}. Give it a name of 1 to {_LONGEST} characters."
            )
        if name.casefold() in _MISSING:
            raise InputError(
                f"A class cannot be called {name!r}, which programs read as a missing value. Call "
                "it otherwise, for example 'other'."
            )
        if name.casefold() in (each.casefold() for each in names[:place]):
            raise InputError(f"Two classes are called {name!r}. Give each a name of its own.")
