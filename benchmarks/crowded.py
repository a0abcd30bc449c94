"""How well a model separates touching nuclei: packed fields of nuclei not used for training.

    python benchmarks/crowded.py --data DIR [--model NAME|PATH ...] [--fields 12] [--sheet FILE]

DIR holds dsb2018/ with stage1_train.zip and split.csv, and tnbc/. Fields of 512×512 are packed by
`nucseg.training.augment.crowded_field` from nuclei of fold 0 (fluorescence and stained tissue) and
of TNBC patients 10 and 11, so that 20, 60 and 95 % of the nuclei touch another or overlap it, by at
most 40 % of their area. For each share: AP at IoU .5 and .75, the mean over fields; the true
nuclei, how many of 100 of them are merged with others or split; and the ratio of their number to
the true one.
nuclei:dark is the network of nuclei for dark backgrounds, on all images. Training packs its fields
by the same function, of other nuclei.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from accuracy import fold_images, load, print_table, short

from nucseg.config import Preprocessing
from nucseg.core.overlap import find_errors
from nucseg.datasets.merged import part_merged
from nucseg.datasets.reading import open_dataset
from nucseg.evaluation.metrics import match, overlap
from nucseg.images.preprocess import prepare
from nucseg.training.augment import crowded_field

SHARES = (0.2, 0.6, 0.95)
SIZE = 512
PATIENTS = ("tnbc_10", "tnbc_11")
# Spacings that are tried until a field has nearly the share of touching nuclei that is asked for.
TRIES = np.linspace(1.7, 0.62, 28)
NEAR = 0.04
# The largest share of a nucleus that lies over others.
OVERLAP = 0.4


def touching_share(labels):
    """Compute the share of nuclei that touch another, side by side or by a corner."""
    numbers = np.unique(labels[labels > 0])
    if not len(numbers):
        return 0.0
    touching = set()
    for one, other in (
        (labels[1:], labels[:-1]),
        (labels[:, 1:], labels[:, :-1]),
        (labels[1:, 1:], labels[:-1, :-1]),
        (labels[1:, :-1], labels[:-1, 1:]),
    ):
        met = (one != other) & (one > 0) & (other > 0)
        touching.update(np.unique(np.concatenate([one[met], other[met]])).tolist())
    return len(touching) / len(numbers)


def sources(folder):
    """Images, as training sees them, with their labels, by kind."""
    whole = Preprocessing(size=None)

    def prepared(sample):
        return np.asarray(prepare(sample.pixels, whole) * 255 + 0.5, np.uint8)

    dataset, modality, members = fold_images(folder / "dsb2018", 0)
    found = {"fluorescence": [], "tissue": []}
    kinds = {"fluorescence": "fluorescence", "histology": "tissue"}
    for image_id in members:
        if modality[image_id] in kinds:
            sample = dataset.read(image_id)
            found[kinds[modality[image_id]]].append((prepared(sample), sample.labels))
    tnbc = open_dataset(folder / "tnbc")
    for image_id in tnbc.image_ids:
        if image_id.startswith(PATIENTS):
            sample = tnbc.read(image_id)
            found["tissue"].append((prepared(sample), part_merged(sample.labels)))
    return found


def packed(images, share, number, seed):
    """Fields of which about a share of the nuclei touch."""
    fields = []
    for index in range(number):
        rng = np.random.default_rng((seed, round(100 * share), index))
        best = None
        for spacing in TRIES:
            image, labels = images[int(rng.integers(len(images)))]
            field = crowded_field(image, labels, rng, SIZE, spacing=float(spacing), overlap=OVERLAP)
            if field is None or len(np.unique(field[1])) < 12:
                continue
            away = abs(touching_share(field[1]) - share)
            if best is None or away < best[0]:
                best = away, field
            if away < NEAR:
                break
        fields.append(best[1])
    return fields


def judge(model, fields):
    """Figures of a model on fields; predictions that lie where truth is not known do not count."""
    ap50, ap75, true, found, merged, split = [], [], 0, 0, 0, 0
    for image, labels in fields:
        predicted = model.segment(image).labels
        truth = np.maximum(labels, 0)
        areas = np.bincount(predicted.ravel())
        unknown = np.bincount(predicted[labels < 0], minlength=len(areas))
        predicted = np.where((unknown > areas / 2)[predicted], 0, predicted)
        table = overlap(truth, predicted)
        ap50.append(match(table, 0.5).average_precision)
        ap75.append(match(table, 0.75).average_precision)
        errors = find_errors(table)
        merged += int(merged_nuclei(table, errors.merged))
        split += len(errors.split)
        true += len(table.true_labels)
        found += len(table.predicted_labels)
    return {
        "ap50": float(np.mean(ap50)),
        "ap75": float(np.mean(ap75)),
        "nuclei": true,
        "merged_percent": 100 * merged / true,
        "split_percent": 100 * split / true,
        "count_ratio": found / true,
    }


def merged_nuclei(table, merged):
    """Count true nuclei that lie mostly in a predicted one which holds others too."""
    which = np.isin(table.predicted_labels[table.columns], merged)
    return np.count_nonzero(which & (table.pixels > table.true_areas[table.rows] / 2))


def sheet(path, fields, model):
    """Draw fields with true outlines in green and found ones in red."""
    rows = []
    for image, labels in fields:
        drawn = [image]
        for numbers, colour in ((labels, (0, 255, 0)), (model.segment(image).labels, (255, 0, 0))):
            edge = np.zeros(numbers.shape, bool)
            edge[:-1] |= numbers[:-1] != numbers[1:]
            edge[:, :-1] |= numbers[:, :-1] != numbers[:, 1:]
            outlined = image.copy()
            outlined[edge] = colour
            drawn.append(outlined)
        rows.append(np.hstack(drawn))
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", action="append", help="name or folder; repeat")
    parser.add_argument("--fields", type=int, default=12, help="of each kind and share")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--sheet", type=Path, help="draw two fields of each kind, of the last model"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    models = {name: load(name) for name in options.model or ["nuclei"]}
    shown, figures, rows = [], [], []
    for kind, images in sources(options.data).items():
        for share in SHARES:
            fields = packed(images, share, options.fields, options.seed)
            real = float(np.mean([touching_share(labels) for _, labels in fields]))
            shown += fields[:2]
            for name, model in models.items():
                figure = judge(model, fields)
                figures.append({"kind": kind, "touching": real, "model": name, **figure})
                rows.append((
                    kind, f"{100 * real:.0f} %", name, figure["nuclei"],
                    short(figure["ap50"]), short(figure["ap75"]),
                    f"{figure['merged_percent']:.1f}", f"{figure['split_percent']:.1f}",
                    short(figure["count_ratio"]),
                ))  # fmt: skip
    columns = (
        "kind", "touching", "model", "nuclei", "AP50", "AP75", "merged of 100", "split of 100",
        "found / true",
    )  # fmt: skip
    print_table(columns, rows)
    if options.sheet:
        sheet(options.sheet, shown, models[list(models)[-1]])
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
