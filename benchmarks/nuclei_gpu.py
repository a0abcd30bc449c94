"""Train a model like the bundled `nuclei` on an NVIDIA GPU.

    python benchmarks/nuclei_gpu.py pack DATA [DATA ...] FOLDER --split FILE [--from WEIGHTS]
    python benchmarks/nuclei_gpu.py train FOLDER --seconds 500
    python benchmarks/nuclei_gpu.py finish DATA [DATA ...] OUT FOLDER --split FILE

The machine with the GPU needs torch and what nucseg draws crops with, neither Keras nor the data
set: `pack` writes the new network and the images of the training, prepared, to a folder before, and
`finish` makes a model folder of the weights after, tuned on the validation images. Several data
sets are taken as one, as `nucseg train` takes them. --from begins with the weights that another
training has left, in place of those of --encoder-weights. --set changes a setting of the crops,
such as --set crowd=0, to compare.

`train` follows the instance recipe but for larger batches. It ends after --crops crops or after
--seconds, whichever comes first, and the learning rate falls by which of the two is further on.
Batches come in the order in which processes have drawn them, so no run is like another to the bit.
The average of the weights over the last thousands of steps is written too, as trained-average.
`finish --weights A B` makes a model of the mean of several, such as trained-average and network,
which is what the training began with.
"""

from __future__ import annotations

import argparse
import json
import math
import mmap
import multiprocessing
import os
import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nucseg.config import RECIPES, Crops, Scaling
from nucseg.core.labelling import from_unsigned, to_unsigned
from nucseg.datasets.reading import open_datasets
from nucseg.datasets.splits import read_split
from nucseg.files import atomic_write
from nucseg.models.zoo import KERAS, ONNX, ModelCard
from nucseg.training.crops import Images, cut_crop

RECIPE = RECIPES["instance"]
# Steps until the loss is told.
STEPS = 100
# Times that these are told until the weights so far are written.
SAVED = 20
# Crops over which the learning rate rises from 0; a tenth of a short training.
WARMUP = 8000
# A batch is handed over in half precision, which halves what goes to the GPU.
HANDED = np.float16
# Seconds to wait for a batch: the processes that draw them have ended if it takes longer.
PATIENCE = 120
IMAGES, NETWORK, PACKED, TRAINED = "images.npz", "network.npz", "packed.json", "trained"
AVERAGE = "-average"
# What tells how a layer of Keras computes.
SETTINGS = (
    "strides", "padding", "momentum", "epsilon", "max_value", "scale", "offset", "activation",
)  # fmt: skip
# What of the recipe is followed to the letter.
USED = {"recipe", "weight_decay", "preprocessing", "network", "augmentation", "crops"}
LOSSLESS = (cv2.IMWRITE_WEBP_QUALITY, 101)


def pack(options: argparse.Namespace) -> None:
    """Write the new network and the prepared images of a training to a folder."""
    import keras

    from nucseg.models.unet import build_unet
    from nucseg.training.crops import load_images

    dataset = open_datasets(options.data)
    split = read_split(options.split, dataset.image_ids)
    draw = {name: float(times) for name, times in (each.split("=") for each in options.draw)}
    images = load_images(dataset, split.train, RECIPE.preprocessing, draw=draw)
    arrays: dict[str, Any] = {"ids": np.array(images.image_ids), "chances": images.chances}
    arrays["borders"] = np.array(images.borders)
    for number, (image, labels) in enumerate(zip(images.images, images.labels, strict=True)):
        _, arrays[f"image{number}"] = cv2.imencode(".webp", image, LOSSLESS)
        arrays[f"labels{number}"] = to_unsigned(labels)
    options.folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.folder / IMAGES, **arrays)
    keras.utils.set_random_seed(RECIPE.seed)
    begun = options.start_from
    model = build_unet(
        RECIPE.network, encoder_weights=options.encoder_weights if begun is None else "none"
    )
    packed: dict[str, Any] = {"encoder_weights": Path(options.encoder_weights).name}
    if begun is not None:
        packed = {"start_from": begun.name}
        set_weights(model, begun)
    packed["draw"] = draw
    (options.folder / PACKED).write_text(json.dumps(packed) + "\n", encoding="utf-8")
    weights = {layer.name: layer.get_weights() for layer in model.layers}
    write_network(options.folder / NETWORK, layers_of(model), weights)


def set_weights(model: Any, *paths: Path) -> None:
    """Give a model the mean of weights by `write_network`, or those of a Keras file."""
    if paths[0].suffix == ".keras":
        from nucseg.inference.keras_runtime import load_keras

        model.set_weights(load_keras(paths[0]).get_weights())
        return
    each = [read_network(path)[1] for path in paths]
    for name in each[0]:
        held = zip(*(weights[name] for weights in each), strict=True)
        means = [np.mean(arrays, axis=0, dtype=np.float64) for arrays in held]
        model.get_layer(name).set_weights([mean.astype(np.float32) for mean in means])


