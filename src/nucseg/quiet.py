"""Import TensorFlow without its messages about the machine."""

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
    """Hide what native code writes to standard error, whatever the log level.

    If the block fails, it is printed after all, because it may explain the failure.
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
        Feature that needs it, as the subject of a sentence.

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
