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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from nucseg import __version__
from nucseg.config import Segmenting
from nucseg.errors import InputError, MissingExtraError
from nucseg.export import FORMATS, check_formats, output_files, save_formats
from nucseg.export.folders import remove
from nucseg.export.run_record import write_run_record
from nucseg.export.tables import Table, write_table
from nucseg.files import PARTIAL, sha256, whole_file
from nucseg.images import read_image
from nucseg.inference.inputs import Input, find_inputs
from nucseg.inference.segmenter import Model

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
    """

    path: str
    status: str
    nuclei: int
    seconds: float
    error: str


def segment_files(
    inputs: Sequence[str | Path],
    output: str | Path,
    model: Model,
    *,
    formats: Sequence[str] = Segmenting().save,
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
    images = find_inputs(inputs, folder)
    _check_own(folder, images, formats)
    _make_ready(folder)
    run = _describe_run(model, images, formats, command)
    write_run_record(folder / RUN, run)
    report = progress or (lambda _done, _total: None)
    outcomes = []
    for done, image in enumerate(images):
        report(done, len(images))
        record = _finished(image, folder, model, formats) if resume else None
        if record is None:
            record = _process(image, folder, model, formats)
        outcomes.append(Outcome(str(image.path), *(record[key] for key in _OUTCOME)))
    report(len(images), len(images))
    _write_tables(folder, images, outcomes)
    hashes = {str(image.path): _read_record(folder, image).get("sha256") for image in images}
    write_run_record(folder / RUN, {**run, "finished": True, "inputs": hashes})
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


def _process(image: Input, folder: Path, model: Model, formats: Sequence[str]) -> Record:
    """Segment one image, write its results and then its record."""
    record_path = _record_path(folder, image)
    results = output_files(folder, image.name, formats)
    _remove([record_path, *results])
    start = time.perf_counter()
    record: Record = {"status": "failed", "nuclei": 0, "measurements": {}}
    try:
        record |= _segment(image, folder, model, formats)
    except (_ImageError, OSError, *_UNEXPECTED) as error:
        logger.debug("%s failed", image.path, exc_info=True)
        _remove(results)
        kind = "" if isinstance(error, _ImageError) else f"{type(error).__name__}: "
        record["error"] = f"{kind}{error}"
    record["seconds"] = round(time.perf_counter() - start, 3)
    with whole_file(record_path) as partial:
        partial.write_text(json.dumps(record), encoding="utf-8")
    return record


def _segment(image: Input, folder: Path, model: Model, formats: Sequence[str]) -> Record:
    fingerprint = _fingerprint(image, model)
    try:
        read = read_image(image.path)
        segmentation = model.segment(read.pixels, pixel_size=read.pixel_size)
    except (InputError, MissingExtraError) as error:
        raise _ImageError(str(error)) from error
    measurements = segmentation.measurements()
    save_formats(segmentation, folder, image.name, formats)
    return {
        "status": "ok" if segmentation.count else "empty",
        "nuclei": segmentation.count,
        "error": "",
        "sha256": sha256(image.path),
        "fingerprint": fingerprint,
        "formats": list(formats),
        "measurements": {name: values.tolist() for name, values in measurements.items()},
    }


def _remove(files: Sequence[Path]) -> None:
    for file in files:
        with suppress(OSError):
            remove(file)


def _record_path(folder: Path, image: Input) -> Path:
    return folder / RECORDS / f"{image.name}.json"


def _read_record(folder: Path, image: Input) -> Record:
    try:
        record: Record = json.loads(_record_path(folder, image).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record


def _fingerprint(image: Input, model: Model) -> Record:
    """Say what a result depends on; it can be kept while this is the same."""
    try:
        status = image.path.stat()
    except OSError:
        return {}
    return {
        "nucseg": __version__,
        "model": model.card.model_dump(mode="json"),
        "bytes": status.st_size,
        "modified": status.st_mtime_ns,
    }


def _finished(image: Input, folder: Path, model: Model, formats: Sequence[str]) -> Record | None:
    """Record of an image that needs no work any more."""
    record = _read_record(folder, image)
    same = record.get("fingerprint") == _fingerprint(image, model)
    written = set(formats) <= set(record.get("formats", ()))
    there = all(path.exists() for path in output_files(folder, image.name, formats))
    return record if same and written and there else None


class _MeasurementParts:
    """Measurements of all images, read anew from their records each time they are gone through."""

    def __init__(self, folder: Path, images: Sequence[Input]) -> None:
        self._folder, self._images = folder, images

    def __iter__(self) -> Iterator[Table]:
        for image in self._images:
            measurements = _read_record(self._folder, image).get("measurements", {})
            # Without nuclei too, so that a table without rows still has its columns.
            if measurements:
                rows = len(measurements["label"])
                yield {"image": [str(image.path)] * rows, **measurements}


def _write_tables(folder: Path, images: Sequence[Input], outcomes: Sequence[Outcome]) -> None:
    write_table(folder / MEASUREMENTS, _MeasurementParts(folder, images), names=("image", "label"))
    columns = ("path", *_OUTCOME)
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