def unpack(path: Path) -> Images:
    """Read what `pack` has written."""
    with np.load(path) as arrays:
        count = len(arrays["ids"])
        return Images(
            tuple(arrays["ids"].tolist()),
            tuple(cv2.imdecode(arrays[f"image{number}"], 1) for number in range(count)),
            tuple(from_unsigned(arrays[f"labels{number}"]) for number in range(count)),
            arrays["chances"],
            tuple(arrays["borders"].tolist()),
        )


def layers_of(model: Any) -> list[dict[str, Any]]:
    """List the layers of a Keras model: what each is, what it takes in, and its settings."""
    listed = []
    for layer in model.layers:
        config = layer.get_config()
        # Keras lists layers by how far they are from the output, so inputs come first.
        taken = [
            tensor._keras_history.operation.name
            for node in layer._inbound_nodes
            for tensor in node.input_tensors
        ]
        kept = {key: config[key] for key in SETTINGS if key in config}
        listed.append({"name": layer.name, "kind": type(layer).__name__, "inputs": taken, **kept})
    return listed


def write_network(path: Path, layers: list[dict[str, Any]], weights: dict[str, list[Any]]) -> None:
    """Write layers and the weights of each, as Keras holds them, to one file."""
    named = {f"{name}/{i}": array for name, held in weights.items() for i, array in enumerate(held)}
    with atomic_write(path) as partial:
        np.savez(partial, layers=json.dumps(layers), **named)


def read_network(path: Path) -> tuple[list[dict[str, Any]], dict[str, list[Any]]]:
    """Read what `write_network` has written."""
    weights: dict[str, list[Any]] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            if key != "layers":
                # The weights of a layer are in their order.
                weights.setdefault(key.rpartition("/")[0], []).append(arrays[key])
        return json.loads(str(arrays["layers"])), weights


class Feed:
    """Batches of crops, drawn by processes that write them into shared memory."""

    def __init__(
        self, images: Images, batch: int, workers: int, seed: int, changes: dict[str, Any]
    ) -> None:
        assert RECIPE.crops is not None
        crops = Crops.model_validate({**RECIPE.crops.model_dump(), **changes})
        self._settings = RECIPE.model_copy(update={"seed": seed, "crops": crops})
        self._images, self._batch = images, batch
        channels = 3 + len(RECIPE.network.outputs) + 1
        shape = (3 * workers, batch, crops.size, crops.size, channels)
        self._memory = mmap.mmap(-1, math.prod(shape) * np.dtype(HANDED).itemsize)
        self._slots = np.frombuffer(self._memory, HANDED).reshape(shape)
        self.shape = shape[1:]
        context = multiprocessing.get_context("fork")
        self._free, self._filled = context.Queue(), context.Queue()
        for slot in range(len(self._slots)):
            self._free.put(slot)
        self._number = context.Value("q", 0)
        for _ in range(workers):
            context.Process(target=self._draw, daemon=True).start()

    def _draw(self) -> None:
        cv2.setNumThreads(1)
        while True:
            slot = self._free.get()
            with self._number.get_lock():
                number = self._number.value
                self._number.value += 1
            for place in range(self._batch):
                crop, maps = cut_crop(self._images, self._settings, number, place)
                self._slots[slot, place, ..., :3] = crop
                self._slots[slot, place, ..., 3:] = maps
            self._filled.put(slot)

    def __iter__(self) -> Iterator[Any]:
        """Give batches without end, crops and maps in one array that holds until the next."""
        while True:
            try:
                slot = self._filled.get(timeout=PATIENCE)
            except queue.Empty:
                raise SystemExit("No crops are drawn any more.") from None
            yield self._slots[slot]
            self._free.put(slot)


def learning_rate(highest: float, crops: int, done: float) -> float:
    """Rise with the crops seen, fall as a cosine with the share of the training that is done."""
    falling = 0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1))) / 2
    # Of a training that ends by the clock it is not known how many crops it sees.
    rising = min(WARMUP, 0.1 * crops / done) if done else WARMUP
    return highest * min(crops / max(rising, 1), 1) * falling


