"""How many nuclei are found if a few pixels are much brighter than all nuclei.

    python benchmarks/outliers.py --data DIR [--model NAME|PATH] [--images 36] [--json FILE]

DIR holds dsb2018/ with stage1_train.zip and split.csv, as for benchmarks/accuracy.py. Fluorescence
images of folds 1 to 4, as 8-bit and as 16-bit images of 12 bits, get hot and dead pixels, dust, a
fibre and burnt nuclei. `percentiles` are the model's own, without looking for outliers. The count
error is the sum over images of the difference to the count of the image as it is, in percent.
Also, of how many images of the data set, as they are, the range of intensities changes.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
from accuracy import print_table

from nucseg import load_model
from nucseg.config import Preprocessing
from nucseg.datasets.reading import open_dataset
from nucseg.evaluation.metrics import match, overlap
from nucseg.images.outliers import SeenRange
from nucseg.images.preprocess import intensity_limits, prepared_limits

SETTINGS = Preprocessing(size=None)
LEAST_NUCLEI = 8


def pixels_at(share, value):
    def change(image, _labels, random):
        changed = image.copy()
        top = np.iinfo(image.dtype).max
        changed[random.random(image.shape) < share] = top if value else 0
        return changed

    return change


def drawn(draw):
    """Image with a mask drawn on it at the largest value, with soft edges."""

    def change(image, labels, random):
        mask = draw(labels, random).astype(np.float32)
        soft = cv2.GaussianBlur(mask, (0, 0), 1.2)
        top = np.iinfo(image.dtype).max
        return (image * (1 - soft) + top * soft).astype(image.dtype)

    return change


def dust(labels, random):
    mask = np.zeros(labels.shape, np.uint8)
    for _ in range(3):
        place = tuple(int(random.integers(length)) for length in labels.shape[::-1])
        cv2.circle(mask, place, int(random.integers(6, 10)), 1, -1)
    return mask


def fibre(labels, random):
    mask = np.zeros(labels.shape, np.uint8)
    rows = random.integers(labels.shape[0], size=2)
    cv2.line(mask, (0, int(rows[0])), (labels.shape[1] - 1, int(rows[1])), 1, 4)
    return mask


def burnt(count):
    def draw(labels, random):
        return np.isin(labels, random.permutation(np.arange(1, labels.max() + 1))[:count])

    return draw


CHANGES = {
    "as it is": lambda image, _labels, _random: image,
    "hot pixels, .1 %": pixels_at(0.001, True),
    "hot pixels, .3 %": pixels_at(0.003, True),
    "hot pixels, 1 %": pixels_at(0.01, True),
    "dead pixels, 1 %": pixels_at(0.01, False),
    "dust": drawn(dust),
    "fibre": drawn(fibre),
    "burnt nucleus": drawn(burnt(1)),
    "3 burnt nuclei": drawn(burnt(3)),
}


def plain_limits(image, settings, **_options):
    channels = image if image.ndim == 3 else image[:, :, None]
    return SeenRange(*intensity_limits(channels, settings.percentiles))


def found_in(model, image, labels, *, plain):
    def run():
        return model.segment(image).labels

    if plain:
        with (
            mock.patch("nucseg.inference.segmenter.prepared_limits", plain_limits),
            mock.patch("nucseg.images.preprocess.prepared_limits", plain_limits),
        ):
            found = run()
    else:
        found = run()
    counts = match(overlap(labels, found), 0.5)
    total = counts.true_positives + counts.false_positives + counts.false_negatives
    return int(found.max()), counts.true_positives / total


def changed_ranges(dataset):
    """Images, as they are, whose range is not that of the percentiles."""
    changed = 0
    for image_id in dataset.image_ids:
        pixels = dataset.read_pixels(image_id)
        changed += prepared_limits(pixels, SETTINGS) != plain_limits(pixels, SETTINGS)
    return changed


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("--model", default="nuclei", help="name or folder")
    parser.add_argument("--images", type=int, default=36)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    folder = options.data / "dsb2018"
    with (folder / "split.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] in "1234"]
    rows = [
        row["image_id"]
        for row in rows
        if row["modality"] == "fluorescence" and int(row["nuclei"]) >= LEAST_NUCLEI
    ]
    chosen = np.random.default_rng(5).choice(rows, options.images, replace=False)
    dataset, model = open_dataset(folder / "stage1_train.zip"), load_model(options.model)
    table, figures = [], {}
    for depth in (8, 16):
        results = {}
        for number, image_id in enumerate(chosen):
            sample = dataset.read(image_id)
            grey = sample.pixels.max(axis=2)
            image = grey if depth == 8 else grey.astype(np.uint16) * 16
            for name, change in CHANGES.items():
                seen = change(image, sample.labels, np.random.default_rng(number))
                for plain in (True, False):
                    each = found_in(model, seen, sample.labels, plain=plain)
                    results.setdefault((name, plain), []).append(each)
        clean = np.array(results["as it is", True])[:, 0]
        for name in CHANGES:
            row = [f"{depth} bits", name]
            for plain in (True, False):
                counts, ap50 = np.array(results[name, plain]).T
                error = 100 * np.abs(counts - clean).sum() / clean.sum()
                row += [f"{error:.1f}", f"{ap50.mean():.3f}"]
                figures[f"{depth} bits, {name}, {'before' if plain else 'now'}"] = (
                    error,
                    ap50.mean(),
                )
            table.append(row)
    columns = ("image", "outliers", "percentiles: count error %", "AP50", "now: count error %")
    print_table((*columns, "AP50"), table)
    changed = changed_ranges(dataset)
    print(f"\nRange changed of {changed} of {len(dataset.image_ids)} images as they are.")
    if options.json:
        figures["changed"] = changed
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
