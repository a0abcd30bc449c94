"""Accuracy of a model on stained tissue that was not used for training.

    python benchmarks/tissue.py --data DIR [--model NAME|PATH ...] [--sheet FILE]

DIR holds tnbc/ and extra/. nuclei:dark is the network of nuclei for dark backgrounds, on all
images. For each model: AP at IoU .5 and .75 and F1 at .5, means over images; the number of nuclei
found over the true one; and by how much the mean score of the nuclei found is over their mean IoU
with the truth. Of TNBC, patients 10 and 11, by which models are judged: as they
are; made half as large, as a weaker objective gives them; and as immunohistochemistry, made of them
by `nucseg.training.augment.stains.immunostain`, with no nuclei, half of them and all positive. Of
extra/ all images; which of them a model has seen its card says.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from accuracy import load, print_table, short
from crowded import PATIENTS

from nucseg.datasets.merged import part_merged
from nucseg.datasets.reading import open_dataset
from nucseg.evaluation.metrics import match, overlap
from nucseg.images.colours import to_rgb
from nucseg.training.augment.stains import immunostain

SHARES = {"all negative": 0.0, "half positive": 0.5, "all positive": 1.0}
EXTRA = ("puma", "cellbindb", "kromp_neuroblastoma", "bbbc039")


def samples(folder, starts=""):
    dataset = open_dataset(folder)
    read = (dataset.read(name) for name in dataset.image_ids if name.startswith(starts))
    return [(to_rgb(sample.pixels), sample.labels) for sample in read]


def halved(image, labels):
    size = labels.shape[1] // 2, labels.shape[0] // 2
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return small, cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)


def restained(image, labels, seed, share):
    rng = np.random.default_rng(seed)
    # Merged nuclei would get one colour.
    parted = part_merged(labels)
    made = immunostain(image.astype(np.float32) / 255, parted, rng, positive_share=share)
    return np.asarray(made * 255 + 0.5, np.uint8), labels


def judge(model, images):
    ap50, ap75, f1, true, found, scores, ious = [], [], [], 0, 0, [], []
    for image, labels in images:
        segmentation = model.segment(image)
        table = overlap(labels, segmentation.labels)
        matched = match(table, 0.5)
        ap50.append(matched.average_precision)
        ap75.append(match(table, 0.75).average_precision)
        f1.append(matched.f1)
        true += len(table.true_labels)
        found += len(table.predicted_labels)
        best = np.zeros(len(table.predicted_labels))
        np.maximum.at(best, table.columns, table.iou)
        scores.append(segmentation.scores)
        ious.append(best)
    return {
        "images": len(images),
        "nuclei": true,
        "ap50": float(np.mean(ap50)),
        "ap75": float(np.mean(ap75)),
        "f1": float(np.mean(f1)),
        "count_ratio": found / true,
        "score_error": float(np.concatenate(scores).mean() - np.concatenate(ious).mean()),
    }


def outlined(image, labels):
    edge = np.zeros(labels.shape, bool)
    edge[:-1] |= labels[:-1] != labels[1:]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    drawn = image.copy()
    drawn[edge] = (0, 255, 0)
    return drawn


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", action="append", help="name or folder; repeat")
    parser.add_argument("--sheet", type=Path, help="draw outlines of the last model")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    models = {name: load(name) for name in options.model or ["nuclei"]}
    tnbc = samples(options.data / "tnbc", PATIENTS)
    sets = {"TNBC": tnbc, "TNBC, half as large": [halved(*each) for each in tnbc]}
    for name, share in SHARES.items():
        sets[f"TNBC, immuno, {name}"] = [
            restained(*each, seed, share) for seed, each in enumerate(tnbc)
        ]
    sets |= {name: samples(options.data / "extra" / name) for name in EXTRA}
    rows, figures = [], []
    for name, images in sets.items():
        for label, model in models.items():
            figure = judge(model, images)
            figures.append({"set": name, "model": label, **figure})
            rows.append((
                name, figure["images"], figure["nuclei"], label, short(figure["ap50"]),
                short(figure["ap75"]), short(figure["f1"]), short(figure["count_ratio"]),
                f"{figure['score_error']:+.3f}",
            ))  # fmt: skip
    columns = (
        "set", "images", "nuclei", "model", "AP50", "AP75", "F1", "found / true", "score - IoU",
    )  # fmt: skip
    print_table(columns, rows)
    if options.sheet:
        model = models[list(models)[-1]]
        drawn = [
            outlined(image, model.segment(image).labels)
            for name in sets
            if name.startswith("TNBC") and "half as" not in name
            for image, _ in (sets[name][0], sets[name][-1])
        ]
        pairs = [np.hstack(drawn[place : place + 2]) for place in range(0, len(drawn), 2)]
        cv2.imwrite(str(options.sheet), np.vstack(pairs)[..., ::-1])
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
