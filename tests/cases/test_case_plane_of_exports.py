"""Outlines carry the channel, slice and time point that they are of."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from case_images import discs, nucseg
from roifile import ImagejRoi

# Of few pixels, since there are many planes.
IMAGE = (discs(2, 96, radius=12)[0] // 8).astype(np.uint8)


def exported(path: Path, out: Path, *options: object) -> dict[str, tuple[dict, ImagejRoi]]:
    """QuPath's plane and ImageJ's selection of the first nucleus of each plane."""
    result = nucseg("segment", path, "-o", out, "--save", "geojson,rois", *options)
    assert result.exit_code == 0, result.output
    found = {}
    for file in sorted((out / "geojson").iterdir()):
        features = json.loads(file.read_text(encoding="utf-8"))["features"]
        planes = [each["geometry"].get("plane") for each in features]
        assert len(features) == 4
        assert all(plane == planes[0] for plane in planes)
        with zipfile.ZipFile(out / "rois" / f"{file.stem}.zip") as archive:
            rois = [ImagejRoi.frombytes(archive.read(name)) for name in archive.namelist()]
        found[file.stem] = planes[0], rois[0]
    return found


def position(roi: ImagejRoi) -> tuple[int, int, int, int]:
    return roi.position, roi.c_position, roi.z_position, roi.t_position


def test_slices_and_time_points(tmp_path: Path):
    stack = np.stack([[IMAGE] * 3] * 2)
    tifffile.imwrite(tmp_path / "s.tif", stack, imagej=True, metadata={"axes": "TZYX"})
    found = exported(tmp_path / "s.tif", tmp_path / "out")
    assert {name: plane for name, (plane, _) in found.items()} == {
        f"s_t00{t}_z00{z}": {"c": -1, "z": z, "t": t} for t in range(2) for z in range(3)
    }
    assert position(found["s_t001_z002"][1]) == (0, 0, 3, 2)
    assert position(found["s_t000_z000"][1]) == (0, 0, 1, 1)


def test_the_channel_of_a_stack(tmp_path: Path):
    stack = np.stack([np.stack([IMAGE // 3, IMAGE])] * 2)
    metadata = {"axes": "ZCYX", "Channel": {"Name": ["GFP", "DAPI"]}}
    tifffile.imwrite(tmp_path / "s.ome.tif", stack, metadata=metadata, ome=True)
    found = exported(tmp_path / "s.ome.tif", tmp_path / "out")
    plane, roi = found["s.ome_z001"]
    assert plane == {"c": 1, "z": 1, "t": 0}
    assert position(roi) == (0, 2, 2, 0)


@pytest.mark.parametrize(
    ("axes", "expected"), [("ZYX", {"z": 1, "t": 0}), ("TYX", {"z": 0, "t": 1})]
)
def test_a_plain_stack_has_one_position(axes: str, expected: dict, tmp_path: Path):
    stack = np.stack([IMAGE] * 2)
    tifffile.imwrite(tmp_path / "s.tif", stack, imagej=True, metadata={"axes": axes})
    (_, first), (plane, roi) = exported(tmp_path / "s.tif", tmp_path / "out").values()
    assert plane == {"c": -1, **expected}
    assert [position(first), position(roi)] == [(1, 0, 0, 0), (2, 0, 0, 0)]


@pytest.mark.parametrize("planes", [(3,), (2, 3)])
def test_pages_that_are_not_said_to_be_slices_are_counted(planes: tuple[int, ...], tmp_path: Path):
    stack = np.broadcast_to(IMAGE, (*planes, *IMAGE.shape))
    tifffile.imwrite(tmp_path / "s.tif", stack, photometric="minisblack")
    found = list(exported(tmp_path / "s.tif", tmp_path / "out").values())
    assert [plane for plane, _ in found] == [
        {"c": -1, "z": 0, "t": number} for number in range(np.prod(planes))
    ]
    assert [position(roi)[0] for _, roi in found] == [*range(1, np.prod(planes) + 1)]


def test_label_images_of_a_stack_are_converted_with_their_planes(tmp_path: Path):
    labels = np.stack([discs(2, 96, radius=12)[1].astype(np.uint16)] * 2)
    tifffile.imwrite(tmp_path / "s.tif", labels, imagej=True, metadata={"axes": "TYX"})
    out = tmp_path / "out"
    result = nucseg("convert", tmp_path / "s.tif", "--to", "geojson,rois", "-o", out)
    assert result.exit_code == 0, result.output
    text = (out / "geojson" / "s_t001.geojson").read_text(encoding="utf-8")
    assert json.loads(text)["features"][0]["geometry"]["plane"] == {"c": -1, "z": 0, "t": 1}
    with zipfile.ZipFile(out / "rois" / "s_t001.zip") as archive:
        assert position(ImagejRoi.frombytes(archive.read("1.roi"))) == (2, 0, 0, 0)


def test_a_projection_keeps_its_time(tmp_path: Path):
    stack = np.stack([[IMAGE] * 3] * 2)
    tifffile.imwrite(tmp_path / "s.tif", stack, imagej=True, metadata={"axes": "TZYX"})
    found = exported(tmp_path / "s.tif", tmp_path / "out", "--project", "max")
    plane, roi = found["s_t001"]
    assert plane == {"c": -1, "z": 0, "t": 1}
    assert position(roi) == (0, 0, 0, 2)


def test_single_planes_carry_none(tmp_path: Path):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE)
    ((plane, roi),) = exported(tmp_path / "a.tif", tmp_path / "out").values()
    assert plane is None
    assert position(roi) == (0, 0, 0, 0)
