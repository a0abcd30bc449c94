"""Accuracy of field of view detection: `find_fields` against a table of known fields.

    python benchmarks/fields.py stage1_train.zip split.csv [--json FILE]

The table has the columns image_id and source_field. Leaking pairs are pairs of images of one
known field that are put in different fields; leaks also count once the images are split.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.metrics import adjusted_rand_score

from nucseg.datasets.reading import open_dataset
from nucseg.datasets.splits import find_fields, make_split


def leaks(split, known):
    """Known fields with images in training and in validation, and their validation images."""
    trained = {known[image_id] for image_id in split.train}
    leaked = [known[image_id] for image_id in split.validation if known[image_id] in trained]
    return len(set(leaked)), len(leaked)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("known", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with options.known.open(encoding="utf-8") as file:
        known = {row["image_id"]: row["source_field"] for row in csv.DictReader(file)}
    dataset = open_dataset(options.data)
    ids = [image_id for image_id in dataset.image_ids if image_id in known]
    images = {image_id: dataset.read_pixels(image_id) for image_id in ids}
    start = time.perf_counter()
    fields = find_fields(images)
    seconds = time.perf_counter() - start

    true = np.unique([known[image_id] for image_id in ids], return_inverse=True)[1]
    found = np.array([fields[image_id] for image_id in ids])
    pairs = np.triu_indices(len(ids), 1)
    together = (true[:, None] == true)[pairs]
    joined = (found[:, None] == found)[pairs]
    figures = {
        "images": len(ids),
        "known fields": len(set(true)),
        "found fields": len(set(found)),
        "largest found field": max(Counter(found.tolist()).values()),
        "pair precision": float((together & joined).sum() / max(joined.sum(), 1)),
        "pair recall": float((together & joined).sum() / max(together.sum(), 1)),
        "adjusted Rand index": float(adjusted_rand_score(true, found)),
        "leaking pairs": int((together & ~joined).sum()),
        "known fields torn": sum(len(set(found[true == field])) > 1 for field in set(true)),
        "seconds": round(seconds, 2),
    }
    for name, groups in (("by field", fields), ("random", None)):
        counts = [
            leaks(make_split(ids, fields=groups, validation_fraction=0.15, seed=seed), known)
            for seed in range(20)
        ]
        of_fields, of_images = np.mean(counts, axis=0)
        figures[f"split {name}: known fields in both subsets"] = float(of_fields)
        figures[f"split {name}: validation images that leak"] = float(of_images)
    for name, value in figures.items():
        print(f"{name:45s} {value:.4g}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
