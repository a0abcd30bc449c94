"""A folder of images, compared with the network alone, called in a loop on arrays in memory.

    python benchmarks/batch.py --data DIR --scratch DIR [--images 500] [--rounds 3] [--json FILE]

DIR holds dsb2018/ as for benchmarks/accuracy.py. The images are those of 520 by 696 pixels of
stage1_train, repeated to the number asked for. What is compared takes turns: bare loops with all
threads over images decoded before, and `nucseg segment` with its labels, overlays, tables and
report, as a function call in the same process, on all threads and on one. One bare loop calls the
network once for each image, at its full size; the other repeats the calls that `nucseg segment`
makes, which sees some images resized, and some twice. A ratio is the median of those within each
round.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import cv2

from nucseg import load_model
from nucseg.batch.run import segment_files
from nucseg.datasets.reading import open_dataset
from nucseg.evaluation import read_groups


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


def in_turns(works, rounds):
    """Seconds of each work in each round."""
    times = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return times


def calls_for(image, model):
    """Give what the network is given to find the nuclei of an image."""
    given = []

    class Recorded:
        threads = model.runtime.threads

        def __call__(self, batch):
            given.append(batch)
            return model.runtime(batch)

    replace(model, runtime=Recorded()).segment(image)
    return given


def table(times, number):
    """Print medians, against each of the bare loops, which come first."""
    print("| what | seconds | images per second | against once | against the same calls |")
    print("|---|---|---|---|---|")
    figures, bare = {}, list(times)[:2]
    for name, taken in times.items():
        ratios = [median(a / b for a, b in zip(taken, times[each], strict=True)) for each in bare]
        seconds, cells = median(taken), " | ".join(f"{ratio:.2f}" for ratio in ratios)
        figures[name] = {"seconds": taken, "ratios": ratios}
        print(f"| {name} | {seconds:.1f} | {number / seconds:.1f} | {cells} |")
    return figures


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

    different = {id(image): image for image in images}
    calls = {key: calls_for(image, model) for key, image in different.items()}

    def once():
        for image in images:
            model.network_maps(image)

    def same_calls():
        for image in images:
            for seen in calls[id(image)]:
                model.runtime(seen)

    def batch(chosen):
        shutil.rmtree(out, ignore_errors=True)
        outcomes = segment_files([folder], out, chosen)
        if any(each.status == "failed" for each in outcomes):
            raise SystemExit("an image failed")

    model.network_maps(images[0])
    single.network_maps(images[0])
    works = {
        "network, once": once,
        "network, the same calls": same_calls,
        "batch, all threads": lambda: batch(model),
        "batch, one thread": lambda: batch(single),
    }
    times = in_turns(works, options.rounds)
    twice = sum(len(each) > 1 for each in calls.values())
    print(f"{len(images)} images of 520 by 696, of which {len(calls)} are different and {twice} of")
    print(f"these seen more than once by the network; {options.rounds} rounds\n")
    figures = table(times, len(images))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
