"""Segment many images into a folder of results, so that nothing is lost when a run breaks off.

Each image leaves, next to its results, a record in ``OUTPUT/.nucseg/``: what it was, how it went
and its measurements. The record is written last and tells that the image is done. The
tables are put together from the records once all images are.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256 as new_hash
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nucseg import __version__
from nucseg.config import Reading, Segmenting
from nucseg.errors import InputError, MissingExtraError
from nucseg.export import FORMATS, check_formats, output_files, save_formats
from nucseg.export.folders import remove
from nucseg.export.run_record import write_run_record
from nucseg.export.tables import Table, write_table
from nucseg.files import PARTIAL, sha256, whole_file
from nucseg.images import Source, files_of, open_image, read_plane
from nucseg.inference.inputs import Input, find_inputs
from nucseg.inference.large import LargeSegmentation, segment_large
from nucseg.inference.segmentation import Segmentation
from nucseg.inference.segmenter import Model
from nucseg.inference.tiling import fits_memory

IMAGES = "images.csv"
MEASUREMENTS = "measurements.csv"
RUN = "run.json"
RECORDS = ".nucseg"

# What a library may raise on an image that nobody thought of; it shall not stop the others.
_UNEXPECTED = (
    ArithmeticError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    cv2.error,
)

Record = dict[str, Any]
_OUTCOME = ("status", "nuclei", "seconds", "error")

logger = logging.getLogger(__name__)


class _ImageError(Exception):
    """An image that cannot be segmented, told from an output that cannot be written."""


@dataclass(frozen=True)
class Outcome:
    """How it went with one image: a row of ``images.csv``.

    Attributes
    ----------
    path : str
        The image, as the user named it.
    status : {"ok", "empty", "failed"}
        With nuclei, without any, or not segmented.
    nuclei : int
        Their number.
    seconds : float
        Time that the image took.
    error : str
        Why it failed, else empty.
    plane : str
        Which of the image's planes, if it has several.
    """

    path: str
    status: str
    nuclei: int
    seconds: float
    error: str
    plane: str = ""


class _Files:
    """Opens and hashes each file once for all of its planes, which come one after the other."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.sha256 = lru_cache(maxsize=1)(_sha256)
        self.status = lru_cache(maxsize=1)(_status)
        self._open = lru_cache(maxsize=1)(
            lambda path: open_image(path, channel=reading.channel, project=reading.project)
        )

    def source(self, image: Input) -> Source:
        for source in self._open(image.path):
            if source.plane == image.plane:
                return source
        raise InputError(f"{image.path} has changed since the run began. Start the run again.")


def segment_files(
    inputs: Sequence[str | Path],
    output: str | Path,
    model: Model,
    *,
    formats: Sequence[str] = Segmenting().save,
    reading: Reading | None = None,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
    command: Sequence[str] = (),
) -> list[Outcome]:
    """Segment images into a folder.

    Writes ``<format>/<name>`` for each image and format, ``measurements.csv`` (a row per nucleus),
    ``images.csv`` (a row per image) and ``run.json``, each whole or not at all. Results of
    an earlier run with the same names are replaced, all else in the folder is left alone.

    Parameters
    ----------
    inputs : sequence of str or Path
        Files, folders and patterns; see `find_inputs`.
    output : str or Path
        Folder for the results, made where it is missing.
    model : Model
    formats : sequence of str
        Names of `nucseg.export.FORMATS`.
    reading : Reading, optional
        Which channel, and what becomes of slices. Each plane of a file is an image of its own.
    resume : bool
        Keep the results of images that an earlier run has done with the same model, settings and
        version of nucseg, and that did not change since; failed ones are tried again.
    progress : callable, optional
        Called with the number of images done and of all.
    command : sequence of str
        The command that was given, for ``run.json``.

    Returns
    -------
    list of Outcome
        One per image, in the order of the inputs. An image that cannot be segmented fails, the
        others go on.

    Raises
    ------
    InputError
        There are no images, no such format, a file that is no result of nucseg's would be
        replaced, or the output cannot be written; results so far stay.
    ModelError
        The network does not run.
    """
    folder = Path(output)
    check_formats(formats)
    reading = reading or Reading()
    images = find_inputs(inputs, folder, reading)
    files = _Files(reading)
    _check_own(folder, images, formats)
    _make_ready(folder)
    run = _describe_run(model, images, formats, command) | {"reading": reading.model_dump()}
    write_run_record(folder / RUN, run)
    report = progress or (lambda _done, _total: None)
    outcomes = []
    for done, image in enumerate(images):
        report(done, len(images))
        record = _finished(image, folder, model, formats, files) if resume else None
        if record is None:
            record = _process(image, folder, model, formats, files)
        outcome = {key: record[key] for key in _OUTCOME}
        outcomes.append(Outcome(path=str(image.path), plane=image.plane, **outcome))
    report(len(images), len(images))
    _write_tables(folder, images, outcomes)
    write_run_record(folder / RUN, {**run, "finished": True, **_what_was_read(folder, images)})
    return outcomes


