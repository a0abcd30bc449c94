"""Writing files whole or not at all, and telling whether one is whole or is another."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nucseg.errors import InputError

PARTIAL = ".partial-"

# What file systems say of a name, a path or a size that they do not take.
UNFIT = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EFBIG})


class UnfitFileError(InputError):
    """A file cannot be written because of its name, path or size; others in its place can."""


def user_cache() -> Path:
    """Folder of the user's for what can be made again, which may be missing."""
    if sys.platform == "win32":
        given, usual = "LOCALAPPDATA", "~/AppData/Local"
    elif sys.platform == "darwin":
        given, usual = "", "~/Library/Caches"
    else:
        given, usual = "XDG_CACHE_HOME", "~/.cache"
    # Unlike Path.home, no error where there is no home.
    return Path(os.environ.get(given) or os.path.expanduser(usual)) / "nucseg"  # noqa: PTH111


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
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
    UnfitFileError
        The file system does not take its name, path or size.
    """
    # The end of the name alone, since the name may be as long as names can be.
    short = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{short}-{path.name[-40:]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        kind = UnfitFileError if error.errno in UNFIT else InputError
        raise kind(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Find out before long work whether files can be written in a folder, and leave none there.

    Parameters
    ----------
    folder : Path
        Where it is missing, the first folder above it that is there is tried.

    Raises
    ------
    InputError
        No file can be written there.
    """
    there = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
    try:
        with tempfile.TemporaryFile(dir=there, prefix=PARTIAL):
            pass
    except OSError as error:
        raise InputError(
            f"Cannot write in {folder}: {error.strerror or error}. Give another output folder."
        ) from error


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Go through a folder and all folders below, those behind links too, but each only once.

    Parameters
    ----------
    folder : Path

    Yields
    ------
    folder : Path
    folders : list of str
        Names of the folders in it, in the order in which they come next; those taken out of
        the list are left out.
    files : list of str
        Names of the files in it.

    Raises
    ------
    InputError
        A folder cannot be read.
    """

    def stop(error: OSError) -> None:
        raise InputError(f"Cannot read the folder {error.filename}: {error.strerror}.") from error

    seen = set()
    for place, folders, files in os.walk(folder, onerror=stop, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # two links to one folder, or a link back up the tree
            folders.clear()
            continue
        seen.add(real)
        # Links last, so that a folder goes by its own name where it has one.
        folders.sort(key=lambda name: (Path(place, name).is_symlink(), name))
        yield Path(place), folders, files


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def png_fault(data: bytes) -> str | None:
    """Tell what is wrong with a PNG file by the checksums of its parts.

    Parameters
    ----------
    data : bytes
        Content of a file that begins as PNG files do.

    Returns
    -------
    str or None
        None where the file is whole. Parts that hold remarks are not looked at: some programs write
        them carelessly.
    """
    start, kind = 8, b""
    while kind != b"IEND":
        end = start + 12 + int.from_bytes(data[start : start + 4])
        if end > len(data):
            return "its end is missing"
        kind = data[start + 4 : start + 8]
        checksum = int.from_bytes(data[end - 4 : end])
        # The case of the first letter tells what pixels depend on from what they do not.
        if kind[:1].isupper() and zlib.crc32(data[start + 4 : end - 4]) != checksum:
            return "a checksum in it is wrong"
        start = end
    return None
