"""Write a self-contained HTML page to check a batch of segmented images."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path, PurePath
from string import Template
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.core.segmented import Windowed
from nucseg.errors import InputError
from nucseg.export.failures import causes_of, without_name
from nucseg.export.overlay import draw_overlay, reduced
from nucseg.export.report_batch import Batch, Evenly, ReportImage
from nucseg.figures.histogram import histogram_svg
from nucseg.figures.html import counted, definitions, figure, number, paragraph, section, table
from nucseg.files import atomic_write
from nucseg.images.colours import to_rgb
from nucseg.images.preprocess import resize_labels

__all__ = ["ReportImage", "thumbnail", "write_report"]

# Longer side of a thumbnail in pixels, and its JPEG quality, which keeps thin outlines clear.
_SIDE, _QUALITY = 320, 80
# Mean area in pixels of the nuclei of a thumbnail from which outlines are two pixels wide.
_THICK_FROM = 150
# Step between the rows and columns of a thumbnail that determine its brightness.
_EVERY = 3
# Limits of a page, so that a browser opens it quickly: rows, and bytes of the pictures of images
# with warnings, and of other images; base64 adds a third.
_ROWS, _PICTURE_BYTES = 5000, 3_300_000
# Names shown below a cause of failure at once, and after a click.
_NAMES, _MOST_NAMES = 10, 500


def thumbnail(
    image: Windowed, labels: Windowed, classes: npt.NDArray[np.integer[Any]] | None = None
) -> bytes:
    """Draw a thumbnail of an image with the outlines of its nuclei.

    Parameters
    ----------
    image : Windowed, shape (H, W) or (H, W, C), any real dtype
        An array, or an image that is read in windows.
    labels : Windowed, shape (H, W), integer
    classes : ndarray, shape (N,), integer, optional
        Class of the nuclei 1 to N, which determines the colour of outlines.

    Returns
    -------
    bytes
        JPEG file of at most 320 pixels on the longer side.

    Raises
    ------
    InputError
        Image and labels differ in size, or the array is not an image.
    """
    if image.shape[:2] != labels.shape:
        raise InputError(
            f"Expected labels of the image's size {image.shape[:2]}, got {labels.shape}."
        )
    # Four pixels per pixel of the thumbnail are enough to average.
    if isinstance(image, np.ndarray) and isinstance(labels, np.ndarray):
        every = slice(None, None, max(max(labels.shape) // (4 * _SIDE), 1))
        seen, numbers = image[every, every], labels[every, every]
    else:
        seen, numbers = reduced(image, labels, 4 * _SIDE)
    to_rgb(seen)  # raises an error if it is not an image
    longer = max(numbers.shape)
    # Small images are scaled by an integer, so that the pixels of their labels stay squares.
    scale = _SIDE / longer if longer > _SIDE else _SIDE // longer
    size = (max(round(numbers.shape[0] * scale), 1), max(round(numbers.shape[1] * scale), 1))
    dtype = seen.dtype if seen.dtype in (np.uint8, np.uint16) else np.float32
    small = np.ascontiguousarray(seen, dtype)
    if size != numbers.shape:
        method = cv2.INTER_AREA if longer > _SIDE else cv2.INTER_NEAREST
        small = np.asarray(cv2.resize(small, size[::-1], interpolation=method))
    shown = resize_labels(numbers, size)
    nuclei = len(np.unique(shown)) - 1
    # Thick outlines are easier to see, but would fill small nuclei.
    thick = nuclei > 0 and bool(np.count_nonzero(shown) >= _THICK_FROM * nuclei)
    picture = draw_overlay(small, shown, classes=classes, thickness=1 + thick, every=_EVERY)
    _, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return data.tobytes()


def write_report(
    path: Path,
    images: Iterable[ReportImage],
    *,
    facts: Mapping[str, str],
    more: Sequence[str] = (),
) -> None:
    """Write the report; the write is atomic.

    Parameters
    ----------
    path : Path
    images : iterable of ReportImage
        Iterated once. A row for each image, and up to 400 thumbnails and 100,000 nuclei for the
        histograms, both evenly spaced, are kept in memory.
    facts : mapping of str to str
        Description of the run, for a list at the top: model, version, command and so on.
    more : sequence of str
        HTML of more sections, before the tables.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    batch = Batch()
    for image in images:
        batch.add(image)
    sections = [paragraph("No image was segmented.")]
    if batch.rows:
        sections = [
            _summary(batch),
            _failures(batch.images),
            _low_confidence(batch),
            _wrong(batch),
            _distributions(batch),
            _others(batch),
            *more,
            _folders(batch),
            _images(batch),
        ]
    title = f"Nuclei in {counted(len(_there(batch.images)), 'image')}"
    write_page(path, title, facts, sections)


