"""Process one image, from its file to its results and its record.

The result depends on the image and the job only, and a job can be sent to another process.
`nucseg.batch.run` decides when and where images are processed.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nucseg.batch import records
from nucseg.batch.inputs import Input
from nucseg.batch.measuring import measure_more, too_large, why_not_measured
from nucseg.batch.records import InputFiles, Record
from nucseg.errors import InputError, MissingExtraError
from nucseg.export import output_files, output_path, save_formats
from nucseg.export.folders import remove
from nucseg.export.probability import PROBABILITY_TIFF
from nucseg.export.report import thumbnail
from nucseg.files import UnfitFileError
from nucseg.images import Source
from nucseg.images.quality import image_quality
from nucseg.inference.large import LargeSegmentation
from nucseg.inference.planes import segment_plane
from nucseg.inference.segmentation import Segmentation
from nucseg.inference.segmenter import Model
from nucseg.measure import Columns, mean_of_channels

# Receives the finished fraction of an image; an exception that it raises ends the processing.
Progress = Callable[[float], None]
# Waits until there is memory for this many pixels, and provides the model inside the block.
Take = Callable[[int], AbstractContextManager[Model]]

# Unexpected exceptions that a library may raise for one image; they must not stop the others.
_UNEXPECTED = (
    ArithmeticError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    cv2.error,
)
logger = logging.getLogger(__name__)


class _ImageError(Exception):
    """The image cannot be segmented; distinct from an output that cannot be written."""


@dataclass(frozen=True)
class Job:
    """Settings that all images of a run share.

    Attributes
    ----------
    folder : Path
        Folder for the results.
    model : Model
    files : InputFiles
        Opens the inputs.
    formats, of_all : sequence of str
        Formats that are written for each image, and formats of the whole run.
    resume : bool
        Whether finished results of an earlier run are kept.
    replace : bool
        Whether results of earlier runs that this run does not write are removed at the end.
    """

    folder: Path
    model: Model
    files: InputFiles
    formats: Sequence[str] = ()
    of_all: Sequence[str] = ()
    resume: bool = False
    replace: bool = False


def process_image(
    image: Input, job: Job, *, progress: Progress | None = None, take: Take | None = None
) -> Record:
    """Segment one image, unless that is done already, and write its results and its record.

    Parameters
    ----------
    image : Input
    job : Job
    progress : callable, optional
        ``progress(share)``, from 0 to 1. An exception that it raises ends the processing; the
        next run processes the image again.
    take : callable, optional
        ``take(pixels)`` waits for memory and provides the model. By default the model of the job
        is used immediately.

    Returns
    -------
    dict
        Record of the image, see `nucseg.batch.records`. It contains the status, also of a failed
        image; ``kept`` states whether an earlier run finished the image.

    Raises
    ------
    InputError
        The output cannot be written.
    ModelError
        The network does not run.
    """
    tell = progress or (lambda _share: None)
    record = None
    if job.resume:
        formats = (*job.formats, *job.of_all)
        record = records.finished(image, job.folder, job.model, formats, job.files)
    kept = record is not None
    if record is None:
        record = _anew(image, job, tell, take or (lambda _pixels: nullcontext(job.model)))
    tell(1)
    return {**record, "kept": kept}


def _anew(image: Input, job: Job, progress: Progress, take: Take) -> Record:
    """Segment one image, write its results and then its record."""
    results = output_files(job.folder, image.name, job.formats)
    before = _begun(image, job)
    start = time.perf_counter()
    record = _cleared(image, job, before)
    try:
        record |= _segment(image, results, job, progress, take)
        valid = _still_valid(image, job, before, record["fingerprint"])
        record["formats"] = [*job.formats, *valid]
    except (_ImageError, OSError, *_UNEXPECTED) as error:
        logger.debug("%s failed", image.path, exc_info=True)
        _remove(results)
        kind = "" if isinstance(error, _ImageError) else f"{type(error).__name__}: "
        record["error"] = f"{kind}{error}"
    record["seconds"] = round(time.perf_counter() - start, 3)
    records.write_record(job.folder, image, record)
    _remove([records.begun_path(job.folder, image)])
    return record


def give_up(image: Input, job: Job, error: str) -> Record:
    """Write the record of an image that was started and failed, and remove its partial results.

    Parameters
    ----------
    image : Input
    job : Job
    error : str
        Reason, in a sentence.
    """
    record = _cleared(image, job, _begun(image, job)) | {"error": error, "seconds": 0.0}
    records.write_record(job.folder, image, record)
    _remove([records.begun_path(job.folder, image)])
    return {**record, "kept": False}


def _cleared(image: Input, job: Job, before: Record) -> Record:
    """Remove all results of an image, and return what its record starts with."""
    kept = (records.record_path, records.measurements_path, records.thumbnail_path)
    results = output_files(job.folder, image.name, job.formats)
    _remove([*(place(job.folder, image) for place in kept), *results])
    return {"status": "failed", "nuclei": 0, **{key: before[key] for key in ("name", "written")}}


def _begun(image: Input, job: Job) -> Record:
    """Note which results of an image may exist while it is processed.

    Results of an earlier run stay in the note, so that they are removed at the end even if this
    run is killed.
    """
    path = records.begun_path(job.folder, image)
    old = records.read_record(job.folder, image) or records.read_json(path)
    written = dict.fromkeys([*old.get("written", []), *old.get("formats", []), *job.formats])
    earlier = {name: old.get(name) for name in ("fingerprint", "formats")}
    about: Record = {
        "name": image.name,
        "written": list(written),
        "earlier": old.get("earlier", earlier),
    }
    records.write_json(path, about)
    return about


def _still_valid(image: Input, job: Job, before: Record, fingerprint: Record) -> list[str]:
    """List formats of the same result that only the earlier run, which this one resumes, wrote."""
    earlier = before["earlier"]
    if job.replace or earlier["fingerprint"] != fingerprint:
        return []
    others = [name for name in earlier["formats"] or [] if name not in job.formats]
    return [name for name in others if output_path(job.folder, image.name, name).exists()]


def _segment(
    image: Input, results: Sequence[Path], job: Job, progress: Progress, take: Take
) -> Record:
    fingerprint = records.fingerprint(image, job.model, job.files)
    for path in results:
        if len(os.fsencode(path.name)) > records.LONGEST_NAME:
            raise _ImageError(
                f"The name of {image.path} is too long: its result would be called {path.name}, "
                f"and names may have {records.LONGEST_NAME} bytes. Rename it."
            )
    with _as_image_errors():
        source = job.files.source(image)
    about = {"chosen": asdict(source.chosen)}
    if source.missing:
        return {"status": "missing", "error": records.MISSING, "fingerprint": fingerprint, **about}
    if obstacle := why_not_measured(source.shape, job.model, job.files.reading):
        raise _ImageError(obstacle)
    with _segmented(source, job, progress, take) as segmentation:
        with _as_image_errors():
            measurements = segmentation.measurements()
            more, doubts = _more(source, segmentation, job.files)
            quality = image_quality(
                segmentation.image, measurements["area"], mean_of_channels(measurements)
            )
            measurements |= more
            picture = None
            if "report" in job.of_all:
                picture = thumbnail(
                    segmentation.image, segmentation.labels, segmentation.class_numbers
                )
        try:
            save_formats(segmentation, job.folder, image.name, job.formats)
        except UnfitFileError as error:  # other images can still be written
            raise _ImageError(str(error)) from error
    records.write_measurements(job.folder, image, measurements)
    if picture is not None:
        records.write_thumbnail(job.folder, image, picture)
    return {
        "status": "ok" if segmentation.count else "empty",
        "nuclei": segmentation.count,
        "classes": segmentation.predicted.counts() if segmentation.predicted else {},
        "error": "",
        "quality": quality,
        "depth": _depth(segmentation.image.dtype),
        "pixel_size": source.pixel_size,
        "reading_warnings": [*source.warnings, *doubts],
        "class_warnings": segmentation.predicted.warnings() if segmentation.predicted else [],
        "confidence": segmentation.confidence and asdict(segmentation.confidence),
        "sha256": job.files.sha256(image.path),
        **about,
        "fingerprint": fingerprint,
        "formats": job.formats,
    }


def _depth(dtype: np.dtype[Any]) -> str:
    """Return the bit depth of the intensities; those of different depths are not comparable."""
    return f"{8 * dtype.itemsize} bits" if dtype.kind in "ui" else "decimal numbers"


def _more(
    source: Source, found: Segmentation | LargeSegmentation, files: InputFiles
) -> tuple[Columns, list[str]]:
    """Make the optional measurements, which only images in memory support."""
    if isinstance(found, Segmentation):
        return measure_more(source, found.image, found.labels, files.reading, files.fields)
    if files.reading.measuring.any:
        raise InputError(too_large(source.shape))
    return {}, []


@contextmanager
def _as_image_errors() -> Iterator[None]:
    """Raise errors of an image as `_ImageError`, to separate them from errors of the output."""
    try:
        yield
    except (InputError, MissingExtraError) as error:
        raise _ImageError(str(error)) from error


@contextmanager
def _segmented(
    source: Source, job: Job, progress: Progress, take: Take
) -> Iterator[Segmentation | LargeSegmentation]:
    """Find the nuclei of a plane as soon as there is memory for it."""

    def of_windows(done: int, total: int) -> None:
        progress(done / (total + 1))  # measuring and writing take time too

    with take(source.shape[0] * source.shape[1]) as model, ExitStack() as stack:
        with _as_image_errors():
            found = stack.enter_context(
                segment_plane(
                    model,
                    source,
                    scratch=job.folder / records.FOLDER,
                    pixel_size=source.pixel_size,
                    keep_probability=PROBABILITY_TIFF.name in job.formats,
                    progress=of_windows,
                )
            )
        yield replace(found, place=source.place)


def _remove(files: Sequence[Path]) -> None:
    for file in files:
        with suppress(OSError):
            remove(file)
