"""A folder with what a reader of the documentation has: images, annotated ones, a trained model."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from typer.testing import CliRunner

from nucseg.cli.main import app
from nucseg.config import FINE_TUNING, RECIPES, UNet
from nucseg.datasets.synthetic import synthetic_image, write_synthetic_dataset

SIDE = 96


def drawn(number: int, *, size: tuple[int, int] = (SIDE, SIDE), nuclei: int = 8):
    return synthetic_image(np.random.default_rng(number), size=size, nuclei=nuclei)


def write_pairs(folder: Path, count: int) -> None:
    """Write images with their label images."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        image, labels = drawn(number)
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        tifffile.imwrite(folder / "labels" / f"{number}.tif", labels.astype(np.uint16))


def write_zarr(folder: Path) -> None:
    group = zarr.create_group(folder, zarr_format=3)
    image, _ = drawn(5)
    group.create_array("0", data=np.stack([image[..., 0], image[..., 0] // 2]))
    axes = [
        {"name": "c", "type": "channel"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    scale = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
        ],
        "omero": {"channels": [{"label": "DAPI"}, {"label": "GFP"}]},
    }


@pytest.fixture(scope="session")
def belongings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the files that the pages name."""
    folder = tmp_path_factory.mktemp("reader")
    for images in ("my_images", "images"):
        (folder / images).mkdir()
    image, _ = drawn(0)
    for path in ("my_images/image.png", "my_images/field_01.png", "my_images/field_02.png"):
        Image.fromarray(image).save(folder / path)
    Image.fromarray(image).save(folder / "images" / "image.png")
    (folder / "ki67").mkdir()
    stained = 255 - image * np.array([0.35, 0.55, 0.7])
    for name in ("field_01", "field_02"):
        Image.fromarray(stained.astype(np.uint8)).save(folder / "ki67" / f"{name}.png")
    for data, count in (("my_data", 6), ("my_test", 2), ("DATA", 6)):
        write_pairs(folder / data, count)
    (folder / "groups.csv").write_text("image_id,modality\n0,fluorescence\n1,fluorescence\n")
    write_synthetic_dataset(folder / "data" / "stage1_train", images=6, size=(SIDE, SIDE))
    slide, _ = drawn(1, size=(640, 700), nuclei=60)
    tifffile.imwrite(folder / "slide.tif", slide, tile=(256, 256), photometric="rgb")
    channels = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    channels |= {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    two = np.stack([image[..., 0], image[..., 0] // 2])
    tifffile.imwrite(folder / "two_channels.ome.tif", two, metadata=channels)
    stack = np.stack([two, two])
    tifffile.imwrite(folder / "stack.ome.tif", stack, metadata={**channels, "axes": "ZCYX"})
    write_zarr(folder / "plate.ome.zarr")
    return folder


def hasten(patch: pytest.MonkeyPatch) -> None:
    """Make trainings last seconds: one epoch, small networks that begin at random."""
    brief = {"epochs": 1, "batch_size": 2, "encoder_weights": "none", "split": "random"}
    small = {"alpha": 0.1, "decoder": (8, 8, 8, 8, 8)}
    semantic, instance = RECIPES["semantic"], RECIPES["instance"]
    patch.setitem(
        RECIPES, "semantic", semantic.model_copy(update={**brief, "network": UNet(**small)})
    )
    network = {"network": instance.network.model_copy(update={**small, "decoder": (8, 8, 8, 8)})}
    crops = {"crops": instance.crops.model_copy(update={"size": 64, "per_epoch": 2})}
    patch.setitem(RECIPES, "instance", instance.model_copy(update={**brief, **network, **crops}))
    patch.setitem(FINE_TUNING, "epochs", 1)
    patch.setattr("nucseg.training.fine_tuning.FINE_TUNING_CROPS", 2)


@pytest.fixture(scope="session")
def trained(belongings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a training on the reader's data."""
    run = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        hasten(patch)
        command = ["train", str(belongings / "my_data"), "-o", str(run), "--recipe", "semantic"]
        result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return run


@pytest.fixture
def at_the_readers(belongings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a copy of the reader's folder, where trainings are short."""
    hasten(monkeypatch)
    folder = tmp_path / "reader"
    shutil.copytree(belongings, folder, copy_function=os.link)
    monkeypatch.chdir(folder)
    return folder
