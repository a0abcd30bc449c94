"""Whether two versions of nucseg give the same labels and measurements.

    python benchmarks/label_hashes.py --data DIR [--model NAME|PATH] [--limit N] [--save FILE]
        [--against FILE]

DIR holds dsb2018/ with stage1_train.zip and stardist_test50.zip, all images of which are segmented
on the CPU in f32, as the Python API does it. Printed are the SHA-256 of all labels and the number
of nuclei; --save keeps hashes and measurements of each image, and --against compares with what
another version saved: by how much a measurement differs, as a share, at most. To run it by another
version, put that one's src/ first on PYTHONPATH. nuclei:dark is the network of nuclei for dark
backgrounds, on all images, which is all of nuclei in versions before there were two.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np

from nucseg import load_model
from nucseg.datasets.reading import open_dataset

DARK = ":dark"


def load(name):
    """Load a model as accuracy.py does, also by versions that know one network alone."""
    model = load_model(name.removesuffix(DARK))
    alone = name.endswith(DARK) and hasattr(model, "bright")
    return replace(model, bright=None) if alone else model


def segmented(model, folder, limit):
    """Hash of the labels and measurements of each image."""
    found = {}
    for archive in ("stage1_train.zip", "stardist_test50.zip"):
        dataset = open_dataset(folder / archive)
        for image_id in dataset.image_ids[:limit]:
            segmentation = model.segment(dataset.read_pixels(image_id))
            labels = np.ascontiguousarray(segmentation.labels, "<u4")
            digest = hashlib.sha256(labels.tobytes()).hexdigest()
            found[archive, image_id] = digest, segmentation.measurements()
    return found


def difference(ours, theirs):
    """Largest relative difference of the measurements that both have."""
    shares = [0.0]
    for name in ours.keys() & theirs.keys():
        a, b = np.asarray(ours[name], np.float64), np.asarray(theirs[name], np.float64)
        known = ~(np.isnan(a) & np.isnan(b))
        scale = np.maximum(np.abs(b[known]), 1e-12)
        shares.append(np.max(np.abs(a[known] - b[known]) / scale, initial=0.0))
    return max(shares)


def main():
    """Print hashes, and what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--against", type=Path)
    options = parser.parse_args()
    found = segmented(load(options.model), options.data / "dsb2018", options.limit)
    nuclei = sum(len(table["label"]) for _, table in found.values())
    every = hashlib.sha256("".join(digest for digest, _ in found.values()).encode()).hexdigest()
    print(f"{len(found)} images, {nuclei:,} nuclei, labels {every}")
    if options.save:
        options.save.write_bytes(pickle.dumps(found))
    if options.against:
        # A file of one's own, written by --save.
        before = pickle.loads(options.against.read_bytes())
        other = [each for each in found if found[each][0] != before[each][0]]
        same = [each for each in found if each not in other]
        most = max((difference(found[each][1], before[each][1]) for each in same), default=0.0)
        print(
            f"Other labels in {len(other)} images; measurements of the others differ by {most:.1e}"
        )


if __name__ == "__main__":
    main()
