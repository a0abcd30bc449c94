"""Accuracy of a model on the 2018 Data Science Bowl, next to published figures.

    python benchmarks/accuracy.py --data DIR [--model nuclei] [--fold 0] [--json FILE]
    python benchmarks/accuracy.py --data DIR --model nuclei --also classic-128 [--tta]

DIR holds dsb2018/ with stage1_train.zip, stardist_test50.zip and split.csv, which has the columns
image_id, modality and fold. Two protocols:

test50   The 50 images of the StarDist paper: a row of the published table, mean AP over images
         at IoU > .50, .55 … .90, for a model trained without them. To be looked at once a design
         is chosen, hence --no-test50.
fold     All images of one fold, whole fields of view, by modality: Kaggle mAP and AP50 at full
         size, Dice and IoU at the size of the network. A figure of what the model has not seen
         only if it was trained without this fold, which the bundled models were not. The count
         error of an image is how many nuclei too many or too few are found; in percent, of the
         true ones, where there are any.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from nucseg.datasets.reading import open_dataset
from nucseg.evaluation import evaluate, read_groups
from nucseg.evaluation.report import PUBLISHED
from nucseg.evaluation.results import AP_NAMES
from nucseg.inference.loading import load_model

# The published table ends at .90.
COLUMNS = AP_NAMES[:-1]
FOLD_FIGURES = ("kaggle_map", "ap50", "ap75", "pq", "dice", "iou")
DARK = ":dark"
COUNT_COLUMNS = ("count error: median", "mean", "median %", "mean %")


def short(value):
    """Three digits as the published table has them: .806, and 1.000."""
    return f"{value:.3f}".removeprefix("0")


def load(name, **given):
    """Load a model; ``NAME:dark`` is its network for dark backgrounds, for all images."""
    model = load_model(name.removesuffix(DARK), **given)
    return replace(model, bright=None) if name.endswith(DARK) else model


def mean(values):
    return sum(values) / len(values)


def print_table(columns, rows):
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


def title(model):
    return model.card.name + (", test-time augmentation" if model.card.tta else "")


def judge(data, model, **options):
    """Evaluate, and stop where an image could not be judged: its absence would change figures."""
    start = time.perf_counter()
    result = evaluate(data, model=model, **options)
    if result.failures:
        raise SystemExit(f"Not judged: {result.failures}")
    return result, time.perf_counter() - start


def on_test50(folder, model):
    result, seconds = judge(folder / "stardist_test50.zip", model)
    overall = result.overall
    curve = [overall["mean"][name] for name in COLUMNS]
    print(f"\n### test50: {overall['images']} images, mean AP over images, {seconds:.0f} s\n")
    print(f"| method | {' | '.join(f'.{name[2:]}' for name in COLUMNS)} | mean |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for name, values in {**PUBLISHED, f"nucseg {title(model)}": curve}.items():
        print(f"| {name} | {' | '.join(map(short, [*values, mean(values)]))} |")
    pooled = " | ".join(short(overall["pooled"][name]) for name in COLUMNS)
    print(f"\nPooled over all nuclei, as StarDist's matching_dataset does: | {pooled} |")
    return {"mean_ap_50_to_90": mean(curve), **overall, "seconds": seconds}


def fold_images(folder, fold, limit=None):
    """Open the data set; give it, the modality of each image, and the images of a fold.

    With a limit these are the first of each modality.
    """
    folds, groups = (read_groups(folder / "split.csv", column) for column in ("fold", "modality"))
    dataset = open_dataset(folder / "stage1_train.zip")
    members = defaultdict(list)
    for image_id in dataset.image_ids:
        if folds.get(image_id) == str(fold):
            members[groups[image_id]].append(image_id)
    return dataset, groups, [each for ids in members.values() for each in ids[:limit]]


def count_errors(images):
    """Median and mean over images of the count error, in nuclei and in percent of the true ones."""
    errors = [(image.scores["absolute_count_error"], image.true_nuclei) for image in images]
    shares = [100 * error / true for error, true in errors if true]
    return {
        f"{name}_{of}": float(function(values)) if values else None
        for of, values in (("nuclei", [error for error, _ in errors]), ("percent", shares))
        for name, function in (("median", np.median), ("mean", np.mean))
    }


def on_fold(folder, model, fold, limit):
    dataset, modality, chosen = fold_images(folder, fold, limit)
    result, seconds = judge(dataset, model, image_ids=chosen, groups=modality)
    size = result.mask_size or "full size"
    print(f"\n### {title(model)}\n")
    print(f"Fold {fold}: mean over images, masks at {size}, {seconds:.0f} s\n")
    rows = []
    groups = {"all": result.overall, **result.groups}
    for name, group in groups.items():
        members = [image for image in result.images if name in {"all", image.group}]
        group["count_error"] = errors = count_errors(members)
        shown = [short(group["mean"][figure]) for figure in FOLD_FIGURES]
        shown += ["" if error is None else f"{error:.1f}" for error in errors.values()]
        rows.append((name, group["images"], *shown))
    print_table(("images", "number", *FOLD_FIGURES, *COUNT_COLUMNS), rows)
    overall = groups.pop("all")
    return {"fold": fold, **overall, "groups": groups, "seconds": seconds}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("--model", default="nuclei", help="name or folder")
    parser.add_argument(
        "--also", action="append", default=[], help="a further model for the fold's table; repeat"
    )
    parser.add_argument("--tta", action="store_true", help="MODEL with test-time augmentation")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--limit", type=int, help="for a try: images of each modality, no test50")
    parser.add_argument("--no-test50", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    folder = options.data / "dsb2018"
    model = load(options.model)
    if options.tta:
        model = model.with_tta()
    fold = (options.fold, options.limit)
    figures = {"model": model.card.name, "tta": options.tta, "fold": on_fold(folder, model, *fold)}
    figures["also"] = {name: on_fold(folder, load(name), *fold) for name in options.also}
    if not (options.no_test50 or options.limit):
        figures["test50"] = on_test50(folder, model)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
