"""Write an evaluation to a folder: metrics, tables and pictures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nucseg.errors import InputError, MissingExtraError
from nucseg.evaluation.metrics import KAGGLE_THRESHOLDS
from nucseg.evaluation.results import AP_NAMES, Evaluation, ImageResult
from nucseg.export.run_record import write_run_record
from nucseg.export.tables import write_table
from nucseg.figures.pictures import write_png
from nucseg.figures.plotting import ap_plot, error_overlay, panel
from nucseg.files import PARTIAL

METRICS, IMAGES, PANELS, RUN = "metrics.json", "images.csv", "panels", "run.json"
AP_PLOT = Path("plots") / "ap.png"
COLUMNS = ("image_id", "group", "status", "true_nuclei", "predicted_nuclei")
RANKS = ("worst", "best", "median")
PANELS_PER_RANK = 3
# Mean AP over images at 0.50, 0.55 … 0.90, of EmbedSeg, arXiv 2101.10033, table 1.
PUBLISHED = {
    "3-class U-Net": (0.806, 0.775, 0.743, 0.701, 0.654, 0.578, 0.491, 0.374, 0.226),
    "Mask R-CNN": (0.832, 0.805, 0.773, 0.730, 0.684, 0.597, 0.489, 0.353, 0.189),
    "StarDist": (0.864, 0.836, 0.804, 0.755, 0.685, 0.586, 0.450, 0.287, 0.119),
    "Cellpose, public weights": (0.868, 0.852, 0.829, 0.802, 0.755, 0.676, 0.563, 0.418, 0.234),
    "Cellpose, trained on it": (0.853, 0.826, 0.812, 0.792, 0.768, 0.716, 0.645, 0.536, 0.402),
    "EmbedSeg": (0.876, 0.858, 0.834, 0.806, 0.768, 0.715, 0.645, 0.530, 0.399),
}
PUBLISHED_ON = (
    "published for 50 fluorescence images of the 2018 Data Science Bowl (arXiv 2101.10033); "
    "comparable on these alone"
)


def write_report(
    evaluation: Evaluation, folder: Path, *, plots: bool, run: Mapping[str, Any] | None = None
) -> None:
    """Write the files that `Evaluation.save` describes and, if `run` is given, run.json."""
    missing = None
    with _all_at_once(folder) as partial:
        write_table(partial / IMAGES, [_columns(evaluation.images)], names=COLUMNS)
        _write_panels(evaluation, partial / PANELS)
        if run is not None:
            write_run_record(partial / RUN, run)
        if plots and evaluation.overall["mean"]:
            try:
                _write_plot(evaluation, partial / AP_PLOT)
            except MissingExtraError as error:  # everything else is written
                missing = error
        write_run_record(partial / METRICS, evaluation.summary())
    if missing is not None:
        raise missing


def _write_plot(evaluation: Evaluation, path: Path) -> None:
    means, pooled = evaluation.overall["mean"], evaluation.overall["pooled"]
    ap_plot(
        KAGGLE_THRESHOLDS,
        {
            f"{evaluation.judged}: mean over images": [means[name] for name in AP_NAMES],
            f"{evaluation.judged}: all nuclei pooled": [pooled[name] for name in AP_NAMES],
        },
        path,
        references=PUBLISHED,
        references_title=PUBLISHED_ON,
    )


@contextmanager
def _all_at_once(folder: Path) -> Iterator[Path]:
    """Provide a folder to write in; its files replace earlier ones after all are written."""
    partial = folder / f"{PARTIAL}evaluation"
    made = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    try:
        shutil.rmtree(partial, ignore_errors=True)  # from a killed evaluation
        partial.mkdir(parents=True)
        yield partial
        _replace(folder, partial)
    except OSError as error:
        raise InputError(
            f"Cannot write in {folder}: {error.strerror or error}. Give another output folder."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for each in made:
            with suppress(OSError):  # it contains results
                each.rmdir()


def _replace(folder: Path, partial: Path) -> None:
    """Replace an earlier evaluation; metrics.json is removed first and written last."""
    if (folder / METRICS).exists():
        (folder / METRICS).unlink()
        (folder / AP_PLOT).unlink(missing_ok=True)
    for rank in RANKS:
        for old in (folder / PANELS).glob(f"{rank}_*.png"):
            old.unlink()
    files = [path.relative_to(partial) for path in partial.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda path: path == Path(METRICS)):
        (folder / file).parent.mkdir(exist_ok=True)
        (partial / file).replace(folder / file)


def ranked(images: tuple[ImageResult, ...]) -> dict[str, list[ImageResult]]:
    """Choose the worst, the median and the best images by their nuclei, then by their masks.

    No image is chosen twice; if there are few images, the worst have priority.
    """
    judged = sorted(
        (image for image in images if not image.error),
        key=lambda image: (image.scores["kaggle_map"], image.scores["dice"], image.image_id),
    )
    count = len(judged)
    middle = max(0, count // 2 - PANELS_PER_RANK // 2)
    places = (
        range(PANELS_PER_RANK),
        range(count - 1, count - 1 - PANELS_PER_RANK, -1),
        range(middle, middle + PANELS_PER_RANK),
    )
    taken: set[int] = set()
    picked = {}
    for rank, wanted in zip(RANKS, places, strict=True):
        chosen = [place for place in wanted if 0 <= place < count and place not in taken]
        taken.update(chosen)
        picked[rank] = [judged[place] for place in chosen]
    return picked


def _columns(images: tuple[ImageResult, ...]) -> dict[str, list[object]]:
    names = next((list(image.scores) for image in images if not image.error), [])
    rows = []
    for image in images:
        counts = (None, None) if image.error else (image.true_nuclei, image.predicted_nuclei)
        status = "failed" if image.error else "ok"
        scores = [image.scores.get(name) for name in names]
        problems = "; ".join(image.problems)
        rows.append([image.image_id, image.group, status, *counts, *scores, problems, image.error])
    columns = [*COLUMNS, *names, "problems", "error"]
    return {name: [row[index] for row in rows] for index, name in enumerate(columns)}


def _write_panels(evaluation: Evaluation, folder: Path) -> None:
    for rank, images in ranked(evaluation.images).items():
        for number, image in enumerate(images, start=1):
            sample = evaluation.read(image.image_id)
            labels = evaluation.predict(sample).labels
            name = f"{rank}_{number}_{image.image_id.replace('/', '_')}"
            write_png(folder / f"{name}.png", panel(sample.pixels, sample.labels, labels))
            overlay = error_overlay(sample.pixels, sample.labels, labels)
            write_png(folder / f"{name}_errors.png", overlay)
