"""Train a classifier on marked nuclei."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg import __version__
from nucseg.classes.classifier import (
    FEWEST_MARKS,
    Accuracy,
    Classifier,
    Feature,
    MarkedClass,
    check_names,
    scaled,
)
from nucseg.classes.features import (
    PixelSize,
    Table,
    feature_names,
    feature_values,
    transform_of,
)
from nucseg.classes.regression import (
    LEAVE_ONE_OUT,
    PARTS,
    Floats,
    Integers,
    cross_validated,
    fit_weights,
    wilson_interval,
)
from nucseg.errors import InputError

# Chosen on artificial classes (by area, by intensity) of 16 images of BBBC039 and 4 of the Data
# Science Bowl, 20 marks each; see benchmarks/classes.py, which uses other images.
STRENGTH, SPARSITY = 5.0, 0.9


def fit(
    tables: Sequence[Table],
    marks: Sequence[Sequence[str]],
    *,
    classes: Sequence[str] = (),
    pixel_sizes: Sequence[PixelSize | None] = (),
) -> Classifier:
    """Train a classifier on marked nuclei.

    Parameters
    ----------
    tables : sequence of mapping from str to ndarray, shape (N,)
        Measurements of all nuclei of each image, see `nucseg.measure.measure`. Nuclei that are not
        marked are used to scale the features.
    marks : sequence of sequence of str
        For each image, the class of each nucleus; empty if the nucleus is not marked.
    classes : sequence of str
        Names of the classes in their order. Default: in order of first occurrence.
    pixel_sizes : sequence of (float, float) or None
        For each image, the pixel size in µm along rows and columns, if known. Sizes of all images
        are converted to the first known pixel size.

    Returns
    -------
    Classifier
        Classifier with its cross-validated accuracy.

    Raises
    ------
    InputError
        There are fewer than two classes, a class has fewer than 3 marks, a mark is not a class,
        the marks do not match the tables, or the images have different measurements.

    Notes
    -----
    The classifier is a multinomial logistic regression with an elastic net, see
    `nucseg.classes.regression.fit_weights`. Up to 30 marked nuclei are cross-validated by
    leave-one-out, more in 10 folds.

    Examples
    --------
    >>> table = {"area": np.array([50, 52, 55, 200, 210, 205, 60])}
    >>> marks = ["small", "small", "small", "large", "large", "large", ""]
    >>> classifier = fit([table], [marks])
    >>> classifier.predict(table).classes[-1].item(), classifier.accuracy.right
    ('small', 6)
    """
    sizes = list(pixel_sizes) or [None] * len(tables)
    if not len(tables) == len(marks) == len(sizes):
        raise InputError(
            f"Expected marks and pixel sizes for each of {len(tables)} tables, got {len(marks)} "
            f"and {len(sizes)}."
        )
    told = [str(mark) for each in marks for mark in each]
    names = list(classes) or list(dict.fromkeys(mark for mark in told if mark))
    counts = _counted(names, told)
    features, reference, raw = _features(tables, marks, sizes)
    median, spread = _scale(raw)
    marked = np.flatnonzero([bool(mark) for mark in told])
    numbers = np.array([names.index(told[place]) for place in marked], np.intp)
    examples = scaled(raw[marked], median, spread)
    weights = fit_weights(examples, numbers, len(names), strength=STRENGTH, sparsity=SPARSITY)
    return Classifier(
        classes=tuple(MarkedClass(name=name, marks=counts[name]) for name in names),
        features=tuple(
            Feature(
                name=name,
                transform=transform_of(name),
                median=float(median[place]),
                spread=float(spread[place]),
                weights=tuple(weights[place].tolist()),
            )
            for place, name in enumerate(features)
        ),
        intercepts=tuple(weights[-1].tolist()),
        pixel_size=reference,
        strength=STRENGTH,
        sparsity=SPARSITY,
        images=sum(any(map(bool, each)) for each in marks),
        nuclei=len(raw),
        accuracy=_accuracy(examples, numbers, len(names)),
        versions={
            "nucseg": __version__,
            "numpy": version("numpy"),
            "scipy": version("scipy"),
            "python": platform.python_version(),
        },
    )


def _counted(names: Sequence[str], told: Sequence[str]) -> Counter[str]:
    """Count the marks of each class; raise InputError if they are too few."""
    check_names(names)
    counts = Counter(mark for mark in told if mark)
    unknown = [mark for mark in counts if mark not in names]
    if unknown:
        raise InputError(
            f"A nucleus is marked as {unknown[0]!r}, which is none of the classes "
            f"{', '.join(names)}."
        )
    if len(names) < 2:
        raise InputError(f"Expected marks of two classes or more, got {len(names)}.")
    few = [name for name in names if counts[name] < FEWEST_MARKS]
    if few:
        raise InputError(
            f"The class {few[0]!r} has {counts[few[0]]} marked nuclei. Mark {FEWEST_MARKS} or more "
            "of each class."
        )
    return counts


def _features(
    tables: Sequence[Table],
    marks: Sequence[Sequence[str]],
    sizes: Sequence[PixelSize | None],
) -> tuple[list[str], tuple[float, float] | None, Floats]:
    """Return feature names, the reference pixel size, and the features of all nuclei."""
    features = feature_names(tables[0])
    if not features:
        raise InputError(
            "There is nothing to tell classes apart by: the table has none of the measurements "
            "that are features. Give it as nucseg.measure gives it."
        )
    known = [size for size in sizes if size is not None]
    reference = (float(known[0][0]), float(known[0][1])) if known else None
    parts = []
    for table, each, size in zip(tables, marks, sizes, strict=True):
        values = feature_values(table, features, pixel_size=size, reference=reference)
        if len(values) != len(each):
            raise InputError(
                f"Expected a class or an empty text for each of {len(values)} nuclei, got "
                f"{len(each)}."
            )
        parts.append(values)
    return features, reference, np.concatenate(parts)


def _scale(raw: Floats) -> tuple[Floats, Floats]:
    """Compute the median and spread of each feature, which are robust to outliers."""
    median, spread = np.zeros(raw.shape[1]), np.ones(raw.shape[1])
    for place, values in enumerate(raw.T):
        there: npt.NDArray[Any] = values[np.isfinite(values)]
        if len(there):
            low, median[place], high = np.percentile(there, (16, 50, 84))
            # A feature that is nearly constant keeps its scale.
            spread[place] = (high - low) / 2 or there.std() or 1.0
    return median, spread


def _accuracy(examples: Floats, numbers: Integers, count: int) -> Accuracy:
    predicted = cross_validated(examples, numbers, count, strength=STRENGTH, sparsity=SPARSITY)
    confusion = np.zeros((count, count), int)
    np.add.at(confusion, (numbers, predicted), 1)
    right, of = int(np.trace(confusion)), len(numbers)
    low, high = wilson_interval(right, of)
    one_by_one = "each marked nucleus left out once"
    return Accuracy(
        right=right,
        of=of,
        low=low,
        high=high,
        commonest=float(confusion.sum(axis=1).max() / of),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        method=one_by_one if of <= LEAVE_ONE_OUT else f"{PARTS}-fold cross-validation",
    )
