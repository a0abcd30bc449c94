"""Formats that are folders: atomic writing and removal."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nucseg.errors import InputError
from nucseg.files import PARTIAL


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Provide a folder to write in, and move it to `path` if the block succeeds.

    Parameters
    ----------
    path : Path
        Path of the final folder; an existing one is replaced.

    Yields
    ------
    Path
        An empty folder beside `path`. An error in the block deletes it, so `path` contains either
        the old content or the complete new content, or for a moment between the two nothing.

    Raises
    ------
    InputError
        The folder cannot be written: no permission, no space left, or a file at `path`.
    """
    partial = _beside(path, "new")
    try:
        # From a killed run.
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        if path.is_dir():
            remove(path)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove(path: Path) -> None:
    """Delete a file, or a folder with its content, if it exists.

    Parameters
    ----------
    path : Path
        A folder is moved away first, so that it never exists in part.

    Raises
    ------
    OSError
        It cannot be deleted.
    """
    if path.is_dir() and not path.is_symlink():
        aside = _beside(path, "old")
        shutil.rmtree(aside, ignore_errors=True)
        path.replace(aside)
        shutil.rmtree(aside)
    else:
        path.unlink(missing_ok=True)


def _beside(path: Path, which: str) -> Path:
    # Only the end of the name, because the name may have the maximum length already.
    short = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
    return path.with_name(f"{PARTIAL}{short}-{which}-{path.name[-40:]}")
