"""How well a model finds the nuclei of the 2018 Data Science Bowl, beside published figures.

    python benchmarks/accuracy.py --data DIR [--model classic-128] [--fold 0] [--json FILE]

DIR holds dsb2018/ with stage1_train.zip, stardist_test50.zip and split.csv, which has the columns
image_id, modality and fold. Two protocols:

test50   The 50 images of the StarDist paper: a row of the published table, mean AP over images
         at IoU > .50, .55 … .90, for a model trained without them. To be looked at once a design
         is chosen, hence --no-test50.
fold     All images of one fold, whole fields of view, by modality: Kaggle mAP and AP50 at full
         size, Dice and IoU at the size of the network. A figure of what the model has not seen
         only if it was trained without this fold, which the bundled models were not.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from nucseg.datasets.reading import open_dataset
from nucseg.evaluation import evaluate, read_groups
from nucseg.evaluation.report import PUBLISHED
from nucseg.evaluation.results import AP_NAMES
from nucseg.inference.segmenter import load_model

# The published table ends at .90.
COLUMNS = AP_NAMES[:-1]
FOLD_FIGURES = ("kaggle_map", "ap50", "ap75", "pq", "dice", "iou")


def short(value):
    """Three digits as the published table has them: .806, and 1.000."""
    return f"{value:.3f}".removeprefix("0")


def mean(values):
    return sum(values) / len(values)


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
    for name, values in {**PUBLISHED, f"nucseg {model.card.name}": curve}.items():
        print(f"| {name} | {' | '.join(map(short, [*values, mean(values)]))} |")
    pooled = " | ".join(short(overall["pooled"][name]) for name in COLUMNS)
    print(f"\nPooled over all nuclei, as StarDist's matching_dataset does: | {pooled} |")
    return {"mean_ap_50_to_90": mean(curve), **overall, "seconds": seconds}


def on_fold(folder, model, fold):
    split = folder / "split.csv"
    folds = read_groups(split, "fold")
    dataset = open_dataset(folder / "stage1_train.zip")
    chosen = [image_id for image_id in dataset.image_ids if folds.get(image_id) == str(fold)]
    result, seconds = judge(dataset, model, image_ids=chosen, groups=read_groups(split))
    size = result.mask_size or "full size"
    print(f"\n### fold {fold}: mean over images, masks at {size}, {seconds:.0f} s\n")
    print(f"| images | number | {' | '.join(FOLD_FIGURES)} |")
    print("|---" * (len(FOLD_FIGURES) + 2) + "|")
    for name, group in {"all": result.overall, **result.groups}.items():
        shown = " | ".join(short(group["mean"][figure]) for figure in FOLD_FIGURES)
        print(f"| {name} | {group['images']} | {shown} |")
    return {"fold": fold, **result.overall, "groups": result.groups, "seconds": seconds}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("--model", default="classic-128", help="name or folder")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--no-test50", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    folder = options.data / "dsb2018"
    model = load_model(options.model)
    figures = {"model": model.card.name, "fold": on_fold(folder, model, options.fold)}
    if not options.no_test50:
        figures["test50"] = on_test50(folder, model)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
