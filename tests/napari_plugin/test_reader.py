import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucseg.batch.run import segment_files
from nucseg.errors import InputError
from nucseg.inference.loading import load_model
from nucseg.napari import reading
from nucseg.napari.reading import read_results, results_reader


@pytest.fixture
def run(bright_model: Path, tmp_path: Path) -> Path:
    """Results of a grey image with a pixel size and a colour image."""
    grey = np.zeros((30, 40), np.uint8)
    grey[3:9, 4:20] = 255
    images = tmp_path / "images"
    (images / "deep").mkdir(parents=True)
    about = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(images / "grey.ome.tif", grey, metadata=about)
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(images / "deep" / "colour.png")
    model = load_model(bright_model, threads=1)
    segment_files([images], tmp_path / "out", model, formats=["labels"])
    return tmp_path / "out" / "run.json"


def test_results_come_with_their_images_and_measurements(run: Path):
    assert results_reader(str(run)) is read_results
    layers = read_results(str(run))
    assert [(about["name"], kind) for _, about, kind in layers] == [
        ("deep/colour", "image"),
        ("deep/colour nuclei", "labels"),
        ("grey.ome", "image"),
        ("grey.ome nuclei", "labels"),
    ]
    (colour, about, _), (labels, found, _), (grey, sized, _), _ = layers
    assert (colour.shape, about["rgb"], grey.shape, sized["rgb"]) == (
        (30, 40, 3),
        True,
        (30, 40),
        False,
    )
    assert sized["scale"] == pytest.approx((0.5, 0.5))
    assert "scale" not in about
    assert found["features"]["index"].tolist() == [1]
    assert found["features"]["area"].tolist() == [np.count_nonzero(labels)] == [96]


def test_images_and_measurements_that_are_gone_are_left_out(run: Path):
    (run.parents[1] / "images" / "grey.ome.tif").unlink()
    (run.parents[1] / "images" / "deep" / "colour.png").write_bytes(b"no image")
    for path in (run.parent / ".nucseg").rglob("*.npy"):
        path.unlink()
    layers = read_results(str(run))
    assert [(kind, about["features"]) for _, about, kind in layers] == [("labels", {})] * 2


@pytest.mark.parametrize("path", ["out/other.json", ["a/run.json"], "nowhere/run.json"])
def test_other_files_are_left_to_others(path):
    assert results_reader(path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"working_folder": 3, "inputs": 4})])
def test_a_file_that_describes_no_run_is_refused(run: Path, text: str):
    run.write_text(text)
    with pytest.raises(InputError, match="does not describe a run"):
        read_results(str(run))


def test_too_many_images_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "_MOST", 1)
    with pytest.raises(InputError, match="holds 2 label images, expected 1 to 1"):
        read_results(str(run))
