"""Seconds per megapixel of the network and of the step from its maps to nuclei.

    python benchmarks/speed.py --data DIR [--model NAME|PATH] [--threads 2] [--json FILE]

DIR holds dsb2018/ as for benchmarks/accuracy.py. Images of 1024 by 1024 pixels are sixteen
fluorescence images of fold 0 side by side, each stretched to the same range, with about 450 true
nuclei. The model runs on all that `nucseg doctor` lists; a folder of benchmarks/int8.py has eight
bits too. Where stardist and TensorFlow are installed, StarDist (2D, 32 rays, grid 2) is the
yardstick: its network, of random weights, and all together, its network with its own step from maps
to nuclei, which is given maps of the true ones. What is compared takes turns, round by round; times
are medians over the rounds, ratios are medians of the ratio within each round.
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
from nucseg.training.quiet import import_tensorflow

from nucseg import load_model
from nucseg.datasets.reading import open_dataset
from nucseg.evaluation import read_groups
from nucseg.images.preprocess import prepare, stretch
from nucseg.inference.devices import EXACT, Network, candidates, in_order, judged, processor_name
from nucseg.models.zoo import find_model, read_card

SIDE, TILE, NUCLEI = 1024, 256, 450
MEGAPIXELS = SIDE**2 / 1e6
YARDSTICK = "StarDist, network"
YARDSTICK_ALL = "StarDist, all together"
STEPS = ("preparation", "network", "instance step", "all together")


def mosaics(folder, number):
    """Images of sixteen tiles, and the label image of each."""
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
    images, truths = [], []
    while len(images) < number:
        chosen = rng.choice(fitting, (SIDE // TILE) ** 2, replace=False)
        count = sum(int(nuclei[image_id]) for image_id in chosen)
        if abs(count - NUCLEI) <= NUCLEI // 30:
            samples = [dataset.read(image_id) for image_id in chosen]
            images.append(side_by_side([grey(sample.pixels) for sample in samples]))
            truths.append(labels_side_by_side([sample.labels for sample in samples]))
    return images, truths


def side_by_side(tiles):
    """One image of all tiles, row by row."""
    across = SIDE // TILE
    return np.vstack([np.hstack(tiles[row * across : (row + 1) * across]) for row in range(across)])


def grey(tile):
    """One channel, stretched; fluorescence has the same value in each."""
    return (255 * stretch(tile[:, :, 0], (1, 99.8))).astype(np.uint8)


def labels_side_by_side(tiles):
    before = np.cumsum([0, *(tile.max() for tile in tiles)])
    moved = [np.where(tile, tile + more, 0) for tile, more in zip(tiles, before[:-1], strict=True)]
    return side_by_side(moved)


def models_of(name, threads):
    """Load the model for all that it can run on."""
    model = load_model(name, threads=threads, device="cpu", precision="f32")
    network = network_of(name, threads)
    return {
        str(each): model if each == EXACT else replace(model, runtime=network.load(each))
        for each in candidates(network.card)
    }


def network_of(name, threads):
    folder = find_model(name)
    return Network(folder, read_card(folder), threads)


def stardist_works(threads):
    """Give StarDist's works on an image that is already stretched, with its true nuclei."""
    tensorflow = import_tensorflow()
    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    from stardist.geometry import star_dist
    from stardist.models import Config2D, StarDist2D
    from stardist.utils import edt_prob

    with contextlib.redirect_stdout(io.StringIO()):
        model = StarDist2D(Config2D(n_rays=32, grid=(2, 2), n_channel_in=1), basedir=None)
        model.thresholds = {"prob": 0.5, "nms": 0.4}

    def works(image, truth):
        # StarDist's own predict takes longer, but what it adds is not the network.
        maps = edt_prob(truth)[::2, ::2], star_dist(truth, 32, grid=(2, 2))

        def network():
            return model.keras_model.predict_on_batch(image[None, :, :, None])

        def whole():
            network()
            labels, _ = model._instances_from_prediction(image.shape, *maps)
            return labels

        return {YARDSTICK: network, YARDSTICK_ALL: whole}

    return works


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


def works_on(image, truth, models, yardstick):
    works = {
        f"{name}, {step}": work
        for name, model in models.items()
        for step, work in steps_of(model, image).items()
    }
    if yardstick:
        works |= yardstick(stretch(image, (1, 99.8)), truth)
    return works


def seconds_of(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(images, truths, models, yardstick, rounds):
    """Seconds per megapixel of every work in every round; the images take turns."""
    works_by_image = [
        works_on(image, truth, models, yardstick)
        for image, truth in zip(images, truths, strict=True)
    ]
    for works in works_by_image:  # the first run of each is slower
        for work in works.values():
            work()
    seconds = {name: [] for name in works_by_image[0]}
    for number in range(rounds):
        for name, work in works_by_image[number % len(images)].items():
            seconds[name].append(seconds_of(work) / MEGAPIXELS)
    return {name: np.array(values) for name, values in seconds.items()}


def summary(seconds):
    """Medians of each work, and of how many times faster than the yardsticks it is."""
    figures = {}
    for name, values in seconds.items():
        median = float(np.median(values))
        figures[name] = {
            "seconds_per_megapixel": median,
            "megapixels_per_second": 1 / median,
            "rounds": values.tolist(),
        }
        if YARDSTICK in seconds:
            for key, other in (("network", YARDSTICK), ("all_together", YARDSTICK_ALL)):
                ratio = float(np.median(seconds[other] / values))
                figures[name][f"times_faster_than_stardist_{key}"] = ratio
    return figures


def instance_shares(seconds, names):
    """Share of the step from maps to nuclei in the whole, for each runtime."""
    return {
        name: float(np.median(seconds[f"{name}, instance step"] / seconds[f"{name}, all together"]))
        for name in names
    }


def print_figures(figures, shares, found, counts):
    print("| what | s per megapixel | megapixels per s | × StarDist's network | × all of it |")
    print("|---" * 5 + "|")
    for name, row in figures.items():
        ratios = [
            row.get(f"times_faster_than_stardist_{key}") for key in ("network", "all_together")
        ]
        shown = " | ".join("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
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
    images, truths = mosaics(options.data / "dsb2018", options.images)
    counts = [int(truth.max()) for truth in truths]
    models = models_of(options.model, options.threads)
    has_stardist = find_spec("stardist") and find_spec("tensorflow")
    yardstick = stardist_works(options.threads) if has_stardist else None
    card = models[str(EXACT)].card
    size = card.preprocessing.size or (SIDE, SIDE)
    print(processor_name())
    print(f"{card.name}, {options.threads} threads, network at {size}, {options.rounds} rounds\n")

    found = {
        name: [model.segment(image).count for image in images] for name, model in models.items()
    }
    seconds = measure(images, truths, models, yardstick, options.rounds)
    figures, shares = summary(seconds), instance_shares(seconds, models)
    print_figures(figures, shares, found, counts)
    checked = judged(network_of(options.model, options.threads), again=True)
    print(f"Taken by itself: {in_order(checked)[0]}.")
    for each in checked:
        if each.problem:
            print(f"Not {each.candidate}: {each.problem}")
    if options.json:
        written = {
            "machine": {
                "processor": processor_name(),
                "cpus": os.cpu_count(),
                "platform": platform.platform(),
            },
            "taken": str(in_order(checked)[0]),
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
