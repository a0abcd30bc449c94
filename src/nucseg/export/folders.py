"""Formats that are folders: writing them whole or not at all, and taking them away."""

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
    """Give a folder to write in, and move it to its place once the block ends well.

    Parameters
    ----------
    path : Path
        Where the folder shall appear; what is there already is replaced.

    Yields
    ------
    Path
        An empty folder beside `path`. An error in the block deletes it, so that `path` holds the
        old content or the whole new one, or for a moment between the two nothing.

    Raises
    ------
    InputError
        The place cannot be written: no permission, no space left, a file where the folder should
        be.
    """
    partial = _beside(path, "new")
    try:
        # Of a run that was killed.
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
    """Delete a file, or a folder with all that it holds, where there is one.

    Parameters
    ----------
    path : Path
        A folder goes from its place at once, so that there is never a part of it.

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
    # The end of the name alone, since the name may be as long as names can be.
    short = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
    return path.with_name(f"{PARTIAL}{short}-{which}-{path.name[-40:]}")
