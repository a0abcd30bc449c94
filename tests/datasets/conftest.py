from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image


@pytest.fixture
def write_folders() -> Callable[[Path], Path]:
    """Write a data set of two small images with label images."""

    def write(folder: Path) -> Path:
        rng = np.random.default_rng(0)
        for name in ("images", "labels"):
            (folder / name).mkdir(parents=True)
        for name in ("one", "two"):
            pixels = rng.integers(0, 255, (40, 50), np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
            labels = np.zeros((40, 50), np.uint16)
            labels[5:15, 5:15], labels[20:30, 20:30] = 1, 2
            tifffile.imwrite(folder / "labels" / f"{name}.tif", labels)
        return folder

    return write
