"""Quantize the network of a model to 8 bits, and list the error of each layer.

    python benchmarks/int8.py --data DIR --split FILE -o FOLDER [--model nuclei] [--keep PATTERNS]

DIR holds dsb2018/ with stage1_train.zip and split.csv, and FILE is a CSV file with the columns
image_id and subset: of its images `train` some are used that are neither of --fold nor of the 50
test images, the same number of each modality where there are so many. FOLDER becomes a model folder
as that of the model, with a network of eight bits besides: give it to benchmarks/runtimes.py and
benchmarks/speed.py as --model.

The table tells the error of each convolution's output on images that were not used, as the ratio of
signal to noise in decibels: of the rounding to eight bits alone, and of all that comes before too.
Low ones are candidates for --keep; by default the encoder and the last layer stay as they are.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import defaultdict
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from nucseg.datasets.reading import open_dataset
from nucseg.evaluation import read_groups
from nucseg.images.preprocess import prepare
from nucseg.models.quantization import quantize
from nucseg.models.zoo import INT8, ONNX, find_model, read_card, write_card

SIDE = 256
# What has few channels to each of its weights loses most, and is fast as it is.
ENCODER = "expanded_conv_*,block_*,decoder_2_b_conv"


def training_images(data, split, fold, number):
    """Names of images to calibrate with, and of some others to judge layers on."""
    columns = ("modality", "fold", "stardist_test50")
    modality, folds, test50 = (read_groups(data / "split.csv", column) for column in columns)
    subset = read_groups(split, "subset")
    of = defaultdict(list)
    for image_id, part in sorted(subset.items()):
        held_out = folds.get(image_id) in (None, str(fold)) or test50[image_id] != "0"
        if part == "train" and not held_out:
            of[modality[image_id]].append(image_id)
    rng = np.random.default_rng(0)
    chosen, others = [], []
    for ids in of.values():
        order = [ids[place] for place in rng.permutation(len(ids))]
        each = -(-number // len(of))
        chosen += order[:each]
        others += order[each : each + 2]
    return chosen[:number], others


def seen(dataset, card, image_ids):
    """Crops of prepared images, as the network gets them."""
    for image_id in image_ids:
        prepared = prepare(dataset.read_pixels(image_id), card.preprocessing)
        height, width = (min(side, 2 * SIDE) // 32 * 32 for side in prepared.shape[:2])
        yield np.ascontiguousarray(prepared[None, :height, :width])


def with_outputs(path, tensors):
    """Load a network that gives some of its inner tensors."""
    model = onnx.load(path)
    there = {name for node in model.graph.node for name in node.output}
    for name in tensors:
        if name in there:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_outputs()]
    return lambda batch: dict(zip(names, session.run(names, {"image": batch}), strict=True))


def decibels(signal, noise):
    return 10 * np.log10(np.sum(np.square(signal)) / max(np.sum(np.square(noise)), 1e-30))


def layer_errors(folder, layers, batches):
    """Signal to noise of each layer: all before it in eight bits too, and the layer alone."""
    whole = with_outputs(folder / ONNX, layers)
    rounded = {name: f"{name}_DequantizeLinear_Output" for name in layers}
    eight = with_outputs(folder / INT8, [*layers, *rounded.values()])
    rows = defaultdict(list)
    for batch in batches:
        exact, found = whole(batch), eight(batch)
        for name in layers:
            if name in exact and name in found:
                alone = found.get(rounded[name])
                own = np.nan if alone is None else decibels(found[name], found[name] - alone)
                rows[name].append((own, decibels(exact[name], exact[name] - found[name])))
        rows["maps"].append((np.nan, decibels(exact["maps"], exact["maps"] - found["maps"])))
    return {name: np.mean(values, axis=0).tolist() for name, values in rows.items()}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dsb2018/")
    parser.add_argument("--split", type=Path, required=True, help="CSV file: image_id and subset")
    parser.add_argument("-o", "--output", type=Path, required=True, help="model folder to write")
    parser.add_argument("--model", default="nuclei", help="name or folder")
    parser.add_argument("--fold", type=int, default=0, help="fold that is left out")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument(
        "--keep", default=ENCODER, help="convolutions that stay in f32: names, * for any letters"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    source = find_model(options.model)
    card, data = read_card(source), options.data / "dsb2018"
    dataset = open_dataset(data / "stage1_train.zip")
    chosen, others = training_images(data, options.split, options.fold, options.images)
    convolutions = [
        node.name for node in onnx.load(source / ONNX).graph.node if node.op_type == "Conv"
    ]
    patterns = [each for each in options.keep.split(",") if each]
    keep = [name for name in convolutions if any(fnmatch(name, each) for each in patterns)]
    options.output.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / ONNX, options.output / ONNX)
    layers = quantize(source / ONNX, options.output / INT8, seen(dataset, card, chosen), keep=keep)
    files = {ONNX: "", INT8: ""}
    write_card(options.output, card.model_copy(update={"files": files, "bright": None}))
    size = (options.output / INT8).stat().st_size
    print(f"{len(layers)} convolutions in eight bits by {len(chosen)} images; {size:,} bytes.\n")
    errors = layer_errors(options.output, layers, seen(dataset, card, others))
    print("| layer | dB, alone | dB, with all before |")
    print("|---" * 3 + "|")
    for name, (own, all_before) in sorted(errors.items(), key=lambda each: each[1][1]):
        print(f"| {name} | {own:.1f} | {all_before:.1f} |")
    if options.json:
        written = {"layers": errors, "bytes": size, "images": chosen, "keep": keep}
        options.json.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
