"""Train a model like the bundled `nuclei` on an NVIDIA GPU.

    python benchmarks/nuclei_gpu.py pack DATA FOLDER --split FILE --encoder-weights PATH
    python benchmarks/nuclei_gpu.py train FOLDER --seconds 500
    python benchmarks/nuclei_gpu.py finish DATA OUT FOLDER --split FILE

The machine with the GPU needs torch and what nucseg draws crops with, neither Keras nor the data
set: `pack` writes the new network and the images of the training, prepared, to a folder before, and
`finish` makes a model folder of the weights after, tuned on the validation images.

`train` follows the instance recipe but for larger batches. It ends after --crops crops or after
--seconds, whichever comes first, and the learning rate falls by which of the two is further on.
Batches come in the order in which processes have drawn them, so no run is like another to the bit.
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

from nucseg.config import RECIPES, Scaling
from nucseg.datasets.reading import open_dataset
from nucseg.datasets.splits import read_split
from nucseg.files import whole_file
from nucseg.models.zoo import KERAS, ONNX, ModelCard
from nucseg.training.crops import Images, cut_crop

RECIPE = RECIPES["instance"]
# Steps until the loss is told.
STEPS = 100
# Times that these are told until the weights so far are written.
SAVED = 20
# Crops over which the learning rate rises from 0.
WARMUP = 8000
# A batch is handed over in half precision, which halves what goes to the GPU.
HANDED = np.float16
# Seconds to wait for a batch: the processes that draw them have ended if it takes longer.
PATIENCE = 120
IMAGES, NETWORK, PACKED, TRAINED = "images.npz", "network.npz", "packed.json", "trained"
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

    dataset = open_dataset(options.data)
    split = read_split(options.split, dataset.image_ids)
    images = load_images(dataset, split.train, RECIPE.preprocessing)
    arrays: dict[str, Any] = {"ids": np.array(images.image_ids), "chances": images.chances}
    for number, (image, labels) in enumerate(zip(images.images, images.labels, strict=True)):
        _, arrays[f"image{number}"] = cv2.imencode(".webp", image, LOSSLESS)
        arrays[f"labels{number}"] = labels.astype(np.uint16)
    options.folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.folder / IMAGES, **arrays)
    keras.utils.set_random_seed(RECIPE.seed)
    model = build_unet(RECIPE.network, encoder_weights=options.encoder_weights)
    packed = {"encoder_weights": Path(options.encoder_weights).name}
    (options.folder / PACKED).write_text(json.dumps(packed) + "\n", encoding="utf-8")
    weights = {layer.name: layer.get_weights() for layer in model.layers}
    write_network(options.folder / NETWORK, layers_of(model), weights)


def unpack(path: Path) -> Images:
    """Read what `pack` has written."""
    with np.load(path) as arrays:
        count = len(arrays["ids"])
        return Images(
            tuple(arrays["ids"].tolist()),
            tuple(cv2.imdecode(arrays[f"image{number}"], 1) for number in range(count)),
            tuple(arrays[f"labels{number}"].astype(np.int32) for number in range(count)),
            arrays["chances"],
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
    with whole_file(path) as partial:
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

    def __init__(self, images: Images, batch: int, workers: int, seed: int) -> None:
        assert RECIPE.crops is not None
        self._settings = RECIPE.model_copy(update={"seed": seed})
        self._images, self._batch = images, batch
        channels = 3 + len(RECIPE.network.outputs) + 1
        shape = (3 * workers, batch, RECIPE.crops.size, RECIPE.crops.size, channels)
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
    return highest * min(crops / WARMUP, 1) * falling


def train(options: argparse.Namespace) -> None:
    """Train, and write weights and what is to be told of the training."""
    begun = time.monotonic()
    # Before torch is imported: its threads do not survive the start of processes.
    feed = Feed(unpack(options.folder / IMAGES), options.batch, options.workers, options.seed)
    import torch
    from torch_training import Network, Trainer

    layers, weights = read_network(options.folder / NETWORK)
    network = Network(layers, weights)
    trainer = Trainer(network, feed.shape, RECIPE.weight_decay, options.device)
    batches = iter(feed)
    trainer.record(batches)

    def save(crops: int) -> None:
        write_network(options.folder / f"{TRAINED}.npz", layers, network.weights())
        told = {key: getattr(options, key) for key in ("batch", "learning_rate", "seed")}
        told |= {"crops": crops, "seconds": round(time.monotonic() - begun)}
        precision = "bfloat16" if options.device == "cuda" else "float32"
        told |= {"precision": precision, "torch": torch.__version__}
        (options.folder / f"{TRAINED}.json").write_text(json.dumps(told) + "\n")

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
    from nucseg.training.outcome import save_model, versions

    model = build_unet(RECIPE.network)
    for name, weights in read_network(options.folder / f"{TRAINED}.npz")[1].items():
        model.get_layer(name).set_weights(weights)
    split = read_split(options.split, open_dataset(options.data).image_ids)
    told = json.loads((options.folder / f"{TRAINED}.json").read_text())
    training = {
        "data": options.data.name,
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
    tune_and_judge(options.data, options.out, [], options.split)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("data", type=Path)
    packing.add_argument("folder", type=Path)
    packing.add_argument("--split", type=Path, required=True)
    packing.add_argument("--encoder-weights", default="imagenet")
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
    training.set_defaults(run=train)
    finishing = commands.add_parser("finish")
    finishing.add_argument("data", type=Path)
    finishing.add_argument("out", type=Path)
    finishing.add_argument("folder", type=Path)
    finishing.add_argument("--split", type=Path, required=True)
    finishing.set_defaults(run=finish)
    options = parser.parse_args()
    if options.run is train and math.isinf(min(options.crops, options.seconds)):
        training.error("give --crops or --seconds")
    options.run(options)


if __name__ == "__main__":
    main()
