"""``nucseg evaluate``: compare a model, or label images of any program, with ground truth."""

from __future__ import annotations

import json
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nucseg.cli.common import default, option, progress_bar
from nucseg.config import Device, Filtering, Precision, Segmenting
from nucseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection

    from nucseg.datasets.reading import Dataset
    from nucseg.evaluation import Evaluation
    from nucseg.inference.segmenter import Model

SOME_FAILED = 1
# Failed images listed in the terminal; metrics.json lists all.
NAMED = 5
SUBSETS = ("train", "validation", "test")
SHOWN = {
    "dice": "Dice",
    "iou": "IoU",
    "pixel_accuracy": "pixel accuracy",
    "pixel_precision": "pixel precision",
    "pixel_recall": "pixel recall",
    "kaggle_map": "Kaggle mAP",
    "ap50": "AP50",
    "ap75": "AP75",
    "f1": "F1",
    "pq": "PQ",
    "aji": "AJI",
    "absolute_count_error": "count error",
}


def evaluate(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Data set, a folder or zip: images/ + labels/ (or masks/), Kaggle's layout, or "
            "files of Cellpose, QuPath or COCO next to the images.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results; made where missing.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Model to evaluate: its name, or a model folder.",
            show_default=default(Segmenting, "model"),
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Evaluate the label images in this folder, named as the images, instead."
        ),
    ] = None,
    diameter: Annotated[float | None, option(Segmenting, "diameter", metavar="PIXELS")] = None,
    min_score: Annotated[
        float | None, option(Filtering, "min_score", show_default="of the model")
    ] = None,
    device: Annotated[Device, option(Segmenting, "device")] = "auto",
    precision: Annotated[Precision, option(Segmenting, "precision")] = "auto",
    split: Annotated[
        Path | None, typer.Option(help="CSV file with the columns image_id and subset.")
    ] = None,
    subset: Annotated[
        str, typer.Option(help=f"With --split: the subset to evaluate on: {', '.join(SUBSETS)}.")
    ] = "test",
    groups: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with the columns image_id and modality: metrics for each group."
        ),
    ] = None,
    plots: Annotated[
        bool | None,
        typer.Option(
            "--plots/--no-plots",
            help="Draw plots/ap.png; needs matplotlib, which the train extra includes.",
            show_default="if matplotlib is installed",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the metrics as JSON on standard output.")
    ] = False,
) -> None:
    """Evaluate a model, or label images, on images with ground truth.

    Writes metrics.json (all metrics), images.csv (one row per image), panels/ (the worst, median
    and best images) and plots/ap.png. Nuclei are evaluated at the size of each image, masks at the
    size of the network input, or for label images at the size of each image. An earlier evaluation
    in the same folder is replaced after all images are evaluated. If the command fails or is
    interrupted, the folder stays as it was.

    The exit status is 0 if all images are evaluated, 1 if some could not be read (all others are
    evaluated), and 2 if the command, the data set, the model or the output is invalid.

    **Examples**

        nucseg evaluate my_images -o judged
        nucseg evaluate stage1_test.zip --model classic-128 -o judged
        nucseg evaluate my_images --labels out/labels -o judged
        nucseg evaluate data --model run -o judged --split run/split.csv --subset validation
    """
    from nucseg.batch.records import FOLDER as RECORDS
    from nucseg.datasets.reading import open_dataset
    from nucseg.evaluation import evaluate as run
    from nucseg.evaluation import read_groups
    from nucseg.evaluation.report import write_report
    from nucseg.files import check_writable
    from nucseg.inference.devices import describe_model

    if (output / RECORDS).is_dir():
        raise InputError(
            f"{output} contains results of nucseg segment, whose images.csv and run.json would be "
            "replaced. Choose another output folder."
        )
    asked = (model, diameter, min_score, device, precision)
    if labels is not None and asked != (None, None, None, "auto", "auto"):
        raise InputError(
            "--labels evaluates existing label images: omit --model, --diameter, --min-score, "
            "--device and --precision."
        )
    drawn = _drawn(wanted=plots)
    dataset = open_dataset(data)
    image_ids = None if split is None else _subset(split, subset, dataset)
    group_of = None if groups is None else read_groups(groups)
    # Before the work, so that an output that cannot be written costs no time.
    check_writable(output)
    loaded = None if labels else _loaded(model, diameter, min_score, device, precision)
    with progress_bar("Evaluating") as progress:
        evaluation = run(
            dataset,
            model=loaded,
            labels=labels,
            image_ids=image_ids,
            groups=group_of,
            progress=progress,
        )
    ran = {} if loaded is None else describe_model(loaded)
    write_report(evaluation, output, plots=drawn, run={"command": sys.argv, **ran})
    if as_json:
        typer.echo(json.dumps(evaluation.summary(), indent=2))
    else:
        _report(evaluation, output)
    if plots is None and not drawn:
        typer.echo('For plots/ap.png: pip install "nucseg[train]"', err=True)
    if evaluation.failures:
        raise typer.Exit(SOME_FAILED)


