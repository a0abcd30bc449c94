"""Files that a run writes for all its images: tables, report and ``run.json``.

They are combined from the records of the images, so an interrupted and resumed run gives the same
files as an uninterrupted one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np

from nucseg import __version__
from nucseg.batch import records
from nucseg.batch.flat_fields import FlatFields, flat_field_section
from nucseg.batch.inputs import Input
from nucseg.batch.measuring import POSITIVE, write_positive
from nucseg.batch.records import Record
from nucseg.export import output_files
from nucseg.export.overlay import CLASS_COLOUR_NAMES, OVERLAY_PNG
from nucseg.export.parquet import write_parquet
from nucseg.export.report import ReportImage, write_report
from nucseg.export.tables import EXCEL, EXCEL_EU, Dialect, Table, write_table
from nucseg.figures.html import counted
from nucseg.images import Chosen
from nucseg.images.quality import warnings_of
from nucseg.inference.confidence import Confidence, confidence_from
from nucseg.inference.devices import describe_model
from nucseg.inference.segmenter import Model
from nucseg.measure import MEAN, mean_of_channels
from nucseg.measure.positive import DAB_CLASS

IMAGES = "images.csv"
MEASUREMENTS = "measurements.csv"
PARQUET = "measurements.parquet"
REPORT = "report.html"
RUN = "run.json"
OF_ALL = (IMAGES, MEASUREMENTS, PARQUET, POSITIVE, REPORT, RUN)

_AREA, _AREA_UM2 = "area", "area_um2"
_NONE = np.zeros(0, np.float32)
_DONE = ("ok", "empty")
_BACKGROUNDS = {True: "bright", False: "dark", None: ""}
# Reasons for the choice of a channel that are reported.
_TOLD = ("name", "asked", "first", "all")
Tables = Iterable[Table]
_OUTCOME = ("status", "nuclei", "seconds", "error")


@dataclass(frozen=True)
class Outcome:
    """Outcome of one image: a row of ``images.csv``.

    Attributes
    ----------
    path : str
        The image, as the user gave it.
    status : {"ok", "empty", "failed", "missing"}
        With nuclei, without nuclei, failed, or a missing plane.
    nuclei : int
        Number of nuclei.
    seconds : float
        Processing time of the image.
    error : str
        Why it failed, else empty.
    plane : str
        Which of the image's planes, if it has several.
    warnings : tuple of str
        Problems of the image, in sentences; see `nucseg.images.quality.warnings_of`.
    kept : bool
        Whether an earlier run finished it.
    confidence : Confidence or None
        Confidence of the model in the image; None if it failed.
    chosen : Chosen or None
        Which channel was read, and why; None if the image could not be opened.
    classes : mapping of str to int
        Nuclei of each class; empty without classes.
    candidates : mapping of str to int
        Candidates and flagged nuclei of each name; empty if no rules were applied.
    depth : str
        Bit depth of the intensities, such as ``8 bits``; empty if unknown.
    """

    path: str
    status: Literal["ok", "empty", "failed", "missing"]
    nuclei: int
    seconds: float
    error: str
    plane: str = ""
    warnings: tuple[str, ...] = ()
    kept: bool = False
    confidence: Confidence | None = None
    chosen: Chosen | None = None
    classes: Mapping[str, int] = field(default_factory=dict)
    candidates: Mapping[str, int] = field(default_factory=dict)
    depth: str = ""

    @property
    def median_score(self) -> float | None:
        """Median score of the nuclei, None if unknown."""
        return None if self.confidence is None else self.confidence.median_score

    @property
    def low_confidence(self) -> bool:
        """Whether the image is a low-confidence image, which should be checked first."""
        return self.confidence is not None and self.confidence.low

    @property
    def mostly_false(self) -> bool:
        """Whether most of its nuclei are probably false, see `Confidence.mostly_false`."""
        return self.confidence is not None and self.confidence.mostly_false


def outcome_of(image: Input, record: Record) -> Outcome:
    """Make the outcome of an image from its record."""
    sureness = confidence_from(record.get("confidence"))
    return Outcome(
        path=str(image.path),
        plane=image.plane,
        warnings=_warnings(record, sureness),
        kept=record.get("kept", False),
        confidence=sureness,
        chosen=Chosen(**record["chosen"]) if "chosen" in record else None,
        classes=record.get("classes", {}),
        depth=record.get("depth", ""),
        **{key: record[key] for key in _OUTCOME},
    )


def _warnings(record: Record, sureness: Confidence | None) -> tuple[str, ...]:
    """List the warnings of an image in sentences, the most serious first."""
    doubts = [] if sureness is None else sureness.warnings()
    doubts += record.get("reading_warnings", []) + record.get("class_warnings", [])
    if "quality" in record:
        doubts += warnings_of(record["quality"], pixel_size=record.get("pixel_size"))
    return tuple(doubts)


def write_tables(
    folder: Path,
    images: Sequence[Input],
    outcomes: Sequence[Outcome],
    of_all: Sequence[str],
    measurements: Tables,
) -> None:
    """Write ``measurements.csv``, ``images.csv`` and, if requested, ``measurements.parquet``.

    For immunohistochemistry, ``positive.csv`` is written too. Other columns of a list of inputs
    are appended to ``images.csv``.

    Raises
    ------
    InputError
        The tables cannot be written.
    """
    dialect = EXCEL_EU if EXCEL_EU.name in of_all else EXCEL
    # A column that distinguishes planes, if there are any.
    plane = ("plane",) if any(image.plane for image in images) else ()
    names = ("image", *plane, "label")
    write_table(folder / MEASUREMENTS, measurements, names=names, dialect=dialect)
    _write_positive(folder, images, outcomes, dialect)
    if "parquet" in of_all:
        write_parquet(folder / PARQUET, measurements, names=names)
    columns = ("path", *plane, *_OUTCOME)
    rows: dict[str, list[Any]] = {
        name: [getattr(outcome, name) for outcome in outcomes] for name in columns
    }
    # A mean over the column must not include images to which no rules were applied.
    rows["nuclei"] = [None if each.status == "missing" else each.nuclei for each in outcomes]
    rows["warnings"] = [" ".join(outcome.warnings) for outcome in outcomes]
    rows |= _count_columns(outcomes, "classes", "class_")
    rows |= _count_columns(outcomes, "candidates", "candidates_")
    rows |= _confidence_columns(outcomes) | _channel_columns(outcomes)
    write_table(folder / IMAGES, [rows | _listed_columns(images, rows)], dialect=dialect)


def counts_of(
    outcomes: Sequence[Outcome], what: Literal["classes", "candidates"]
) -> dict[str, int]:
    """Count the nuclei of each class or candidate in all images; empty without any."""
    counts = [getattr(each, what) for each in outcomes]
    names = dict.fromkeys(name for each in counts for name in each)
    return {name: sum(each.get(name, 0) for each in counts) for name in names}


def _count_columns(
    outcomes: Sequence[Outcome], what: Literal["classes", "candidates"], start: str
) -> dict[str, list[int | None]]:
    """Make the columns of ``images.csv`` with counts of each name; empty without counts."""
    return {
        f"{start}{name}": [getattr(each, what).get(name) for each in outcomes]
        for name in counts_of(outcomes, what)
    }


def _write_positive(
    folder: Path, images: Sequence[Input], outcomes: Sequence[Outcome], dialect: Dialect
) -> None:
    """Write ``positive.csv`` if DAB was measured."""
    classes, left_out = {}, []
    for image, outcome in zip(images, outcomes, strict=True):
        columns = records.read_measurements(folder, image, (DAB_CLASS,))
        if columns:
            classes[f"{image.path} {image.plane}".rstrip()] = columns[DAB_CLASS]
            left_out.append(outcome.mostly_false)
    if classes:
        write_positive(folder, list(classes), list(classes.values()), dialect, left_out=left_out)


def _channel_columns(outcomes: Sequence[Outcome]) -> dict[str, list[Any]]:
    """Make the columns of ``images.csv`` on the chosen channel, their number and the reason."""
    known = [outcome.chosen for outcome in outcomes]
    return {
        "channel": [each and each.name for each in known],
        "channels": [each and each.of for each in known],
        "channel_by": [each and each.by for each in known],
    }


def channels_told(outcomes: Sequence[Outcome]) -> list[str]:
    """Describe the chosen channels of multichannel images: a sentence for each choice."""
    several = [
        each.chosen
        for each in outcomes
        if each.chosen is not None and each.status in _DONE and each.chosen.by in _TOLD
    ]
    return [
        f"Channel: {_of_how_many(chosen)}, in {count} {'image' if count == 1 else 'images'}."
        for chosen, count in Counter(several).most_common()
    ]


def _of_how_many(chosen: Chosen) -> str:
    unknown = "since no name says which shows nuclei; choose one by --channel"
    if chosen.by == "all":
        return f"all {chosen.of}, {unknown}"
    if chosen.by == "first" or chosen.number is None:
        return f"the first{' 3' if chosen.of > 3 else ''} of {chosen.of}, {unknown}"
    why = "by its name" if chosen.by == "name" else "as asked for"
    return f"{chosen.name} ({chosen.number + 1} of {chosen.of}, {why})"


def _listed_columns(images: Sequence[Input], own: Collection[str]) -> dict[str, list[str]]:
    """Return the other columns of input lists; ``list_`` is prepended to names that nucseg uses."""
    given = [dict(image.columns) for image in images]
    names = dict.fromkeys(name for each in given for name in each)
    taken = {name.casefold() for name in own}
    return {
        f"list_{name}" if name.casefold() in taken else name: [each.get(name, "") for each in given]
        for name in names
    }


def _confidence_columns(outcomes: Sequence[Outcome]) -> dict[str, list[Any]]:
    """Make the columns of ``images.csv`` with the confidence of the model; empty if unknown."""
    known = [outcome.confidence for outcome in outcomes]
    return {
        "median_score": [each and each.median_score for each in known],
        "dropped": [each and each.dropped for each in known],
        "diameter": [each and each.view.diameter for each in known],
        "scale": [each and each.view.scale for each in known],
        "scale_source": [each and each.view.source for each in known],
        "background": [each and _BACKGROUNDS[each.view.bright] for each in known],
    }


def write_run_report(
    folder: Path,
    images: Sequence[Input],
    outcomes: Sequence[Outcome],
    model: Model,
    formats: Sequence[str],
    fields: FlatFields | None = None,
) -> None:
    """Write ``report.html`` from the records of the images, one image after the other.

    Raises
    ------
    InputError
        The report cannot be written.
    """
    facts = {
        "Model": model.card.name,
        "nucseg": __version__,
        **({"Channels": " ".join(told)} if (told := channels_told(outcomes)) else {}),
        **_classes_told(model, outcomes),
        **_candidates_told(outcomes),
        "Beside this page": "images.csv (these counts), measurements.csv (all nuclei), run.json "
        f"(all settings), {', '.join(f'{name}/' for name in formats)}",
    }
    shown = _shown(folder, images, outcomes, formats)
    more = [flat_field_section(fields or FlatFields())]
    write_report(folder / REPORT, shown, facts=facts, more=more)


def _classes_told(model: Model, outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Describe the classes, their colours, and how reliable they are."""
    if model.classifier is None:
        return {}
    found = counts_of(outcomes, "classes")
    each = [
        f"{name} ({colour}): {counted(found.get(name, 0), 'nucleus', 'nuclei')}"
        for name, colour in zip(model.classifier.names, CLASS_COLOUR_NAMES, strict=False)
    ]
    return {
        "Classes": "; ".join(each),
        "Accuracy of the classes": f"{model.classifier.accuracy.told()} when they were trained.",
    }


