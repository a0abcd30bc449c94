"""Gain of resizing images whose nuclei are too small or too large for the network.

    python benchmarks/scales.py --data DIR [--model NAME|PATH] [--limit N] [--json FILE]

DIR holds dsb2018/ as for benchmarks/classic.py, whose validation images are used: nothing that is
reported elsewhere. Each is made smaller and larger, and segmented as the model's rule says by a
first look, and at a scale of 1. Kaggle mAP, mean over images, by the median diameter of the nuclei
that are found at a scale of 1.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from accuracy import print_table, short
from classic import field_split

from nucseg import load_model
from nucseg.datasets.reading import open_dataset
from nucseg.evaluation.metrics import kaggle_map, overlap
from nucseg.inference.scaling import typical_diameter, whole_areas

FACTORS = (0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
# Larger ones take long and tell no more.
LONGEST = 1600
LIMITS = (0, 10, 12, 40, 60, np.inf)


def resized(pixels, labels, factor):
    """Make an image and its label image smaller or larger."""
    height, width = labels.shape
    size = max(round(width * factor), 32), max(round(height * factor), 32)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    numbers = cv2.resize(labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    return cv2.resize(np.ascontiguousarray(pixels), size, interpolation=how), numbers.astype(int)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("--model", default="nuclei", help="name or folder")
    parser.add_argument("--limit", type=int, help="only the first images, for a quick try")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    folder = options.data / "dsb2018"
    dataset = open_dataset(folder / "stage1_train.zip")
    model = load_model(options.model)
    groups = defaultdict(list)
    with (folder / "split.csv").open(encoding="utf-8", newline="") as file:
        split = field_split(list(csv.DictReader(file)))
    for image_id in split.validation[: options.limit]:
        sample = dataset.read(image_id)
        for factor in FACTORS:
            if factor > 1 and max(sample.labels.shape) * factor > LONGEST:
                continue
            pixels, truth = resized(sample.pixels, sample.labels, factor)
            plain = replace(model, scale=1.0).segment(pixels).labels
            by_rule = model.segment(pixels).labels
            diameter = typical_diameter(whole_areas(plain)) or 0.0
            maps = [kaggle_map(overlap(truth, each)) for each in (plain, by_rule)]
            groups[int(np.searchsorted(LIMITS, diameter, "right"))].append(maps)
    figures = {
        f"{LIMITS[place - 1]:g} to {LIMITS[place]:g}": [len(maps), *np.mean(maps, axis=0).tolist()]
        for place, maps in sorted(groups.items())
    }
    rows = [
        [name, number, short(plain), short(by_rule), f"{by_rule - plain:+.3f}"]
        for name, (number, plain, by_rule) in figures.items()
    ]
    print_table(["median diameter", "images", "as they are", "by the rule", "gain"], rows)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
