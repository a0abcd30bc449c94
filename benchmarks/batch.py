"""A folder of images against the network alone, called in a loop on arrays in memory.

    python benchmarks/batch.py --data DIR --scratch DIR [--images 500] [--rounds 3] [--json FILE]

DIR holds dsb2018/ as for benchmarks/accuracy.py. The images are those of 520 by 696 pixels of
stage1_train, repeated to the number asked for. What is compared takes turns: the bare loop
(preparation and network with all threads, images decoded before), and `nucseg segment` with its
labels, overlays and tables, as a function call in the same process, on all threads and on one. A
ratio is the median of those within each round.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from nucseg import load_model
from nucseg.datasets.reading import open_dataset
from nucseg.evaluation import read_groups
from nucseg.inference.batch import segment_files


def write_images(data, folder, number):
    """PNG files, and the same pixels as arrays."""
    height, width = (read_groups(data / "split.csv", name) for name in ("height", "width"))
    dataset = open_dataset(data / "stage1_train.zip")
    fitting = [
        each for each in dataset.image_ids if (height.get(each), width.get(each)) == ("520", "696")
    ]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pixels = [dataset.read_pixels(each) for each in fitting[:number]]
    images = [pixels[place % len(pixels)] for place in range(number)]
    for place, image in enumerate(images):
        cv2.imwrite(
            str(folder / f"{place:04}.png"), image[..., 2::-1] if image.ndim == 3 else image
        )
    return images


def timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for images and results")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    folder, out = options.scratch / "images", options.scratch / "out"
    images = write_images(options.data / "dsb2018", folder, options.images)
    model, single = load_model(options.model), load_model(options.model, threads=1)

    def bare():
        for image in images:
            model.network_maps(image)

    def batch(chosen):
        shutil.rmtree(out, ignore_errors=True)
        outcomes = segment_files([folder], out, chosen)
        if any(each.status == "failed" for each in outcomes):
            raise SystemExit("an image failed")

    model.network_maps(images[0])
    single.network_maps(images[0])
    times = {"bare loop": [], "batch, all threads": [], "batch, one thread": []}
    for _ in range(options.rounds):
        times["bare loop"].append(timed(bare))
        times["batch, all threads"].append(timed(lambda: batch(model)))
        times["batch, one thread"].append(timed(lambda: batch(single)))
    print(f"{len(images)} images of 520 by 696, {options.rounds} rounds\n")
    print("| what | seconds | images per second | against the bare loop |")
    print("|---|---|---|---|")
    figures = {}
    for name, taken in times.items():
        ratio = median(a / b for a, b in zip(taken, times["bare loop"], strict=True))
        seconds = float(np.median(taken))
        figures[name] = {"seconds": taken, "ratio": ratio}
        print(f"| {name} | {seconds:.1f} | {len(images) / seconds:.1f} | {ratio:.2f} |")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
