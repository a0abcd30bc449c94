"""Effect of other settings of the steps before and after the network.

    python benchmarks/ideas.py --data DIR [--model nuclei] [--fold 0] [--limit N] [--json FILE]

DIR holds dsb2018/ with stage1_train.zip and split.csv, as for benchmarks/accuracy.py. The images of
a fold are segmented once for each idea: other thresholds, no joining by votes, no minimum score,
images enlarged or made smaller for the network, no scale chosen by a first look, maps averaged over
turned images. Each changes one thing of the model as it is. Mean over images.

Thresholds of a model are chosen on its validation images when it is trained, never by this table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from accuracy import fold_images, mean, print_table, short

from nucseg import load_model
from nucseg.evaluation.metrics import kaggle_map, match, overlap

THRESHOLDS = {
    "threshold": (0.3, 0.4, 0.5, 0.6),
    "relative_threshold": (0.0, 0.3, 0.4, 0.5, 0.6),
    "seed_threshold": (0.2, 0.3, 0.4),
    "join_votes": (0.15, 0.3, 2),
    "min_score": (0.0, 0.3, 0.4, 0.5),
}
SCALES = (0.75, 1.0, 1.25, 1.5)
FIGURES = ("Kaggle mAP", "AP50", "AP75", "AP90")


def with_settings(model, **changes):
    settings = model.card.postprocessing.model_copy(update=changes)
    return replace(model, card=model.card.model_copy(update={"postprocessing": settings}))


def judged(labels, truth):
    table = overlap(truth, labels)
    precisions = [match(table, threshold).average_precision for threshold in (0.5, 0.75, 0.9)]
    return [kaggle_map(table), *precisions]


def variants(model) -> Iterator[tuple[str, object]]:
    """Name changes of the step from maps to nuclei alone, and give the models that have them."""
    held = model.card.postprocessing
    yield "as it is", model
    for name, values in THRESHOLDS.items():
        for value in values:
            if value != getattr(held, name):
                yield f"{name} {value}", with_settings(model, **{name: value})


def one_image(model, image, truth):
    """Figures of an image for each idea."""
    chosen = model.for_image(image)
    maps = chosen.network_maps(image)
    found = {
        name: judged(each.nuclei(image, maps).labels, truth) for name, each in variants(chosen)
    }
    for scale in SCALES:
        name = "no scale by a first look" if scale == 1 else f"seen {scale} times as large"
        changed = replace(model, scale=scale)
        found[name] = judged(changed.segment(image).labels, truth)
    found["maps averaged over turns (--tta)"] = judged(
        model.with_tta().segment(image).labels, truth
    )
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("--model", default="nuclei", help="name or folder")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--limit", type=int, help="for a try: images of each modality")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model = load_model(options.model)
    dataset, _, chosen = fold_images(options.data / "dsb2018", options.fold, options.limit)
    figures = {}
    for image_id in chosen:
        sample = dataset.read(image_id)
        for name, values in one_image(model, sample.pixels, sample.labels).items():
            figures.setdefault(name, []).append(values)
    means = {
        name: [mean(column) for column in zip(*rows, strict=True)] for name, rows in figures.items()
    }
    print(f"\n### {model.card.name} on fold {options.fold}: mean over {len(chosen)} images\n")
    print_table(("idea", *FIGURES), [(name, *map(short, row)) for name, row in means.items()])
    if options.json:
        options.json.write_text(json.dumps(means, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
