"""Records of a run in ``OUTPUT/.nucseg/``, from which it is resumed and summarized.

A record (JSON) describes an image and the outcome of its processing. The measurements and, for a
report, a thumbnail are stored beside it. The record is written last and marks the image as done.
While an image is processed, a second file lists the results that may exist already.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nucseg import __version__
from nucseg.batch.flat_fields import FlatFields
from nucseg.batch.inputs import BEGUN, COLUMNS, PICTURE, RECORD, Input
from nucseg.config import Reading
from nucseg.errors import InputError
from nucseg.export import output_files, split_formats
from nucseg.export.tables import Table
from nucseg.files import atomic_write, sha256
from nucseg.images import Source, files_of, open_image
from nucseg.inference.devices import describe, is_exact
from nucseg.inference.segmenter import Model
from nucseg.measure import Columns

FOLDER = ".nucseg"
# Why a plane that a file declares has no pixels.
MISSING = "The file states this plane and does not hold it."

# Maximum length of a file name in bytes on all common file systems.
LONGEST_NAME = 255
# Maximum length in bytes of a name with its folders; longer names are replaced by a hash.
_LONGEST_PLACE = 1024

Record = dict[str, Any]


class InputFiles:
    """Opens and hashes each file once for all of its planes, which are processed in sequence.

    Image readers are not thread-safe, so each thread opens its own.
    """

    def __init__(self, reading: Reading, fields: FlatFields | None = None) -> None:
        self.reading, self.fields = reading, fields or FlatFields()
        self.illumination = self.fields.digest() if self.fields.each else ""
        self.status = lru_cache(maxsize=64)(_status)
        self._sha256 = lru_cache(maxsize=64)(_sha256)
        self._hashing = threading.Lock()
        self._opened = threading.local()

    def __reduce__(self) -> tuple[type[InputFiles], tuple[Reading, FlatFields]]:
        """Send only the settings to another process, which opens and hashes the files again."""
        return InputFiles, (self.reading, self.fields)

    def sha256(self, path: Path) -> str:
        """Return the SHA-256 of a file, or of the names and hashes of all files of an image."""
        with self._hashing:
            return self._sha256(path)

    def source(self, image: Input) -> Source:
        """Open a plane.

        Raises
        ------
        InputError
            The file cannot be opened, or does not contain this plane any more.
        MissingExtraError
            The file needs the ``formats`` extra.
        """
        path: Path | None
        sources: list[Source]
        path, sources = getattr(self._opened, "last", (None, []))
        if path != image.path:
            reading = self.reading
            sources = open_image(image.path, channel=reading.channel, project=reading.project)
            self._opened.last = (image.path, sources)
        for source in sources:
            if source.plane == image.plane:
                given = self.reading.pixel_size
                if given is None:
                    return source
                return replace(source, pixel_size=(given, given), warnings=())
        raise InputError(f"{image.path} has changed since the run began. Start the run again.")


def record_path(folder: Path, image: Input) -> Path:
    """Return the path of the record of an image."""
    return _place(folder, image, RECORD)


def begun_path(folder: Path, image: Input) -> Path:
    """Return the path of the file that lists possible results while an image is processed."""
    return _place(folder, image, BEGUN)


def measurements_path(folder: Path, image: Input) -> Path:
    """Return the path of the measurements of an image, a NumPy structured array."""
    return _place(folder, image, COLUMNS)


def thumbnail_path(folder: Path, image: Input) -> Path:
    """Return the path of the JPEG thumbnail of an image for the report."""
    return _place(folder, image, PICTURE)


def _place(folder: Path, image: Input, suffix: str) -> Path:
    path = folder / FOLDER / f"{image.name}{suffix}"
    name, place = os.fsencode(path.name), os.fsencode(image.name)
    if len(place) > _LONGEST_PLACE:
        return folder / FOLDER / f"{hashlib.sha256(place).hexdigest()}{suffix}"
    if len(name) > LONGEST_NAME:
        # A name of the maximum length leaves no room for a longer suffix.
        return path.with_name(f"{hashlib.sha256(name).hexdigest()}{suffix}")
    return path


def read_record(folder: Path, image: Input) -> Record:
    """Read the record of an image; return an empty record if there is none."""
    return read_json(record_path(folder, image))


def read_json(path: Path) -> Record:
    """Read a record; return an empty record if the file is missing or damaged."""
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def write_record(folder: Path, image: Input, record: Record) -> None:
    """Write the record of an image.

    Raises
    ------
    InputError
        The record cannot be written.
    """
    write_json(record_path(folder, image), record)


def write_json(path: Path, record: Record) -> None:
    """Write a record.

    Raises
    ------
    InputError
        The record cannot be written.
    """
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(record), encoding="utf-8")


def write_measurements(folder: Path, image: Input, measurements: Columns) -> None:
    """Write the measurements of an image.

    Raises
    ------
    InputError
        The measurements cannot be written.
    """
    # One array, because a file of many arrays is much slower to read.
    fields = [(name, values.dtype) for name, values in measurements.items()]
    rows = np.empty(len(measurements["label"]), fields)
    for name, values in measurements.items():
        rows[name] = values
    # Through memory, because NumPy does not report when a full disk accepts only part of a file.
    buffer = io.BytesIO()
    np.save(buffer, rows)
    with atomic_write(measurements_path(folder, image)) as partial:
        partial.write_bytes(buffer.getbuffer())


def read_measurements(folder: Path, image: Input, beginnings: tuple[str, ...] = ("",)) -> Columns:
    """Read the columns whose names start with one of `beginnings`; none if the image failed."""
    path = measurements_path(folder, image)
    if not path.exists():
        return {}
    rows = np.load(path)
    return {name: rows[name] for name in rows.dtype.names if name.startswith(beginnings)}


def write_thumbnail(folder: Path, image: Input, jpeg: bytes) -> None:
    """Write the thumbnail of an image for the report.

    Raises
    ------
    InputError
        The thumbnail cannot be written.
    """
    with atomic_write(thumbnail_path(folder, image)) as partial:
        partial.write_bytes(jpeg)


def read_thumbnail(folder: Path, image: Input) -> bytes | None:
    """Read the thumbnail of an image for the report; None if there is none."""
    try:
        return thumbnail_path(folder, image).read_bytes()
    except OSError:
        return None


def fingerprint(image: Input, model: Model, files: InputFiles) -> Record:
    """Return everything that a result depends on; a result is kept while this is unchanged."""
    classes = model.classifier
    # Results of versions without optional measurements are kept if none are requested.
    left_out = {"exclude"} if files.reading.measuring.any else {"exclude", "measuring"}
    return {
        "nucseg": __version__,
        "model": model.card.model_dump(mode="json"),
        **({"illumination": files.illumination} if files.illumination else {}),
        **({"classes": classes.model_dump(mode="json")} if classes else {}),
        "scale": model.scale,
        # On another device or in another precision, labels may differ in a few nuclei.
        **({} if is_exact(model.runtime) else {"runtime": describe(model.runtime)}),
        "reading": files.reading.model_dump(mode="json", exclude=left_out),
        **files.status(image.path),
    }


def finished(
    image: Input, folder: Path, model: Model, formats: Sequence[str], files: InputFiles
) -> Record | None:
    """Return the record of an image if the image needs no further processing.

    Parameters
    ----------
    formats : sequence of str
        Formats of single images and of the whole run.
    """
    record = read_record(folder, image)
    same = record.get("fingerprint") == fingerprint(image, model, files)
    of_each, _ = split_formats(formats)
    written = set(of_each) <= set(record.get("formats", ()))
    results = results_of(image, folder, formats)
    kept = same and written and all(path.exists() for path in results)
    return record if kept else None


def results_of(image: Input, folder: Path, formats: Sequence[str]) -> list[Path]:
    """List the paths of everything that is written for an image, except its record."""
    of_each, of_all = split_formats(formats)
    kept = [measurements_path(folder, image)]
    if "report" in of_all:
        kept.append(thumbnail_path(folder, image))
    return kept + output_files(folder, image.name, of_each)


def _status(path: Path) -> Record:
    """Return the size and modification time of all files of an image."""
    try:
        found = [file.stat() for file in files_of(path)]
    except OSError:
        return {}
    modified = max((status.st_mtime_ns for status in found), default=0)
    return {"bytes": sum(status.st_size for status in found), "modified": modified}


def _sha256(path: Path) -> str:
    files = files_of(path)
    if files == [path]:
        return sha256(path)
    lines = (f"{sha256(file)}  {file.relative_to(path.parent).as_posix()}\n" for file in files)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


class MeasurementParts:
    """Measurements of all images, read from their records again in each iteration."""

    def __init__(self, folder: Path, images: Sequence[Input]) -> None:
        self._folder, self._images = folder, images

    def __iter__(self) -> Iterator[Table]:
        for image in self._images:
            columns = read_measurements(self._folder, image)
            # Images without nuclei count too, so that a table without rows still has its columns.
            if columns:
                rows = len(columns["label"])
                plane = {"plane": [image.plane] * rows} if image.plane else {}
                yield {"image": [str(image.path)] * rows, **plane, **columns}
