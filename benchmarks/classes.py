"""How many clicks user-defined classes need: classes defined by area and by intensity.

    python benchmarks/classes.py IMAGE... [--clicks 20] [--repeats 20] [--json FILE]

Images are segmented by the bundled model. The made-up classes are nuclei below and above a
percentile of their area, or of their mean intensity, over all images: no gap lies between them.
Three nuclei of each class are clicked at random, then the one of all images of which the classes
are least sure, as in the app, or again one at random. What counts is the share of the nuclei
without a click that get the right class; beside it stands the cross-validated accuracy that the
app shows.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np

from nucseg import classes
from nucseg.images import open_image, read_plane
from nucseg.inference.loading import load_model

MADE_UP = [(column, share) for column in ("area", "intensity_mean") for share in (50, 75)]
FIRST = 3


def tables(paths):
    """Measurements of the nuclei of each image, with the size of its pixels."""
    model = load_model()
    for path in paths:
        for source in open_image(path):
            read = read_plane(source)
            found = model.segment(read.pixels, pixel_size=read.pixel_size)
            yield found.measurements(), read.pixel_size


def learned(measured, sizes, truth, clicked):
    """Classes as they are after some clicks, and what each nucleus gets."""
    starts = np.cumsum([0, *(len(table["label"]) for table in measured)])
    names = np.where(truth, "above", "below")
    told = np.where(np.isin(np.arange(len(truth)), clicked), names, "")
    marks = [told[start:stop] for start, stop in pairwise(starts)]
    found = classes.fit(measured, marks, classes=("below", "above"), pixel_sizes=sizes)
    predicted = [
        found.predict(table, pixel_size=size) for table, size in zip(measured, sizes, strict=True)
    ]
    numbers = np.concatenate([each.numbers for each in predicted])
    return found, numbers == truth, np.concatenate([each.margin for each in predicted])


def taught(measured, sizes, truth, clicks, rng, *, uncertain):
    """Share of the nuclei without a click that are right in the end, and the accuracy shown."""
    clicked = []
    for kind in (False, True):
        clicked += rng.choice(np.flatnonzero(truth == kind), FIRST, replace=False).tolist()
    while True:
        # Accuracy is not needed on the way, but the app works it out too.
        found, right, margin = learned(measured, sizes, truth, clicked)
        rest = np.ones(len(truth), bool)
        rest[clicked] = False
        if len(clicked) == clicks:
            return float(right[rest].mean()), found.accuracy.share
        margin[clicked] = np.inf
        others = np.flatnonzero(rest)
        clicked.append(int(margin.argmin()) if uncertain else int(rng.choice(others)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measured, sizes = zip(*tables(options.images), strict=True)
    counted = sum(len(table["label"]) for table in measured)
    print(f"{counted} nuclei in {len(measured)} images, {options.clicks} clicks")
    print("above            next click   right: mean  lowest  runs of .95  shown by the app")
    rows = []
    for column, percent in MADE_UP:
        values = np.concatenate([table[column] for table in measured])
        truth = values > np.percentile(values, percent)
        for uncertain in (True, False):
            runs = [
                taught(
                    measured,
                    sizes,
                    truth,
                    options.clicks,
                    np.random.default_rng(seed),
                    uncertain=uncertain,
                )
                for seed in range(options.repeats)
            ]
            share, shown = np.array(runs).T
            row = {
                "column": column,
                "percentile": percent,
                "next": "uncertain" if uncertain else "random",
                "mean": float(share.mean()),
                "lowest": float(share.min()),
                "enough": int((share >= 0.95).sum()),
                "runs": len(share),
                "shown": float(shown.mean()),
            }
            rows.append(row)
            told = f"{column} {percent} %"
            print(
                f"{told:21s} {row['next']:13s} {row['mean']:.3f}   {row['lowest']:.3f}   "
                f"{row['enough']:2d} of {row['runs']:2d}    {row['shown']:.3f}"
            )
    if options.json:
        about = {"nuclei": counted, "images": len(measured), "clicks": options.clicks}
        options.json.write_text(json.dumps({**about, "rows": rows}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
