"""Importing TensorFlow without its notes about the machine, which hide what matters."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

from nucseg.errors import MissingExtraError


@contextmanager
def without_native_notes() -> Iterator[None]:
    """Hide what native code writes straight to standard error, before any log level counts."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def import_tensorflow() -> ModuleType:
    """Import TensorFlow quietly.

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
        raise MissingExtraError("Training", "train") from error