def _check_own(folder: Path, images: Sequence[Input], formats: Sequence[str]) -> None:
    """Refuse to replace files that are not of an earlier run, such as labels drawn by hand."""
    if (folder / RECORDS).is_dir():
        return
    tables = [folder / table for table in (IMAGES, MEASUREMENTS, RUN)]
    results = (file for image in images for file in output_files(folder, image.name, formats))
    for file in (*tables, *results):
        if os.path.lexists(file):
            raise InputError(
                f"{file} would be replaced, and it is not of an earlier run of nucseg segment. "
                "Give another output folder, or move the file."
            )


def _make_ready(folder: Path) -> None:
    """Clear what a killed run left half done, and tables that tell of other results."""
    try:
        # First of all: it marks the folder as nucseg's own.
        (folder / RECORDS).mkdir(parents=True, exist_ok=True)
        for place in (RECORDS, *FORMATS):
            # All found before the first goes, since it may be a folder.
            for leftover in list((folder / place).rglob(f"{PARTIAL}*")):
                remove(leftover)
        for leftover in folder.glob(f"{PARTIAL}*"):
            leftover.unlink(missing_ok=True)
        for table in (IMAGES, MEASUREMENTS, RUN):
            (folder / table).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"Cannot write in {folder}: {error.strerror}. Give another output folder."
        ) from error


def _process(
    image: Input, folder: Path, model: Model, formats: Sequence[str], files: _Files
) -> Record:
    """Segment one image, write its results and then its record."""
    record_path = _record_path(folder, image)
    results = output_files(folder, image.name, formats)
    _remove([record_path, _measurements_path(folder, image), *results])
    start = time.perf_counter()
    record: Record = {"status": "failed", "nuclei": 0}
    try:
        record |= _segment(image, folder, model, formats, files)
    except (_ImageError, OSError, *_UNEXPECTED) as error:
        logger.debug("%s failed", image.path, exc_info=True)
        _remove(results)
        kind = "" if isinstance(error, _ImageError) else f"{type(error).__name__}: "
        record["error"] = f"{kind}{error}"
    record["seconds"] = round(time.perf_counter() - start, 3)
    with whole_file(record_path) as partial:
        partial.write_text(json.dumps(record), encoding="utf-8")
    return record


def _segment(
    image: Input, folder: Path, model: Model, formats: Sequence[str], files: _Files
) -> Record:
    fingerprint = _fingerprint(image, model, files)
    with ExitStack() as stack:
        try:
            source = files.source(image)
            segmentation = stack.enter_context(_segmented(source, model, formats, folder / RECORDS))
            measurements = segmentation.measurements()
        except (InputError, MissingExtraError) as error:
            raise _ImageError(str(error)) from error
        save_formats(segmentation, folder, image.name, formats)
    columns: dict[str, Any] = dict(measurements)
    with whole_file(_measurements_path(folder, image)) as partial:
        np.savez(partial, **columns)
    return {
        "status": "ok" if segmentation.count else "empty",
        "nuclei": segmentation.count,
        "error": "",
        "sha256": files.sha256(image.path),
        "channel": source.channel,
        "fingerprint": fingerprint,
        "formats": list(formats),
    }


@contextmanager
def _segmented(
    source: Source, model: Model, formats: Sequence[str], scratch: Path
) -> Iterator[Segmentation | LargeSegmentation]:
    """Find the nuclei of an image in memory or, where it is too large, window by window."""
    if fits_memory(source.shape, model.window):
        read = read_plane(source)
        yield model.segment(read.pixels, pixel_size=read.pixel_size)
        return
    whole = [each.name for each in check_formats(formats) if not each.windowed]
    if whole:
        raise InputError(
            f"An image of {source.shape[0]} by {source.shape[1]} pixels is too large for the "
            f"memory to be written as {' and '.join(whole)}. Allow more (--max-memory), or leave "
            f"{'it' if len(whole) == 1 else 'them'} out."
        )
    with segment_large(model, source, scratch, pixel_size=source.pixel_size) as segmentation:
        yield segmentation


