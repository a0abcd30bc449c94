"""Images of any size: peak memory, time, and whether all nuclei are found.

    python benchmarks/large.py --data DIR --scratch DIR [--sides 5000 20000] [--save labels]
        [--diameter 20] [--dry-run 100000] [--json FILE]

DIR holds dsb2018/ as for benchmarks/accuracy.py. For each side, an 8-bit tiled TIFF is made by
repeating the four fluorescence images of 256 by 256 pixels with most nuclei of fold 0, about 1,000
nuclei per megapixel; `nucseg segment` runs on it in a process of its own, and its peak resident
memory and time are taken from the operating system. Then the label image is read part by part: its
numbers, and those in the table, must be 1 to N without a gap. The last line sets the time per pixel
of the largest image against that of the smallest; a diameter is given, since the one that is
estimated differs with the place of the windows that it is estimated from, and with it the scale at
which the network sees an image. With --dry-run, a tiled BigTIFF and an OME-Zarr of that side are
made, with next to no pixels in them, and `nucseg segment --dry-run` tells of both.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import tifffile
from speed import SIDE, TILE, side_by_side

from nucseg.datasets.reading import open_dataset
from nucseg.evaluation import read_groups

PART = 2048


def dense_block(data):
    """Four images with many nuclei, side by side over and over: 1024 by 1024 pixels."""
    columns = ("modality", "fold", "height", "width", "nuclei")
    about = [read_groups(data / "split.csv", column) for column in columns]
    dataset = open_dataset(data / "stage1_train.zip")
    fitting = [
        each
        for each in dataset.image_ids
        if [of.get(each) for of in about[:-1]] == ["fluorescence", "0", str(TILE), str(TILE)]
    ]
    densest = sorted(fitting, key=lambda each: int(about[-1][each]))[-4:]
    return side_by_side([dataset.read_pixels(each) for each in densest] * (SIDE // TILE))


def write_image(path, block, side):
    """Write a tiled TIFF of a block that is repeated in both directions."""
    repeated = np.tile(block, (1, -(-side // block.shape[1])))[:, :side]

    def strips():
        for top in range(0, side, 512):
            rows = np.arange(top, min(top + 512, side)) % block.shape[0]
            strip = repeated[rows]
            for left in range(0, side, 512):
                tile = np.zeros((512, 512), np.uint8)
                part = strip[:, left : left + 512]
                tile[: part.shape[0], : part.shape[1]] = part
                yield tile

    tifffile.imwrite(
        path, strips(), shape=(side, side), dtype=np.uint8, tile=(512, 512), compression="zlib",
        compressionargs={"level": 1}, resolution=(20_000, 20_000), resolutionunit="CENTIMETER",
    )  # fmt: skip


def run(command):
    """Wall and CPU time in seconds, peak memory in gigabytes, and exit status of a command."""
    start = time.perf_counter()
    child = os.spawnv(os.P_NOWAIT, command[0], command)
    _, status, usage = os.wait4(child, 0)
    scale = 1 if sys.platform == "darwin" else 1024
    seconds, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    return seconds, cpu, usage.ru_maxrss * scale / 1e9, status


def write_sparse(folder, side):
    """Write a BigTIFF and an OME-Zarr of which all but one chunk was never written."""
    import zarr

    tiff, ome_zarr = folder / f"{side}-sparse.tif", folder / f"{side}-sparse.ome.zarr"
    blank = itertools.repeat(None, (-(-side // 512)) ** 2 - 1)
    tifffile.imwrite(
        tiff, itertools.chain([np.zeros((512, 512), np.uint8)], blank), shape=(side, side),
        dtype=np.uint8, tile=(512, 512), compression="zlib", bigtiff=True,
    )  # fmt: skip
    root = zarr.open_group(ome_zarr, mode="w")
    array = root.create_array("0", shape=(side, side), chunks=(1024, 1024), dtype=np.uint8)
    array[:8, :8] = 1
    axes = [{"name": name, "type": "space"} for name in "yx"]
    scale = {"type": "scale", "scale": [1, 1]}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    root.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    return [tiff, ome_zarr]


def check(out, name):
    """Nuclei in the label image and rows in the table; both must be 1 to N."""
    from nucseg.images import open_image

    (labels,) = open_image(out / "labels" / f"{name}.tif")
    seen = np.zeros(2**20, bool)
    for top in range(0, labels.shape[0], PART):
        part = labels[top : min(top + PART, labels.shape[0]), 0 : labels.shape[1]]
        found = np.unique(part)
        if found[-1] >= len(seen):
            seen = np.append(seen, np.zeros(int(found[-1]) + 2**20 - len(seen), bool))
        seen[found] = True
    numbers = np.flatnonzero(seen)
    numbers = numbers[numbers > 0]
    with (out / "measurements.csv").open(newline="", encoding="utf-8") as file:
        rows = np.array([int(row["label"]) for row in csv.DictReader(file)])
    complete = np.array_equal(numbers, np.arange(1, len(numbers) + 1))
    complete &= np.array_equal(np.sort(rows), numbers)
    return len(numbers), str(labels.dtype), bool(complete)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for images and results")
    parser.add_argument("--sides", type=int, nargs="*", default=[5000, 20000])
    parser.add_argument("--diameter", type=float, default=20, help="of nuclei, the same for all")
    parser.add_argument("--save", default="labels", help="formats, of which one is labels")
    parser.add_argument("--dry-run", type=int, metavar="SIDE")
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    block = dense_block(options.data / "dsb2018")
    figures = []
    columns = (
        "side", "nuclei", "labels", "1 to N in labels and table", "seconds", "CPU seconds",
        "s/megapixel", "peak GB",
    )  # fmt: skip
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for side in options.sides:
        image, out = options.scratch / f"{side}.tif", options.scratch / f"out-{side}"
        if not image.exists():
            write_image(image, block, side)
        command = [sys.executable, "-m", "nucseg", "segment", str(image), "-o", str(out)]
        command += ["--save", options.save, "--model", options.model]
        command += ["--diameter", str(options.diameter)]
        seconds, cpu, memory, status = run(command)
        if status:
            sys.exit(f"nucseg segment ended with status {status}")
        nuclei, dtype, complete = check(out, str(side))
        rate = seconds / (side**2 / 1e6)
        figures.append(
            {"side": side, "nuclei": nuclei, "dtype": dtype, "complete": complete,
             "seconds": seconds, "cpu_seconds": cpu, "peak_gb": memory}
        )  # fmt: skip
        told = (
            side, nuclei, dtype, "yes" if complete else "NO", f"{seconds:.0f}", f"{cpu:.0f}",
            f"{rate:.3f}",
        )  # fmt: skip
        print(f"| {' | '.join(map(str, told))} | {memory:.2f} |", flush=True)
    if figures:
        per_pixel = [each["seconds"] / each["side"] ** 2 for each in figures]
        print(f"\nTime per pixel, last against first: {per_pixel[-1] / per_pixel[0]:.2f}")
    if options.dry_run:
        images = map(str, write_sparse(options.scratch, options.dry_run))
        command = [sys.executable, "-m", "nucseg", "segment", *images, "--dry-run"]
        print(f"\nDry run of {options.dry_run} by {options.dry_run} pixels:", flush=True)
        seconds, _, memory, status = run([*command, "-o", str(options.scratch / "none")])
        print(f"{seconds:.1f} s, peak {memory:.2f} GB, exit status {status}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
