"""Train the classic recipe three times, to measure leakage and the gain of ImageNet weights.

    python benchmarks/classic.py DATA OUT --encoder-weights PATH [--only NAME ...]

DATA holds ``stage1_train.zip`` and ``split.csv`` (columns image_id, modality, source_field, fold,
stardist_test50). Three runs in OUT, each 128×128, batch 64, up to 40 epochs, without the images
of stardist_test50 in training:

- ``field``: fold 0 is held out, whole fields of view; this is how the bundled ``classic-128`` was
  trained. Validation images, for early stopping, are whole fields of the other folds.
- ``random``: as many images are held out, drawn one by one, so that tiles of one field of view lie
  on both sides, as in the textbook.
- ``scratch``: as ``field``, with an encoder of random weights.

Prints a table, writes ``classic.json``, and draws the validation curves of ``field`` and
``scratch`` into ``encoder_weights.png``. About 12 minutes a run on two cores.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import random
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from nucseg.config import Training
from nucseg.datasets.reading import open_dataset
from nucseg.datasets.splits import Split, read_split, write_split
from nucseg.evaluation import evaluate, read_groups
from nucseg.training import run_folder
from nucseg.training.fit import train

VALIDATION_SHARE = 0.1
FIGURES = ("dice", "iou", "pixel_accuracy", "kaggle_map", "ap50")
Report = dict[str, dict[str, Any]]
RUNS = {"field": "imagenet", "random": "imagenet", "scratch": "none"}


def field_split(rows: list[dict[str, str]]) -> Split:
    """Test on fold 0; validate on whole fields of the others; nothing of the 50 in either."""
    test = [row["image_id"] for row in rows if row["fold"] == "0"]
    rest = [row for row in rows if row["fold"] != "0" and row["stardist_test50"] == "0"]
    fields = sorted({row["source_field"] for row in rest})
    random.Random(0).shuffle(fields)
    validation: list[str] = []
    for field in fields:
        if len(validation) >= VALIDATION_SHARE * len(rest):
            break
        validation += [row["image_id"] for row in rest if row["source_field"] == field]
    train_ids = sorted({row["image_id"] for row in rest} - set(validation))
    return Split(tuple(train_ids), tuple(sorted(validation)), tuple(sorted(test)))


def random_split(rows: list[dict[str, str]], like: Split) -> Split:
    """Draw single images, as many of each subset as another split has."""
    ids = [row["image_id"] for row in rows]
    random.Random(0).shuffle(ids)
    test, rest = ids[: len(like.test)], ids[len(like.test) :]
    kept_out = {row["image_id"] for row in rows if row["stardist_test50"] == "1"}
    rest = [image_id for image_id in rest if image_id not in kept_out]
    validation = rest[: len(like.validation)]
    return Split(
        tuple(sorted(rest[len(validation) :])), tuple(sorted(validation)), tuple(sorted(test))
    )


def run_once(name: str, data: Path, out: Path, weights: str) -> dict[str, Any]:
    """Train unless it is done already, then judge on the test images."""
    folder, split_file = out / name, out / f"{name}.csv"
    begun = time.perf_counter()
    trained = not (folder / "model.json").exists()
    if trained:
        settings = Training(split=str(split_file), encoder_weights=weights)
        console = Console(stderr=True)
        train(
            data / "stage1_train.zip",
            folder,
            settings,
            resume=(folder / run_folder.CONFIG).exists(),
            on_epoch=lambda row: console.print(
                f"{name} epoch {row['epoch']:.0f} loss {row['loss']:.4f} "
                f"val_loss {row['val_loss']:.4f} val_dice {row['val_dice']:.4f}"
            ),
        )
    minutes = (time.perf_counter() - begun) / 60
    dataset = open_dataset(data / "stage1_train.zip")
    result = evaluate(
        dataset,
        model=folder,
        image_ids=read_split(split_file, dataset.image_ids).test,
        groups=read_groups(data / "split.csv"),
    )
    summary = {key: value for key, value in result.summary().items() if key != "data"}
    if trained:
        summary["training_minutes"] = round(minutes, 1)
    summary["dice_of_images"] = {
        image.image_id: round(image.scores["dice"], 4) for image in result.images
    }
    return summary


def leakage(rows: list[dict[str, str]], splits: dict[str, Split], report: Report) -> Table:
    """Compare test images of the random split by whether training saw tiles of their field."""
    field_of = {row["image_id"]: row["source_field"] for row in rows}
    seen = {field_of[i] for i in (*splits["random"].train, *splits["random"].validation)}
    tested = {name: report[name]["dice_of_images"] for name in ("field", "random")}
    table = Table("test images of the random split", "number", "field, Dice", "random, Dice")
    for title, leaked in (("tiles of their field in training", True), ("no such tiles", False)):
        ids = [i for i in tested["random"] if (field_of[i] in seen) is leaked]
        common = [i for i in ids if i in tested["field"]]
        table.add_row(title, str(len(ids)), "", f"{mean(tested['random'][i] for i in ids):.3f}")
        table.add_row(
            "  of these in fold 0 too",
            str(len(common)),
            *(f"{mean(tested[name][i] for i in common):.3f}" for name in ("field", "random")),
        )
    return table


def draw_curves(out: Path, path: Path) -> None:
    """Draw validation loss and Dice by epoch, with ImageNet weights and without."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    for axes, column, title in zip(
        figure.subplots(1, 2), ("val_loss", "val_dice"), ("loss", "Dice"), strict=True
    ):
        for name, label, colour in (
            ("field", "ImageNet weights", "#0072B2"),
            ("scratch", "random weights", "#D55E00"),
        ):
            with (out / name / run_folder.HISTORY).open(newline="") as file:
                rows = list(csv.DictReader(file))
            axes.plot(
                [int(row["epoch"]) for row in rows],
                [float(row[column]) for row in rows],
                label=label,
                color=colour,
            )
        axes.set(xlabel="epoch", ylabel=f"validation {title}")
        axes.grid(color="0.9")
        axes.legend(frameon=False)
    figure.axes[0].set_yscale("log")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--encoder-weights", default="imagenet")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS))
    arguments = parser.parse_args()

    with (arguments.data / "split.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    fields = field_split(rows)
    splits = {"field": fields, "random": random_split(rows, fields), "scratch": fields}
    report: Report = {}
    for name in arguments.only:
        write_split(arguments.out / f"{name}.csv", splits[name])
        weights = arguments.encoder_weights if RUNS[name] == "imagenet" else "none"
        report[name] = run_once(name, arguments.data, arguments.out, weights)

    table = Table("run", "Dice", "IoU", "pixel accuracy", "Kaggle mAP", "AP50", "minutes")
    for name, summary in report.items():
        means = summary["mean"]
        table.add_row(
            name,
            *(f"{means[key]:.3f}" for key in FIGURES),
            str(summary.get("training_minutes", "")),
        )
    Console().print(table)
    if {"field", "random"} <= set(report):
        Console().print(leakage(rows, splits, report))
    if {"field", "scratch"} <= set(report):
        draw_curves(arguments.out, arguments.out / "encoder_weights.png")
    machine = {"machine": platform.processor() or platform.machine(), "python": sys.version}
    (arguments.out / "classic.json").write_text(json.dumps({**machine, **report}, indent=2))


if __name__ == "__main__":
    main()
