"""Write results of images that are open in the browser, as ``nucseg segment`` would."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nucseg.app.archive import write_zip
from nucseg.app.requests import Wanted
from nucseg.app.room import Share
from nucseg.app.sessions import OpenImage
from nucseg.app.uploads import free_name
from nucseg.batch.summary import IMAGES, MEASUREMENTS, RUN
from nucseg.classes import Classifier
from nucseg.errors import InputError
from nucseg.export import check_formats, save_formats
from nucseg.export.run_record import write_run_record
from nucseg.export.tables import Table, write_table
from nucseg.export.tiff import write_tiff
from nucseg.files import sha256
from nucseg.images import PixelSize, Source, open_image
from nucseg.inference.segmentation import Segmentation
from nucseg.models.zoo import ModelCard

# Folder of training data.
TRAINING = "training"


def write_results(
    path: Path,
    wanted: Sequence[tuple[OpenImage, Wanted]],
    formats: Sequence[str],
    card: ModelCard,
    share: Share,
    classifier: Classifier | None = None,
    *,
    to_train: bool = False,
) -> None:
    """Write the nuclei of images, after filters and manual edits, to a zip file.

    Parameters
    ----------
    path : Path
        A temporary folder is made beside it.
    wanted : sequence of (OpenImage, Wanted)
    formats : sequence of str
        Names of `nucseg.export.FORMATS`.
    card : ModelCard
    share : Share
        Share of the session; the written bytes are counted for the folder of `path`.
    classifier : Classifier, optional
        Assigns classes to nuclei, except in images with a different number of channels.
    to_train : bool
        Whether to write images and label images to a folder ``training/`` too, in a layout that
        ``nucseg train`` reads.

    Raises
    ------
    InputError
        A format is unknown, an image is not segmented yet, there is no space, or the file cannot
        be written.
    """
    check_formats(formats)
    work = path.with_suffix("")
    try:
        parts: list[Table] = []
        rows: list[dict[str, Any]] = []
        records: dict[str, Any] = {}
        taken: set[str] = set()
        for image, want in wanted:
            # Formats derive the names of their files from this name, with their own suffix.
            name = Path(free_name(f"{image.result}.x", taken)).stem
            taken.add(f"{name}.x")
            with image.lock:
                part, row, records[name] = _write_image(
                    work, name, image, want, formats, classifier, to_train
                )
            parts.append(part)
            rows.append(row)
            share.check_growth(path.parent)
        write_table(work / MEASUREMENTS, parts, names=("image", "plane", "label"))
        keys = dict.fromkeys(key for row in rows for key in row)
        columns = {key: [row.get(key) for row in rows] for key in keys}
        write_table(work / IMAGES, [columns])
        about = {
            "formats": list(formats),
            "model": card.model_dump(mode="json"),
            "classes": classifier and classifier.model_dump(mode="json"),
        }
        write_run_record(work / RUN, {**about, "images": records, "finished": True})
        files = sorted(file for file in work.rglob("*") if file.is_file())
        # The zip file is no larger than its content, except for names.
        share.hold(path.parent, 2 * sum(file.stat().st_size for file in files))
        write_zip(path, ((file.relative_to(work).as_posix(), file) for file in files))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def pixel_size_of(image: OpenImage, given: float | None) -> PixelSize | None:
    """Return the given pixel size, else that of the file."""
    if given is not None:
        return given, given
    return None if image.run is None else _source_of(image).pixel_size


def _source_of(image: OpenImage) -> Source:
    """Open the plane that was segmented."""
    if image.run is None:
        raise InputError(f"{image.path.name} is not segmented yet. Open it first.")
    run = image.run
    sources = open_image(image.path, channel=run.channel, project=run.project)
    return next(source for source in sources if source.plane == run.plane)


def _write_for_training(folder: Path, name: str, nuclei: Segmentation) -> None:
    """Write an image and its label image with the same name to two folders."""
    for part, values in (("images", nuclei.image), ("labels", nuclei.labels)):
        write_tiff(folder / part / f"{name}.tif", np.asarray(values), nuclei.pixel_size)


def _write_image(
    folder: Path,
    name: str,
    image: OpenImage,
    want: Wanted,
    formats: Sequence[str],
    classifier: Classifier | None,
    to_train: bool,
) -> tuple[Table, dict[str, Any], dict[str, Any]]:
    """Write the files of an image; return its parts of the tables and of the record."""
    if image.document is None or image.run is None:
        raise InputError(f"{image.path.name} is not segmented yet. Open it first.")
    pixel_size = pixel_size_of(image, want.pixel_size)
    nuclei = image.document.segmentation(want.filters, pixel_size=pixel_size)
    nuclei = replace(nuclei, place=_source_of(image).place)
    without_classes = ""
    if classifier is not None:
        try:
            nuclei = replace(nuclei, classifier=classifier)
            nuclei.measurements()
        except InputError as error:
            nuclei, without_classes = replace(nuclei, classifier=None), str(error)
    save_formats(nuclei, folder, name, formats)
    if to_train:
        _write_for_training(folder / TRAINING, name, nuclei)
    count, plane = nuclei.count, image.run.plane
    first = {"image": [image.path.name] * count, "plane": [plane] * count}
    row = {
        "path": image.path.name,
        "plane": plane,
        "status": "ok" if count else "empty",
        "nuclei": count,
        "seconds": round(image.seconds, 3),
        "error": "",
        **(
            {f"class_{each}": n for each, n in nuclei.predicted.counts().items()}
            if nuclei.predicted
            else {}
        ),
    }
    record = {
        "file": image.path.name,
        "sha256": sha256(image.path),
        "network": image.run.model_dump(mode="json"),
        "filters": want.filters.model_dump(mode="json"),
        "pixel_size": pixel_size,
        "changes_by_hand": image.document.edited,
        "nuclei": count,
        "without_classes": without_classes,
    }
    return {**first, **nuclei.measurements()}, row, record
