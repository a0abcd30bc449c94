"""Whether the nuclei found stay the same under changes that should not matter.

    python benchmarks/robustness.py --data DIR [--model NAME|PATH] [--fold 0] [--json FILE]

DIR holds dsb2018/ with stage1_train.zip and split.csv, as for benchmarks/accuracy.py. Over the
images of one fold: how counts change where an image is turned or scaled, and how many nuclei
differ from run to run, between numbers of threads and between runtimes. And how many nuclei are
found where there are none: in constant images, noise and text. Each table names its goal.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from nucseg import load_model
from nucseg.datasets.reading import open_dataset
from nucseg.evaluation import read_groups
from nucseg.evaluation.metrics import match, overlap
from nucseg.models.zoo import KERAS, find_model

TURNS = {
    "rotated by 90°": lambda image: np.rot90(image, 1),
    "rotated by 180°": lambda image: np.rot90(image, 2),
    "rotated by 270°": lambda image: np.rot90(image, 3),
    "rows flipped": lambda image: image[::-1],
    "columns flipped": lambda image: image[:, ::-1],
}
SCALES = {
    "scaled by 0.7": lambda image: scaled(image, 0.7),
    "scaled by 1.4": lambda image: scaled(image, 1.4),
}
SIZES = ((256, 256), (520, 696), (1024, 1024))
SEEDS = 5
WORDS = 2 * "The quick brown fox jumps over the lazy dog, 0123456789 times (and again). "


def scaled(image, factor):
    """Area averaging where it shrinks, cubic where it grows; the data type stays."""
    height, width = (round(side * factor) for side in image.shape[:2])
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=method)


def table(title, goal, columns, rows):
    print(f"\n### {title}\n\nGoal: {goal}.\n")
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


def count_changes(model, images, counts, changes):
    """How counts differ from those of the same images before a change, for each change."""
    before = np.array(counts)
    figures = {}
    for name, change in changes.items():
        changed = [model.segment(np.ascontiguousarray(change(image))).count for image in images]
        difference = np.array(changed) - before
        relative = 100 * np.abs(difference) / np.maximum(before, 1)
        figures[name] = {
            "nuclei": sum(changed),
            "total_change_percent": float(100 * difference.sum() / max(before.sum(), 1)),
            "mean_absolute_change_percent": float(relative.mean()),
            "median_absolute_change_percent": float(np.median(relative)),
            "images_changed": int(np.count_nonzero(difference)),
            "counts": changed,
        }
    return figures


def print_count_changes(title, goal, counts, figures):
    columns = ("image", "nuclei", "total change", "mean absolute", "median absolute", "changed")
    rows = [("as it is", sum(counts), "", "", "", "")]
    for name, row in figures.items():
        rows.append(
            (
                name,
                row["nuclei"],
                f"{row['total_change_percent']:+.2f} %",
                f"{row['mean_absolute_change_percent']:.2f} %",
                f"{row['median_absolute_change_percent']:.2f} %",
                f"{row['images_changed']} of {len(counts)}",
            )
        )
    table(title, goal, columns, rows)


def text_image(size, lines, *, ink, paper):
    """Lines of text, as many as asked for or as fit."""
    image = np.full(size, paper, np.uint8)
    for line in range(min(lines, size[0] // 24)):
        place = (8, 20 + 24 * line)
        cv2.putText(image, WORDS, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, ink, 1, cv2.LINE_AA)
    return image


def noise_images(size, seed) -> Iterator[tuple[str, np.ndarray]]:
    """Noise of several kinds, as integers and as floating-point numbers."""
    rng = np.random.default_rng(seed)
    gaussian, uniform = rng.normal(0, 1, size), rng.random(size)
    yield "Gaussian noise, uint8", np.clip(128 + 30 * gaussian, 0, 255).round().astype(np.uint8)
    yield "dark Gaussian noise, uint8", np.clip(10 + 3 * gaussian, 0, 255).round().astype(np.uint8)
    yield "Gaussian noise, float32", gaussian.astype(np.float32)
    yield "uniform noise, uint8", (256 * uniform).astype(np.uint8)
    yield "uniform noise, float32", uniform.astype(np.float32)


def images_without_nuclei(size) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in (("black", 0), ("grey", 128), ("white", 255)):
        yield f"all {name}, uint8", np.full(size, value, np.uint8)
        yield f"all {name}, float32", np.full(size, value / 255, np.float32)
    for seed in range(SEEDS):
        yield from noise_images(size, seed)
    for name, lines in (("a line of text", 1), ("a page of text", size[0])):
        yield f"{name}, dark on white", text_image(size, lines, ink=0, paper=255)
        yield f"{name}, white on dark", text_image(size, lines, ink=255, paper=0)


def nuclei_where_none_are(model):
    """Nuclei found in each image without any, by kind of image and size."""
    figures = {}
    for size in SIZES:
        for name, image in images_without_nuclei(size):
            sizes = figures.setdefault(name, {})
            sizes.setdefault("×".join(map(str, size)), []).append(model.segment(image).count)
    return figures


def print_nuclei_where_none_are(figures):
    sizes = ["×".join(map(str, size)) for size in SIZES]
    rows = [
        (name, *(", ".join(map(str, found[size])) for size in sizes), sum(map(sum, found.values())))
        for name, found in figures.items()
    ]
    table(
        "Images without nuclei: nuclei found, of noise for each seed",
        "nearly 0",
        ("image", *sizes, "together"),
        rows,
    )


def compare(reference, others):
    """Count nuclei that have no partner of IoU above 0.5, of either, and those not identical."""
    figures = {"nuclei": 0, "differing": 0, "not_identical": 0}
    for ours, theirs in zip(reference, others, strict=True):
        shared = overlap(ours, theirs)
        matched = match(shared, 0.5)
        figures["nuclei"] += shared.true_labels.size
        figures["differing"] += matched.false_negatives + matched.false_positives
        figures["not_identical"] += shared.true_labels.size - np.count_nonzero(shared.iou == 1)
    return {name: int(count) for name, count in figures.items()}


def same_labels(name, images, reference):
    """Nuclei that differ from the reference, which ONNX Runtime gave on two threads."""
    others = {"run again": {"threads": 2}, "one thread": {"threads": 1}}
    if (find_model(name) / KERAS).is_file():
        others["Keras"] = {"runtime": "keras"}
    figures = {}
    for other, options in others.items():
        model = load_model(name, **options)
        figures[other] = compare(reference, [model.segment(image).labels for image in images])
    return figures


def print_same_labels(figures):
    rows = []
    for name, row in figures.items():
        shares = [
            f"{row[kind]} ({1000 * row[kind] / max(row['nuclei'], 1):.2f} in 1,000)"
            for kind in ("differing", "not_identical")
        ]
        rows.append((name, row["nuclei"], *shares))
    table(
        "Same labels: against ONNX Runtime on two threads",
        "no nucleus differs from run to run; at most 1 in 1,000 between runtimes",
        ("run", "nuclei", "without a partner of IoU > 0.5, of either", "not the same pixels"),
        rows,
    )
    if "Keras" not in figures:
        print("\nThe model has no file for Keras: that runtime was not compared.")


def read_images(folder, fold, limit):
    folds = read_groups(folder / "split.csv", "fold")
    dataset = open_dataset(folder / "stage1_train.zip")
    chosen = [image_id for image_id in dataset.image_ids if folds.get(image_id) == str(fold)]
    return [dataset.read_pixels(image_id) for image_id in chosen[:limit]]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("--model", default="nuclei", help="name or folder")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--limit", type=int, help="only the first images of the fold, for a try")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    images = read_images(options.data / "dsb2018", options.fold, options.limit)
    model = load_model(options.model, threads=2)
    reference = [model.segment(image).labels for image in images]
    counts = [int(labels.max()) for labels in reference]
    print(f"{model.card.name} on fold {options.fold}: {sum(counts)} nuclei, {len(images)} images")

    turned = count_changes(model, images, counts, TURNS)
    print_count_changes("Turned: counts", "under 1 %", counts, turned)
    rescaled = count_changes(model, images, counts, SCALES)
    print_count_changes("Scaled: counts", "under 5 %", counts, rescaled)
    empty = nuclei_where_none_are(model)
    print_nuclei_where_none_are(empty)
    same = same_labels(options.model, images, reference)
    print_same_labels(same)
    if options.json:
        figures = {
            "model": model.card.name,
            "fold": options.fold,
            "counts": counts,
            "turned": turned,
            "scaled": rescaled,
            "without_nuclei": empty,
            "same_labels": same,
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
