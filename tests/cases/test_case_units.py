"""A pixel size is believed or not by one rule, wherever it comes from."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from case_images import discs, nucseg, rows_of

from nucseg.errors import InputError
from nucseg.images import open_image
from nucseg.images.quality import warnings_of
from nucseg.inference.loading import load_model


def ome(path: Path, size: float, unit: str = "µm") -> Path:
    metadata = {"axes": "YX", "PhysicalSizeX": size, "PhysicalSizeY": size}
    units = {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(path, discs()[0], metadata=metadata | units, ome=True)
    return path


def imagej(path: Path, pixels_per_unit: float, unit: str) -> Path:
    resolution = (pixels_per_unit, pixels_per_unit)
    metadata = {"unit": unit}
    tifffile.imwrite(path, discs()[0], imagej=True, resolution=resolution, metadata=metadata)
    return path


def tags(path: Path, dots: float, unit: int) -> Path:
    tifffile.imwrite(path, discs()[0], resolution=(dots, dots), resolutionunit=unit)
    return path


def segmented(path: Path, out: Path, *options: object) -> tuple[dict[str, str], list[str]]:
    """Row of images.csv, and columns of measurements.csv."""
    result = nucseg("segment", path, "-o", out, *options)
    assert result.exit_code == 0, result.output
    (row,) = rows_of(out / "images.csv")
    return row, list(rows_of(out / "measurements.csv")[0])


@pytest.mark.parametrize("dots", [72, 96, 300])
def test_dots_per_inch_are_no_pixel_size_whichever_tag_states_them(dots: float, tmp_path: Path):
    for number, path in enumerate(
        (
            imagej(tmp_path / "imagej.tif", dots, "inch"),
            tags(tmp_path / "inch.tif", dots, 2),
            tags(tmp_path / "cm.tif", dots / 2.54, 3),
        )
    ):
        row, columns = segmented(path, tmp_path / str(number))
        assert not [name for name in columns if name.endswith(("_um", "_um2"))]
        # So common that it is no news.
        assert "Pixel size" not in row["warnings"]


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (lambda path: ome(path, 352.8), "352.8 by 352.8 µm"),
        (lambda path: ome(path, 0.25, "mm"), "250 by 250 µm"),
        (lambda path: ome(path, 1, "pm"), "1e-06 by 1e-06 µm"),
        (lambda path: imagej(path, 1, "cm"), "1e+04 by 1e+04 µm"),
        (lambda path: imagej(path, 4000, "micron"), "0.00025 by 0.00025 µm"),
    ],
)
def test_a_size_that_cannot_be_is_not_used_and_that_is_said(make, given: str, tmp_path: Path):
    path = make(tmp_path / "a.tif")
    row, columns = segmented(path, tmp_path / "out")
    assert "area_um2" not in columns
    assert f"Pixel size: the file states {given}" in row["warnings"]
    assert "It is not used. Give --pixel-size." in row["warnings"]
    assert given in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    # Given by hand, it is known.
    row, columns = segmented(path, tmp_path / "again", "--pixel-size", 0.5)
    assert "area_um2" in columns
    assert row["warnings"] == ""


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda path: ome(path, 0.325), 0.325),
        (lambda path: ome(path, 325, "nm"), 0.325),
        (lambda path: imagej(path, 2, "micron"), 0.5),
        (lambda path: imagej(path, 50_800, "inch"), 0.5),
        (lambda path: tags(path, 20_000, 3), 0.5),
    ],
)
def test_a_size_that_can_be_is_used(make, size: float, tmp_path: Path):
    (source,) = open_image(make(tmp_path / "a.tif"))
    assert source.pixel_size == pytest.approx((size, size))
    assert source.warnings == ()


@pytest.mark.parametrize("size", ["0", "-1", "0.001", "352.8", "nan"])
def test_a_size_given_by_hand_follows_the_same_rule(size: str, tmp_path: Path):
    path = tags(tmp_path / "a.tif", 72, 2)
    result = nucseg("segment", path, "-o", tmp_path / "out", "--pixel-size", size)
    assert result.exit_code == 2
    assert "Wrong value of --pixel-size" in result.stderr
    with pytest.raises(InputError, match=r"Expected a pixel size of 0.01 to 10 µm, got"):
        load_model(threads=1).segment(discs()[0], pixel_size=(0.5, float(size)))


@pytest.mark.parametrize(("size", "wide"), [(6.5, "130"), (0.05, "1"), (4.54, "90.8")])
def test_a_size_by_which_nuclei_are_not_of_their_size_is_a_warning(
    size: float, wide: str, tmp_path: Path
):
    path = ome(tmp_path / "a.ome.tif", size)
    result = nucseg("segment", path, "-o", tmp_path / "out", "--json")
    assert json.loads(result.stdout)["to_look_at"] == 1
    (row,) = rows_of(tmp_path / "out" / "images.csv")
    assert f"Pixel size: by {size:.4g} by {size:.4g} µm per pixel" in row["warnings"]
    assert "nuclei have 2 to 60" in row["warnings"]
    # It is used all the same: it is the user's.
    assert "area_um2" in rows_of(tmp_path / "out" / "measurements.csv")[0]
    assert "Pixel size: by" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "1 image to check" in nucseg("segment", path, "-o", tmp_path / "b").stderr
    assert "Pixel size: 1" in nucseg("segment", path, "-o", tmp_path / "c").stderr
    quality = {"edge_width": 1, "contrast": 9, "saturated": 0, "diameter": 20}
    (text,) = warnings_of(quality, pixel_size=(size, size))
    assert f"is {wide} µm wide" in text


def test_images_without_nuclei_tell_nothing_of_their_pixel_size(tmp_path: Path):
    metadata = {"axes": "YX", "PhysicalSizeX": 6.5, "PhysicalSizeY": 6.5}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((64, 64), np.uint8), metadata=metadata)
    nucseg("segment", tmp_path / "a.ome.tif", "-o", tmp_path / "out")
    (row,) = rows_of(tmp_path / "out" / "images.csv")
    assert "Pixel size" not in row["warnings"]


@pytest.mark.parametrize(
    ("down", "across", "warned"), [(3, 0.3, True), (0.3, 3, True), (1, 0.25, False)]
)
def test_very_oblong_pixels_are_a_warning(down: float, across: float, warned: bool, tmp_path: Path):
    metadata = {"axes": "YX", "PhysicalSizeX": across, "PhysicalSizeY": down}
    tifffile.imwrite(tmp_path / "a.ome.tif", discs()[0], metadata=metadata)
    row, columns = segmented(tmp_path / "a.ome.tif", tmp_path / "out")
    assert "area_um2" in columns
    assert ("are 10 times longer along one axis than along the other" in row["warnings"]) == warned


@pytest.mark.parametrize(
    ("unit", "size"), [("micrometre", 0.5), ("nanometre", 0.0005), ("Metre", 5e5)]
)
def test_both_spellings_of_units_are_known(unit: str, size: float, tmp_path: Path):
    (source,) = open_image(imagej(tmp_path / "a.tif", 2, unit))
    assert (source.pixel_size is not None) == (size == 0.5)
    assert bool(source.warnings) == (size != 0.5)
