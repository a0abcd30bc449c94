"""What an earlier run left in the output folder, and what of it a new run removes.

Records say which files nucseg wrote for which image; nothing else is ever removed. It happens at
the end, once all new results are written, so that a run that is killed has lost nothing.
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

# In the folder of the records while a run replaces another; a resumed run goes on with that.
_MARK = ".replacing"

logger = logging.getLogger(__name__)


def begin(folder: Path, *, resume: bool) -> bool:
    """Note whether a run replaces what earlier ones left in its folder.

    Parameters
    ----------
    folder : Path
        Output of the run, with the folder of the records.
    resume : bool
        Whether the run completes another; it replaces too where that one was to replace, and was
        killed.

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
    """Remove what was half written when a process was killed.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    for place in (records.FOLDER, *FORMATS):
        # All found before the first goes, since it may be a folder.
        for leftover in list((folder / place).rglob(f"{PARTIAL}*")):
            remove(leftover)


def remove_replaced(
    folder: Path, images: Sequence[Input], formats: Sequence[str], *, replace: bool
) -> None:
    """Remove what earlier runs wrote and this one did not.

    Parameters
    ----------
    folder : Path
        Output of the run.
    images : sequence of Input
        All of the run, whose records are written.
    formats : sequence of str
        What the run wrote for each image.
    replace : bool
        As `begin` told. Else formats of the same results, and images that are not among `images`,
        are kept.

    Raises
    ------
    InputError
        Something cannot be removed.
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
    """Remove formats of an image that an earlier run wrote, and note that they are gone."""
    if path.suffix == BEGUN:  # a kill came between the record and this
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
    """Remove files, or folders that are formats, and the folders that are empty then."""
    for file in files:
        try:
            remove(file)
        except OSError as error:
            if error.errno not in UNFIT:  # else it was never written
                raise
            continue
        for parent in file.parents:
            if parent == folder:
                break
            with suppress(OSError):  # not empty, or not there
                parent.rmdir()


def _records(folder: Path) -> Iterator[Path]:
    """List records of images, and notes on those that a killed run was working on."""
    found = (folder / records.FOLDER).rglob("*")
    return (path for path in found if path.suffix in (RECORD, BEGUN))


def _stem(path: Path) -> str:
    """Path of a record without its ending, without regard to case, as some file systems are."""
    return os.fspath(path.with_name(path.name.removesuffix(path.suffix))).casefold()


def _name(folder: Path, path: Path, record: Record) -> str | None:
    """Name of the image of a record; None where it is not known or leads out of the folder."""
    place = path.relative_to(folder / records.FOLDER).as_posix().removesuffix(path.suffix)
    name = str(record.get("name", place))
    parts = PurePosixPath(name)
    return None if parts.is_absolute() or ".." in parts.parts or ":" in name else name


def _written(record: Record) -> list[str]:
    """List formats that may be there; older records name those of their own run alone."""
    names = [*record.get("written", []), *record.get("formats", [])]
    return [name for name in dict.fromkeys(names) if name in FORMATS]


def _results(folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    return [output_path(folder, name, each) for each in formats]
