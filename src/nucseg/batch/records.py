"""What a run keeps of each image in ``OUTPUT/.nucseg/``, from which it is resumed and summed up.

A record (JSON) says what the image was and how it went; beside it lie its measurements and, for
a report, a small picture. The record is written last and tells that the image is done. While it is
worked on, a file beside says what may be there of it.
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
# Why a plane that a file states has no pixels.
MISSING = "The file states this plane and does not hold it."

# Bytes that a file name may have on all common file systems.
LONGEST_NAME = 255
# Bytes of a name with its folders, above which its record has no room in folders of these names.
_LONGEST_PLACE = 1024

Record = dict[str, Any]


class InputFiles:
    """Opens and hashes each file once for all of its planes, which come one after the other.

    Readers of images are not made for several threads, so that each thread opens its own.
    """

    def __init__(self, reading: Reading, fields: FlatFields | None = None) -> None:
        self.reading, self.fields = reading, fields or FlatFields()
        self.illumination = self.fields.digest() if self.fields.each else ""
        self.status = lru_cache(maxsize=64)(_status)
        self._sha256 = lru_cache(maxsize=64)(_sha256)
        self._hashing = threading.Lock()
        self._opened = threading.local()

    def __reduce__(self) -> tuple[type[InputFiles], tuple[Reading, FlatFields]]:
        """Send the settings to another process, which opens and hashes files anew."""
        return InputFiles, (self.reading, self.fields)

    def sha256(self, path: Path) -> str:
        """SHA-256 of a file, or of the names and hashes of all files of an image."""
        with self._hashing:
            return self._sha256(path)

    def source(self, image: Input) -> Source:
        """Open a plane.

        Raises
        ------
        InputError
            The file cannot be opened, or has no such plane any more.
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
    """Where the record of an image lies."""
    return _place(folder, image, RECORD)


def begun_path(folder: Path, image: Input) -> Path:
    """Where it is said that an image is worked on, and what may be there of it."""
    return _place(folder, image, BEGUN)


def measurements_path(folder: Path, image: Input) -> Path:
    """Where the measurements of an image lie, as NumPy's array of rows with named fields."""
    return _place(folder, image, COLUMNS)


def thumbnail_path(folder: Path, image: Input) -> Path:
    """Where the picture of an image for the report lies, as JPEG."""
    return _place(folder, image, PICTURE)


def _place(folder: Path, image: Input, suffix: str) -> Path:
    path = folder / FOLDER / f"{image.name}{suffix}"
    name, place = os.fsencode(path.name), os.fsencode(image.name)
    if len(place) > _LONGEST_PLACE:
        return folder / FOLDER / f"{hashlib.sha256(place).hexdigest()}{suffix}"
    if len(name) > LONGEST_NAME:
        # A name as long as names can be has no room for a longer suffix.
        return path.with_name(f"{hashlib.sha256(name).hexdigest()}{suffix}")
    return path


def read_record(folder: Path, image: Input) -> Record:
    """Record of an image, empty where there is none."""
    return read_json(record_path(folder, image))


def read_json(path: Path) -> Record:
    """Content of a record, empty where there is none or it is damaged."""
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
        It cannot be written.
    """
    write_json(record_path(folder, image), record)


def write_json(path: Path, record: Record) -> None:
    """Write a record.

    Raises
    ------
    InputError
        It cannot be written.
    """
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(record), encoding="utf-8")


def write_measurements(folder: Path, image: Input, measurements: Columns) -> None:
    """Write the measurements of an image.

    Raises
    ------
    InputError
        They cannot be written.
    """
    # One array, since a file of many is much slower to read.
    fields = [(name, values.dtype) for name, values in measurements.items()]
    rows = np.empty(len(measurements["label"]), fields)
    for name, values in measurements.items():
        rows[name] = values
    # Through memory, since NumPy does not tell where a full disk takes a part of a file alone.
    buffer = io.BytesIO()
    np.save(buffer, rows)
    with atomic_write(measurements_path(folder, image)) as partial:
        partial.write_bytes(buffer.getbuffer())


def read_measurements(folder: Path, image: Input, beginnings: tuple[str, ...] = ("",)) -> Columns:
    """Measurements of an image whose names begin in one of these ways; none where it failed."""
    path = measurements_path(folder, image)
    if not path.exists():
        return {}
    rows = np.load(path)
    return {name: rows[name] for name in rows.dtype.names if name.startswith(beginnings)}


def write_thumbnail(folder: Path, image: Input, jpeg: bytes) -> None:
    """Write the picture of an image for the report.

    Raises
    ------
    InputError
        It cannot be written.
    """
    with atomic_write(thumbnail_path(folder, image)) as partial:
        partial.write_bytes(jpeg)


def read_thumbnail(folder: Path, image: Input) -> bytes | None:
    """Picture of an image for the report, None where there is none."""
    try:
        return thumbnail_path(folder, image).read_bytes()
    except OSError:
        return None


def fingerprint(image: Input, model: Model, files: InputFiles) -> Record:
    """Say what a result depends on; it can be kept while this is the same."""
    classes = model.classifier
    # Results of versions that knew no measuring on demand can be kept where none is asked for.
    left_out = {"exclude"} if files.reading.measuring.any else {"exclude", "measuring"}
    return {
        "nucseg": __version__,
        "model": model.card.model_dump(mode="json"),
        **({"illumination": files.illumination} if files.illumination else {}),
        **({"classes": classes.model_dump(mode="json")} if classes else {}),
        "scale": model.scale,
        # Of another device or precision labels may differ in a few nuclei.
        **({} if is_exact(model.runtime) else {"runtime": describe(model.runtime)}),
        "reading": files.reading.model_dump(mode="json", exclude=left_out),
        **files.status(image.path),
    }


def finished(
    image: Input, folder: Path, model: Model, formats: Sequence[str], files: InputFiles
) -> Record | None:
    """Record of an image that needs no work any more.

    Parameters
    ----------
    formats : sequence of str
        Of each image and of all.
    """
    record = read_record(folder, image)
    same = record.get("fingerprint") == fingerprint(image, model, files)
    of_each, _ = split_formats(formats)
    written = set(of_each) <= set(record.get("formats", ()))
    results = results_of(image, folder, formats)
    kept = same and written and all(path.exists() for path in results)
    return record if kept else None


def results_of(image: Input, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Where all that is written for an image lies but for its record."""
    of_each, of_all = split_formats(formats)
    kept = [measurements_path(folder, image)]
    if "report" in of_all:
        kept.append(thumbnail_path(folder, image))
    return kept + output_files(folder, image.name, of_each)


def _status(path: Path) -> Record:
    """Size and time of the last change of all files of an image."""
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
    """Measurements of all images, read anew from their records each time they are gone through."""

    def __init__(self, folder: Path, images: Sequence[Input]) -> None:
        self._folder, self._images = folder, images

    def __iter__(self) -> Iterator[Table]:
        for image in self._images:
            columns = read_measurements(self._folder, image)
            # Without nuclei too, so that a table without rows still has its columns.
            if columns:
                rows = len(columns["label"])
                plane = {"plane": [image.plane] * rows} if image.plane else {}
                yield {"image": [str(image.path)] * rows, **plane, **columns}
