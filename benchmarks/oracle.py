"""Upper bound of the instance recipe: its targets used as predictions.

    python benchmarks/oracle.py --data DIR [--fold 0] [--seed-threshold 0.5 ...] [--json FILE]

DIR holds dsb2018/ with stage1_train.zip and split.csv, as for benchmarks/accuracy.py. Labels are
turned into maps and these back into labels, which are judged against the first ones: once as the
maps are, once after halving them and bringing them back, as a network at half resolution would.
Last, how often the count changes where noisy maps are flipped or turned, and the seconds that the
step takes on a mosaic of 1024 by 1024 pixels with about 450 nuclei.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np

from nucseg.config import Watershed
from nucseg.datasets.reading import open_dataset
from nucseg.evaluation import read_groups
from nucseg.evaluation.metrics import kaggle_map, match, overlap
from nucseg.images.preprocess import resize_image
from nucseg.inference.instances import watershed
from nucseg.training.targets import instance_maps

COLUMNS = ("Kaggle mAP", "AP50", "AP75", "AP90", "count error")


def halved(maps):
    size = maps.shape[:2]
    return resize_image(resize_image(maps, tuple((side + 1) // 2 for side in size)), size)


def noisy(maps, rng):
    """Blur the maps and add cloudy noise, so that seeds and borders become uncertain."""
    apart = maps[..., :3]
    noise = cv2.GaussianBlur(rng.normal(0, 1, apart.shape).astype(np.float32), (0, 0), 2)
    uncertain = np.full_like(maps, 0.5)  # offsets of none: they do not turn with the image
    uncertain[..., :3] = np.clip(cv2.GaussianBlur(apart, (0, 0), 1.5) + 0.3 * noise, 0, 1)
    return uncertain


def judged(truth, maps, settings):
    table = overlap(truth, watershed(maps, settings))
    aps = [match(table, threshold).average_precision for threshold in (0.5, 0.75, 0.9)]
    return kaggle_map(table), *aps, abs(table.count_error)


def turned_counts(all_maps, settings):
    """Largest relative change of the count over all images, of seven flips and turns."""
    rng = np.random.default_rng(0)
    counts = np.zeros(8, int)
    for maps in all_maps:
        uncertain = noisy(maps, rng)
        for place in range(8):
            turned = np.rot90(uncertain[::-1] if place >= 4 else uncertain, place % 4)
            counts[place] += watershed(np.ascontiguousarray(turned), settings).max()
    return float(np.abs(counts / counts[0] - 1).max())


def mosaic(all_labels):
    """Sixteen images of 256 by 256 pixels with about 28 nuclei each, side by side."""
    fitting = [labels for labels in all_labels if labels.shape == (256, 256)]
    chosen = sorted(fitting, key=lambda labels: abs(int(labels.max()) - 28))[:16]
    joined, before = np.zeros((1024, 1024), np.int32), 0
    for place, labels in enumerate(chosen):
        row, column = place // 4 * 256, place % 4 * 256
        joined[row : row + 256, column : column + 256] = np.where(labels > 0, labels + before, 0)
        before += labels.max()
    return joined


def seconds_per_megapixel(work, pixels, repeats=15):
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times)) / pixels * 1e6


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("--fold", type=int, default=0)
    default = Watershed().seed_threshold
    parser.add_argument("--seed-threshold", type=float, nargs="+", default=[default])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    folder = options.data / "dsb2018"
    folds = read_groups(folder / "split.csv", "fold")
    dataset = open_dataset(folder / "stage1_train.zip")
    ids = [image_id for image_id in dataset.image_ids if folds.get(image_id) == str(options.fold)]
    truths = [dataset.read(image_id).labels for image_id in ids]
    all_maps = [instance_maps(labels) for labels in truths]

    rows = []
    print(f"### fold {options.fold}: {len(ids)} images, perfect maps, mean over images\n")
    print(f"| seed threshold | maps | {' | '.join(COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for threshold in options.seed_threshold:
        settings = Watershed(seed_threshold=threshold)
        for name, change in (("full size", lambda maps: maps), ("halved", halved)):
            figures = [
                judged(truth, change(maps), settings)
                for truth, maps in zip(truths, all_maps, strict=True)
            ]
            means = [float(mean) for mean in np.mean(figures, axis=0)]
            rows.append(
                {"seed_threshold": threshold, "maps": name} | dict(zip(COLUMNS, means, strict=True))
            )
            print(f"| {threshold} | {name} | {' | '.join(f'{mean:.3f}' for mean in means)} |")

    settings = Watershed(seed_threshold=options.seed_threshold[0])
    turned = turned_counts(all_maps, settings)
    print(f"\nNoisy maps flipped and turned: the count changes by at most {turned:.3%}.")
    labels = mosaic(truths)
    maps = instance_maps(labels)
    uncertain = noisy(maps, np.random.default_rng(0))
    crop = np.ascontiguousarray(labels[:256, :256])
    timings = {
        "watershed, perfect maps": seconds_per_megapixel(
            lambda: watershed(maps, settings), labels.size
        ),
        "watershed, noisy maps": seconds_per_megapixel(
            lambda: watershed(uncertain, settings), labels.size
        ),
        "instance_maps of a crop of 256 by 256": seconds_per_megapixel(
            lambda: instance_maps(crop), crop.size
        ),
    }
    print(f"Seconds per megapixel, {labels.max()} nuclei on {labels.shape}:")
    for name, seconds in timings.items():
        print(f"  {name:40s} {seconds:.4f}")
    if options.json:
        figures = {"rows": rows, "turned": turned, "seconds_per_megapixel": timings}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
