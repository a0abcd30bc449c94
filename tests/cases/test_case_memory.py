"""The memory that may be used changes time alone, never labels."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from case_images import nucseg, rows_of
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from nucseg.batch.plan import plan_files
from nucseg.inference.large import segment_large
from nucseg.inference.loading import load_model
from nucseg.inference.segmenter import Model

MEMORIES = (0.6, 1.0, 2.0)
# By the diameter of the nuclei an image is seen at a scale of 2 to .4.
DIAMETERS = (8.5, 10, 11, 16, 30, 44, 50, 63)


@pytest.fixture(scope="module")
def models() -> dict[float, Model]:
    return {memory: load_model(max_memory=memory) for memory in MEMORIES}


def field(seed: int, diameter: float, height: int, width: int) -> np.ndarray:
    """Random nuclei of a size, some touching, on uneven light."""
    random = np.random.default_rng(seed)
    image = np.full((height, width), 20.0)
    image += 15 * np.linspace(0, 1, width)
    radius = diameter / 2
    step = diameter * random.uniform(1.15, 1.6)
    for row in np.arange(radius, height, step):
        for column in np.arange(radius, width, step):
            if random.random() < 0.2:
                continue
            r, c = np.array((row, column)) + random.normal(0, diameter / 8, 2)
            high, wide = radius * random.uniform(0.8, 1.15, 2)
            top, left = max(int(r - high) - 1, 0), max(int(c - wide) - 1, 0)
            rows, columns = np.ogrid[top : int(r + high) + 2, left : int(c + wide) + 2]
            inside = ((rows - r) / high) ** 2 + ((columns - c) / wide) ** 2 < 1
            part = image[top : int(r + high) + 2, left : int(c + wide) + 2]
            part[inside[: part.shape[0], : part.shape[1]]] = random.uniform(90, 220)
    image = gaussian_filter(image, min(diameter / 10, 2)) + random.normal(0, 3, image.shape)
    return image.clip(0, 255).astype(np.uint8)


@pytest.mark.slow
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**16),
    diameter=st.sampled_from(DIAMETERS),
    height=st.integers(700, 1350),
    width=st.integers(700, 1350),
)
def test_labels_do_not_depend_on_the_memory(
    seed: int, diameter: float, height: int, width: int, models: dict[float, Model], tmp_path: Path
):
    # Enlarged images take four times as long.
    grow = 0.75 if diameter < 12 else 1.0
    image = field(seed, diameter, int(height * grow), int(width * grow))
    expected = models[2.0].segment(image)
    assume(expected.count > 10)
    for memory in MEMORIES[:2]:
        found = models[memory].segment(image)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.scores, expected.scores)
        assert found.confidence == expected.confidence
    with segment_large(models[0.6], image, tmp_path) as large:
        everything = large.labels[slice(0, image.shape[0]), slice(0, image.shape[1])]
        np.testing.assert_array_equal(everything, expected.labels)
        np.testing.assert_array_equal(large.scores, expected.scores)


@pytest.mark.parametrize("diameter", [50, 11])
def test_a_run_with_little_memory_gives_the_same_files(diameter: float, tmp_path: Path):
    tifffile.imwrite(tmp_path / "a.tif", field(3, diameter, 1200, 1210))
    read = []
    for memory in (0.6, 2):
        out = tmp_path / str(memory)
        result = nucseg("segment", tmp_path / "a.tif", "-o", out, "--max-memory", memory)
        assert result.exit_code == 0, result.output
        (row,) = rows_of(out / "images.csv")
        read.append((tifffile.imread(out / "labels" / "a.tif"), {**row, "seconds": ""}))
        table = rows_of(out / "measurements.csv")
        assert len(table) == int(row["nuclei"]) > 50
    np.testing.assert_array_equal(read[0][0], read[1][0])
    assert read[0][1] == read[1][1]


def test_a_run_with_other_memory_is_completed_by_resume(tmp_path: Path):
    tifffile.imwrite(tmp_path / "a.tif", field(0, 30, 300, 300))
    arguments = ("segment", tmp_path / "a.tif", "-o", tmp_path / "out")
    assert nucseg(*arguments, "--max-memory", 0.6).exit_code == 0
    assert "1 image of an earlier run kept." in nucseg(*arguments, "--resume").stdout


@pytest.mark.parametrize(
    "option", [("--tta",), ("--diameter", 20), ("--min-area", 30), ("--threshold", 0.6)]
)
def test_what_changes_labels_is_done_anew_by_resume(option: tuple, tmp_path: Path):
    tifffile.imwrite(tmp_path / "a.tif", field(0, 30, 200, 200))
    arguments = ("segment", tmp_path / "a.tif", "-o", tmp_path / "out")
    assert nucseg(*arguments).exit_code == 0
    assert "kept" not in nucseg(*arguments, *option, "--resume").stdout


def test_as_many_windows_are_planned_whatever_the_memory(tmp_path: Path, models):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5000, 4000), np.uint8), compression="zlib")
    windows = set()
    for model in models.values():
        (planned,) = plan_files([tmp_path / "a.tif"], tmp_path / "o", model, formats=["labels"])
        windows.add(planned.windows)
    assert len(windows) == 1


def test_too_little_memory_is_an_error(tmp_path: Path):
    tifffile.imwrite(tmp_path / "a.tif", field(0, 30, 100, 100))
    result = nucseg("segment", tmp_path / "a.tif", "-o", tmp_path / "out", "--max-memory", 0.5)
    assert result.exit_code == 2
    assert "0.5 GB of memory are too little" in result.stderr
    assert not (tmp_path / "out").exists()
