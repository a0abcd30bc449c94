"""Report on a data set: its content and its problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nucseg.datasets.facts import Facts
from nucseg.datasets.samples import NO_FACTS, Dataset, Kind, Problem, Sample
from nucseg.datasets.sheets import sheet, thumbnail
from nucseg.errors import NucsegError
from nucseg.figures.pictures import Picture
from nucseg.images.colours import COLOURFUL, image_kind

Modality = Literal["fluorescence", "brightfield", "histology"]
LISTED = 50

_LAYOUTS = {
    "kaggle": "Kaggle's layout",
    "cellpose": "Cellpose's files beside the images",
    "geojson": "QuPath's GeoJSON files",
    "coco": "a JSON file in COCO's format",
    "beside": "files of several kinds beside the images",
    "several": "several data sets",
}


@dataclass(frozen=True)
class ImageFacts:
    """Properties of one image of a data set.

    Attributes
    ----------
    image_id : str
    height, width : int
        Size in pixels.
    dtype : str
    modality : str
        Modality by `guess_modality`.
    areas : ndarray of int or None
        Area of each nucleus in pixels; None if the nuclei are not annotated.
    """

    image_id: str
    height: int
    width: int
    dtype: str
    modality: Modality
    areas: npt.NDArray[np.int64] | None


@dataclass(frozen=True)
class Report:
    """Content and problems of a data set.

    Attributes
    ----------
    path : Path
    layout : str
    images : tuple of ImageFacts
        Images, without those that cannot be read.
    problems : tuple of Problem
    facts : Facts
        Content of its ``dataset.toml``.
    """

    path: Path
    layout: str
    images: tuple[ImageFacts, ...]
    problems: tuple[Problem, ...]
    facts: Facts = NO_FACTS


def guess_modality(pixels: npt.NDArray[np.generic]) -> Modality:
    """Guess the modality of an image from its colour and its background.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, 3), real dtype

    Returns
    -------
    str
        ``"histology"`` for colour images that are mostly bright, ``"brightfield"`` for grey images
        with a bright background, else ``"fluorescence"``.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.full((8, 8, 3), 200, np.uint8)
    >>> image[:4, :4] = 60
    >>> guess_modality(image), guess_modality(255 - image)
    ('brightfield', 'fluorescence')
    """
    background, colour = image_kind(pixels)
    colourful = colour > COLOURFUL
    if colourful and background > 0.4:
        return "histology"
    return "brightfield" if background > 0.5 and not colourful else "fluorescence"


def inspect_dataset(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> Report:
    """Read all images of a data set and report its content and problems.

    Parameters
    ----------
    dataset : Dataset
    progress : callable, optional
        ``progress(done, total)``.

    Returns
    -------
    Report
        An image that cannot be read is one of the problems and does not stop the others.
    """
    images = []
    problems = list(dataset.problems)
    for done, image_id in enumerate(dataset.image_ids, start=1):
        try:
            sample = dataset.read(image_id)
        except NucsegError as error:
            problems.append(Problem(image_id, "unreadable image", str(error)))
        else:
            images.append(_facts(sample))
            problems += sample.problems
        if progress:
            progress(done, len(dataset.image_ids))
    return Report(dataset.path, dataset.layout, tuple(images), tuple(problems), facts=dataset.facts)


def summary(report: Report) -> dict[str, Any]:
    """Summarize a report in numbers and lists that JSON can represent.

    Parameters
    ----------
    report : Report

    Returns
    -------
    dict
        Counts of images, sizes, dtypes and modalities; minimum, median and maximum number of
        nuclei per image; percentiles 5, 50 and 95 of the equivalent diameter of a nucleus, the
        diameter of a circle of its area, in pixels; and all problems.
    """
    marked = [image.areas for image in report.images if image.areas is not None]
    counts = [len(areas) for areas in marked]
    areas = np.concatenate([np.zeros(0, np.int64), *marked])
    kinds: Counter[Kind] = Counter()
    for problem in report.problems:
        kinds[problem.kind] += problem.count
    return {
        "path": str(report.path),
        "layout": report.layout,
        "dataset": report.facts.model_dump(mode="json", exclude_none=True),
        "images": len(report.images),
        "images_with_nuclei_marked": len(marked),
        "sizes": _counts(f"{image.height} x {image.width}" for image in report.images),
        "dtypes": _counts(image.dtype for image in report.images),
        "modalities": _counts(image.modality for image in report.images),
        "nuclei": int(areas.size),
        "nuclei_per_image": _percentiles(np.array(counts), ("min", "median", "max"), (0, 50, 100)),
        "diameter": _percentiles(
            np.sqrt(4 * areas / np.pi), ("percentile_5", "median", "percentile_95"), (5, 50, 95)
        ),
        "problem_counts": dict(sorted(kinds.items())),
        "problems": [
            {
                "image": each.image_id,
                "kind": each.kind,
                "count": each.count,
                "message": each.message,
            }
            for each in report.problems
        ],
    }


def describe(report: Report) -> str:
    """Describe a report in text.

    Parameters
    ----------
    report : Report

    Returns
    -------
    str
        Several lines for users; the first `LISTED` problems, and the number of the others.
    """
    facts = summary(report)
    layout = _LAYOUTS.get(report.layout, "images/ and label images")
    per_image, diameter = facts["nuclei_per_image"], facts["diameter"]
    unmarked = facts["images"] - facts["images_with_nuclei_marked"]
    about = report.facts
    named = {"name": about.name, "licence": about.licence, "source": about.source}
    stated = [f"{title:<10} {value}" for title, value in named.items() if value]
    lines = [
        f"{report.path} ({layout})",
        *stated,
        f"images     {facts['images']}" + (f", {unmarked} without marked nuclei" * bool(unmarked)),
        f"sizes      {_listed(facts['sizes'])} (height x width)",
        f"types      {_listed(facts['dtypes'])}",
        f"modality   {_listed(facts['modalities'])} (guessed)",
        f"nuclei     {facts['nuclei']}",
    ]
    if per_image:
        lines.append(
            f"per image  {per_image['min']:g} to {per_image['max']:g}, "
            f"median {per_image['median']:g}"
        )
    if diameter:
        lines.append(
            f"diameter   {diameter['percentile_5']:.1f} to {diameter['percentile_95']:.1f} pixels "
            f"for nine of ten, median {diameter['median']:.1f}"
        )
    if not report.problems:
        return "\n".join([*lines, "problems   none"])
    affected = len({problem.image_id for problem in report.problems})
    lines.append(f"problems   in {affected} images: {_listed(facts['problem_counts'])}")
    lines += [
        f"  {each.kind}: {each.image_id}: {each.message}" for each in report.problems[:LISTED]
    ]
    if len(report.problems) > LISTED:
        lines.append(f"  and {len(report.problems) - LISTED} more; --json lists all")
    return "\n".join(lines)


def contact_sheet(
    dataset: Dataset, report: Report, *, limit: int = 60, side: int = 160, columns: int = 10
) -> Picture:
    """Draw a contact sheet of images of a data set, with outlined nuclei.

    Parameters
    ----------
    dataset : Dataset
    report : Report
        Report on this data set, for the captions and the images that can be read.
    limit : int
        Maximum number of images; a larger set is sampled evenly.
    side : int
        Longer side of each picture in pixels.
    columns : int
        Maximum number of pictures per row.
        Largest number of pictures in a row.

    Returns
    -------
    ndarray, shape (height, width, 3), uint8
        The captions state the image and its number of nuclei; they are red if it has a problem.
    """
    faulty = {problem.image_id for problem in report.problems}
    shown = report.images
    if len(shown) > limit:
        chosen = np.linspace(0, len(shown) - 1, limit).round().astype(int)
        shown = tuple(shown[index] for index in chosen)
    pictures = []
    for facts in shown:
        sample = dataset.read(facts.image_id)
        count = "?" if facts.areas is None else str(len(facts.areas))
        caption = f"{facts.image_id[:12]}  n={count}  {facts.modality[:5]}."
        picture = thumbnail(sample.pixels, sample.labels, side)
        pictures.append((picture, caption, facts.image_id in faulty))
    return sheet(pictures, columns=min(columns, max(len(pictures), 1)), side=side)


def _facts(sample: Sample) -> ImageFacts:
    areas = np.bincount(sample.labels.ravel())[1:].astype(np.int64) if sample.labelled else None
    return ImageFacts(
        sample.image_id,
        sample.pixels.shape[0],
        sample.pixels.shape[1],
        sample.pixels.dtype.name,
        guess_modality(sample.pixels),
        areas,
    )


def _counts(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _percentiles(
    values: npt.NDArray[Any], names: tuple[str, ...], at: tuple[int, ...]
) -> dict[str, float] | None:
    if not values.size:
        return None
    return {name: float(np.percentile(values, q)) for name, q in zip(names, at, strict=True)}


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items()) or "none"
