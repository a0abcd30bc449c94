"""User-defined classes of nuclei: a classifier on measurements, trained on a few marked nuclei.

``fit`` trains on marked nuclei, ``Classifier.predict`` classifies all nuclei, and ``save`` and
``load`` write and read the classifier as a self-contained JSON file.
"""

from nucseg.classes.classifier import (
    FEWEST_MARKS,
    MOST_CLASSES,
    Accuracy,
    Classifier,
    MarkedClass,
    Predicted,
    check_names,
)
from nucseg.classes.files import from_json, load, save, to_json
from nucseg.classes.training import fit

__all__ = [
    "FEWEST_MARKS",
    "MOST_CLASSES",
    "Accuracy",
    "Classifier",
    "MarkedClass",
    "Predicted",
    "check_names",
    "fit",
    "from_json",
    "load",
    "save",
    "to_json",
]
