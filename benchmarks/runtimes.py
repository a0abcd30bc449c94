"""Accuracy of a model on each device and in each precision, and nuclei that differ from f32.

    python benchmarks/runtimes.py --data DIR [--model NAME|PATH] [--only cpu-f32,openvino-bf16]

DIR holds dsb2018/ as for benchmarks/accuracy.py: fold 0 by modality, and the 50 test images. All
that `nucseg doctor` lists takes part. Figures: Kaggle mAP on the fold; on the 50, mean AP over
images and over t = .50, .55 … .90. Nuclei differ where no nucleus of the other result has an IoU of
.8 with them; both those that are missing and those that are new count, and the share is of those
found on the CPU in f32. nuclei:dark is the network of nuclei for dark backgrounds, on all images.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from accuracy import DARK, fold_images, load, short

from nucseg.core.overlap import overlap
from nucseg.datasets.reading import open_dataset
from nucseg.evaluation.metrics import kaggle_map, match
from nucseg.inference.devices import EXACT, Network, candidates, processor_name
from nucseg.inference.self_check import SAME_IOU
from nucseg.models.zoo import find_model

TEST50_THRESHOLDS = [number / 100 for number in range(50, 91, 5)]


def models_of(name, threads, only):
    """Load the model for all that is there, the CPU in f32 first."""
    folder = find_model(name.removesuffix(DARK))
    plain = load(name, device="cpu", precision="f32", threads=threads)
    return {
        each: on(plain, each, folder, threads)
        for each in candidates(plain.card)
        if each == EXACT or not only or str(each).replace(" ", "-") in only
    }


def on(model, candidate, folder, threads):
    """Return the same model, each of whose networks runs on a device, in a precision."""
    bright = model.bright and on(model.bright, candidate, folder / model.card.bright, threads)
    runtime = Network(folder, model.card, threads).load(candidate)
    return replace(model, runtime=runtime, bright=bright)


def test50_score(table):
    return float(np.mean([match(table, each).average_precision for each in TEST50_THRESHOLDS]))


def differing(expected, labels):
    """Nuclei of both that are not in the other."""
    table = overlap(expected, labels)
    same = int(np.count_nonzero(table.iou >= SAME_IOU))
    return table.true_labels.size + table.predicted_labels.size - 2 * same


def judge(dataset, image_ids, groups, models, score):
    """Mean score by group, and nuclei that differ from those of the first model."""
    scores = {each: defaultdict(list) for each in models}
    differ, found = dict.fromkeys(models, 0), dict.fromkeys(models, 0)
    for image_id in image_ids:
        sample = dataset.read(image_id)
        expected = None
        for each, model in models.items():
            labels = model.segment(sample.pixels).labels
            expected = labels if expected is None else expected
            value = score(overlap(sample.labels, labels))
            for group in ("all", groups.get(image_id)):
                if group:
                    scores[each][group].append(value)
            differ[each] += differing(expected, labels)
            found[each] += int(labels.max())
    return {
        str(each): {
            "scores": {group: float(np.mean(values)) for group, values in scores[each].items()},
            "differ": differ[each],
            "nuclei": found[each],
        }
        for each in models
    }


def print_table(title, figures):
    first = next(iter(figures.values()))
    groups = list(first["scores"])
    print(f"\n### {title}\n")
    print(f"| runtime | {' | '.join(groups)} | nuclei | differ | share |")
    print("|---" * (len(groups) + 4) + "|")
    for name, row in figures.items():
        values = " | ".join(f"{row['scores'][group]:.4f}".removeprefix("0") for group in groups)
        share = row["differ"] / max(first["nuclei"], 1)
        print(f"| {name} | {values} | {row['nuclei']} | {row['differ']} | {100 * share:.2f} % |")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("--model", default="nuclei", help="name or folder")
    parser.add_argument("--only", default="", help="runtimes, with commas: cpu-f32,openvino-bf16")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--limit", type=int, help="for a try: images of each modality, no test50")
    parser.add_argument("--no-test50", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    folder = options.data / "dsb2018"
    models = models_of(options.model, options.threads, set(filter(None, options.only.split(","))))
    print(f"{options.model} on {processor_name()}: {', '.join(map(str, models))}")
    figures = {}
    dataset, modality, chosen = fold_images(folder, options.fold, options.limit)
    figures["fold"] = judge(dataset, chosen, modality, models, kaggle_map)
    print_table(f"Fold {options.fold}, Kaggle mAP, {len(chosen)} images", figures["fold"])
    if not (options.no_test50 or options.limit):
        dataset = open_dataset(folder / "stardist_test50.zip")
        figures["test50"] = judge(dataset, dataset.image_ids, {}, models, test50_score)
        mean = short(next(iter(figures["test50"].values()))["scores"]["all"])
        print_table(f"test50, mean AP from .50 to .90 (f32 {mean})", figures["test50"])
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