def _candidates_told(outcomes: Sequence[Outcome]) -> dict[str, str]:
    found = counts_of(outcomes, "candidates")
    told = ", ".join(f"{name} {count:,}" for name, count in found.items())
    return {"Candidates": f"{told}. To be looked at: measurements.csv names them."} if told else {}


def _shown(
    folder: Path, images: Sequence[Input], outcomes: Sequence[Outcome], formats: Sequence[str]
) -> Iterator[ReportImage]:
    linked = OVERLAY_PNG.name in formats
    for image, outcome in zip(images, outcomes, strict=True):
        columns = records.read_measurements(folder, image, (_AREA, MEAN))
        has_size = _AREA_UM2 in columns
        yield ReportImage(
            path=outcome.path,
            plane=outcome.plane,
            status=outcome.status,
            nuclei=outcome.nuclei,
            error=outcome.error,
            warnings=outcome.warnings,
            thumbnail=records.read_thumbnail(folder, image),
            link=_address(folder, image) if linked and outcome.status in _DONE else "",
            areas=columns.get(_AREA_UM2 if has_size else _AREA, _NONE),
            intensities=mean_of_channels(columns),
            unit="µm²" if has_size else "pixels",
            depth=outcome.depth,
            median_score=outcome.median_score,
            low_confidence=outcome.low_confidence,
        )


