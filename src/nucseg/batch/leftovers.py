"""Results of earlier runs in the output folder, and which of them a new run removes.

Records list which files nucseg wrote for which image; nothing else is ever removed. Files are
removed at the end, after all new results are written, so a killed run loses nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from nucseg.batch import records
from nucseg.batch.inputs import BEGUN, KEPT, RECORD, Input
from nucseg.batch.records import Record
from nucseg.errors import InputError
from nucseg.export import FORMATS, output_path
from nucseg.export.folders import remove
from nucseg.files import PARTIAL, UNFIT, atomic_write

# Marks, in the folder of the records, that a run replaces another; a resumed run continues this.
_MARK = ".replacing"

logger = logging.getLogger(__name__)


def begin(folder: Path, *, resume: bool) -> bool:
    """Note whether a run replaces the results of earlier runs in its folder.

    Parameters
    ----------
    folder : Path
        Output of the run, which contains the folder of the records.
    resume : bool
        Whether the run resumes another one. It still replaces earlier results if the killed run
        was to replace them.

    Returns
    -------
    bool

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    mark = folder / records.FOLDER / _MARK
    if not resume and any(_records(folder)):
        with atomic_write(mark) as partial:
            partial.touch()
    return mark.exists()


def clear_partial(folder: Path) -> None:
    """Remove partly written files of a killed process.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    for place in (records.FOLDER, *FORMATS):
        # Find all before removing the first, because it may be a folder.
        for leftover in list((folder / place).rglob(f"{PARTIAL}*")):
            remove(leftover)


def remove_replaced(
    folder: Path, images: Sequence[Input], formats: Sequence[str], *, replace: bool
) -> None:
    """Remove results that earlier runs wrote and this run did not.

    Parameters
    ----------
    folder : Path
        Output of the run.
    images : sequence of Input
        All images of the run, whose records are written.
    formats : sequence of str
        Formats that the run wrote for each image.
    replace : bool
        Return value of `begin`. If False, other formats of the same results, and images that are
        not among `images`, are kept.

    Raises
    ------
    InputError
        A file cannot be removed.
    """
    present = {_stem(records.record_path(folder, image)) for image in images}
    results = {path for image in images for path in _results(folder, image.name, list(FORMATS))}
    others = set()
    try:
        for path in list(_records(folder)):
            record = records.read_json(path)
            name = _name(folder, path, record)
            if _stem(path) in present:
                valid = list(formats) if replace else record.get("formats", [])
                _remove_formats(folder, path, record, name, valid)
            elif replace and name is not None:
                files = _results(folder, name, _written(record))
                stem = path.name.removesuffix(path.suffix)
                kept = [path.with_name(f"{stem}{end}") for end in KEPT if end != path.suffix]
                left = [each for each in files if each not in results]
                _remove_files(folder, [*left, *kept, path])
            else:
                others.add(_stem(path))
        (folder / records.FOLDER / _MARK).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"Cannot remove what an earlier run left in {folder}: {error.strerror}. Give another "
            "output folder."
        ) from error
    if others:
        logger.warning(
            "%s also holds results of %d images that are not among these inputs. They are not in "
            "the tables; a run without --resume removes them.",
            folder,
            len(others),
        )


def _remove_formats(
    folder: Path, path: Path, record: Record, name: str | None, valid: Sequence[str]
) -> None:
    """Remove formats of an image that an earlier run wrote, and update its record."""
    if path.suffix == BEGUN:  # the run was killed between writing the record and this
        path.unlink()
        return
    gone = [each for each in _written(record) if each not in valid]
    if not gone or name is None:
        return
    _remove_files(folder, _results(folder, name, gone))
    left = {"formats": [each for each in record.get("formats", []) if each in valid]}
    about = {**record, **left, "written": [each for each in _written(record) if each in valid]}
    records.write_json(path, about)


def _remove_files(folder: Path, files: Sequence[Path]) -> None:
    """Remove files, or folders of a format, and then the folders that are empty."""
    for file in files:
        try:
            remove(file)
        except OSError as error:
            if error.errno not in UNFIT:  # otherwise it was never written
                raise
            continue
        for parent in file.parents:
            if parent == folder:
                break
            with suppress(OSError):  # not empty, or missing
                parent.rmdir()


def _records(folder: Path) -> Iterator[Path]:
    """List records of images, and notes on images that a killed run was processing."""
    found = (folder / records.FOLDER).rglob("*")
    return (path for path in found if path.suffix in (RECORD, BEGUN))


def _stem(path: Path) -> str:
    """Return the path of a record without suffix, in lower case for case-insensitive systems."""
    return os.fspath(path.with_name(path.name.removesuffix(path.suffix))).casefold()


def _name(folder: Path, path: Path, record: Record) -> str | None:
    """Return the name of a record's image; None if it is unknown or leads out of the folder."""
    place = path.relative_to(folder / records.FOLDER).as_posix().removesuffix(path.suffix)
    name = str(record.get("name", place))
    parts = PurePosixPath(name)
    return None if parts.is_absolute() or ".." in parts.parts or ":" in name else name


def _written(record: Record) -> list[str]:
    """List formats that may exist; older records list only the formats of their own run."""
    names = [*record.get("written", []), *record.get("formats", [])]
    return [name for name in dict.fromkeys(names) if name in FORMATS]


def _results(folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    return [output_path(folder, name, each) for each in formats]
