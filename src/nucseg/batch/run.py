"""Segment many images into a folder of results, so that nothing is lost when a run breaks off.

Images are worked on side by side, each by one thread: while one is read or written, the network
sees another. One that needs the memory of several waits until it has it, and then all threads are
its own. What is kept of each image is told in `nucseg.batch.records`; what is written of
all of them is put together from that at the end, see `nucseg.batch.summary`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import cv2

from nucseg.batch import leftovers, records
from nucseg.batch.inputs import Input, search_inputs
from nucseg.batch.measuring import measure_more, too_large, why_not_measured
from nucseg.batch.records import InputFiles, Record
from nucseg.batch.sharing import Budget, Shares
from nucseg.batch.summary import (
    OF_ALL,
    RUN,
    Outcome,
    describe_run,
    outcome_of,
    what_was_read,
    write_run_report,
    write_tables,
)
from nucseg.config import Reading, Segmenting
from nucseg.errors import InputError, MissingExtraError
from nucseg.export import FORMATS, output_files, output_path, save_formats, split_formats
from nucseg.export.folders import remove
from nucseg.export.probability import PROBABILITY_TIFF
from nucseg.export.report import thumbnail
from nucseg.export.run_record import write_run_record
from nucseg.files import PARTIAL, UnfitFileError
from nucseg.images import Source
from nucseg.images.quality import image_quality
from nucseg.inference.large import LargeSegmentation
from nucseg.inference.planes import segment_plane
from nucseg.inference.segmentation import Segmentation
from nucseg.inference.segmenter import Model
from nucseg.inference.tiling import pixels_side_by_side
from nucseg.measure import Columns, mean_of_channels

ALL_BY_DEFAULT = (*Segmenting().save, "report")

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
# More threads than this hinder each other in what Python does between the calls of its libraries.
_MOST_WORKERS = 8
# So many times the pixels that fit side by side are worked on: what is left to an image in memory
# is free where images are small.
_SIDE_BY_SIDE = 1.6

# Seconds between two reports of progress.
_TICK = 0.2

logger = logging.getLogger(__name__)


class _ImageError(Exception):
    """An image that cannot be segmented, told from an output that cannot be written."""


class _Stopped(Exception):  # noqa: N818 - no error: the run ends for another reason
    """The run ends while this image is worked on."""


@dataclass(frozen=True)
class _Run:
    """What all images of a run share.

    Attributes
    ----------
    model : Model
        With all threads.
    formats, of_all : sequence of str
        What is written for each image, and what of all.
    workers : int
        Images that are worked on side by side.
    single : Model
        The same model for each of them.
    replace : bool
        Whether what earlier runs wrote and this one does not is removed at the end.
    """

    folder: Path
    model: Model
    formats: Sequence[str]
    of_all: Sequence[str]
    files: InputFiles
    resume: bool
    workers: int
    single: Model
    budget: Budget
    replace: bool = False
    stop: threading.Event = field(default_factory=threading.Event)


def segment_files(
    inputs: Sequence[str | Path],
    output: str | Path,
    model: Model,
    *,
    formats: Sequence[str] = ALL_BY_DEFAULT,
    reading: Reading | None = None,
    resume: bool = False,
    progress: Callable[[float, int], None] | None = None,
    command: Sequence[str] = (),
) -> list[Outcome]:
    """Segment images into a folder.

    Writes ``<format>/<name>`` for each image and format, ``measurements.csv`` (a row per nucleus),
    ``images.csv`` (a row per image), ``run.json`` and, if asked for, ``measurements.parquet`` and
    ``report.html``, each whole or not at all. Results of an earlier run in the folder are replaced:
    what this run does not write again is removed at its end. Files that are not nucseg's are left
    alone. When this function returns or raises, nothing is written any more.

    Parameters
    ----------
    inputs : sequence of str or Path
        Files, folders, patterns and lists; see `find_inputs`.
    output : str or Path
        Folder for the results, made where it is missing.
    model : Model
        As many images are worked on side by side as its runtime has threads, if there is memory.
    formats : sequence of str
        Names of `nucseg.export.FORMATS` and `nucseg.export.SUMMARIES`.
    reading : Reading, optional
        Which channel, what becomes of slices, and what is measured on demand. Each plane of a file
        is an image of its own.
    resume : bool
        Keep the results of images that an earlier run has done with the same model, settings and
        version of nucseg, and that did not change since; failed ones are tried again. Results of
        images that are not among the inputs stay.
    progress : callable, optional
        ``progress(done, total)``, of the images; a large one that is being worked on counts by
        its windows. Called by the calling thread; what it raises ends the run.
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
    of_each, of_all = split_formats(formats)
    reading = reading or Reading()
    found = search_inputs(inputs, folder, reading)
    images = found.images
    if left_out := found.told():
        logger.info("%s", left_out)
    _check_own(folder, images, of_each)
    replaces = leftovers.begin(folder, resume=resume)
    _make_ready(folder)
    about = describe_run(model, images, formats, command) | {
        "reading": reading.model_dump(mode="json"),
        "left_out": {kind: list(map(str, paths)) for kind, paths in found.left_out.items()},
    }
    write_run_record(folder / RUN, about)
    step = progress or (lambda _done, _total: None)
    workers = _workers(model, len(images))
    run = _Run(
        folder=folder,
        model=model,
        formats=of_each,
        of_all=of_all,
        files=InputFiles(reading),
        resume=resume,
        workers=workers,
        single=model if workers == 1 else replace(model, runtime=model.runtime.on_one_thread()),
        budget=Budget(_SIDE_BY_SIDE * pixels_side_by_side(model.image_pixels)),
        replace=replaces,
    )
    step(0, len(images))
    with closing(_each(images, run, lambda done: step(done, len(images)))) as done:
        kept = list(done)
    outcomes = [
        outcome_of(image, _if_still_there(image, record, run))
        for image, record in zip(images, kept, strict=True)
    ]
    write_tables(folder, images, outcomes, of_all)
    if "report" in of_all:
        write_run_report(folder, images, outcomes, model, of_each)
    leftovers.remove_replaced(folder, images, of_each, replace=replaces)
    write_run_record(folder / RUN, {**about, "finished": True, **what_was_read(folder, images)})
    return outcomes