def _address(folder: Path, image: Input) -> str:
    """Return the address of the overlay of an image, relative to the page."""
    (path,) = output_files(folder, image.name, [OVERLAY_PNG.name])
    return quote(os.fsencode(path.relative_to(folder).as_posix()))


def describe_run(
    model: Model, images: Sequence[Input], formats: Sequence[str], command: Sequence[str]
) -> Record:
    """Describe the settings of the run for ``run.json``."""
    return {
        "command": list(command),
        "working_folder": str(Path.cwd()),
        "finished": False,
        "formats": list(formats),
        "model": model.card.model_dump(mode="json"),
        "scale": model.scale or ("estimated" if model.card.scaling else 1),
        "classes": model.classifier and model.classifier.model_dump(mode="json"),
        **describe_model(model),
        "inputs": {str(image.path): None for image in images},
    }


def what_was_read(folder: Path, images: Sequence[Input]) -> Record:
    """Return the hashes of the inputs, their chosen channels, and the confidence of the model."""
    known = [(image, records.read_record(folder, image)) for image in images]
    hashes: dict[str, str | None] = {}
    channels: dict[str, list[str]] = {}
    for image, record in known:
        path = str(image.path)
        hashes[path] = hashes.get(path) or record.get("sha256")
        chosen = channels.setdefault(path, [])
        if "chosen" in record and record["chosen"]["name"] not in chosen:
            chosen.append(record["chosen"]["name"])
    return {
        "inputs": hashes,
        "channels": {path: ", ".join(chosen) for path, chosen in channels.items()},
        "channel_choices": [
            {"path": str(image.path), "plane": image.plane, **record["chosen"]}
            for image, record in known
            if "chosen" in record
        ],
        "missing": [
            {"path": str(image.path), "plane": image.plane}
            for image, record in known
            if record.get("status") == "missing"
        ],
        "confidence": [
            {"path": str(image.path), "plane": image.plane, **record["confidence"]}
            for image, record in known
            if record.get("confidence")
        ],
    }
