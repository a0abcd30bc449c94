"""Download public data sets: resumable, verified, and unpacked safely."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nucseg.datasets.storage import check_member, check_members
from nucseg.errors import InputError
from nucseg.files import PARTIAL, sha256

if TYPE_CHECKING:
    import requests

Progress = Callable[[int, int], None]

ATTEMPTS = 4
CHUNK = 1 << 16
MAX_UNPACKED = 8 << 30  # bytes; no data set of the table below is larger
TIMEOUT = (10, 60)  # seconds to connect, and between two parts of a response
TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteDataset:
    """A public data set that is one zip file.

    Attributes
    ----------
    url : str
    file : str
        Name of the zip file; the data set is unpacked to a folder of this name without suffix.
    about : str
        Description, authors and licence.
    size : int or None
        Size of the zip file in bytes, if known.
    sha256 : str or None
        Hash of the zip file, if known. Without it, only the archive's own checksums and the size
        that the server declares are verified.
    """

    url: str
    file: str
    about: str
    size: int | None = None
    sha256: str | None = None


REGISTRY = {
    "dsb2018": RemoteDataset(
        url="https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip",
        file="stage1_train.zip",
        about="2018 Data Science Bowl, stage 1 training set (Broad Institute, BBBC038v1, CC0)",
        # As several public projects that downloaded it from there report, independently of each
        # other.
        size=82_923_446,
        sha256="dcb6edc2690f137406638b2309581a71522c4dff19157d118453b448dcddcb68",
    )
}


@dataclass(frozen=True)
class Download:
    """Result of a download.

    Attributes
    ----------
    path : Path
        The unpacked folder, or the zip file; `nucseg.datasets.reading.open_dataset` opens both.
    sha256 : str or None
        Hash of the zip file; None if the folder existed already.
    hash_known : bool
        Whether the hash was compared with a known one.
    """

    path: Path
    sha256: str | None
    hash_known: bool


class _Interrupted(Exception):  # noqa: N818 - caught in this module, never raised to callers
    """The transfer ended early, for a reason that may be temporary."""


def download_dataset(
    name: str,
    to: Path,
    *,
    url: str | None = None,
    unpack: bool = True,
    pause: float = 1.0,
    progress: Progress | None = None,
) -> Download:
    """Download a public data set into a folder.

    Parameters
    ----------
    name : str
        One of the names in `REGISTRY`.
    to : Path
        The folder; it is created if missing. An interrupted download leaves a ``.part`` file
        there, from which the next call resumes. Existing data sets are not downloaded again.
    url : str, optional
        Another address of the same zip file, such as a mirror.
    unpack : bool
        Whether to unpack the zip file and delete it; nucseg can also read the zip file itself.
    pause : float
        Seconds before the second attempt; the wait doubles with each further one.
    progress : callable, optional
        ``progress(done, total)`` in bytes.

    Returns
    -------
    Download

    Raises
    ------
    InputError
        The name is unknown; the server cannot be reached or refuses; the received file has the
        wrong size or hash or is not a valid zip file; or there is no space or permission to write.
    """
    if name not in REGISTRY:
        raise InputError(f"Unknown data set {name!r}. Expected one of {', '.join(REGISTRY)}.")
    remote = REGISTRY[name]
    archive = to / remote.file
    folder = archive.with_suffix("")
    if unpack and folder.is_dir():
        return Download(folder, None, hash_known=False)
    try:
        to.mkdir(parents=True, exist_ok=True)
        fetched = not archive.is_file()
        file = archive.with_name(archive.name + ".part") if fetched else archive
        if fetched:
            _fetch(url or remote.url, file, remote.size, pause, progress)
        digest = _verified(file, archive, remote)
        if fetched:
            file.replace(archive)
        if unpack:
            unpack_zip(archive, folder)
            if fetched:
                archive.unlink()
    except OSError as error:
        raise InputError(f"Cannot write to {to}: {error.strerror or error}.") from error
    return Download(folder if unpack else archive, digest, remote.sha256 is not None)


def unpack_zip(archive: Path, folder: Path, *, max_bytes: int = MAX_UNPACKED) -> None:
    """Unpack a zip file to a new folder; the folder is complete or absent.

    Parameters
    ----------
    archive : Path
    folder : Path
        Must not exist.
    max_bytes : int
        Maximum total size of the content of the archive.

    Raises
    ------
    InputError
        The archive is damaged, needs a password, is larger than permitted or than the free space,
        or has members that are links or would be unpacked outside the folder.
    OSError
        The folder cannot be written.
    """
    partial = folder.with_name(PARTIAL + folder.name)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as file:
            members = file.infolist()
            check_members(archive, (member.filename for member in members))
            size = _unpacked_size(archive, members, max_bytes)
            links = [m.filename for m in members if stat.S_ISLNK(m.external_attr >> 16)]
            if links:
                raise InputError(
                    f"{archive} is refused: its member {links[0]!r} is a link. "
                    "Get the archive from a source that you trust."
                )
            _check_space(folder.parent, size)
            file.extractall(partial)
        partial.replace(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise InputError(
            f"{archive} cannot be unpacked ({error}). Delete it and fetch it again."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unpacked_size(archive: Path, members: list[zipfile.ZipInfo], max_bytes: int) -> int:
    """Return the unpacked size in bytes, if all members can be read with a limit."""
    size = sum(member.file_size for member in members)
    if size > max_bytes:
        raise InputError(
            f"{archive} is refused: it would unpack to {size} bytes, at most {max_bytes} are "
            "allowed. Get the archive from a source that you trust."
        )
    for member in members:
        check_member(member, archive, max_bytes)
    return size


def _verified(file: Path, archive: Path, remote: RemoteDataset) -> str:
    """Verify a zip file and return its hash; delete a downloaded file that is not valid."""
    digest = sha256(file)
    fault = _fault(file, digest, remote)
    if fault is None:
        return digest
    advice = "It was there already: delete it, and it is fetched anew."
    if file != archive:
        file.unlink()
        advice = "It was deleted; try again, and if it happens again the server holds another file."
    raise InputError(f"{archive} is not what it should be: {fault.rstrip('.')}. {advice}")


def _fault(archive: Path, digest: str, remote: RemoteDataset) -> str | None:
    """Return how an archive differs from what is expected, None if it does not."""
    size = archive.stat().st_size
    if remote.size is not None and size != remote.size:
        return f"it has {size} bytes, expected {remote.size}"
    if remote.sha256 is not None and digest != remote.sha256:
        return f"its SHA-256 is {digest}, expected {remote.sha256}"
    try:
        with zipfile.ZipFile(archive) as file:
            _unpacked_size(archive, file.infolist(), MAX_UNPACKED)
            damaged = file.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        return f"it is no sound zip file ({error})"
    except InputError as error:
        return str(error)
    return f"its member {damaged} is damaged" if damaged else None


def _check_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise InputError(
            f"Not enough space in {folder}: {size} bytes are needed and {free} are free. "
            "Make room or choose another folder."
        )


def _fetch(url: str, part: Path, size: int | None, pause: float, progress: Progress | None) -> None:
    """Download a file in several attempts, each resuming where the previous one ended."""
    import requests

    with requests.Session() as session:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _transfer(session, url, part, size, progress)
                break
            except _Interrupted as error:
                logger.debug("Attempt %d at %s: %s", attempt, url, error)
                if attempt == ATTEMPTS:
                    kept = part.stat().st_size if part.exists() else 0
                    resumes = f": it goes on from the {kept} bytes that are here" if kept else ""
                    raise InputError(
                        f"Cannot fetch {url}: {error}. Check the network connection and the "
                        f"proxy settings, and run the command again{resumes}. Without a network, "
                        "fetch the file elsewhere and give nucseg the zip file itself."
                    ) from error
                time.sleep(pause * 2 ** (attempt - 1))
    _validator_file(part).unlink(missing_ok=True)


def _transfer(
    session: requests.Session, url: str, part: Path, size: int | None, progress: Progress | None
) -> None:
    """Download the missing part of a file in one request."""
    import requests

    have, headers = _range_headers(part)
    try:
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable and have:
                part.unlink()  # larger than the file, so it belongs to another one
                raise _Interrupted("the part that is here does not fit the file")
            _check_status(answer)
            have = _append_from(answer, have)
            total = have + int(answer.headers.get("Content-Length", 0))
            if size is not None and total not in (have, size):
                raise InputError(f"{url} has {total} bytes, expected {size}: it is another file.")
            _check_space(part.parent, total - have)
            _keep_validator(answer, part)
            with part.open("r+b" if have else "wb") as file:
                file.seek(have)
                for chunk in answer.iter_content(CHUNK):
                    have += len(chunk)
                    if have > (size or MAX_UNPACKED):
                        break
                    file.write(chunk)
                    if progress:
                        progress(have, max(total, have))
                file.truncate()
        _check_length(url, part, have, size)
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    ) as error:
        raise _Interrupted(_reason(error)) from error
    except requests.RequestException as error:
        raise InputError(f"Cannot fetch {url}: {error}. Check the address.") from error


def _check_status(answer: requests.Response) -> None:
    if answer.status_code in TRY_AGAIN:
        raise _Interrupted(f"the server answers {answer.status_code} {answer.reason}")
    if answer.status_code not in (200, 206):
        raise InputError(
            f"Cannot fetch {answer.url}: the server answers {answer.status_code} {answer.reason}. "
            "The file may have moved; look for its new address and give it with --url."
        )
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise InputError(
            f"{answer.url} answers with a web page and not with a zip file, as a login or a proxy "
            "does. Open the address in a browser to see what it says, or give another one with "
            "--url."
        )


def _check_length(url: str, part: Path, have: int, size: int | None) -> None:
    """Check whether a transfer is complete, independent of the length it declared."""
    if have > (size or MAX_UNPACKED):
        part.unlink()
        _validator_file(part).unlink(missing_ok=True)
        raise InputError(
            f"{url} sends more than {size or MAX_UNPACKED} bytes: it is another file. "
            "Nothing of it is kept."
        )
    if size is not None and have < size:
        raise _Interrupted(f"it ended after {have} of {size} bytes")


def _append_from(answer: requests.Response, have: int) -> int:
    """Return the file offset of the response: the part we have, or 0 if it is the whole file."""
    if answer.status_code != 206:
        return 0
    content_range = answer.headers.get("Content-Range", "")
    if not content_range.startswith(f"bytes {have}-"):
        raise InputError(
            f"{answer.url} answers with another part than asked for ({content_range!r} instead of "
            f"from byte {have} on). Delete the .part file and try again."
        )
    return have


def _range_headers(part: Path) -> tuple[int, dict[str, str]]:
    """Return the size of the part file, and headers for the rest if the file is unchanged."""
    headers = {"Accept-Encoding": "identity"}
    try:
        have = part.stat().st_size
        validator = json.loads(_validator_file(part).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return 0, headers
    if not have:
        return 0, headers
    return have, headers | {"Range": f"bytes={have}-", "If-Range": str(validator)}


def _validator_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _keep_validator(answer: requests.Response, part: Path) -> None:
    """Save the version of the file; without it a resumed download could mix two versions."""
    etag = answer.headers.get("ETag", "")
    # A weak tag does not guarantee the same bytes.
    validator = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
    if validator:
        _validator_file(part).write_text(json.dumps(validator), encoding="utf-8")
    else:
        with contextlib.suppress(FileNotFoundError):
            _validator_file(part).unlink()


def _reason(error: Exception) -> str:
    """Return the innermost cause of an error, without the wrappers of the libraries."""
    cause: BaseException = error
    while isinstance(inner := getattr(cause, "reason", None) or cause.__context__, BaseException):
        cause = inner
    return str(cause) or type(cause).__name__
