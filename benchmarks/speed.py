"""Seconds per megapixel of the network and of the step from its maps to nuclei.

    python benchmarks/speed.py --data DIR [--model NAME|PATH] [--threads 2] [--json FILE]

DIR holds dsb2018/ as for benchmarks/accuracy.py. Images of 1024 by 1024 pixels are sixteen
fluorescence images of fold 0 side by side, each stretched to the same range, with about 450 true
nuclei. The model runs in ONNX Runtime and, where it is installed, in OpenVINO, which reads the same
file. Where stardist and TensorFlow are installed, StarDist's network (2D, 32 rays, grid 2, random
weights) is the yardstick. What is compared takes turns, round by round; times are medians over
the rounds, ratios are medians of the ratio within each round.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from nucseg import load_model
from nucseg.datasets.reading import open_dataset
from nucseg.evaluation import read_groups
from nucseg.images.preprocess import prepare, stretch
from nucseg.models.zoo import ONNX, find_model
from nucseg.training.quiet import import_tensorflow

SIDE, TILE, NUCLEI = 1024, 256, 450
MEGAPIXELS = SIDE**2 / 1e6
YARDSTICK = "StarDist, network"
STEPS = ("preparation", "network", "instance step", "all together")


def mosaics(folder, number):
    """Images of sixteen tiles, and the true nuclei in each."""
    columns = ("modality", "fold", "height", "width", "nuclei")
    modality, fold, height, width, nuclei = (
        read_groups(folder / "split.csv", column) for column in columns
    )
    dataset = open_dataset(folder / "stage1_train.zip")
    fitting = [
        each
        for each in dataset.image_ids
        if (modality.get(each), fold.get(each)) == ("fluorescence", "0")
        and height[each] == width[each] == str(TILE)
    ]
    rng = np.random.default_rng(0)
    images, counts = [], []
    while len(images) < number:
        chosen = rng.choice(fitting, (SIDE // TILE) ** 2, replace=False)
        count = sum(int(nuclei[image_id]) for image_id in chosen)
        if abs(count - NUCLEI) <= NUCLEI // 30:
            images.append(side_by_side([dataset.read_pixels(image_id) for image_id in chosen]))
            counts.append(count)
    return images, counts


def side_by_side(tiles):
    """One grey image of all tiles; fluorescence has the same value in each channel."""
    grey = [(255 * stretch(tile[:, :, 0], (1, 99.8))).astype(np.uint8) for tile in tiles]
    across = SIDE // TILE
    return np.vstack([np.hstack(grey[row * across : (row + 1) * across]) for row in range(across)])


def openvino_runtime(path, threads):
    """Load the network in OpenVINO, to be called as a runtime of nucseg is."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    network = openvino.Core().compile_model(path, "CPU", settings)
    # Else the next run would overwrite the maps.
    return lambda batch: network(batch, share_outputs=False)[0]


def models_of(name, threads):
    """Load the model, once for each library that can run it."""
    model = load_model(name, threads=threads)
    models = {"ONNX Runtime": model}
    if find_spec("openvino"):
        runtime = openvino_runtime(find_model(name) / ONNX, threads)
        models["OpenVINO"] = replace(model, runtime=runtime)
    return models


def stardist_network(threads):
    """Build StarDist's network alone, to be called with an image that is already stretched."""
    tensorflow = import_tensorflow()
    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    from stardist.models import Config2D, StarDist2D

    with contextlib.redirect_stdout(io.StringIO()):
        model = StarDist2D(Config2D(n_rays=32, grid=(2, 2), n_channel_in=1), basedir=None)
    # StarDist's own predict takes longer, but what it adds is not the network.
    return lambda image: model.keras_model.predict_on_batch(image[None, :, :, None])


def steps_of(model, image):
    """Name the steps of segmenting an image, each by itself, and all together."""
    batch = prepare(image, model.card.preprocessing)[None]
    maps = model.network_maps(image)
    works = (
        lambda: prepare(image, model.card.preprocessing),
        lambda: model.runtime(batch),
        lambda: model.nuclei(image, maps),
        lambda: model.segment(image),
    )
    return dict(zip(STEPS, works, strict=True))


def works_on(image, models, yardstick):
    works = {
        f"{name}, {step}": work
        for name, model in models.items()
        for step, work in steps_of(model, image).items()
    }
    if yardstick:
        stretched = stretch(image, (1, 99.8))
        works[YARDSTICK] = lambda: yardstick(stretched)
    return works


def seconds_of(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(images, models, yardstick, rounds):
    """Seconds per megapixel of every work in every round; the images take turns."""
    works_by_image = [works_on(image, models, yardstick) for image in images]
    for works in works_by_image:  # the first run of each is slower
        for work in works.values():
            work()
    seconds = {name: [] for name in works_by_image[0]}
    for number in range(rounds):
        for name, work in works_by_image[number % len(images)].items():
            seconds[name].append(seconds_of(work) / MEGAPIXELS)
    return {name: np.array(values) for name, values in seconds.items()}


def summary(seconds):
    """Medians of each work, and of its ratio to the yardstick."""
    figures = {}
    for name, values in seconds.items():
        median = float(np.median(values))
        figures[name] = {
            "seconds_per_megapixel": median,
            "megapixels_per_second": 1 / median,
            "rounds": values.tolist(),
        }
        if YARDSTICK in seconds:
            ratio = np.median(values / seconds[YARDSTICK])
            figures[name]["ratio_to_stardist_network"] = float(ratio)
    return figures


def instance_shares(seconds, names):
    """Share of the step from maps to nuclei in the whole, for each runtime."""
    return {
        name: float(np.median(seconds[f"{name}, instance step"] / seconds[f"{name}, all together"]))
        for name in names
    }


def print_figures(figures, shares, found, counts):
    print("| what | s per megapixel | megapixels per s | ratio to StarDist's network |")
    print("|---" * 4 + "|")
    for name, row in figures.items():
        ratio = row.get("ratio_to_stardist_network")
        shown = "" if ratio is None else f"{ratio:.3f}"
        speed = f"{row['seconds_per_megapixel']:.4f} | {row['megapixels_per_second']:.2f}"
        print(f"| {name} | {speed} | {shown} |")
    print(f"\nTrue nuclei: {', '.join(map(str, counts))}.")
    for name, share in shares.items():
        print(
            f"{name}: found {', '.join(map(str, found[name]))} nuclei; "
            f"the instance step takes {share:.1%} of the whole."
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("--model", default="nuclei", help="name or folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    images, counts = mosaics(options.data / "dsb2018", options.images)
    models = models_of(options.model, options.threads)
    has_stardist = find_spec("stardist") and find_spec("tensorflow")
    yardstick = stardist_network(options.threads) if has_stardist else None
    card = models["ONNX Runtime"].card
    size = card.preprocessing.size or (SIDE, SIDE)
    print(f"{card.name}, {options.threads} threads, network at {size}, {options.rounds} rounds\n")

    found = {
        name: [model.segment(image).count for image in images] for name, model in models.items()
    }
    seconds = measure(images, models, yardstick, options.rounds)
    figures, shares = summary(seconds), instance_shares(seconds, models)
    print_figures(figures, shares, found, counts)
    if options.json:
        written = {
            "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
            "model": card.name,
            "threads": options.threads,
            "true_nuclei": counts,
            "found_nuclei": found,
            "works": figures,
            "instance_share": shares,
        }
        options.json.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