def _remove(files: Sequence[Path]) -> None:
    for file in files:
        with suppress(OSError):
            remove(file)


def _record_path(folder: Path, image: Input) -> Path:
    return folder / RECORDS / f"{image.name}.json"


def _measurements_path(folder: Path, image: Input) -> Path:
    return folder / RECORDS / f"{image.name}.npz"


def _read_record(folder: Path, image: Input) -> Record:
    try:
        record: Record = json.loads(_record_path(folder, image).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record


def _fingerprint(image: Input, model: Model, files: _Files) -> Record:
    """Say what a result depends on; it can be kept while this is the same."""
    return {
        "nucseg": __version__,
        "model": model.card.model_dump(mode="json"),
        "reading": files.reading.model_dump(),
        **files.status(image.path),
    }


def _status(path: Path) -> Record:
    """Size and time of the last change of all files of an image."""
    try:
        found = [file.stat() for file in files_of(path)]
    except OSError:
        return {}
    modified = max((status.st_mtime_ns for status in found), default=0)
    return {"bytes": sum(status.st_size for status in found), "modified": modified}


def _sha256(path: Path) -> str:
    """SHA-256 of a file, or of the names and hashes of all files of an image."""
    files = files_of(path)
    if files == [path]:
        return sha256(path)
    lines = (f"{sha256(file)}  {file.relative_to(path.parent).as_posix()}\n" for file in files)
    return new_hash("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _finished(
    image: Input, folder: Path, model: Model, formats: Sequence[str], files: _Files
) -> Record | None:
    """Record of an image that needs no work any more."""
    record = _read_record(folder, image)
    same = record.get("fingerprint") == _fingerprint(image, model, files)
    written = set(formats) <= set(record.get("formats", ()))
    results = [_measurements_path(folder, image), *output_files(folder, image.name, formats)]
    there = all(path.exists() for path in results)
    return record if same and written and there else None


class _MeasurementParts:
    """Measurements of all images, read anew from their records each time they are gone through."""

    def __init__(self, folder: Path, images: Sequence[Input]) -> None:
        self._folder, self._images = folder, images

    def __iter__(self) -> Iterator[Table]:
        for image in self._images:
            path = _measurements_path(self._folder, image)
            # Without nuclei too, so that a table without rows still has its columns.
            if path.exists():
                with np.load(path) as measurements:
                    columns = dict(measurements)
                rows = len(columns["label"])
                plane = {"plane": [image.plane] * rows} if image.plane else {}
                yield {"image": [str(image.path)] * rows, **plane, **columns}


def _write_tables(folder: Path, images: Sequence[Input], outcomes: Sequence[Outcome]) -> None:
    # A column that tells planes apart, where there are any.
    plane = ("plane",) if any(image.plane for image in images) else ()
    names = ("image", *plane, "label")
    write_table(folder / MEASUREMENTS, _MeasurementParts(folder, images), names=names)
    columns = ("path", *plane, *_OUTCOME)
    rows = {name: [getattr(outcome, name) for outcome in outcomes] for name in columns}
    write_table(folder / IMAGES, [rows])


def _describe_run(
    model: Model, images: Sequence[Input], formats: Sequence[str], command: Sequence[str]
) -> Record:
    return {
        "command": list(command),
        "working_folder": str(Path.cwd()),
        "finished": False,
        "formats": list(formats),
        "model": model.card.model_dump(mode="json"),
        "inputs": {str(image.path): None for image in images},
    }


def _what_was_read(folder: Path, images: Sequence[Input]) -> Record:
    """Hashes of the inputs, and which of their channels were chosen."""
    hashes: dict[str, str | None] = {}
    channels: dict[str, list[str]] = {}
    for image in images:
        record, path = _read_record(folder, image), str(image.path)
        hashes[path] = hashes.get(path) or record.get("sha256")
        chosen = channels.setdefault(path, [])
        if record.get("channel") not in (None, *chosen):
            chosen.append(record["channel"])
    return {
        "inputs": hashes,
        "channels": {path: ", ".join(chosen) for path, chosen in channels.items()},
    }
