"""Gain of `nucseg train --from` on a few images of a kind that the model was not trained on.

    python benchmarks/fine_tuning.py --data DIR --encoder-weights PATH -o OUT [--modality histology]
    python benchmarks/fine_tuning.py --data DIR --base OUT/base -o OTHER [--images 10] [--seed 0]

DIR holds dsb2018/ with stage1_train.zip and split.csv, as for benchmarks/accuracy.py. One modality
is held out. The base is trained by the instance recipe on the other modalities, by the split of
benchmarks/classic.py: without fold 0 and the images of stardist_test50. It goes on with a few
images of the modality held out, drawn at random from those that the split trains or validates on,
as `nucseg train` would with a folder of these images alone: of them it chooses whole fields of view
to validate on. Both are judged on fold 0: what is gained on the modality held out, and what is
forgotten of the others. The fine-tuned network is judged a second time with the thresholds and the
score of the base, which says what tuning them on so few images does.

About 20 minutes for the base and 30 for fine-tuning on two cores, less with ``--precision
bfloat16`` where they multiply it fast. Writes the runs and their splits, and
OUT/fine_tuning.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from dataclasses import replace
from pathlib import Path

from accuracy import count_errors, fold_images, judge, print_table, short
from classic import field_split
from rich.console import Console

import nucseg
from nucseg.config import FINE_TUNING, RECIPES
from nucseg.datasets.splits import Split, find_fields, make_split, read_split, write_split
from nucseg.evaluation import figures
from nucseg.training import run_folder
from nucseg.training.fine_tuning import fine_tuning

FIGURES = {"Kaggle mAP": "kaggle_map", "AP50": "ap50"}
THRESHOLDS = ("threshold", "seed_threshold", "join_votes", "min_score")


def without(split, left_out, limit):
    """Leave images out of a split, and its test images, which training has no use for."""
    train, validation = (
        tuple(each for each in ids if each not in left_out)[:limit]
        for ids in (split.train, split.validation)
    )
    return Split(train, validation)


def own_split(dataset, image_ids, settings):
    """Split as training would if there were no other images than these."""
    return make_split(
        image_ids,
        fields=find_fields({each: dataset.read_pixels(each) for each in image_ids}),
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
    )


def run(data, folder, settings, split, *, one_step):
    """Train on a part of the data set; one step, for a try, makes no model of any use."""
    path = folder.with_suffix(".csv")
    write_split(path, split)
    changes = {"split": str(path)}
    if one_step:
        crops = settings.crops.model_copy(update={"per_epoch": settings.batch_size})
        changes |= {"epochs": 1, "crops": crops}
    console = Console(stderr=True)
    return nucseg.train(
        data,
        folder,
        settings.model_copy(update=changes),
        on_epoch=lambda row: console.print(
            f"{folder.name} epoch {row['epoch']:.0f} loss {row['loss']:.4f} "
            f"val_loss {row['val_loss']:.4f}"
        ),
    )


def check_base(folder, image_ids, unseen):
    """Stop where a model was trained on what it must not have seen."""
    split = read_split(folder / run_folder.SPLIT, image_ids)
    seen = unseen & {*split.train, *split.validation}
    if seen:
        raise SystemExit(
            f"{folder} was trained on {len(seen)} images of the modality held out or of fold 0. "
            "Give a base that has seen none, or leave out --base to train one."
        )


def by_kind(images, held_out):
    """Figures of the modality held out, of all others together, and of each of these."""
    others = [image for image in images if image.group != held_out]
    kinds = {held_out: [image for image in images if image.group == held_out], "others": others}
    for image in others:
        kinds.setdefault(image.group, []).append(image)
    return {
        name: {**figures(members), "count_error": count_errors(members)}
        for name, members in kinds.items()
    }


def report_on(models, held_out, dataset, groups, image_ids):
    report = {}
    for name, model in models.items():
        result, _ = judge(dataset, model, image_ids=image_ids, groups=groups)
        report[name] = {
            "training": model.card.training,
            "postprocessing": model.card.postprocessing.model_dump(),
            "figures": by_kind(result.images, held_out),
        }
    return report


def print_report(report):
    print("\n### Fold 0, mean over images\n")
    titles = [f"{name}: {figure}" for name in report for figure in FIGURES]
    first = next(iter(report.values()))["figures"]
    rows = [
        (
            kind,
            held["images"],
            *(
                short(each["figures"][kind]["mean"][figure])
                for each in report.values()
                for figure in FIGURES.values()
            ),
        )
        for kind, held in first.items()
    ]
    print_table(("images", "number", *titles), rows)
    print("\n### Training and thresholds\n")
    rows = []
    for name, each in report.items():
        record = each["training"]
        numbers = [record["images"][subset] for subset in ("train", "validation")]
        epochs = f"{record['epochs']} ({record['kept_epoch']})"
        thresholds = [each["postprocessing"][threshold] for threshold in THRESHOLDS]
        rows.append((name, *numbers, epochs, f"{record['seconds'] / 60:.1f}", *thresholds))
    columns = ("model", "images", "to validate", "epochs (best)", "minutes", *THRESHOLDS)
    print_table(columns, rows)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--modality", default="histology", help="what the base never sees")
    parser.add_argument("--encoder-weights", default="imagenet", help="start of the base")
    parser.add_argument("--base-epochs", type=int, default=15)
    parser.add_argument("--base", type=Path, help="run to go on from, in place of training one")
    parser.add_argument("--images", type=int, default=10, help="of the modality, to go on with")
    parser.add_argument("--epochs", type=int, default=FINE_TUNING["epochs"], help="of going on")
    parser.add_argument("--seed", type=int, default=0, help="of these images, and of training")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument(
        "--limit", type=int, help="for a try: so many images of each kind, one step of training"
    )
    return parser.parse_args()


def main():
    options = arguments()
    folder, one_step = options.data / "dsb2018", options.limit is not None
    data = folder / "stage1_train.zip"
    dataset, groups, judged = fold_images(folder, 0, options.limit)
    held_out = {each for each in dataset.image_ids if groups.get(each) == options.modality}
    with (folder / "split.csv").open(newline="", encoding="utf-8") as file:
        split = field_split(list(csv.DictReader(file)))
    known = sorted(held_out & {*split.train, *split.validation})
    if len(known) < options.images:
        raise SystemExit(f"There are {len(known)} images of {options.modality} to draw from.")
    few = random.Random(options.seed).sample(known, options.images)
    options.out.mkdir(parents=True, exist_ok=True)

    base, common = options.base, {"seed": options.seed, "precision": options.precision}
    if base is None:
        first = {"epochs": options.base_epochs, "encoder_weights": options.encoder_weights}
        settings = RECIPES["instance"].model_copy(update={**first, **common})
        others = without(split, held_out, options.limit)
        base = run(data, options.out / "base", settings, others, one_step=one_step)
    check_base(base, dataset.image_ids, held_out | set(split.test))
    settings = fine_tuning(str(base)).model_copy(update={"epochs": options.epochs, **common})
    own = own_split(dataset, few, settings)
    tuned = run(data, options.out / "fine_tuned", settings, own, one_step=one_step)

    before, after = nucseg.load_model(base), nucseg.load_model(tuned)
    kept = {"postprocessing": before.card.postprocessing, "scoring": before.card.scoring}
    models = {
        "base": before,
        "fine-tuned": after,
        "with thresholds of the base": replace(after, card=after.card.model_copy(update=kept)),
    }
    report = report_on(models, options.modality, dataset, groups, judged)
    print(f"{options.modality} held out; fine-tuned on {len(few)} images of it")
    print_report(report)
    written = {"modality": options.modality, "images": few, "seed": options.seed, **report}
    text = json.dumps(written, indent=2) + "\n"
    (options.out / "fine_tuning.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
