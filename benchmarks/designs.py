"""Ways to separate touching nuclei, trained alike and evaluated on fold 0.

    python benchmarks/designs.py DATA OUT --encoder-weights PATH [--only NAME ...] [--epochs 12]
    python benchmarks/designs.py DATA OUT --oracle

DATA holds ``stage1_train.zip`` and ``split.csv``, as for benchmarks/classic.py, whose split is
used: fold 0, whole fields of view, is held out. The designs differ in the maps that the network
gives, in their loss, and in how label images are read from them:

- ``watershed``: nucleus, touching border and distance to the outline; seeds grow where it is far.
- ``joined``: the same, and offsets to the centre, which join pieces of one nucleus: the product.
- ``offsets``: nucleus and offsets to the centre, for which each pixel votes.
- ``stars``: nucleus, distance to the outline and 32 rays to it, as StarDist.

The network but for its last layer, its start, the crops, their order and the optimizer are the
same, those of the recipe ``instance`` in epochs of 480 crops; the last weights are judged, none
are chosen. With ``--oracle`` nothing is trained: true maps take the place of the network's.
Prints tables and writes into OUT, for each design, weights, network and figures; a design whose
figures are there is not trained again.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from classic import field_split
from designs_maps import (
    OCTAVES,
    RAYS,
    offset_labels,
    star_labels,
    star_targets,
    watershed_labels,
)
from rich.console import Console
from skimage.measure import label

from nucseg.config import OFFSET_MAPS, RECIPES
from nucseg.datasets.reading import open_dataset
from nucseg.evaluation import read_groups
from nucseg.evaluation.metrics import KAGGLE_THRESHOLDS, match, overlap, pixel_counts
from nucseg.evaluation.results import ImageResult, figures
from nucseg.files import atomic_write
from nucseg.images.preprocess import prepare
from nucseg.inference.runtimes import OnnxRuntime
from nucseg.training.augment import random_crop
from nucseg.training.targets import training_targets

CROPS_PER_EPOCH = 480
FIGURES = {"Kaggle mAP": "kaggle_map", "AP50": "ap50", "AP75": "ap75", "AP90": "ap90"}
WATERSHED = ("nucleus", "border", "distance")
RAY_MAPS = tuple(f"ray_{ray}" for ray in range(RAYS))


@dataclass(frozen=True)
class Design:
    """What a network is to give, how it learns it, and how nuclei are read from it.

    Attributes
    ----------
    maps : tuple of str
        Nucleus first.
    targets : callable
        Of a label image; the maps, and behind them what else the loss needs.
    loss : callable
        Of the names of the maps; gives the loss, of targets and maps.
    decode : callable
        Of maps; gives a label image.
    """

    maps: tuple[str, ...]
    targets: Callable[[np.ndarray], np.ndarray]
    loss: Callable[[tuple[str, ...]], Callable[[Any, Any], Any]]
    decode: Callable[[np.ndarray], np.ndarray]


def product_loss(names):
    from nucseg.models.losses import instance_loss

    return instance_loss(names)


def star_loss(names):
    """Add the error of rays to the product's loss of nucleus and distance.

    It is that of their logarithm, so about a share of their length, weighted by the distance as
    StarDist's is: near an outline half a pixel makes octaves.
    """
    from keras import ops

    others = product_loss(names[:2])
    scale = OCTAVES * np.log(2) / RAYS

    def star_loss(truth, maps):
        weight = truth[..., 1]
        error = ops.sum(ops.abs(truth[..., 2:] - maps[..., 2:]), axis=-1) * scale
        rays = ops.sum(error * weight, axis=(1, 2)) / (ops.sum(weight, axis=(1, 2)) + 1)
        # The product's loss takes one map more, for offsets; there are none.
        nucleus_and_distance = ops.pad(truth[..., :2], ((0, 0), (0, 0), (0, 0), (0, 1)))
        return others(nucleus_and_distance, maps[..., :2]) + rays

    return star_loss


def product_design(maps, decode):
    return Design(maps, partial(training_targets, names=maps), product_loss, decode)


DESIGNS = {
    "watershed": product_design(WATERSHED, watershed_labels),
    "joined": product_design((*WATERSHED, *OFFSET_MAPS), watershed_labels),
    "offsets": product_design(("nucleus", *OFFSET_MAPS), offset_labels),
    "stars": Design(("nucleus", "distance", *RAY_MAPS), star_targets, star_loss, star_labels),
}


def recipe(design, **changes):
    held = RECIPES["instance"]
    return held.model_copy(
        update={
            **changes,
            "network": held.network.model_copy(update={"outputs": design.maps}),
            "crops": held.crops.model_copy(update={"per_epoch": CROPS_PER_EPOCH}),
        }
    )


def crop_batches(images, design, settings):
    """Batches of all epochs; what is cut out depends on the seed and its place in them alone."""
    import tensorflow as tf

    crops = settings.crops

    def cut(number):
        rng = np.random.default_rng((settings.seed, *divmod(int(number), crops.per_epoch)))
        chosen = int(rng.choice(len(images.images), p=images.chances))
        image, labels = random_crop(
            images.images[chosen], images.labels[chosen], rng, settings.augmentation, crops
        )
        # What is mirrored at the edge of an image would be a second piece of its nucleus.
        apart = label(labels, connectivity=2)
        return image, design.targets(apart).astype(np.float32)

    channels = design.targets(np.zeros((8, 8), np.int32)).shape[-1]

    def read(number):
        image, maps = tf.numpy_function(cut, (number,), (tf.float32, tf.float32))
        image.set_shape((crops.size, crops.size, 3))
        maps.set_shape((crops.size, crops.size, channels))
        return image, maps

    numbers = tf.data.Dataset.range(settings.epochs * crops.per_epoch)
    cut_out = numbers.map(read, num_parallel_calls=tf.data.AUTOTUNE)
    return cut_out.batch(settings.batch_size).prefetch(tf.data.AUTOTUNE)


def build(design, settings):
    """Build the network, whose start but for the last layer is the same for each design."""
    import keras

    from nucseg.models.unet import build_unet
    from nucseg.training.precision import in_bfloat16

    steps = settings.crops.per_epoch // settings.batch_size
    warmup = settings.warmup_epochs * steps
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        max(settings.epochs * steps - warmup, 1),
        alpha=0.01,
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
    )
    keras.utils.set_random_seed(settings.seed)
    model = build_unet(settings.network, encoder_weights=settings.encoder_weights)
    if settings.precision == "bfloat16":
        model = in_bfloat16(model)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    model.compile(optimizer, loss=design.loss(design.maps))
    return model, steps


def train(images, design, settings, stem):
    """Train, and write ``.weights.h5`` and ``.onnx``; give minutes and the loss of each epoch."""
    import keras

    from nucseg.models.onnx_export import write_onnx
    from nucseg.training.precision import in_float32

    model, steps = build(design, settings)
    told = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: Console(stderr=True).print(
            f"{stem.name} epoch {epoch + 1} loss {logs['loss']:.4f}"
        )
    )
    begun = time.perf_counter()
    history = model.fit(
        crop_batches(images, design, settings),
        epochs=settings.epochs,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
        callbacks=[told],
    )
    minutes = (time.perf_counter() - begun) / 60
    if settings.precision == "bfloat16":
        model = in_float32(model)
    with atomic_write(stem.with_suffix(".weights.h5")) as partly:
        model.save_weights(partly)
    with atomic_write(stem.with_suffix(".onnx")) as partly:
        write_onnx(model, partly, design.maps)
    return {"training_minutes": round(minutes, 1), "loss": history.history["loss"]}


def network_maps(runtime, sample):
    """Run the network on an image of any size, as the product does."""
    image = prepare(sample.pixels, RECIPES["instance"].preprocessing)
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, 0, -height % 32, 0, -width % 32, cv2.BORDER_REPLICATE)
    return runtime(padded[None])[0, :height, :width]


def judge(samples, groups, maps_of, decode):
    """Compare label images read from maps with the true ones, and time the reading."""
    results, seconds, pixels = [], 0.0, 0
    for sample in samples:
        maps = np.ascontiguousarray(maps_of(sample))
        decode(maps)  # the second time is timed: the first one of a size has to get memory
        begun = time.perf_counter()
        labels = decode(maps)
        seconds += time.perf_counter() - begun
        pixels += labels.size
        table = overlap(sample.labels, labels)
        results.append(
            ImageResult(
                sample.image_id,
                groups[sample.image_id],
                pixels=pixel_counts(sample.labels > 0, labels > 0),
                matchings=tuple(match(table, threshold) for threshold in KAGGLE_THRESHOLDS),
            )
        )
    named = {
        group: [image for image in results if image.group == group] for group in groups.values()
    }
    return {
        **summary(results),
        "groups": {group: summary(images) for group, images in sorted(named.items()) if images},
        "seconds_per_megapixel": seconds / pixels * 1e6,
    }


def summary(results):
    held = figures(results)
    names = [*FIGURES.values(), "f1", "pq", "dice", "iou", "count_error", "absolute_count_error"]
    errors = [image.scores["absolute_count_error"] for image in results]
    return {
        "images": held["images"],
        **{name: held["mean"][name] for name in names},
        "median_absolute_count_error": float(np.median(errors)),
    }


def print_tables(report):
    columns = ("count error, median", "mean", "s per megapixel", "minutes")
    print(f"\n| design | maps | {' | '.join((*FIGURES, *columns))} |")
    print("|---" * (len(FIGURES) + len(columns) + 2) + "|")
    for name, held in report.items():
        shown = [f"{held[figure]:.3f}" for figure in FIGURES.values()]
        shown += [f"{held['median_absolute_count_error']:g}", f"{held['absolute_count_error']:.1f}"]
        shown += [f"{held['seconds_per_megapixel']:.3f}", str(held.get("training_minutes", ""))]
        print(f"| {name} | {len(DESIGNS[name].maps)} | {' | '.join(shown)} |")
    groups = {
        group: held["images"] for group, held in next(iter(report.values()))["groups"].items()
    }
    titles = [f"{group} ({number})" for group, number in groups.items()]
    print(f"\n| Kaggle mAP, AP50, AP75, AP90 (images) | {' | '.join(titles)} |")
    print("|---" * (len(groups) + 1) + "|")
    for name, held in report.items():
        cells = [
            ", ".join(f"{held['groups'][group][figure]:.3f}" for figure in FIGURES.values())
            for group in groups
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def trained(dataset, split, groups, arguments):
    """Train and judge what is not done yet; give the figures of all designs."""
    from nucseg.training.quiet import import_tensorflow

    from nucseg.training.crops import load_images

    import_tensorflow().config.experimental.enable_op_determinism()
    images, report = None, {}
    for name in arguments.only:
        design = DESIGNS[name]
        settings = recipe(
            design,
            epochs=arguments.epochs,
            encoder_weights=arguments.encoder_weights,
            precision=arguments.precision,
        )
        stem = arguments.out / f"{name}_{arguments.epochs}"
        done = stem.with_suffix(".json")
        if not done.exists():
            if images is None:
                images = load_images(dataset, split.train, settings.preprocessing)
            told = train(images, design, settings, stem)
            runtime = OnnxRuntime(stem.with_suffix(".onnx"))
            samples = (dataset.read(image_id) for image_id in split.test)
            told |= judge(samples, groups, partial(network_maps, runtime), design.decode)
            told |= {
                "epochs": settings.epochs,
                "crops": settings.crops.per_epoch,
                "seed": settings.seed,
                "precision": settings.precision,
                "machine": platform.processor() or platform.machine(),
                "python": sys.version,
            }
            with atomic_write(done) as partly:
                partly.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        report[name] = json.loads(done.read_text(encoding="utf-8"))
    return report


def perfect(dataset, split, groups, names):
    """Judge each design with true maps in place of a network's."""
    report = {}
    for name in names:
        design = DESIGNS[name]

        def maps_of(sample, design=design):
            return design.targets(sample.labels)[..., : len(design.maps)]

        samples = (dataset.read(image_id) for image_id in split.test)
        report[name] = judge(samples, groups, maps_of, design.decode)
    return report


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--encoder-weights", default="imagenet")
    parser.add_argument("--only", nargs="+", choices=DESIGNS, default=list(DESIGNS))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--oracle", action="store_true", help="judge true maps; train nothing")
    arguments = parser.parse_args()

    with (arguments.data / "split.csv").open(newline="") as file:
        split = field_split(list(csv.DictReader(file)))
    groups = read_groups(arguments.data / "split.csv")
    dataset = open_dataset(arguments.data / "stage1_train.zip")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.oracle:
        report = perfect(dataset, split, groups, arguments.only)
        (arguments.out / "oracle.json").write_text(json.dumps(report, indent=2) + "\n")
    else:
        report = trained(dataset, split, groups, arguments)
    print_tables(report)


if __name__ == "__main__":
    main()
