"""How well positive and negative nuclei are separated in immunohistochemistry.

    python benchmarks/positive.py --data DIR

DIR holds tnbc/. Images of patients 10 and 11, stained with haematoxylin and eosin, are stained anew
by `nucseg.training.augment.stains.immunostain_with_truth`, each with other colours, strengths and
brown cytoplasm, so that it is known which nuclei are positive. For each share of positive nuclei:
H-score / 300 and positive share of the nuclei of all images, and how far off they are with the TRUE
label images and with those of the model; with a weak threshold of 0.2, with `auto` (whose limit was
chosen on patients 01 to 09 with other seeds), and with the weak one from a
negative control of the same staining, which is the image with no positive nucleus (so that the row
of share 0 is no test of it). As in positive.csv, images in which most nuclei that the model found
are probably false do not count in what it found; their true nuclei count all the same. True classes
are by the density of the DAB that was put into the nucleus; a positive nucleus below the weak
threshold counts as weak. `worst image` is the largest difference of the positive share in one
image.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from accuracy import print_table
from crowded import PATIENTS

from nucseg import load_model
from nucseg.datasets.merged import part_merged
from nucseg.datasets.reading import open_dataset
from nucseg.images.colours import to_rgb
from nucseg.measure.positive import (
    DENSITIES,
    classes_of,
    measure_dab,
    positivity,
    threshold_from_control,
)
from nucseg.training.augment.stains import immunostain_with_truth

SHARES = (0.0, 0.1, 0.3, 0.5, 0.8)
THRESHOLDS = DENSITIES
GOAL = 0.05


def true_classes(labels, made):
    inside = labels > 0
    numbers, which = np.unique(labels[inside], return_inverse=True)
    density = np.bincount(which, made.dab[inside]) / np.bincount(which) / np.log(10)
    classes = np.maximum(np.searchsorted(THRESHOLDS, density, side="right"), 1)
    return np.where(made.positive[numbers], classes, 0)


def stained(sample, seed, share):
    labels = np.maximum(part_merged(sample.labels), 0)
    scaled = to_rgb(sample.pixels).astype(np.float32) / 255
    rng = np.random.default_rng(1000 + seed)
    made = immunostain_with_truth(scaled, labels, rng, positive_share=share)
    return labels, made, np.asarray(made.image * 255 + 0.5, np.uint8)


def weak_from(control):
    # Few images have the hundred nuclei that 1 % is told by.
    share = 0.01 if len(control) >= 100 else 1 / max(len(control), 1)
    return min(threshold_from_control(control, share), THRESHOLDS[1] - 0.01)


def judged(samples, share, model, controls):
    """Classes of each image by how they were found; notes controls where no nucleus is positive."""
    fields = {}
    for seed, sample in enumerate(samples):
        labels, made, image = stained(sample, seed, share)
        fields.setdefault("truth", []).append(true_classes(labels, made))
        found = {"true labels": labels}
        if model is not None:
            segmentation = model.segment(image)
            found["model"] = segmentation.labels
            left_out = segmentation.confidence.mostly_false
            fields.setdefault("left out", []).append(left_out)
        for name, each in found.items():
            table = measure_dab(each, image, THRESHOLDS)[0]
            means = table["dab_mean"]
            if share == 0:
                controls[name, seed] = weak_from(means)
            ways = {name: THRESHOLDS, f"{name}, control": (controls[name, seed], *THRESHOLDS[1:])}
            for way, thresholds in ways.items():
                classes = np.searchsorted(thresholds, means, side="right")
                fields.setdefault(way, []).append(classes)
            auto = classes_of(means, table["dab_share"], "auto")
            fields.setdefault(f"{name}, auto", []).append(auto)
    return fields


def figures_of(share, name, fields):
    out = fields["left out"] if name.startswith("model") else [False] * len(fields["truth"])
    truth = positivity(fields["truth"])
    found = positivity([each for each, skip in zip(fields[name], out, strict=True) if not skip])
    each = zip(fields["truth"], fields[name], strict=True)
    return {
        "share": share,
        "labels": name,
        "nuclei": found.nuclei,
        "h_true": truth.h_score / 300,
        "h_off": (found.h_score - truth.h_score) / 300,
        "positive_true": truth.share,
        "positive_off": found.share - truth.share,
        "low": found.low,
        "high": found.high,
        "worst_image": max(abs(np.mean(a > 0) - np.mean(b > 0)) for a, b in each),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nuclei", help="name or folder; 'none' leaves it out")
    parser.add_argument("--sheet", type=Path, help="write the first image of each share here")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model = None if options.model == "none" else load_model(options.model)
    dataset = open_dataset(options.data / "tnbc")
    samples = [dataset.read(name) for name in dataset.image_ids if name.startswith(PATIENTS)]
    figures, controls = [], {}
    for share in SHARES:
        fields = judged(samples, share, model, controls)
        figures += [
            figures_of(share, name, fields) for name in fields if name not in ("truth", "left out")
        ]
        if options.sheet:
            write_sheet(options.sheet, share, stained(samples[0], 0, share)[2])
    rows = [
        (
            f"{each['share']:.1f}", each["labels"], each["nuclei"], f"{each['h_true']:.3f}",
            f"{each['h_off']:+.3f}", f"{each['positive_true']:.3f}",
            f"{each['positive_off']:+.3f}", f"{each['low']:.3f} to {each['high']:.3f}",
            f"{each['worst_image']:.3f}",
            "yes" if max(abs(each["h_off"]), abs(each["positive_off"])) <= GOAL else "NO",
        )
        for each in figures
    ]  # fmt: skip
    columns = (
        "share", "labels", "nuclei", "H/300 true", "off", "positive true", "off",
        "interval", "worst image", f"within {GOAL}",
    )  # fmt: skip
    print_table(columns, rows)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2, default=float) + "\n")


def write_sheet(folder, share, image):
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / f"positive_{share:.1f}.png")


if __name__ == "__main__":
    main()
