"""App, napari plugin, command line and Python give the same labels."""

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from browser_client import Browser
from typer.testing import CliRunner

import nucseg
from nucseg.app.server import create_app
from nucseg.cli.main import app as command_line
from nucseg.config import Filtering
from nucseg.datasets.reading import open_dataset
from nucseg.datasets.synthetic import sample_image, synthetic_image
from nucseg.images import read_image
from nucseg.images.preprocess import resize_image
from nucseg.inference.segmenter import Model
from nucseg.napari.finding import find_nuclei, kept_nuclei
from nucseg.napari.stacks import Stack


@pytest.fixture(scope="module")
def bundled() -> Model:
    return nucseg.load_model()


def made_up() -> dict[str, np.ndarray]:
    """Colour, 16-bit, nuclei that are too small and too large for the network, several windows."""
    grey = sample_image("fluorescence")[..., 0]
    small, large = (
        resize_image(grey.astype(np.float32), size) for size in ((104, 128), (768, 960))
    )
    wide, _ = synthetic_image(np.random.default_rng(1), size=(1200, 1500), nuclei=300)
    return {
        "tissue": sample_image("tissue"),
        "deep": grey.astype(np.uint16) * 150,
        "small": small.astype(np.uint8),
        "large": large.astype(np.uint8),
        "wide": wide,
    }


def real() -> dict[str, np.ndarray]:
    """Five images that people took, of different sizes where there are."""
    dataset = open_dataset(Path(os.environ["NUCSEG_TEST_DATA"]) / "dsb2018" / "stardist_test50.zip")
    chosen = dataset.image_ids[:: len(dataset.image_ids) // 5][:5]
    return {f"real-{place}": dataset.read_pixels(each) for place, each in enumerate(chosen)}


@pytest.mark.parametrize(
    "images",
    [
        made_up,
        pytest.param(
            real,
            marks=pytest.mark.skipif(
                "NUCSEG_TEST_DATA" not in os.environ, reason="needs the real data set"
            ),
        ),
    ],
)
def test_all_front_ends_give_the_same_labels(
    images: Callable[[], dict[str, np.ndarray]], bundled: Model, tmp_path: Path
):
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for name, pixels in images().items():
        tifffile.imwrite(folder / f"{name}.tif", pixels)
    files = sorted(folder.iterdir())
    assert len(files) == 5
    ran = CliRunner().invoke(command_line, ["segment", str(folder), "-o", str(out)])
    assert ran.exit_code == 0, ran.output
    counts, of_the_app = [], app_labels(bundled, files)
    for path in files:
        expected = bundled.segment(read_image(path).pixels).labels
        written = tifffile.imread(out / "labels" / path.name)
        for found in (written, next(of_the_app), napari_labels(bundled, path)):
            np.testing.assert_array_equal(found, expected, err_msg=path.name)
            assert found.dtype == expected.dtype
        counts.append(int(expected.max()))
    assert sum(count > 5 for count in counts) >= 4, counts


def app_labels(model: Model, files: list[Path]) -> Iterator[np.ndarray]:
    with Browser(create_app(model)) as browser:
        filters = browser.begin()["filters"]
        for path in files:
            image = browser.upload(path.name, path.read_bytes())["id"]
            assert browser.post(f"/api/images/{image}/segment", json={}).status_code == 200
            wanted = {"images": [{"image": image, "filters": filters}], "formats": ["labels"]}
            reply = browser.post("/api/results", json=wanted)
            assert reply.status_code == 200, reply.text
            archive = zipfile.ZipFile(io.BytesIO(reply.content))
            yield tifffile.imread(io.BytesIO(archive.read(f"labels/{path.name}")))


def napari_labels(model: Model, path: Path) -> np.ndarray:
    pixels = read_image(path).pixels
    found = find_nuclei(model, Stack(pixels, rgb=pixels.ndim == 3))
    settings = model.card.postprocessing
    own = Filtering(**{name: getattr(settings, name) for name in Filtering.model_fields})
    return kept_nuclei(found, own).labels
