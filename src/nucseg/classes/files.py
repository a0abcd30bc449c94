"""Classifiers as self-contained JSON files without code."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from nucseg.classes.classifier import Classifier
from nucseg.errors import InputError
from nucseg.files import atomic_write

_HOW = "Give a file that nucseg.classes.save or the web app wrote."


def to_json(classifier: Classifier) -> str:
    """Convert a classifier to JSON text."""
    return json.dumps(classifier.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def save(classifier: Classifier, path: str | Path) -> None:
    """Write a classifier to a JSON file, atomically.

    Parameters
    ----------
    classifier : Classifier
    path : str or Path

    Raises
    ------
    InputError
        The file cannot be written.
    """
    with atomic_write(Path(path)) as partial:
        partial.write_text(to_json(classifier), encoding="utf-8")


def load(path: str | Path) -> Classifier:
    """Read a classifier from a file that `save` or the web app wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Classifier

    Raises
    ------
    InputError
        The file cannot be read, or does not contain a classifier.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot read the classes {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise InputError(f"{path} is no file of classes: {error}. {_HOW}") from error
    return from_json(text, path)


def from_json(text: str, path: str | Path = "The text") -> Classifier:
    """Read a classifier from the text of a file that `save` or the web app wrote.

    Parameters
    ----------
    text : str
    path : str or Path
        Name of the file in error messages.

    Returns
    -------
    Classifier

    Raises
    ------
    InputError
        The text is not that of a classifier.
    """
    try:
        held = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is no file of classes: {error}. {_HOW}") from error
    if not isinstance(held, dict) or held.get("format") != "nucseg classes":
        raise InputError(f"{path} is no file of classes. {_HOW}")
    try:
        return Classifier.model_validate(held)
    except InputError as error:
        raise InputError(f"{path} is no usable file of classes: {error} {_HOW}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(
            f"{path} is no usable file of classes: {place}: {message}. {_HOW}"
        ) from error
