"""Planes that are not there are no images without nuclei, and strips are no planes."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from case_images import discs, nucseg, rows_of

from nucseg.errors import InputError
from nucseg.images import open_image


def promised(path: Path, *, held: int, times: int = 1, slices: int = 1) -> Path:
    """OME-TIFF file whose metadata state more planes than it holds."""
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="256"'
        f' SizeY="256" SizeC="1" SizeZ="{slices}" SizeT="{times}"><Channel ID="Channel:0:0"/>'
        "<TiffData/></Pixels></Image></OME>"
    )
    stack = np.stack([discs()[0]] * held)
    tifffile.imwrite(path, stack, metadata=None, description=xml, photometric="minisblack")
    return path


def test_planes_that_a_file_does_not_hold_are_missing(tmp_path: Path):
    path, out = promised(tmp_path / "a.ome.tif", held=3, times=50), tmp_path / "out"
    result = nucseg("segment", path, "-o", out)
    assert result.exit_code == 0, result.output
    assert "3 images segmented: 48 nuclei." in result.stdout
    assert f"47 planes are missing from {path}." in result.stdout
    assert "failed" not in result.output
    rows = rows_of(out / "images.csv")
    assert [row["status"] for row in rows] == ["ok"] * 3 + ["missing"] * 47
    assert {row["nuclei"] for row in rows[3:]} == {""}
    assert rows[3]["error"] == "The file states this plane and does not hold it."
    assert len(list((out / "labels").iterdir())) == 3
    run = json.loads((out / "run.json").read_text())
    assert len(run["missing"]) == 47
    page = (out / "report.html").read_text("utf-8")
    assert "missing: the file does not hold the plane" in page
    assert "<title>Nuclei in 3 images</title>" in page
    assert "Failed images" not in page
    summary = json.loads(nucseg("segment", path, "-o", out, "--resume", "--json").stdout)
    assert (summary["kept"], len(summary["missing"]), summary["failed"]) == (3, 47, [])
    plan = nucseg("segment", path, "-o", tmp_path / "x", "--dry-run")
    assert f"47 planes are missing from {path}." in plan.stdout
    assert "3 images, 0.2 megapixels, 3 windows; 0 would fail." in plan.stdout
    planned = json.loads(
        nucseg("segment", path, "-o", tmp_path / "x", "--dry-run", "--json").stdout
    )
    assert sum("does not hold" in each["error"] for each in planned) == 47


def test_a_projection_is_of_the_slices_that_are_there(tmp_path: Path):
    path = promised(tmp_path / "a.ome.tif", held=3, slices=5)
    result = nucseg("segment", path, "-o", tmp_path / "out", "--project", "max", "--json")
    assert json.loads(result.stdout)["nuclei"] == 16
    (row,) = rows_of(tmp_path / "out" / "images.csv")
    assert "Slices missing: the file does not hold 2 of 5, and the projection" in row["warnings"]
    (plane,) = open_image(path, project="max")
    assert not plane.missing
    assert (plane[:, :] == discs()[0]).all()


def test_to_read_a_missing_plane_is_an_error(tmp_path: Path):
    *_, last = open_image(promised(tmp_path / "a.ome.tif", held=1, times=2))
    assert last.missing
    with pytest.raises(InputError, match="states the plane t001 and does not hold it"):
        last[:, :]


def of_imagej(path: Path) -> None:
    """Write a compressed file that says it has 3 time points, and holds 2."""
    about = "ImageJ=1.53t\nimages=3\nframes=3\nhyperstack=true\n"
    with tifffile.TiffWriter(path) as file:
        for description in (about, None):
            options = {"compression": "zlib", "contiguous": False, "metadata": None}
            file.write(discs()[0], description=description, **options)


def with_an_empty_page(path: Path) -> None:
    """Write three pages, of the second of which there is no tile."""
    options = {"tile": (64, 64), "compression": "zlib", "contiguous": False, "metadata": None}
    with tifffile.TiffWriter(path) as file:
        for number in range(3):
            pixels = iter([b""] * 16) if number == 1 else discs()[0]
            file.write(pixels, shape=(256, 256), dtype="u2", photometric="minisblack", **options)


@pytest.mark.parametrize(("write", "plane"), [(of_imagej, "t002"), (with_an_empty_page, "i001")])
def test_planes_that_other_files_do_not_hold(write, plane: str, tmp_path: Path):
    write(tmp_path / "a.tif")
    result = nucseg("segment", tmp_path / "a.tif", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "2 images segmented: 32 nuclei." in result.stdout
    assert f"1 plane is missing from {tmp_path / 'a.tif'}." in result.stdout
    rows = rows_of(tmp_path / "out" / "images.csv")
    assert [row["plane"] for row in rows if row["status"] == "missing"] == [plane]


def test_planes_of_many_files_are_told_of_in_few_lines(tmp_path: Path):
    for number in range(22):
        promised(tmp_path / f"{number:02}.ome.tif", held=1, times=2)
    plan = nucseg("segment", tmp_path, "-o", tmp_path / "out", "--dry-run")
    assert plan.stdout.count("1 plane is missing from") == 20
    assert "Planes of 2 more files are missing" in plan.stdout


def test_a_file_that_holds_nothing_of_what_it_states(tmp_path: Path):
    path = promised(tmp_path / "a.ome.tif", held=2, times=2)
    assert [source.missing for source in open_image(path)] == [False, False]


@pytest.mark.parametrize("channels", [5, 7, 16])
def test_channels_that_come_last_are_asked_about(channels: int, tmp_path: Path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([discs()[0]] * channels, -1))
    result = nucseg("segment", tmp_path / "a.tif", "-o", tmp_path / "out")
    assert result.exit_code == 1
    (row,) = rows_of(tmp_path / "out" / "images.csv")
    assert row["status"] == "failed"
    assert f"has 256 planes of 256 by {channels} pixels" in row["error"]
    assert f"Are they {channels} channels, which come last?" in row["error"]


def test_floats_and_pages_with_channels_last(tmp_path: Path):
    pixels = np.stack([discs()[0]] * 6, -1).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    with pytest.raises(InputError, match="Are they 6 channels"):
        open_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((300, 40, 5), {"metadata": {"axes": "ZYX"}, "imagej": True}, 300),
        ((300, 40, 5), {"metadata": {"axes": "TYX"}, "ome": True}, 300),
        ((3, 300, 12), {"photometric": "minisblack"}, 3),
    ],
)
def test_narrow_planes_that_are_stated_or_few_are_planes(shape, options, expected, tmp_path: Path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8), **options)
    assert len(open_image(tmp_path / "a.tif")) == expected


def test_channels_last_that_are_stated_are_channels(tmp_path: Path):
    pixels = np.stack([discs()[0]] * 5, -1)
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata={"axes": "YXC"})
    (source,) = open_image(tmp_path / "a.tif", channel=2)
    assert source.shape == (256, 256)
