"""Good and bad images of each modality, with the errors of a model drawn into them.

    python benchmarks/overlays.py --data DIR -o OUT [--model NAME|PATH] [--fold 0] [--number 5]

DIR holds dsb2018/ with stage1_train.zip and split.csv, as for benchmarks/accuracy.py. The images of
one fold are sorted by their Kaggle mAP within their modality, rank 1 the worst, and as many as
asked for are taken at even steps, the worst and the best among them. Each becomes a PNG file in
OUT, a new or empty folder, as of `nucseg evaluate`: correct, missed, extra, merged and split nuclei
outlined in colours. OUT/overlays.json and the table that is printed say what each shows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from accuracy import fold_images, judge, print_table, short

from nucseg import load_model
from nucseg.core.overlap import find_errors, overlap
from nucseg.figures.pictures import write_png
from nucseg.figures.plotting import error_overlay


def spread(images, number):
    """Pick images at even steps from the worst to the best, each with its rank from 1 on."""
    ranked = sorted(images, key=lambda image: (image.scores["kaggle_map"], image.image_id))
    places = np.linspace(0, len(ranked) - 1, min(number, len(ranked))).round().astype(int)
    return [(int(place) + 1, ranked[place]) for place in places]


def write_overlay(result, image, path):
    """Draw one image and count its errors."""
    sample = result.read(image.image_id)
    labels = result.predict(sample).labels
    write_png(path, error_overlay(sample.pixels, sample.labels, labels))
    errors = find_errors(overlap(sample.labels, labels))
    return {kind: int(chosen.size) for kind, chosen in errors._asdict().items()}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--model", default="nuclei", help="name or folder")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--number", type=int, default=5, help="images of each modality")
    parser.add_argument("--limit", type=int, help="judge only so many of each modality, for a try")
    options = parser.parse_args()
    if options.out.is_dir() and any(options.out.iterdir()):
        raise SystemExit(f"{options.out} holds files already. Give a new or an empty folder.")
    options.out.mkdir(parents=True, exist_ok=True)
    dataset, groups, chosen = fold_images(options.data / "dsb2018", options.fold, options.limit)
    model = load_model(options.model)
    result, _ = judge(dataset, model, image_ids=chosen, groups=groups)

    rows = []
    for name in sorted(result.groups):
        members = [image for image in result.images if image.group == name]
        for rank, image in spread(members, options.number):
            score = image.scores["kaggle_map"]
            file = f"{name}_{rank:03d}_of_{len(members):03d}_map_{score:.3f}.png"
            figures = {
                "file": file,
                "image_id": image.image_id,
                "kaggle_map": score,
                "ap50": image.scores["ap50"],
                "true": image.true_nuclei,
                "found": image.predicted_nuclei,
            }
            rows.append(figures | write_overlay(result, image, options.out / file))
    print(f"{model.card.name} on fold {options.fold}\n")
    columns = [column for column in rows[0] if column != "image_id"]
    shown = [
        [short(row[name]) if isinstance(row[name], float) else row[name] for name in columns]
        for row in rows
    ]
    print_table(columns, shown)
    written = {"model": model.card.name, "fold": options.fold, "overlays": rows}
    text = json.dumps(written, indent=2) + "\n"
    (options.out / "overlays.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
