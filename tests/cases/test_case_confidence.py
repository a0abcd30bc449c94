"""Images that are segmented badly are said to be, and other scales are tried on them."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from case_images import discs, nucseg, rows_of
from scipy.ndimage import gaussian_filter

from nucseg.inference import scale_estimate, segmenter
from nucseg.inference.loading import load_model
from nucseg.inference.segmenter import Model

sys.path.append(str(Path(__file__).parents[1] / "export"))
from report_page import Page


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(threads=1)


def clouds(seed: int, *, width: float, floor: float | None = None) -> np.ndarray:
    """Smooth random brightness, in which there are no nuclei."""
    random = np.random.default_rng(seed)
    image = gaussian_filter(random.normal(size=(256, 256)), width)
    image /= image.std()
    if floor is not None:
        image = (image - floor).clip(0)
    image += random.normal(0, 0.15, image.shape)
    return np.interp(image, (image.min(), image.max()), (20, 220)).astype(np.uint8)


def spotted_nuclei(seed: int, *, body: float, noise: float) -> np.ndarray:
    """Sixteen nuclei of about 80 pixels with three brighter spots each, as nucleoli are."""
    random = np.random.default_rng(seed)
    size, side, diameter, spot = 448, 4, 80, 6.4
    rows, columns = np.mgrid[:size, :size]
    image = np.full((size, size), 20.0)
    for number in range(side * side):
        row, column = (np.array(divmod(number, side)) + 0.5) * size / side
        row += random.uniform(-6, 6)
        column += random.uniform(-6, 6)
        high, wide = random.uniform(0.8, 1.1, 2) * diameter / 2
        inside = ((rows - row) / high) ** 2 + ((columns - column) / wide) ** 2 < 1
        image[inside] = body * random.uniform(0.8, 1.2)
        for _ in range(3):
            angle, away = random.uniform(0, 2 * np.pi), random.uniform(0, 0.6)
            down, across = row + high * away * np.sin(angle), column + wide * away * np.cos(angle)
            image[inside & ((rows - down) ** 2 + (columns - across) ** 2 < spot**2)] = 150
    image = gaussian_filter(image, 2) + random.normal(0, noise, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def test_a_run_says_which_images_to_look_at_first(tmp_path: Path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    doubtful = {"b.png": clouds(0, width=6), "c.png": clouds(1, width=6)}
    for name, image in {"a.png": (discs()[0] // 8).astype(np.uint8), **doubtful}.items():
        PIL.Image.fromarray(image).save(folder / name)
    result = nucseg("segment", folder, "-o", out)
    assert result.exit_code == 0, result.output
    assert "Low confidence in 2 images, check these first (median score):" in result.stderr

    rows = {Path(row["path"]).name: row for row in rows_of(out / "images.csv")}
    assert float(rows["a.png"]["median_score"]) > 0.8
    assert rows["a.png"]["warnings"] == ""
    for name in doubtful:
        assert float(rows[name]["median_score"]) < 0.74
        assert float(rows[name]["dropped"]) > 0.2
        assert "Low confidence: the median score" in rows[name]["warnings"]
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    known = {Path(each["path"]).name: each for each in run["confidence"]}
    assert known["a.png"]["view"]["source"] == "estimate"
    assert [name for name, each in known.items() if each["median_score"] < each["limit"]] == [
        *doubtful
    ]

    page = Page((out / "report.html").read_text(encoding="utf-8"))
    titles = page.texts("h2")
    assert titles.index("Images of low confidence") < titles.index("Other images")
    lowest_first = sorted(doubtful, key=lambda name: float(rows[name]["median_score"]))
    assert page.texts("strong") == [*lowest_first, "a.png"]


def test_the_minimum_score_does_not_hide_doubt(tmp_path: Path):
    PIL.Image.fromarray(clouds(0, width=6)).save(tmp_path / "b.png")
    result = nucseg(
        "segment", tmp_path / "b.png", "-o", tmp_path / "out", "--min-score", "0.8", "--json"
    )
    (low,) = json.loads(result.stdout)["low_confidence"]
    assert low["median_score"] < 0.74


def test_a_kept_result_is_as_doubtful_as_a_new_one(tmp_path: Path):
    PIL.Image.fromarray(clouds(0, width=6)).save(tmp_path / "b.png")
    arguments = ("segment", tmp_path / "b.png", "-o", tmp_path / "out", "--json")
    first, second = (json.loads(nucseg(*arguments, *more).stdout) for more in ((), ("--resume",)))
    assert second["kept"] == 1
    assert second["low_confidence"] == first["low_confidence"] != []


@pytest.mark.parametrize("noise", [6, 14])
def test_nuclei_whose_spots_hid_them_are_found_at_another_scale(model: Model, noise: float):
    image = spotted_nuclei(1, body=100, noise=noise)
    found = model.segment(image)
    assert found.count == 16
    assert found.confidence.view.source == "scores"
    assert 70 < found.confidence.view.diameter < 95
    assert not found.confidence.low


def test_small_specks_are_found_at_another_scale(model: Model):
    image = clouds(0, width=3, floor=1.0)
    found = model.segment(image).confidence
    assert found.view.source == "scores"
    estimated = replace(model, scale=2.0).segment(image).confidence
    assert found.median_score > estimated.median_score + 0.05


def test_confident_images_are_seen_at_one_scale_alone(
    model: Model, monkeypatch: pytest.MonkeyPatch
):
    seen = []
    real = scale_estimate.find

    def find(model, part, *, scale, **options):
        seen.append(scale)
        return real(model, part, scale=scale, **options)

    for module in (scale_estimate, segmenter):
        monkeypatch.setattr(module, "find", find)
    assert not model.segment(discs()[0]).confidence.low
    assert len(seen) == 1
    seen.clear()
    model.segment(clouds(0, width=6))
    assert len(seen) > 2


def test_a_diameter_given_is_taken_and_said(model: Model):
    found = model.with_diameter(80).segment(clouds(0, width=6)).confidence
    assert (found.view.source, found.view.diameter, found.view.scale) == ("diameter", 80, 0.25)
