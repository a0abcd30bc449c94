"""Files of a data set, in a folder or a zip archive, read by name without unpacking."""

from __future__ import annotations

import io
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError
from nucseg.files import walk
from nucseg.images import decode_image
from nucseg.images.colours import to_rgb

MAX_MEMBER = 2 << 30  # bytes; no image of a data set is larger
# Other methods can expand a few kilobytes to gigabytes in one step, which no limit stops.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_NAMES = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA"}
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Files:
    """Names and contents of the files below a folder or in a zip archive.

    Attributes
    ----------
    path : Path
        The folder or the zip archive.
    names : tuple of str
        Paths relative to `path`, sorted, with forward slashes; hidden files are skipped.
    read : callable
        ``read(name) -> bytes``, safe to call from several threads; raises InputError.
    """

    path: Path
    names: tuple[str, ...]
    read: Callable[[str], bytes]


def open_files(path: Path) -> Files:
    """List the files of a folder or of a zip archive.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        `path` does not exist, is a file but not a zip archive, or contains no files; or the
        archive is damaged or has members with paths outside it.
    """
    if path.is_dir():
        files = _open_folder(path)
    elif path.is_file():
        files = _open_zip(path)
    else:
        raise InputError(f"There is no folder or zip file {path}. Check the path.")
    if not files.names:
        raise InputError(f"{path} holds no files: expected images and their masks.")
    return files


def read_rgb(files: Files, name: str) -> npt.NDArray[np.generic]:
    """Read an image of a data set as RGB.

    Parameters
    ----------
    files : Files
    name : str
        One of the names in `files`.

    Returns
    -------
    ndarray, shape (H, W, 3), dtype of the file
        Grey is repeated, alpha is dropped.

    Raises
    ------
    InputError
        The image cannot be read, or contains other values than finite real numbers.
    MissingExtraError
        The compression of a TIFF file needs the ``formats`` extra.
    """
    pixels = decode_image(files.read(name), name)
    try:
        pixels = to_rgb(pixels)
    except InputError as error:
        raise InputError(f"{name} cannot be used: {error}") from error
    bad = int(np.count_nonzero(~np.isfinite(pixels).all(axis=2))) if pixels.dtype.kind == "f" else 0
    if bad:
        raise InputError(
            f"{name} holds NaN or infinite values, at {bad} pixels. Replace them, for instance by "
            "the background."
        )
    return np.ascontiguousarray(pixels)


def escapes(name: str) -> bool:
    """Return whether the name of an archive member points outside the target folder.

    Parameters
    ----------
    name : str
        Name as in the archive.

    Examples
    --------
    >>> [escapes(name) for name in ("a/b.png", "a/../b.png", "/etc/passwd", "C:/b.png")]
    [False, True, True, True]
    """
    path = PurePosixPath(name.replace("\\", "/"))
    drive = bool(path.parts) and path.parts[0].endswith(":")
    return path.is_absolute() or ".." in path.parts or drive


def check_members(path: Path, names: Iterable[str]) -> None:
    """Reject an archive with a member that would be unpacked outside the target folder.

    Raises
    ------
    InputError
        A member has an absolute path or one with ``..``.
    """
    bad = [name for name in names if escapes(name)]
    if bad:
        raise InputError(
            f"{path} is refused: its member {bad[0]!r} points outside the archive "
            f"({len(bad)} such in all). Expected relative names without '..'; get the archive from "
            "a source that you trust."
        )


def check_member(member: zipfile.ZipInfo, path: object, limit: int) -> None:
    """Reject a member of a zip archive by its declared properties, before it is read.

    Parameters
    ----------
    member : ZipInfo
    path : object
        The archive, for the message.
    limit : int
        Maximum size, in bytes.

    Raises
    ------
    InputError
        The member is larger, or its compression method cannot be read with a limit.
    """
    if member.file_size > limit:
        raise InputError(
            f"{member.filename} in {path} is refused: it would unpack to {member.file_size} bytes, "
            f"at most {limit} are read. Get the archive from a source that you trust, or take the "
            "file out."
        )
    if member.compress_type not in _METHODS:
        method = _NAMES.get(member.compress_type, f"method {member.compress_type}")
        raise InputError(
            f"{member.filename} in {path} is compressed by {method}: expected a zip file whose "
            "members are stored or deflated, as most programs write it. Unpack it, and give the "
            "folder."
        )


def read_member(archive: zipfile.ZipFile, name: str, limit: int = MAX_MEMBER) -> bytes:
    """Read a member of a zip archive in pieces, up to a size limit.

    Parameters
    ----------
    archive : ZipFile
    name : str
        One of its members.
    limit : int
        Maximum size, in bytes.

    Raises
    ------
    InputError
        The member is larger than `limit` or than its declared size, damaged, needs a password, or
        is compressed by a method other than deflate.
    """
    path = archive.filename
    member = archive.getinfo(name)
    check_member(member, path, limit)
    content = io.BytesIO()
    try:
        with archive.open(member) as file:
            # Reading everything at once would decompress before the size is checked.
            while piece := file.read(_CHUNK):
                content.write(piece)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise InputError(
            f"{name} in {path} is damaged ({error}). Get the archive again."
        ) from error
    except RuntimeError as error:  # zipfile raises this if a password is needed
        raise InputError(f"Cannot read {name} in {path}: {error}. Unpack it first.") from error
    return content.getvalue()


def _open_folder(path: Path) -> Files:
    names = [
        (folder / name).relative_to(path).as_posix()
        for folder, _, files in walk(path)
        for name in files
    ]

    def read(name: str) -> bytes:
        try:
            return (path / name).read_bytes()
        except OSError as error:
            raise InputError(f"Cannot read {path / name}: {error.strerror or error}.") from error

    return Files(path, _visible(names), read)


def _open_zip(path: Path) -> Files:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(
            f"{path} is neither a folder nor a readable zip file ({error}). "
            "Give the folder or the zip file of the data set; if it is a download, fetch it again."
        ) from error
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    check_members(path, names)
    lock = threading.Lock()  # one open file serves all threads

    def read(name: str) -> bytes:
        with lock:
            return read_member(archive, name)

    return Files(path, _visible(names), read)


def _visible(names: Iterable[str]) -> tuple[str, ...]:
    """Skip hidden files and those that macOS adds to archives."""
    return tuple(
        sorted(
            name
            for name in set(names)
            if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
        )
    )
