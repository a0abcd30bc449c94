"""Measure the nuclei of existing label images, from nucseg or any other program."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nucseg.batch.candidates import WithCandidates
from nucseg.batch.flat_fields import (
    describe_flat_fields,
    find_flat_fields,
    remove_flat_fields,
    write_flat_fields,
)
from nucseg.batch.inputs import MASK_ENDINGS, Input, search_inputs
from nucseg.batch.measuring import POSITIVE, measure_more, write_positive
from nucseg.batch.records import InputFiles
from nucseg.config import Reading
from nucseg.core.labelling import read_labels
from nucseg.errors import InputError, NucsegError
from nucseg.export.run_record import write_run_record
from nucseg.export.tables import EXCEL, Dialect, write_table
from nucseg.files import check_writable
from nucseg.images import open_image, read_plane
from nucseg.measure import Columns, measure
from nucseg.measure.candidates import CANDIDATE, FLAG, Rules, read_rules
from nucseg.measure.positive import DAB_CLASS

MEASUREMENTS, IMAGES, RUN = "measurements.csv", "images.csv", "run.json"
# Entry of ``run.json`` that identifies a folder of results of this module.
_WORK = "measure"
# Number of files without a partner that are listed.
_NAMED = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """An image and its outcome.

    Attributes
    ----------
    image, labels : Input
    columns : dict of str to ndarray
        A row for each nucleus; empty if it failed.
    error : str
        Why it failed, else empty.
    warnings : tuple of str
    seconds : float
    """

    image: Input
    labels: Input
    columns: Columns
    error: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def nuclei(self) -> int:
        """Number of nuclei."""
        return len(self.columns.get("label", ()))

    @property
    def status(self) -> str:
        """Outcome: ``ok``, ``empty`` or ``failed``."""
        return "failed" if self.error else "ok" if self.nuclei else "empty"

    @property
    def names(self) -> list[str]:
        """Candidate and flag of each nucleus, if requested; else empty."""
        return [str(name) for key in (CANDIDATE, FLAG) for name in self.columns.get(key, ())]


def measure_files(
    labels: Sequence[str | Path],
    images: Sequence[str | Path],
    output: str | Path,
    *,
    reading: Reading | None = None,
    dialect: Dialect = EXCEL,
    progress: Callable[[float, int], None] | None = None,
    command: Sequence[str] = (),
) -> list[Measured]:
    """Measure the nuclei of label images in their images.

    Writes ``measurements.csv`` (one row per nucleus), ``images.csv`` (one row per image) and
    ``run.json``, with atomic writes and the columns of `segment_files`; for immunohistochemistry
    also ``positive.csv``.

    Parameters
    ----------
    labels, images : sequence of str or Path
        Files, folders, glob patterns and lists, see `nucseg.batch.inputs.search_inputs`. A label
        image belongs to the image of the same name (its path in its folder, without suffix).
        Suffixes of masks such as ``_masks`` or ``_cp_masks`` are ignored. With one label image and
        one image, names do not matter.
    output : str or Path
        Folder for the results. Those of an earlier run of this function are replaced.
    reading : Reading, optional
        Channel, projection of slices, and optional measurements.
    dialect : Dialect
    progress : callable, optional
        ``progress(done, total)`` in images.
    command : sequence of str
        Command line to record in ``run.json``.

    Returns
    -------
    list of Measured
        A failed image does not stop the others.

    Raises
    ------
    InputError
        There are no images or no labels, no label image matches an image, other results would be
        replaced, or the output cannot be written.
    """
    folder, reading = Path(output), reading or Reading()
    _check_own(folder)
    found = search_inputs(images, folder, reading)
    # Without an output folder, because the label images are often located in it.
    of_labels = search_inputs(labels, Path(os.devnull), annotations=True).images
    if left_out := found.told():
        logger.info("%s", left_out)
    pairs = pair(of_labels, found.images)
    asked = reading.measuring
    rules = read_rules(asked.candidates) if asked.candidates else None
    taken = [image for _, image in pairs]
    fields = find_flat_fields(taken, InputFiles(reading).source, asked, reading.project)
    check_writable(folder)
    files = InputFiles(reading, fields)
    done: list[Measured] = []
    for number, (label, image) in enumerate(pairs):
        if progress:
            progress(number, len(pairs))
        done.append(_measured(label, image, files))
    if progress:
        progress(len(pairs), len(pairs))
    if rules is not None:
        done = _named(done, rules)
    _write(folder, done, dialect)
    remove_flat_fields(folder / RUN, asked)
    light = describe_flat_fields(folder, fields)
    about = {
        "work": _WORK,
        "command": list(command),
        "working_folder": str(Path.cwd()),
        "reading": reading.model_dump(mode="json"),
        **({} if rules is None else {"candidates": rules.model_dump(mode="json")}),
        **({"flat_field": light} if light else {}),
        "inputs": {str(each.image.path): _sha256(each.image.path, files) for each in done},
        "labels": {str(each.labels.path): _sha256(each.labels.path, files) for each in done},
    }
    write_run_record(folder / RUN, about)
    write_flat_fields(folder, fields, light)
    return done


def pair(labels: Sequence[Input], images: Sequence[Input]) -> list[tuple[Input, Input]]:
    """Match each label image with its image.

    Parameters
    ----------
    labels, images : sequence of Input

    Returns
    -------
    list of (Input, Input)
        Label image and image, in the order of the images. Files without a partner are skipped,
        with a logged warning.

    Raises
    ------
    InputError
        No label image matches an image, or two label images match the same image.

    Examples
    --------
    >>> drawn, taken = Input(Path("l/a_masks.tif"), "a_masks"), Input(Path("i/a.png"), "a")
    >>> pair([drawn, Input(Path("l/b.tif"), "b")], [taken])[0][0].name
    'a_masks'
    """
    if len(labels) == len(images) == 1:
        return [(labels[0], images[0])]
    by_name: dict[str, Input] = {}
    wanted = {image.name for image in images}
    for label in labels:
        name = next((each for each in _names(label.name) if each in wanted), label.name)
        if name in by_name and name in wanted:
            raise InputError(
                f"Both {by_name[name].path} and {label.path} are label images of {name}. Leave one "
                "out."
            )
        by_name[name] = label
    pairs = [(by_name[image.name], image) for image in images if image.name in by_name]
    if not pairs:
        raise InputError(
            f"No label image belongs to an image: labels are called {_listed(by_name)}, images "
            f"{_listed(wanted)}. Give them the same names, or one of each."
        )
    for what, names in (
        ("Images without a label image", wanted - by_name.keys()),
        ("Label images without an image", by_name.keys() - wanted),
    ):
        if names:
            logger.warning("%s: %d (%s). They are left out.", what, len(names), _listed(names))
    return pairs


def _names(name: str) -> list[str]:
    """List possible names of the image of a label image, the most likely first."""
    ends = [end for end in MASK_ENDINGS if name.casefold().endswith(end)]
    return [name, *(name[: -len(end)] for end in sorted(ends, key=len, reverse=True))]


def _listed(names: Any) -> str:
    some = sorted(names)
    more = f" and {len(some) - _NAMED} more" if len(some) > _NAMED else ""
    return ", ".join(some[:_NAMED]) + more


def _check_own(folder: Path) -> None:
    """Refuse to replace tables of a segmentation or of another origin."""
    tables = [
        each for each in (MEASUREMENTS, IMAGES, RUN, POSITIVE) if os.path.lexists(folder / each)
    ]
    try:
        own = json.loads((folder / RUN).read_text(encoding="utf-8")).get("work") == _WORK
    except (OSError, ValueError, AttributeError):
        own = False
    if tables and not own:
        raise InputError(
            f"{folder / tables[0]} would be replaced, and it is not of an earlier run of nucseg "
            "measure. Give another output folder."
        )


def _measured(label: Input, image: Input, files: InputFiles) -> Measured:
    start = time.perf_counter()
    try:
        columns, warnings = _measure(label, image, files)
    except (NucsegError, OSError, MemoryError) as error:
        logger.debug("%s failed", image.path, exc_info=True)
        return Measured(image, label, {}, str(error) or type(error).__name__)
    seconds = round(time.perf_counter() - start, 3)
    return Measured(image, label, columns, warnings=tuple(warnings), seconds=seconds)


def _measure(label: Input, image: Input, files: InputFiles) -> tuple[Columns, list[str]]:
    planes = {each.plane: each for each in open_image(label.path, as_labels=True)}
    drawn = read_plane(planes[label.plane])
    labels, doubts = read_labels(drawn.pixels, str(label.path))
    source = files.source(image)
    if source.pixel_size is None and drawn.pixel_size is not None:
        source = replace(source, pixel_size=drawn.pixel_size)
    pixels = read_plane(source).pixels
    if pixels.shape[:2] != labels.shape:
        raise InputError(
            f"{label.path} has {labels.shape[0]} by {labels.shape[1]} pixels and {image.path} "
            f"{pixels.shape[0]} by {pixels.shape[1]}; expected the same."
        )
    columns = measure(labels, pixels, pixel_size=source.pixel_size)
    more, others = measure_more(source, pixels, labels, files.reading, files.fields)
    told = [f"{label.path} {doubt.message}" for doubt in doubts]
    return columns | more, [*told, *source.warnings, *others]


def _named(done: Sequence[Measured], rules: Rules) -> list[Measured]:
    """Name candidates, relative to the median nucleus of all images."""
    tables = [_table_of(each) for each in done]
    named = WithCandidates(tables, rules)
    return [
        replace(
            each,
            columns=each.columns | {key: np.asarray(table[key]) for key in (CANDIDATE, FLAG)},
        )
        if CANDIDATE in table
        else each
        for each, table in zip(done, named, strict=True)
    ]


def _table_of(each: Measured) -> dict[str, Any]:
    """Return the columns of an image, with its name and, if it has one, its plane."""
    about = {"image": [str(each.image.path)] * each.nuclei}
    if each.image.plane:
        about["plane"] = [each.image.plane] * each.nuclei
    return about | each.columns


def _sha256(path: Path, files: InputFiles) -> str | None:
    try:
        return files.sha256(path)
    except OSError:
        return None


def _write(folder: Path, done: Sequence[Measured], dialect: Dialect) -> None:
    plane = any(each.image.plane for each in done)
    parts = [_table_of(each) for each in done if each.columns]
    names = ("image", *(("plane",) if plane else ()), "label")
    write_table(folder / MEASUREMENTS, parts, names=names, dialect=dialect)
    rows: dict[str, list[Any]] = {"path": [str(each.image.path) for each in done]}
    if plane:
        rows["plane"] = [each.image.plane for each in done]
    rows |= {
        "labels": [str(each.labels.path) for each in done],
        "status": [each.status for each in done],
        "nuclei": [each.nuclei for each in done],
        "seconds": [each.seconds for each in done],
        "error": [each.error for each in done],
        "warnings": [" ".join(each.warnings) for each in done],
    }
    write_table(folder / IMAGES, [rows], dialect=dialect)
    classes = {
        f"{each.image.path} {each.image.plane}".rstrip(): each.columns[DAB_CLASS]
        for each in done
        if DAB_CLASS in each.columns
    }
    if classes:
        write_positive(folder, list(classes), list(classes.values()), dialect)
    else:  # from an earlier run
        (folder / POSITIVE).unlink(missing_ok=True)
