"""Segment many images into a folder of results, so that an interrupted run loses nothing.

`nucseg.batch.process` processes each image, in threads or processes of an executor, see
`nucseg.batch.executors`. `nucseg.batch.records` describes what is kept of each image.
`nucseg.batch.summary` combines the records into the files of the whole run at the end.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from nucseg.batch import leftovers, records
from nucseg.batch.candidates import WithCandidates
from nucseg.batch.executors import Executor, Threads
from nucseg.batch.flat_fields import (
    describe_flat_fields,
    find_flat_fields,
    remove_flat_fields,
    write_flat_fields,
)
from nucseg.batch.inputs import Input, search_inputs
from nucseg.batch.process import Job
from nucseg.batch.records import InputFiles, MeasurementParts, Record
from nucseg.batch.summary import (
    OF_ALL,
    RUN,
    Outcome,
    Tables,
    describe_run,
    outcome_of,
    what_was_read,
    write_run_report,
    write_tables,
)
from nucseg.config import Measuring, Reading, Segmenting
from nucseg.errors import InputError
from nucseg.export import output_files, split_formats
from nucseg.export.run_record import write_run_record
from nucseg.files import PARTIAL
from nucseg.inference.devices import describe_model
from nucseg.inference.segmenter import Model
from nucseg.measure.candidates import read_rules

ALL_BY_DEFAULT = (*Segmenting().save, "report")

logger = logging.getLogger(__name__)


def segment_files(  # noqa: PLR0913 - the entry of a batch; all but three are keyword-only
    inputs: Sequence[str | Path],
    output: str | Path,
    model: Model,
    *,
    formats: Sequence[str] = ALL_BY_DEFAULT,
    reading: Reading | None = None,
    resume: bool = False,
    progress: Callable[[float, int], None] | None = None,
    command: Sequence[str] = (),
    executor: Executor | None = None,
) -> list[Outcome]:
    """Segment images into a folder.

    Writes ``<format>/<name>`` for each image and format, ``measurements.csv`` (one row per
    nucleus), ``images.csv`` (one row per image), ``run.json`` and, if requested,
    ``measurements.parquet`` and ``report.html``. All writes are atomic. Results of an earlier run
    in the folder are replaced: those that this run does not write again are removed at its end.
    Other files are not changed. After this function returns or raises, nothing more is written.

    Parameters
    ----------
    inputs : sequence of str or Path
        Files, folders, glob patterns and lists; see `find_inputs`.
    output : str or Path
        Folder for the results, created if missing.
    model : Model
    formats : sequence of str
        Names of `nucseg.export.FORMATS` and `nucseg.export.SUMMARIES`.
    reading : Reading, optional
        Channel, projection of slices, and optional measurements. Each plane of a file is a separate
        image.
    resume : bool
        Keep results of an earlier run for images that have not changed since, if the model, the
        settings and the version of nucseg are the same; retry failed images. Results of images
        that are not among the inputs stay.
    progress : callable, optional
        ``progress(done, total)`` in images; finished windows of a large image count as fractions.
        Called in the calling thread; an exception that it raises ends the run.
    command : sequence of str
        Command line to record in ``run.json``.
    executor : Executor, optional
        Where to process images; by default in threads of this process.

    Returns
    -------
    list of Outcome
        One per image, in the order of the inputs. A failed image does not stop the others.

    Raises
    ------
    InputError
        There are no images, a format is unknown, a file that nucseg did not write would be
        replaced, or the output cannot be written. Existing results stay.
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
    asked = reading.measuring
    rules = read_rules(asked.candidates) if asked.candidates else None
    fields = find_flat_fields(images, InputFiles(reading).source, asked, reading.project)
    replaces = leftovers.begin(folder, resume=resume)
    _make_ready(folder, asked)
    light = describe_flat_fields(folder, fields)
    about = describe_run(model, images, formats, command) | {
        "reading": reading.model_dump(mode="json"),
        "left_out": {kind: list(map(str, paths)) for kind, paths in found.left_out.items()},
        **({} if rules is None else {"candidates": rules.model_dump(mode="json")}),
        **({"flat_field": light} if light else {}),
    }
    write_run_record(folder / RUN, about)
    write_flat_fields(folder, fields, light)
    step = progress or (lambda _done, _total: None)
    job = Job(folder, model, InputFiles(reading, fields), of_each, of_all, resume, replaces)
    step(0, len(images))
    processed = (executor or Threads()).process(images, job, lambda done: step(done, len(images)))
    with closing(processed) as done:
        kept = list(done)
    outcomes = [
        outcome_of(image, _if_still_there(image, record, job))
        for image, record in zip(images, kept, strict=True)
    ]
    measurements: Tables = MeasurementParts(folder, images)
    if rules is not None:
        named = WithCandidates(measurements, rules)
        measurements, counts = named, named.counts()
        outcomes = [
            replace(each, candidates=counts.get((each.path, each.plane), {})) for each in outcomes
        ]
    write_tables(folder, images, outcomes, of_all, measurements)
    if "report" in of_all:
        write_run_report(folder, images, outcomes, model, of_each, fields)
    leftovers.remove_replaced(folder, images, of_each, replace=replaces)
    # The GPU may have failed during the run, which then continued on the CPU.
    ran = {"finished": True, **describe_model(model)}
    write_run_record(folder / RUN, {**about, **ran, **what_was_read(folder, images)})
    return outcomes


def _check_own(folder: Path, images: Sequence[Input], formats: Sequence[str]) -> None:
    """Refuse to replace files of another origin, such as labels drawn by hand."""
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


def _make_ready(folder: Path, asked: Measuring) -> None:
    """Remove partial results of a killed run, and tables of earlier results."""
    try:
        # First of all, because it marks the folder as nucseg's own.
        (folder / records.FOLDER).mkdir(parents=True, exist_ok=True)
        leftovers.clear_partial(folder)
        remove_flat_fields(folder / RUN, asked)
        for leftover in folder.glob(f"{PARTIAL}*"):
            leftover.unlink(missing_ok=True)
        for table in OF_ALL:
            (folder / table).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"Cannot write in {folder}: {error.strerror}. Give another output folder."
        ) from error


def _if_still_there(image: Input, record: Record, job: Job) -> Record:
    """Return the record, or a failure if the results of the image were deleted during the run."""
    results = records.results_of(image, job.folder, (*job.formats, *job.of_all))
    if record["status"] in ("failed", "missing") or all(path.exists() for path in results):
        return record
    error = "Its results were deleted while the run went on. Run the command again with --resume."
    return {"status": "failed", "nuclei": 0, "seconds": record["seconds"], "error": error}
