"""Whether badly segmented images are reported as low confidence, and others are not.

    python benchmarks/confidence.py --data DIR [--split FILE] [--model NAME|PATH] [--json FILE]

DIR holds dsb2018/ with stage1_train.zip and split.csv, as for benchmarks/accuracy.py, and may hold
tnbc/ with images/ and labels/, named tnbc_<patient>_<image>. FILE is a CSV with the columns
image_id and subset, in which the images that the model was validated on are `validation`. An image
is bad where AP at an IoU of .5 is under .5, and good where it is .7 or more. It is of low
confidence where the median score of all nuclei found, before any is dropped, is under a limit.

The limit is chosen on validation images and on TNBC patients 1 to 9: shares of bad images caught
and of good ones left alone add up to about the same from .70 to .74, of which .74 misses fewest bad
ones. Fold 0 and patients 10 and 11 test it, which the bundled model has not seen in training.
The limit was chosen with the network for dark backgrounds on all images, which has not seen TNBC;
nuclei/bright was trained on patients 1 to 8 and tuned on 9.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from accuracy import print_table

from nucseg import load_model
from nucseg.datasets.reading import open_dataset
from nucseg.evaluation import read_groups
from nucseg.evaluation.metrics import match, overlap

BAD, GOOD = 0.5, 0.7
LIMITS = (0.66, 0.68, 0.70, 0.72, 0.74, 0.76, 0.78, 0.80)
TESTED = {"10", "11"}


def images_of(folder, split):
    """Give data set, image, group and whether the limit is chosen on it, for each image."""
    dsb = open_dataset(folder / "dsb2018" / "stage1_train.zip")
    folds, modality = (
        read_groups(folder / "dsb2018" / "split.csv", name) for name in ("fold", "modality")
    )
    subsets = read_groups(split, "subset") if split else {}
    for image_id in dsb.image_ids:
        if subsets.get(image_id) == "validation":
            yield dsb, image_id, f"validation, {modality[image_id]}", True
        elif folds.get(image_id) == "0":
            yield dsb, image_id, f"fold 0, {modality[image_id]}", False
    if (folder / "tnbc").is_dir():
        tnbc = open_dataset(folder / "tnbc")
        for image_id in tnbc.image_ids:
            tested = image_id.split("_")[1] in TESTED
            name = "TNBC, patients 10 and 11" if tested else "TNBC, patients 1 to 9"
            yield tnbc, image_id, name, not tested


def judged(model, dataset, image_id):
    sample = dataset.read(image_id)
    found = model.segment(sample.pixels)
    counts = match(overlap(sample.labels, found.labels), 0.5)
    total = counts.true_positives + counts.false_positives + counts.false_negatives
    score = found.confidence.median_score
    return {
        "ap50": counts.true_positives / total if total else 1.0,
        "median_score": np.nan if score is None else score,
        "scale_source": found.confidence.view.source,
    }


def counts_of(rows, limit):
    """Bad images that are caught, of how many, and good and middling ones that are flagged."""
    ap, score = (np.array([row[name] for row in rows]) for name in ("ap50", "median_score"))
    low = score < limit
    kinds = {"bad": ap < BAD, "good": ap >= GOOD, "between": (ap >= BAD) & (ap < GOOD)}
    return {
        name: (int(np.count_nonzero(kind & low)), int(np.count_nonzero(kind)))
        for name, kind in kinds.items()
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("--split", type=Path, help="CSV file with the validation images")
    parser.add_argument("--model", default="nuclei", help="name or folder")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model = load_model(options.model)
    rows = [
        {"image": image_id, "group": group, "chosen_on": chosen_on}
        | judged(model, dataset, image_id)
        for dataset, image_id, group, chosen_on in images_of(options.data, options.split)
    ]
    print("### To choose the limit: validation images, TNBC patients 1 to 9\n")
    choosing = [row for row in rows if row["chosen_on"]]
    table = []
    for limit in LIMITS:
        counts = counts_of(choosing, limit)
        shares = {name: low / max(number, 1) for name, (low, number) in counts.items()}
        worth = shares["bad"] + 1 - shares["good"]
        texts = [f"{low} of {number}" for low, number in counts.values()]
        table.append((f"{limit:.2f}", *texts, f"{worth:.3f}"))
    print_table(("limit", "bad caught", "good flagged", "between flagged", "sum"), table)
    limit = model.card.scoring.confident_from
    print(f"\n### At the limit of the model, {limit:.2f}\n")
    groups = {
        name: [row for row in rows if row["group"] == name]
        for name in sorted({row["group"] for row in rows})
    }
    table = []
    for name, members in groups.items():
        texts = [f"{low} of {number}" for low, number in counts_of(members, limit).values()]
        other = sum(row["scale_source"] == "scores" for row in members)
        mean = np.mean([row["ap50"] for row in members])
        table.append((name, len(members), *texts, other, f"{mean:.3f}"))
    columns = ("images", "number", "bad caught", "good flagged", "between flagged")
    print_table((*columns, "other scale by scores", "mean AP50"), table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
