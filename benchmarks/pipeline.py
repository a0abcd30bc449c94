"""Images per second of the training pipeline alone and of training itself.

    python benchmarks/pipeline.py [--json FILE]

The pipeline shall give at least three times what training takes, so that it is never the
bottleneck. Random images of 128×128, batches of 64, augmentation as in the classic recipe.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from nucseg.training.quiet import import_tensorflow

from nucseg.config import Training
from nucseg.training.pipeline import Arrays, training_batches

IMAGES, EPOCHS, STEPS = 512, 4, 6


def pipeline_rate(arrays: Arrays, settings: Training) -> float:
    """Return images per second of the batches alone, after a first epoch."""
    batches = training_batches(
        arrays,
        settings.augmentation,
        batch_size=settings.batch_size,
        seed=0,
        epochs=range(EPOCHS + 1),
    )
    count, begun = 0, 0.0
    for number, (images, _) in enumerate(batches):
        if number == IMAGES // settings.batch_size:
            begun = time.perf_counter()
        elif begun:
            count += len(images)
    return count / (time.perf_counter() - begun)


def training_rate(arrays: Arrays, settings: Training) -> float:
    """Return images per second of training steps on one batch, after a first step."""
    from nucseg.models.losses import cross_entropy_dice
    from nucseg.models.unet import build_unet

    model = build_unet(settings.network, size=settings.preprocessing.size)
    model.compile("adam", cross_entropy_dice)
    batch = arrays.images[: settings.batch_size], arrays.targets[: settings.batch_size]
    model.train_on_batch(*batch)
    begun = time.perf_counter()
    for _ in range(STEPS):
        model.train_on_batch(*batch)
    return STEPS * settings.batch_size / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    import_tensorflow()
    rng = np.random.default_rng(0)
    images = rng.random((IMAGES, 128, 128, 3), dtype=np.float32)
    arrays = Arrays(tuple(map(str, range(IMAGES))), images, (images[..., :1] > 0.5).astype("f4"))
    settings = Training()
    figures = {
        "cores": os.cpu_count(),
        "pipeline, images/s": round(pipeline_rate(arrays, settings), 1),
        "training, images/s": round(training_rate(arrays, settings), 1),
    }
    figures["ratio"] = round(figures["pipeline, images/s"] / figures["training, images/s"], 1)
    for name, value in figures.items():
        print(f"{name:20} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