def _loaded(
    model: str | None,
    diameter: float | None,
    min_score: float | None,
    device: Device,
    precision: Precision,
) -> Model:
    """Load a model with the given settings, and its defaults for the others."""
    from nucseg.inference.loading import load_model

    name = model or default(Segmenting, "model")
    loaded = load_model(name, device=device, precision=precision)
    if min_score is not None:
        loaded = loaded.with_postprocessing(min_score=min_score)
    return loaded if diameter is None else loaded.with_diameter(diameter)


def _drawn(*, wanted: bool | None) -> bool:
    """Tell whether to draw; where asked for in so many words, matplotlib must be there."""
    from nucseg.figures.figure import require_matplotlib

    if wanted:
        require_matplotlib("Drawing plots (--plots)")
    return find_spec("matplotlib") is not None if wanted is None else wanted


def _subset(path: Path, subset: str, dataset: Dataset) -> Collection[str]:
    from nucseg.datasets.splits import read_split

    if subset not in SUBSETS:
        raise InputError(f"Unknown subset {subset!r}. Give one of {', '.join(SUBSETS)}.")
    chosen: tuple[str, ...] = getattr(read_split(path, dataset.image_ids), subset)
    if not chosen:
        raise InputError(f"{path} assigns no image to the subset {subset}.")
    return chosen


def _report(evaluation: Evaluation, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    overall = evaluation.overall
    size = "full size" if evaluation.mask_size is None else "{} by {}".format(*evaluation.mask_size)
    if overall["images"]:
        columns: dict[str, dict[str, Any]] = {
            "mean over images": overall["mean"],
            "all pooled": overall["pooled"],
            **{name: group["mean"] for name, group in evaluation.groups.items()},
        }
        table = Table(
            title=f"{evaluation.judged} on {overall['images']} images, masks at {size}",
            caption="Groups: mean over images." if evaluation.groups else None,
        )
        table.add_column("metric")
        for name in columns:
            table.add_column(name, justify="right")
        for key, title in SHOWN.items():
            shown = [f"{column[key]:.3f}" if key in column else "" for column in columns.values()]
            table.add_row(title, *shown)
        Console().print(table)
        typer.echo(f"Nuclei: {overall['predicted_nuclei']} found, {overall['true_nuclei']} true.")
    problems = Counter(kind for image in evaluation.images for kind in image.problems)
    if problems:
        listed = ", ".join(f"{kind} ({count})" for kind, count in problems.most_common())
        typer.secho(f"Problems of label images: {listed}. images.csv lists the images.", err=True)
    failures = evaluation.failures
    if failures:
        typer.secho(f"Not evaluated: {len(failures)} of {len(evaluation.images)} images.", err=True)
        for image_id, error in list(failures.items())[:NAMED]:
            typer.secho(f"  {image_id}: {error}", err=True, fg="red")
        if len(failures) > NAMED:
            typer.echo(f"  and {len(failures) - NAMED} more: see images.csv", err=True)
    typer.echo(f"Results: {output}")
