"""Classes of nuclei by example: a classifier on measurements, from few nuclei that were marked.

``fit`` learns classes from marked nuclei, ``Classifier.predict`` gives every nucleus its class,
``save`` and ``load`` keep the classifier as a JSON file that explains itself.
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
