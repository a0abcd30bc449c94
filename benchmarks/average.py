"""Average the weights of trained models with a common origin, and tune the result.

    python benchmarks/average.py DATA OUT --split FILE MODEL MODEL [MODEL ...]

Models that went on from one model lie close together, and the mean of their weights is often better
than each (Wortsman et al. 2022, "Model soups", arXiv 2203.05482). Thresholds and score are tuned on
the validation images of the split, and the Kaggle mAP there is printed for each model and for the
average: by it one chooses. OUT becomes a model folder, described by the last MODEL's description.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
from accuracy import short

from nucseg import load_model
from nucseg.config import RECIPES
from nucseg.datasets.reading import Dataset, open_dataset
from nucseg.datasets.splits import read_split
from nucseg.evaluation.metrics import kaggle_map, overlap
from nucseg.models.zoo import KERAS, find_model, read_card, write_card
from nucseg.training.outcome import save_model
from nucseg.training.tuning import tuned


def average(models: list[str], out: Path) -> None:
    """Write a model whose weights are the means of others'."""
    folders = [find_model(name) for name in models]
    networks = [keras.saving.load_model(folder / KERAS, compile=False) for folder in folders]
    weights = zip(*(network.get_weights() for network in networks), strict=True)
    networks[-1].set_weights([np.mean(each, axis=0) for each in weights])
    changes = {
        "name": out.name,
        "postprocessing": RECIPES["instance"].postprocessing,
        "scoring": None,
        "figures": {},
    }
    out.mkdir(parents=True)
    save_model(out, networks[-1], read_card(folders[-1]).model_copy(update=changes))


def average_and_judge(data: Path, out: Path, models: list[str], split: Path) -> None:
    """Average, tune, and print what all reach on the validation images."""
    average(models, out)
    tune_and_judge(open_dataset(data), out, models, split)


def tune_and_judge(dataset: Dataset, out: Path, others: list[str], split: Path) -> None:
    """Tune a model on the validation images and print what it and others reach there."""
    validation = read_split(split, dataset.image_ids).validation
    write_card(out, tuned(load_model(out), dataset, validation).card)
    samples = [dataset.read(image_id) for image_id in validation]
    for name in (*others, out):
        model = load_model(name)
        maps = [
            kaggle_map(overlap(each.labels, model.segment(each.pixels).labels)) for each in samples
        ]
        print(f"{name}: Kaggle mAP {short(float(np.mean(maps)))} on validation images")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--split", type=Path, required=True)
    options = parser.parse_args()
    average_and_judge(options.data, options.out, options.models, options.split)


if __name__ == "__main__":
    main()