def _workers(model: Model, images: int) -> int:
    return max(min(model.runtime.threads, images, _MOST_WORKERS), 1)


def _each(
    images: Sequence[Input], run: _Run, report: Callable[[float], None]
) -> Generator[Record, None, None]:
    """Work on all images, side by side, and give their records in order."""
    shares = Shares()
    if run.workers == 1:
        for image in images:
            yield _process(image, run, shares.of_one(report))
        return
    pool = ThreadPoolExecutor(run.workers)
    waiting: list[Future[Record]] = []
    try:
        for image in images:
            waiting.append(pool.submit(_process, image, run, shares.of_one()))
        for each in waiting:
            while not each.done():
                wait([each], timeout=_TICK)
                report(shares.sum)
            yield each.result()
            report(shares.sum)
    finally:
        _end(pool, waiting, run)


def _end(pool: ThreadPoolExecutor, waiting: Sequence[Future[Record]], run: _Run) -> None:
    """End all threads: images not begun are not begun, large ones stop at the next window."""
    while True:
        try:
            run.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            # Threads that are joined count as ended after an interrupt, although they are not.
            wait([each for each in waiting if not each.cancelled()])
            pool.shutdown()
        except KeyboardInterrupt:  # one more
            logger.warning("Waiting for the images that were begun.")
        else:
            return


def _check_own(folder: Path, images: Sequence[Input], formats: Sequence[str]) -> None:
    """Refuse to replace files that are not of an earlier run, such as labels drawn by hand."""
    if (folder / records.FOLDER).is_dir():
        return
    tables = [folder / table for table in OF_ALL]
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
        (folder / records.FOLDER).mkdir(parents=True, exist_ok=True)
        for place in (records.FOLDER, *FORMATS):
            # All found before the first goes, since it may be a folder.
            for leftover in list((folder / place).rglob(f"{PARTIAL}*")):
                remove(leftover)
        for leftover in folder.glob(f"{PARTIAL}*"):
            leftover.unlink(missing_ok=True)
        for table in OF_ALL:
            (folder / table).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"Cannot write in {folder}: {error.strerror}. Give another output folder."
        ) from error


def _process(image: Input, run: _Run, report: Callable[[float], None]) -> Record:
    """Segment one image, unless that was done before, and give its record."""
    if run.stop.is_set():
        raise _Stopped
    record = None
    if run.resume:
        formats = (*run.formats, *run.of_all)
        record = records.finished(image, run.folder, run.model, formats, run.files)
    kept = record is not None
    if record is None:
        record = _anew(image, run, report)
    report(1)
    return {**record, "kept": kept}


def _if_still_there(image: Input, record: Record, run: _Run) -> Record:
    """Record of an image, a failure where its results were deleted while the run went on."""
    results = records.results_of(image, run.folder, (*run.formats, *run.of_all))
    if record["status"] in ("failed", "missing") or all(path.exists() for path in results):
        return record
    error = "Its results were deleted while the run went on. Run the command again with --resume."
    return {"status": "failed", "nuclei": 0, "seconds": record["seconds"], "error": error}


def _anew(image: Input, run: _Run, report: Callable[[float], None]) -> Record:
    """Segment one image, write its results and then its record."""
    results = output_files(run.folder, image.name, run.formats)
    before = _begun(image, run)
    kept = (records.record_path, records.measurements_path, records.thumbnail_path)
    _remove([*(place(run.folder, image) for place in kept), *results])
    start = time.perf_counter()
    record: Record = {"status": "failed", "nuclei": 0}
    record |= {key: before[key] for key in ("name", "written")}
    try:
        record |= _segment(image, results, run, report)
        valid = _still_valid(image, run, before, record["fingerprint"])
        record["formats"] = [*run.formats, *valid]
    except (_ImageError, OSError, *_UNEXPECTED) as error:
        logger.debug("%s failed", image.path, exc_info=True)
        _remove(results)
        kind = "" if isinstance(error, _ImageError) else f"{type(error).__name__}: "
        record["error"] = f"{kind}{error}"
    record["seconds"] = round(time.perf_counter() - start, 3)
    records.write_record(run.folder, image, record)
    _remove([records.begun_path(run.folder, image)])
    return record


