"""Whether an image gives the same nuclei in windows and as a whole.

    python benchmarks/tiles.py --data DIR [--model NAME|PATH] [--fold 0] [--json FILE] [--limit N]

DIR holds dsb2018/ with stage1_train.zip and split.csv, as for benchmarks/accuracy.py. The images
of a fold that are larger than a window are segmented whole, which is the reference, and in windows
with cores of 128 pixels, or as wide as the margins ask that the image's scale needs. A nucleus
differs where no nucleus of the other result has an IoU above .9 with it. Goal: at most 1 in 1,000.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from accuracy import fold_images

from nucseg import load_model
from nucseg.evaluation.metrics import overlap
from nucseg.inference.tiling import MARGIN, STRIDE, window_and_margin

CORE = 128
SAME = 0.9


def differing(whole, tiled):
    """Nuclei of one result that have no partner in the other, of whichever has more of them."""
    table = overlap(whole, tiled)
    matches = np.count_nonzero(table.iou > SAME)
    return max(table.true_labels.size, table.predicted_labels.size) - matches


def smallest_window(scale):
    """Side of the smallest window that has a core of 128 pixels and all of its margins."""
    needed = MARGIN if scale >= 1 else -(-MARGIN / scale // STRIDE) * STRIDE
    sides = (int(each) for each in range(CORE + 2 * MARGIN, 10**4, STRIDE))
    return next(
        each for each in sides if window_and_margin(each, scale)["margin"] * max(scale, 1) >= needed
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("--model", default="nuclei", help="name or folder")
    parser.add_argument("--fold", default="0")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--limit", type=int, help="of each modality, for a quick try")
    options = parser.parse_args()
    # Without the minimum score, which would hide nuclei that differ.
    model = load_model(options.model).with_postprocessing(min_score=0.0)
    dataset, modality, image_ids = fold_images(
        options.data / "dsb2018", options.fold, options.limit
    )
    rows = {}
    for image_id in image_ids:
        pixels = dataset.read_pixels(image_id)
        scale = model.for_image(pixels).scale
        window = smallest_window(scale)
        if pixels.shape[0] * pixels.shape[1] > window**2:
            whole, tiled = (
                replace(model, window=each).segment(pixels).labels for each in (2**20, window)
            )
            row = rows.setdefault(modality[image_id], np.zeros(5))
            differing_pixels = np.count_nonzero((whole > 0) != (tiled > 0))
            row += 1, whole.max(), differing(whole, tiled), differing_pixels, whole.size
    print("| images | number | nuclei | differ | per 1,000 | pixels that differ, per million |")
    print("|---" * 6 + "|")
    for name, (images, nuclei, differ, pixels, of) in rows.items():
        print(
            f"| {name} | {images:.0f} | {nuclei:.0f} | {differ:.0f} | "
            f"{1000 * differ / max(nuclei, 1):.2f} | {1e6 * pixels / of:.1f} |"
        )
    if options.json:
        names = ("images", "nuclei", "differ", "differing_pixels", "pixels")
        figures = {name: dict(zip(names, row.tolist(), strict=True)) for name, row in rows.items()}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
