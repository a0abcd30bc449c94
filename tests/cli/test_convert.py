import json
import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import roifile
import tifffile
from typer.testing import CliRunner

from nucseg.cli.main import app
from nucseg.images import read_image


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def label_image() -> np.ndarray:
    labels = np.zeros((20, 30), np.uint16)
    labels[2:8, 3:9], labels[10:15, 20:29], labels[16, 0] = 3, 7, 300
    return labels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Label images in several kinds of files."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    tifffile.imwrite(folder / "a.tif", label_image())
    tifffile.imwrite(folder / "deep" / "b.tif", label_image().astype(np.int32))
    PIL.Image.fromarray(label_image()).save(folder / "c.png")
    return folder


def test_a_folder_in_several_formats(folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    result = run("convert", folder, "--to", "rois,geojson, coco", "--to", "labels", "-o", out)
    assert result.exit_code == 0, result.output
    assert "Label images converted: 3, with 9 nuclei." in result.stdout
    assert f"Results: {out}" in result.stdout
    names = {"a", "deep/b", "c"}
    expected = {f"rois/{name}.zip" for name in names}
    expected |= {f"geojson/{name}.geojson" for name in names}
    expected |= {f"coco/{name}.json" for name in names} | {f"labels/{name}.tif" for name in names}
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files == expected
    assert [roi.name for roi in roifile.roiread(out / "rois/deep/b.zip")] == ["003", "007", "300"]
    for name in names:
        np.testing.assert_array_equal(read_image(out / f"labels/{name}.tif").pixels, label_image())


def test_ome_zarr_there_and_back(folder: Path, tmp_path: Path):
    result = run("convert", folder, "--to", "zarr", "-o", tmp_path / "zarr")
    assert result.exit_code == 0, result.output
    written = tmp_path / "zarr" / "zarr"
    assert {path.name for path in written.iterdir()} == {"a.ome.zarr", "c.ome.zarr", "deep"}
    result = run("convert", written, "--to", "labels", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for name in ("a", "c", "deep/b"):
        labels = read_image(tmp_path / "out" / "labels" / f"{name}.ome.tif").pixels
        np.testing.assert_array_equal(labels, label_image())


def test_formats_of_kaggle_and_a_pattern(folder: Path, tmp_path: Path):
    result = run("convert", folder / "*.png", "--to", "masks,rle", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    masks = tmp_path / "out" / "masks" / "c" / "masks"
    assert [path.name for path in sorted(masks.iterdir())] == ["003.png", "007.png", "300.png"]
    lines = (tmp_path / "out" / "rle" / "c.csv").read_text().splitlines()
    assert lines[0] == "ImageId,EncodedPixels"
    assert lines[3] == "c,17 1"


def test_labels_that_nucseg_wrote_are_converted_beside_them(tmp_path: Path):
    out = tmp_path / "out"
    (out / "labels").mkdir(parents=True)
    path = out / "labels" / "a.tif"
    tifffile.imwrite(
        path, label_image(), imagej=True, resolution=(4, 2), metadata={"unit": "um", "axes": "YX"}
    )
    before = path.read_bytes()
    assert run("convert", out / "labels", "--to", "rois", "-o", out).exit_code == 0
    assert (out / "rois" / "a.zip").is_file()
    assert path.read_bytes() == before
    assert run("convert", out / "labels", "--to", "labels", "-o", tmp_path / "b").exit_code == 0
    assert read_image(tmp_path / "b" / "labels" / "a.tif").pixel_size == (0.5, 0.25)


def test_pieces_of_a_mask_become_nuclei(tmp_path: Path):
    mask = (label_image() > 0).astype(np.uint8) * 255
    PIL.Image.fromarray(mask).save(tmp_path / "mask.png")
    result = run("convert", tmp_path / "mask.png", "--to", "labels", "-o", tmp_path / "out")
    assert "converted: 1, with 3 nuclei." in result.stdout
    assert "mask.png has one number for all nuclei; each connected piece" in result.stderr
    labels = tifffile.imread(tmp_path / "out" / "labels" / "mask.tif")
    assert sorted(np.unique(labels)) == [0, 1, 2, 3]
    np.testing.assert_array_equal(labels > 0, mask > 0)


@pytest.mark.parametrize("number", [0, 9])
def test_one_nucleus_and_none(number: int, tmp_path: Path):
    labels = np.zeros((6, 6), np.uint8)
    labels[1:3, 1:3] = number
    PIL.Image.fromarray(labels).save(tmp_path / "a.png")
    result = run("convert", tmp_path / "a.png", "--to", "coco", "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert result.stderr == "" or "one number" not in result.stderr
    annotations = json.loads((tmp_path / "out" / "coco" / "a.json").read_text())["annotations"]
    assert [each["id"] for each in annotations] == ([number] if number else [])


def test_each_plane_of_a_stack_is_a_label_image(tmp_path: Path):
    stack = np.zeros((3, 8, 8), np.uint16)
    stack[0, :2, :2], stack[2, 5:7, 4:8] = 1, 2
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZYX"})
    result = run("convert", path, "--to", "labels", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for plane, labels in enumerate(stack):
        written = tifffile.imread(tmp_path / "out" / "labels" / f"stack_z{plane:03d}.tif")
        np.testing.assert_array_equal(written, labels)


def bad_file(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.tif"
    if kind == "fractions":
        tifffile.imwrite(path, np.full((8, 8), 0.5, np.float32))
    elif kind == "colours":
        colours = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
        tifffile.imwrite(path, colours, photometric="rgb")
    elif kind == "negative":
        tifffile.imwrite(path, np.full((8, 8), -1, np.int32))
    else:
        path.touch()
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("fractions", "got fractions (float32)"),
        ("colours", "got colours or channels: shape (8, 8, 3)"),
        ("negative", "Expected numbers from 0 (background), got -1"),
        ("empty", "zero bytes"),
    ],
)
def test_a_bad_file_does_not_stop_the_others(kind: str, message: str, folder: Path, tmp_path: Path):
    path = bad_file(kind, folder)
    out = tmp_path / "out"
    result = run("convert", folder, "--to", "rois,masks", "-o", out)
    assert result.exit_code == 1
    assert "Label images converted: 3, with 9 nuclei." in result.stdout
    assert message in result.stderr
    assert result.stderr.count(str(path)) == 1
    assert "Traceback" not in result.output
    assert len(list(out.glob("rois/**/*.zip"))) == 3
    assert not list(out.rglob(f"*{kind}*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in", "--to", "svg", "-o", "out"], "Unknown format 'svg'"),
        (["in", "--to", "rois,", "-o", "out"], "Unknown format ''"),
        (
            ["in", "--to", "rois,overlays", "-o", "out"],
            "The format overlays needs more than label images. Give any of labels, rois, geojson, "
            "coco, masks, rle, zarr, or segment the images with --save overlays.",
        ),
        (["in", "--to", "probability", "-o", "out"], "probability needs more than label images"),
        (["none.tif", "--to", "rois", "-o", "out"], "There is no file or folder none.tif"),
        (["in", "--to", "rois", "-o", "file"], "Cannot write file/rois/a.zip"),
        (["in", "--to", "masks", "-o", "file"], "Cannot write file/masks/a/masks"),
        (["in", "--to", "zarr", "-o", "file"], "Cannot write file/zarr/a.ome.zarr"),
        (["in", "--to", "rois"], "Missing option '--output'"),
        (["in", "-o", "out"], "Missing option '--to'"),
        (["--to", "rois", "-o", "out"], "Missing argument 'LABELS"),
    ],
)
def test_wrong_usage_exits_with_2_and_writes_nothing(
    arguments, message, folder: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    result = run("convert", *arguments)
    assert result.exit_code == 2, result.output
    shown = " ".join(result.stderr.replace("│", " ").split())
    assert message.replace("/", os.sep) in shown
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_results_never_replace_the_inputs(tmp_path: Path):
    (tmp_path / "labels").mkdir()
    path = tmp_path / "labels" / "a.tif"
    tifffile.imwrite(path, label_image())
    result = run("convert", path, "--to", "labels", "-o", tmp_path)
    assert result.exit_code == 2
    assert "is in a folder of the results and would be replaced" in result.stderr
    np.testing.assert_array_equal(tifffile.imread(path), label_image())