def _begun(image: Input, run: _Run) -> Record:
    """Note what may be there of an image while it is worked on.

    What an earlier run wrote stays known, so that it is removed in the end, also after a kill.
    """
    path = records.begun_path(run.folder, image)
    old = records.read_record(run.folder, image) or records.read_json(path)
    written = dict.fromkeys([*old.get("written", []), *old.get("formats", []), *run.formats])
    earlier = {name: old.get(name) for name in ("fingerprint", "formats")}
    about: Record = {
        "name": image.name,
        "written": list(written),
        "earlier": old.get("earlier", earlier),
    }
    records.write_json(path, about)
    return about


def _still_valid(image: Input, run: _Run, before: Record, fingerprint: Record) -> list[str]:
    """List formats of the same result that only an earlier run, which this one completes, wrote."""
    earlier = before["earlier"]
    if run.replace or earlier["fingerprint"] != fingerprint:
        return []
    others = [name for name in earlier["formats"] or [] if name not in run.formats]
    return [name for name in others if output_path(run.folder, image.name, name).exists()]


def _segment(
    image: Input, results: Sequence[Path], run: _Run, report: Callable[[float], None]
) -> Record:
    fingerprint = records.fingerprint(image, run.model, run.files)
    for path in results:
        if len(os.fsencode(path.name)) > records.LONGEST_NAME:
            raise _ImageError(
                f"The name of {image.path} is too long: its result would be called {path.name}, "
                f"and names may have {records.LONGEST_NAME} bytes. Rename it."
            )
    with _as_image_errors():
        source = run.files.source(image)
    about = {"chosen": asdict(source.chosen)}
    if source.missing:
        return {"status": "missing", "error": records.MISSING, "fingerprint": fingerprint, **about}
    if obstacle := why_not_measured(source.shape, run.model, run.files.reading):
        raise _ImageError(obstacle)
    with _segmented(source, run, report) as segmentation:
        with _as_image_errors():
            measurements = segmentation.measurements()
            more, doubts = _more(source, segmentation, run)
            measurements |= more
            quality = image_quality(
                segmentation.image, measurements["area"], mean_of_channels(measurements)
            )
            picture = None
            if "report" in run.of_all:
                picture = thumbnail(segmentation.image, segmentation.labels)
        try:
            save_formats(segmentation, run.folder, image.name, run.formats)
        except UnfitFileError as error:  # results of other images have a place
            raise _ImageError(str(error)) from error
    records.write_measurements(run.folder, image, measurements)
    if picture is not None:
        records.write_thumbnail(run.folder, image, picture)
    return {
        "status": "ok" if segmentation.count else "empty",
        "nuclei": segmentation.count,
        "error": "",
        "quality": quality,
        "pixel_size": source.pixel_size,
        "reading_warnings": [*source.warnings, *doubts],
        "confidence": segmentation.confidence and asdict(segmentation.confidence),
        "sha256": run.files.sha256(image.path),
        **about,
        "fingerprint": fingerprint,
        "formats": run.formats,
    }


def _more(
    source: Source, found: Segmentation | LargeSegmentation, run: _Run
) -> tuple[Columns, list[str]]:
    """Measure what is asked for on demand, which images in memory alone are measured for."""
    if isinstance(found, Segmentation):
        return measure_more(source, found.image, found.labels, run.files.reading)
    if run.files.reading.measuring.any:
        raise InputError(too_large(source.shape))
    return {}, []


@contextmanager
def _as_image_errors() -> Iterator[None]:
    """Tell errors of an image from those of the output, which are raised where it is written."""
    try:
        yield
    except (InputError, MissingExtraError) as error:
        raise _ImageError(str(error)) from error


@contextmanager
def _segmented(
    source: Source, run: _Run, report: Callable[[float], None]
) -> Iterator[Segmentation | LargeSegmentation]:
    """Find the nuclei of an image in memory or, where it is too large, window by window."""
    pixels = source.shape[0] * source.shape[1]
    alone = pixels > pixels_side_by_side(run.model.image_pixels)
    with run.budget.take(float("inf") if alone else pixels) as has_all:
        if run.stop.is_set():
            raise _Stopped
        model = run.model if has_all else run.single

        def progress(done: int, total: int) -> None:
            if run.stop.is_set():
                raise _Stopped
            report(done / (total + 1))  # to measure and to write takes time too

        with ExitStack() as stack:
            with _as_image_errors():
                found = stack.enter_context(
                    segment_plane(
                        model,
                        source,
                        scratch=run.folder / records.FOLDER,
                        pixel_size=source.pixel_size,
                        keep_probability=PROBABILITY_TIFF.name in run.formats,
                        progress=progress,
                    )
                )
            yield replace(found, place=source.place)


def _remove(files: Sequence[Path]) -> None:
    for file in files:
        with suppress(OSError):
            remove(file)
