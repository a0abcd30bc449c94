"""Writing files whole or not at all, and telling one from another by its hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nucseg.errors import InputError

PARTIAL = ".partial-"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to, and move the file to its place once the block ends well.

    Parameters
    ----------
    path : Path
        Where the file shall appear; folders that are missing are made.

    Yields
    ------
    Path
        A file beside `path` with the same suffix. An error in the block deletes it, so that
        `path` holds the old content or the whole new one, never a part.

    Raises
    ------
    InputError
        The place cannot be written: no permission, no space left, a file where a folder should be.
    """
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
