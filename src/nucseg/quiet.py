"""Importing TensorFlow without its notes about the machine, which hide what matters."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from nucseg.errors import MissingExtraError


@contextmanager
def without_native_notes() -> Iterator[None]:
    """Hide what native code writes straight to standard error, before any log level counts.

    Where the block fails it is shown after all, since it may say why.
    """
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except Exception:
            notes.seek(0)
            os.write(kept, notes.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def import_tensorflow(feature: str = "Training") -> ModuleType:
    """Import TensorFlow quietly.

    Parameters
    ----------
    feature : str
        What needs it, as the subject of a sentence.

    Raises
    ------
    MissingExtraError
        TensorFlow is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with without_native_notes():
            return import_module("tensorflow")
    except ImportError as error:
        raise MissingExtraError(feature, "train") from error
