from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nucseg.config import Preprocessing, Training, UNet


def write_discs(folder: Path, count: int) -> Path:
    """Write a data set in Kaggle's layout: noisy images, each with two bright discs."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:48, :48]
    for index in range(count):
        sample = folder / f"image{index:02d}"
        (sample / "images").mkdir(parents=True)
        (sample / "masks").mkdir()
        image = rng.normal(40, 5, (48, 48))
        for nucleus, (row, column) in enumerate(((12, 14), (34, 30))):
            centre = np.array([row, column]) + rng.integers(-4, 5, 2)
            mask = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < 49
            image[mask] += 120
            Image.fromarray((mask * 255).astype(np.uint8)).save(sample / "masks" / f"{nucleus}.png")
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(
            sample / "images" / f"{sample.name}.png"
        )
    return folder


@pytest.fixture(scope="session")
def discs(tmp_path_factory) -> Path:
    return write_discs(tmp_path_factory.mktemp("data") / "discs", 10)


@pytest.fixture(scope="session")
def tiny() -> Training:
    """Settings of a training run of seconds."""
    return Training(
        epochs=4,
        batch_size=4,
        split="random",
        validation_fraction=0.3,
        display_every=2,
        encoder_weights="none",
        preprocessing=Preprocessing(size=(32, 32)),
        network=UNet(alpha=0.1, decoder=(8, 8, 8, 8, 8)),
    )