def write_page(path: Path, title: str, facts: Mapping[str, str], sections: Sequence[str]) -> None:
    """Write a page in the style of the report; the write is atomic.

    Parameters
    ----------
    path : Path
    title : str
        Text of the heading.
    facts : mapping of str to str
        Content of the list at the top.
    sections : sequence of str
        HTML of the body; empty sections are omitted.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    template = files("nucseg.export").joinpath("report.html").read_text(encoding="utf-8")
    page = Template(template).substitute(
        title=escape(title),
        facts=definitions(facts),
        body="\n".join(each for each in sections if each),
    )
    with atomic_write(path) as partial:
        # File names may contain bytes that are not text.
        partial.write_text(page, encoding="utf-8", errors="backslashreplace", newline="\n")


def _there(images: Sequence[ReportImage]) -> list[ReportImage]:
    """Return all images except missing planes."""
    return [image for image in images if image.status != "missing"]


def _summary(batch: Batch) -> str:
    images = _there(batch.images)
    status = Counter(image.status for image in batch.images)
    numbers = [
        ("#images", len(images), "image" if len(images) == 1 else "images"),
        ("#nuclei", sum(image.nuclei for image in images), "nuclei"),
        ("#failed", status["failed"], "failed"),
        ("#wrong", status["empty"], "empty: no nucleus was found"),
        (
            "#low" if batch.low.seen else "#wrong",
            batch.low.seen + batch.wrong.seen,
            "to look at: empty, of low confidence, or something looks wrong",
        ),
    ]
    if status["missing"]:
        numbers.append(("#images", status["missing"], "missing: the file does not hold the plane"))
    items = [
        f'<li><b>{count:,}</b> <a href="{place}">{text}</a></li>'
        if count
        else f"<li><b>0</b> {text}</li>"
        for place, count, text in numbers
    ]
    return "\n".join(['<ul class="numbers">', *items, "</ul>"])


def _failures(images: Sequence[ReportImage]) -> str:
    causes = causes_of(images)
    if not causes:
        return ""
    pieces = []
    for cause in causes:
        count, names = len(cause.images), cause.images[:_MOST_NAMES]
        if len(names) < count:
            names.append(f"and {count - len(names):,} more")
        items = "".join(f"<li>{escape(name)}</li>" for name in names)
        pieces.append(
            f"<details{' open' if count <= _NAMES else ''}><summary>"
            f"<strong>{counted(count, 'image')}:</strong> {escape(cause.text)}</summary>"
            f"<ul>{items}</ul></details>"
        )
    return section("failed", "Failed images", *pieces)


def _low_confidence(batch: Batch) -> str:
    if not batch.low.seen:
        return ""
    text = (
        "The model gave most of their nuclei low scores: of such images many are segmented badly. "
        "Those with the lowest median score come first."
    )
    pictures = _pictures(batch.low, "images of low confidence", text)
    return section("low", "Images of low confidence", *pictures)


def _wrong(batch: Batch) -> str:
    if not batch.wrong.seen:
        return ""
    text = (
        "Those in which nothing was found come first. The warnings come from quick measures and "
        "may be wrong: judge by eye."
    )
    return section(
        "wrong", "Images that look wrong", *_pictures(batch.wrong, "images that look wrong", text)
    )


def _others(batch: Batch) -> str:
    if not batch.others.seen:
        return ""
    text = "Outlines show what was found."
    return section("pictures", "Other images", *_pictures(batch.others, "other images", text))


def _pictures(kept: Evenly[ReportImage], what: str, text: str) -> list[str]:
    images = kept.items
    while len(images) > 1 and sum(len(each.thumbnail or b"") for each in images) > _PICTURE_BYTES:
        images = images[::2]
    if any(image.link for image in images):
        text += " A click on a picture opens it in full, where the page lies beside the results."
    if len(images) < kept.seen:
        text += f" Shown are {len(images):,} of {kept.seen:,} {what}, evenly spaced."
    figures = [
        figure(
            image.thumbnail,
            image.name,
            counted(image.nuclei, "nucleus", "nuclei"),
            description=f"{image.name}: {counted(image.nuclei, 'nucleus', 'nuclei')} outlined",
            warnings=image.remarks,
            link=image.link,
        )
        for image in sorted(images, key=_urgency)
    ]
    return [paragraph(text), '<ul class="pictures">', *figures, "</ul>"]


def _urgency(image: ReportImage) -> tuple[bool, float]:
    """Return the sort key of a picture: without nuclei first, then low confidence by score."""
    score = image.median_score if image.low_confidence and image.median_score is not None else 1.0
    return image.nuclei > 0, score


def _distributions(batch: Batch) -> str:
    figures = [
        _histogram(kept, f"area of a nucleus ({unit})", f" {unit}", log=True)
        for unit, kept in sorted(batch.areas.items())
    ]
    for depth, kept in sorted(batch.intensities.items()):
        told = f" ({depth})" if depth else ""
        figures.append(_histogram(kept, f"mean intensity of a nucleus{told}", "", log=False))
    if not figures:
        return ""
    return section(
        "nuclei", "Areas and intensities", '<div class="histograms">', *figures, "</div>"
    )


def _histogram(kept: Evenly[float], label: str, unit: str, *, log: bool) -> str:
    values = np.array(kept.items)
    low, median, high = (number(value) for value in np.percentile(values, (25, 50, 75)))
    caption = f"Median {median}{unit}; half of the nuclei lie between {low} and {high}{unit}."
    if kept.step > 1:
        caption += f" Drawn from one nucleus in {kept.step:,}."
    svg = histogram_svg(values, label, log=log, weight=kept.step)
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _folders(batch: Batch) -> str:
    folders: defaultdict[str, list[tuple[ReportImage, float | None]]] = defaultdict(list)
    for image, area in batch.rows:
        if image.status != "missing":
            folders[str(PurePath(image.path).parent)].append((image, area))
    units = sorted({image.unit for image, area in batch.rows if area is not None})
    spreads = [("Per image", True), ("Half of the images", False)]
    for unit in units:
        spreads += [(f"Area ({unit})", True), ("Half of the images", False)]
    columns = [("Folder", False), ("Images", True), ("Nuclei", True), *spreads]
    columns += [("Failed", True), ("Empty", True), ("To look at", True)]
    text = (
        "Per image and area: the median over the images, of the nuclei found and of their median "
        "area; half of the images lie in the range beside it."
    )
    rows, remarks = [], [paragraph(text)]
    for folder, inside in list(folders.items())[:_ROWS]:
        status = Counter(image.status for image, _ in inside)
        counts = [image.nuclei for image, _ in inside if image.status in ("ok", "empty")]
        spread = [*_spread(counts)]
        for unit in units:
            spread += _spread([a for image, a in inside if a is not None and image.unit == unit])
        wrong = sum(bool(image.remarks) for image, _ in inside)
        cells = (folder, len(inside), sum(counts), *spread)
        rows.append(("", "", (*cells, status["failed"], status["empty"], wrong)))
    if len(folders) > _ROWS:
        remarks.append(paragraph(f"Listed are the first {_ROWS:,} of {len(folders):,} folders."))
    return section("folders", "Folders", *remarks, table("Counts of each folder", columns, rows))


def _spread(values: Sequence[float]) -> tuple[float | None, str | None]:
    """Return the median over the images, and the interquartile range as text."""
    if not values:
        return None, None
    low, median, high = np.percentile(values, (25, 50, 75))
    return round(float(median), 1), f"{number(low)} to {number(high)}"


def _images(batch: Batch) -> str:
    rows, remarks = batch.rows, []
    if len(rows) > _ROWS:
        rows = sorted(rows, key=lambda row: not (row[0].error or row[0].remarks))[:_ROWS]
        remarks.append(
            paragraph(
                f"Listed are {_ROWS:,} of {len(batch.rows):,} images, those first that failed or "
                "look wrong. All are in images.csv."
            )
        )
    units = sorted({image.unit for image, area in rows if area is not None})
    has_planes = any(image.plane for image, _ in rows)
    has_scores = any(image.median_score is not None for image, _ in rows)
    columns = {
        "Image": False,
        **({"Plane": False} if has_planes else {}),
        "Status": False,
        "Nuclei": True,
        **{f"Median area ({unit})": True for unit in units},
        **({"Median score": True} if has_scores else {}),
        "Remarks": False,
    }
    shared = _shared_folder(image.path for image, _ in rows)
    lines = []
    for image, area in rows:
        plane = [image.plane] if has_planes else []
        areas = [area if image.unit == unit else None for unit in units]
        scores = [image.median_score] if has_scores else []
        segmented = image.status in ("ok", "empty")
        counts = [image.nuclei if segmented else None, *areas, *scores]
        remark = without_name(image.error, image.path) or " ".join(image.remarks)
        name = image.path.removeprefix(shared)
        cells = [name, *plane, image.status, *counts, remark]
        lines.append(("failed" if image.status == "failed" else "", image.link, cells))
    if shared:
        remarks.append(paragraph(f"All are in {shared}."))
    return section("images", "Images", *remarks, table("Counts of each image", columns, lines))


def _shared_folder(paths: Iterable[str]) -> str:
    """Return the common folder with a slash at its end; empty if there is none."""
    try:
        folder = os.path.commonpath([PurePath(path).parent for path in paths])
    except ValueError:  # some are absolute, or on different drives
        return ""
    return os.path.join(folder, "") if folder not in ("", ".") else ""  # noqa: PTH118 - for the slash
