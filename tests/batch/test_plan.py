from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from nucseg.batch.plan import plan_files, seconds_per_pixel
from nucseg.errors import InputError
from nucseg.inference.loading import load_model
from nucseg.inference.segmenter import Model


@pytest.fixture(scope="module")
def model(bright_model: Path) -> Model:
    return replace(load_model(bright_model, threads=1), window=448, image_pixels=5 * 448**2)


def of_one_size(model: Model) -> Model:
    preprocessing = model.card.preprocessing.model_copy(update={"size": (64, 64)})
    return replace(model, card=model.card.model_copy(update={"preprocessing": preprocessing}))


def test_windows_memory_disk_and_time_grow_with_the_image(model: Model, tmp_path: Path):
    images = []
    for side in (400, 800, 8000):
        images.append(tmp_path / f"{side}.tif")
        tifffile.imwrite(images[-1], np.zeros((side, side), np.uint8), compression="zlib")
    small, middle, large = plan_files(images, tmp_path / "out", model, formats=["labels"])
    assert [small.windows, middle.windows] == [1, 7**2]
    assert large.windows > 100 * middle.windows
    assert small.memory < middle.memory
    assert large.memory < 0.6
    assert (small.disk, middle.disk, large.disk) == (0, 0, 0.26)
    assert 0 < small.seconds < middle.seconds < large.seconds
    assert not (tmp_path / "out").exists()


def test_what_would_fail(model: Model, tmp_path: Path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2000, 2000), np.uint8), compression="zlib")
    (tmp_path / "b.tif").touch()
    sized = of_one_size(model)
    large, empty = plan_files([tmp_path], tmp_path / "out", sized, formats=["labels"])
    assert large.error == "too large for the memory with a model that sees images at (64, 64)"
    assert "zero bytes" in empty.error
    with pytest.raises(InputError, match="Unknown format"):
        plan_files([tmp_path], tmp_path / "out", model, formats=["svg"])


def test_a_probability_map_takes_as_much_disk_as_the_labels(model: Model, tmp_path: Path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2000, 2000), np.uint8), compression="zlib")
    formats = ["labels", "probability"]
    (planned,) = plan_files([tmp_path], tmp_path / "out", model, formats=formats)
    assert (planned.disk, planned.error) == (0.03, "")


def test_models_of_one_size_see_one_window(model: Model, tmp_path: Path):
    sized = of_one_size(model)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((900, 900), np.uint8))
    (planned,) = plan_files([tmp_path], tmp_path / "out", sized, formats=["labels"])
    assert planned.windows == 1
    assert seconds_per_pixel(sized) > 0