def train(options: argparse.Namespace) -> None:
    """Train, and write weights and what is to be told of the training."""
    begun = time.monotonic()
    # Before torch is imported: its threads do not survive the start of processes.
    changes = dict(each.split("=") for each in options.set)
    images = unpack(options.folder / IMAGES)
    feed = Feed(images, options.batch, options.workers, options.seed, changes)
    import torch
    from torch_training import Network, Trainer

    layers, weights = read_network(options.folder / NETWORK)
    network = Network(layers, weights)
    half = options.precision == "bfloat16"
    trainer = Trainer(network, feed.shape, RECIPE.weight_decay, options.device, half=half)
    batches = iter(feed)
    trainer.record(batches)

    def save(crops: int) -> None:
        write_network(options.folder / f"{options.out}.npz", layers, network.weights())
        with trainer.averaged():
            path = options.folder / f"{options.out}{AVERAGE}.npz"
            write_network(path, layers, network.weights())
        keys = ("batch", "learning_rate", "seed", "precision")
        told = {key: getattr(options, key) for key in keys}
        told |= {"crops": crops, "seconds": round(time.monotonic() - begun)}
        told |= {"changes": changes, "torch": torch.__version__}
        (options.folder / f"{options.out}.json").write_text(json.dumps(told) + "\n")

    crops, done, last = 0, 0.0, time.monotonic()
    while done < 1:
        trainer.learn(next(batches), learning_rate(options.learning_rate, crops, done))
        crops += options.batch
        done = max(crops / options.crops, (time.monotonic() - begun) / options.seconds)
        if crops % (STEPS * options.batch) == 0:
            loss, now = trainer.loss.item() / STEPS, time.monotonic()
            speed = STEPS * options.batch / (now - last)
            print(
                f"{now - begun:.0f} s, {crops} crops, {speed:.0f} a second, loss {loss:.4f}",
                flush=True,
            )
            trainer.loss.zero_()
            last = now
            if crops % (SAVED * STEPS * options.batch) == 0:
                save(crops)
    save(crops)


def finish(options: argparse.Namespace) -> None:
    """Make a model folder of weights, tune it on the validation images, and print its figure."""
    from average import tune_and_judge

    from nucseg.models.unet import build_unet
    from nucseg.training.outcome import described, save_model, versions

    model = build_unet(RECIPE.network)
    set_weights(model, *(options.folder / f"{name}.npz" for name in options.weights))
    dataset = open_datasets(options.data)
    split = read_split(options.split, dataset.image_ids)
    name = options.weights[0].removesuffix(AVERAGE)
    told = json.loads((options.folder / f"{name}.json").read_text())
    training = {
        "data": described(dataset, split),
        "images": {name: len(getattr(split, name)) for name in ("train", "validation", "test")},
        "crops": told["crops"],
        "seconds": told["seconds"],
        "settings": {
            **RECIPE.model_dump(mode="json", include=USED),
            **json.loads((options.folder / PACKED).read_text()),
            "split": options.split.name,
            "precision": told["precision"],
            "batch_size": told["batch"],
            "learning_rate": told["learning_rate"],
            "warmup_crops": WARMUP,
            "seed": told["seed"],
            "changes": told["changes"],
        },
    }
    card = ModelCard(
        name=options.out.name,
        description="U-Net with a MobileNetV2 encoder, instance recipe, trained on a GPU.",
        recipe="instance",
        network=RECIPE.network,
        preprocessing=RECIPE.preprocessing,
        postprocessing=RECIPE.postprocessing,
        scoring=None,
        scaling=Scaling(),
        training=training,
        figures={},
        versions={**versions(), "torch": told["torch"]},
        files={KERAS: "", ONNX: ""},
    )
    options.out.mkdir(parents=True)
    save_model(options.out, model, card)
    tune_and_judge(dataset, options.out, [], options.split)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("data", type=Path, nargs="+")
    packing.add_argument("folder", type=Path)
    packing.add_argument("--split", type=Path, required=True)
    packing.add_argument("--encoder-weights", default="imagenet")
    packing.add_argument("--from", dest="start_from", type=Path, help=".npz or .keras")
    packing.add_argument("--draw", action="append", default=[], metavar="SET=TIMES")
    packing.set_defaults(run=pack)
    training = commands.add_parser("train")
    training.add_argument("folder", type=Path)
    training.add_argument("--crops", type=float, default=math.inf)
    training.add_argument("--seconds", type=float, default=math.inf)
    training.add_argument("--batch", type=int, default=32)
    training.add_argument("--learning-rate", type=float, default=3e-3)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--workers", type=int, default=os.cpu_count())
    training.add_argument("--device", default="cuda")
    training.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    training.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE")
    training.add_argument("--out", default=TRAINED, help="name of the weights to write")
    training.set_defaults(run=train)
    finishing = commands.add_parser("finish")
    finishing.add_argument("data", type=Path, nargs="+")
    finishing.add_argument("out", type=Path)
    finishing.add_argument("folder", type=Path)
    finishing.add_argument(
        "--weights",
        nargs="+",
        default=[TRAINED],
        help="name of the weights, or of several to average",
    )
    finishing.add_argument("--split", type=Path, required=True)
    finishing.set_defaults(run=finish)
    options = parser.parse_args()
    if options.run is train and math.isinf(min(options.crops, options.seconds)):
        training.error("give --crops or --seconds")
    options.run(options)


if __name__ == "__main__":
    main()
