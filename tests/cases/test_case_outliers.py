"""Hot pixels, dust, fibres and burnt nuclei do not hide the nuclei."""

import json
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile
from case_images import discs, nucseg, rows_of

from nucseg.inference.large import segment_large
from nucseg.inference.loading import load_model
from nucseg.inference.segmenter import Model


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(threads=1)


def hot(image: np.ndarray, share: float) -> np.ndarray:
    image = image.copy()
    image[np.random.default_rng(1).random(image.shape) < share] = np.iinfo(image.dtype).max
    return image


def brighter(image: np.ndarray, draw) -> np.ndarray:
    """Image with something drawn on it at the largest value, a little blurred."""
    mask = np.zeros(image.shape, np.uint8)
    draw(mask)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.2)
    return (image * (1 - soft) + 65535 * soft).astype(np.uint16)


def dust(mask: np.ndarray) -> None:
    for place in ((64, 64), (192, 128), (352, 320), (96, 416), (448, 160)):
        cv2.circle(mask, place, 8, 1, -1)


def fibre(mask: np.ndarray) -> None:
    cv2.line(mask, (0, 60), (255, 68), 1, 3)


@pytest.mark.parametrize("share", [0.003, 0.01])
def test_hot_pixels_change_no_count(share: float, tmp_path: Path):
    tifffile.imwrite(tmp_path / "hot.tif", hot(discs()[0], share))
    result = nucseg("segment", tmp_path / "hot.tif", "-o", tmp_path / "out", "--json")
    assert json.loads(result.stdout)["nuclei"] == 16
    (row,) = rows_of(tmp_path / "out" / "images.csv")
    assert "Outliers: " in row["warnings"]
    assert "They were left out of the range of intensities." in row["warnings"]
    # What is measured is the image as it is.
    rows = rows_of(tmp_path / "out" / "measurements.csv")
    assert max(float(each["intensity_max"]) for each in rows) == 65535


def test_hot_pixels_of_8_bits(model: Model):
    dim = (discs()[0] // 25).astype(np.uint8)
    assert model.segment(dim).count == 16
    assert model.segment(hot(dim, 0.005)).count == 16


@pytest.mark.parametrize("drawn", [dust, fibre])
def test_dust_and_a_fibre_hide_no_nuclei(drawn, model: Model):
    image, labels = discs(8, 512, radius=11)
    seen = model.segment(brighter(image, drawn))
    assert seen.confidence.view.outliers > 0
    mask = np.zeros(image.shape, np.uint8)
    drawn(mask)
    covered = set(np.unique(labels[cv2.dilate(mask, np.ones((9, 9))) > 0])) - {0}
    whole = set(range(1, 65)) - covered
    found = {number for number in whole if np.mean(seen.labels[labels == number] > 0) > 0.7}
    assert found == whole


@pytest.mark.parametrize("count", [1, 3])
def test_burnt_nuclei_hide_no_others(count: int, model: Model):
    image, labels = discs(6, 384, radius=11)
    burnt = brighter(image, lambda mask: np.copyto(mask, np.isin(labels, range(9, 9 + count))))
    assert model.segment(burnt).count == 36


def test_an_image_read_by_windows_is_seen_in_the_same_range(model: Model, tmp_path: Path):
    image = hot(discs(8, 512, radius=11)[0], 0.01)
    whole = model.segment(image)
    with segment_large(model, image, tmp_path) as large:
        assert large.confidence == whole.confidence
        assert large.count == whole.count == 64


def test_an_image_without_outliers_gets_no_warning(tmp_path: Path):
    PIL.Image.fromarray((discs()[0] // 8).astype(np.uint8)).save(tmp_path / "a.png")
    nucseg("segment", tmp_path / "a.png", "-o", tmp_path / "out")
    assert rows_of(tmp_path / "out" / "images.csv")[0]["warnings"] == ""
