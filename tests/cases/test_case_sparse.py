"""Few or small nuclei of high contrast are no image of low contrast."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from case_images import discs, nucseg, rows_of

from nucseg.images.quality import image_quality, warnings_of


@pytest.mark.parametrize(
    ("side", "size", "radius", "low", "high"),
    [
        (2, 1024, 9, 100, 1500),
        (1, 1024, 12, 100, 900),
        (2, 800, 6, 300, 2500),
        (1, 300, 9, 50, 500),
    ],
)
def test_nuclei_of_high_contrast(side, size, radius, low, high, tmp_path: Path):
    image, _ = discs(side, size, radius=radius, low=low, high=high)
    tifffile.imwrite(tmp_path / "a.tif", image)
    result = nucseg("segment", tmp_path / "a.tif", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (row,) = rows_of(tmp_path / "out" / "images.csv")
    assert int(row["nuclei"]) == side * side
    assert "contrast" not in row["warnings"]
    assert "Outliers" not in row["warnings"]


def test_noise_without_nuclei_is_of_low_contrast(tmp_path: Path):
    noise = np.random.default_rng(0).normal(1000, 200, (600, 600)).clip(0).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", noise)
    nucseg("segment", tmp_path / "a.tif", "-o", tmp_path / "out")
    assert "Empty or low contrast" in rows_of(tmp_path / "out" / "images.csv")[0]["warnings"]


def test_nuclei_that_do_not_stand_out_are_of_low_contrast():
    noise = np.random.default_rng(0).normal(1000, 200, (300, 300)).astype(np.float32)
    areas = np.full(4, 300)
    for level, low in ((1000, True), (1060, True), (1900, False)):
        warnings = warnings_of(image_quality(noise, areas, np.full(4, level)))
        assert any("low contrast" in text for text in warnings) == low
