import _thread
import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import tifffile
import zarr

from nucseg.batch.run import segment_files
from nucseg.config import Measuring, Reading
from nucseg.errors import InputError, MissingExtraError
from nucseg.export import FORMATS, output_files
from nucseg.images import open_image, read_image
from nucseg.inference.large import segment_large
from nucseg.inference.loading import load_model
from nucseg.inference.segmenter import Model


@pytest.fixture(scope="module")
def model(bright_model: Path) -> Model:
    return load_model(bright_model, threads=1)


def squares(count: int, seed: int = 0) -> np.ndarray:
    image = np.random.default_rng(seed).integers(0, 90, (24, 40), np.uint8)
    for number in range(count):
        row, column = divmod(number, 3)
        image[2 + 8 * row : 7 + 8 * row, 3 + 12 * column : 10 + 12 * column] = 250
    return image


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    PIL.Image.fromarray(squares(2)).save(folder / "two.png")
    PIL.Image.fromarray(squares(0)).save(folder / "none.png")
    resolution = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(folder / "deep" / "three.tif", squares(3), **resolution)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(
    folder: Path, *, but: tuple[str, ...] = ("run.json", "images.csv")
) -> dict[str, bytes]:
    """Every visible file of a folder of results, whose bytes do not depend on the time."""
    files = (path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {k: v for k, v in found.items() if k not in but and not k.startswith(".nucseg")}


def outcomes(folder: Path) -> list[dict[str, str]]:
    return [{**row, "seconds": ""} for row in rows(folder / "images.csv")]


def test_all_that_the_contract_promises(model: Model, images: Path, tmp_path: Path):
    out, steps = tmp_path / "out", []
    result = segment_files(
        [images], out, model, progress=lambda *step: steps.append(step), command=["nucseg", "x"]
    )
    assert sorted(contents(out)) == [
        "labels/deep/three.tif",
        "labels/none.tif",
        "labels/two.tif",
        "measurements.csv",
        "overlays/deep/three.png",
        "overlays/none.png",
        "overlays/two.png",
        "report.html",
    ]
    assert [(Path(row.path).name, row.status, row.nuclei) for row in result] == [
        ("three.tif", "ok", 3),
        ("none.png", "empty", 0),
        ("two.png", "ok", 2),
    ]
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    columns = ["path", "status", "nuclei", "seconds", "error", "warnings"]
    columns += ["median_score", "dropped", "diameter", "scale", "scale_source", "background"]
    columns += ["channel", "channels", "channel_by"]
    assert list(rows(out / "images.csv")[0]) == columns
    table = rows(out / "measurements.csv")
    three, two = str(images / "deep" / "three.tif"), str(images / "two.png")
    assert [(row["image"], row["label"]) for row in table] == [
        (three, "1"),
        (three, "2"),
        (three, "3"),
        (two, "1"),
        (two, "2"),
    ]
    assert [row["area_um2"] for row in table] == ["8.75", "8.75", "8.75", "", ""]
    labels = read_image(out / "labels" / "deep" / "three.tif")
    assert (labels.pixels.shape, labels.pixels.max()) == ((24, 40), 3)
    assert labels.pixel_size == pytest.approx((0.5, 0.5))
    assert not read_image(out / "labels" / "none.tif").pixels.any()
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert run["working_folder"] == str(Path.cwd())
    assert (run["command"], run["finished"]) == (["nucseg", "x"], True)
    assert len(run["inputs"][three]) == 64
    assert run["model"]["files"]["model.onnx"]


def test_parquet_is_written_once_of_all_and_needs_no_image_anew(
    model: Model, images: Path, tmp_path: Path
):
    out = tmp_path / "out"
    segment_files([images], out, model)
    done = segment_files([images], out, model, formats=("labels", "parquet"), resume=True)
    assert all(row.kept for row in done)
    nuclei = pd.read_parquet(out / "measurements.parquet")
    table = pd.read_csv(out / "measurements.csv")
    assert nuclei["image"].tolist() == table["image"].tolist()
    assert list(nuclei.columns) == list(table.columns)
    for name in ("label", "area", "area_um2", "score"):
        np.testing.assert_allclose(nuclei[name], table[name], rtol=1e-8)
    segment_files([images], out, model)
    assert not (out / "measurements.parquet").exists()


def test_parquet_without_what_writes_it(
    model: Model, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("nucseg.export.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"parquet .*nucseg\[formats\]"):
        segment_files([images], tmp_path / "out", model, formats=("parquet",))
    assert not (tmp_path / "out").exists()


def test_labels_are_those_of_python(model: Model, images: Path, tmp_path: Path):
    segment_files([images], tmp_path / "out", model)
    expected = model.segment(read_image(images / "two.png").pixels).labels
    written = read_image(tmp_path / "out" / "labels" / "two.tif").pixels
    np.testing.assert_array_equal(written, expected)


def test_one_bad_file_never_stops_the_others(model: Model, images: Path, tmp_path: Path):
    (images / "empty.png").touch()
    (images / "text.png").write_text("no image")
    (images / "short.png").write_bytes((images / "two.png").read_bytes()[:200])
    tifffile.imwrite(images / "nan.tif", np.full((9, 9), np.nan, np.float32))
    PIL.Image.fromarray(np.zeros((1, 1), np.uint8)).save(images / "one.png")
    result = segment_files([images], tmp_path / "out", model)
    errors = {Path(row.path).name: row.error for row in result if row.status == "failed"}
    assert set(errors) == {"empty.png", "text.png", "short.png", "nan.tif"}
    assert "zero bytes" in errors["empty.png"]
    assert "It holds text" in errors["text.png"]
    assert "damaged or cut short" in errors["short.png"]
    assert "NaN" in errors["nan.tif"]
    assert sum(row.status == "ok" for row in result) == 2
    assert sum(row.status == "empty" for row in result) == 2
    assert not (tmp_path / "out" / "labels" / "nan.tif").exists()
    assert outcomes(tmp_path / "out")[1]["error"] == errors["empty.png"]


@pytest.mark.parametrize(
    "error",
    [MissingExtraError("It", "formats"), MemoryError(), RuntimeError("odd"), OSError(5, "odd")],
)
def test_an_error_that_nobody_thought_of_fails_its_image_alone(
    error: Exception, model: Model, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def read(path: Path, **options):
        if path.name == "none.png":
            raise error
        return open_image(path, **options)

    monkeypatch.setattr("nucseg.batch.records.open_image", read)
    result = segment_files([images], tmp_path / "out", model)
    assert [row.status for row in result] == ["ok", "failed", "ok"]
    assert result[1].error


def test_an_error_while_writing_leaves_nothing_of_the_image(
    model: Model, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_args):
        raise MemoryError

    monkeypatch.setattr("nucseg.export.overlay.draw_overlay", fail)
    result = segment_files([images], tmp_path / "out", model)
    assert {row.status for row in result} == {"failed"}
    assert sorted(contents(tmp_path / "out")) == ["measurements.csv", "report.html"]
    assert rows(tmp_path / "out" / "measurements.csv") == []


def stop_after(number: int):
    def progress(done: int, _total: int) -> None:
        if done >= number:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_resume_after_a_stop_equals_a_run_without(
    number: int, model: Model, images: Path, tmp_path: Path
):
    (images / "bad.png").touch()
    segment_files([images], tmp_path / "whole", model)
    with pytest.raises(KeyboardInterrupt):
        segment_files([images], tmp_path / "out", model, progress=stop_after(number))
    assert not (tmp_path / "out" / "images.csv").exists()
    segment_files([images], tmp_path / "out", model, resume=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert outcomes(tmp_path / "out") == outcomes(tmp_path / "whole")


def modified(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "labels").rglob("*.tif")}


def test_resume_does_only_what_is_missing(model: Model, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    segment_files([images], out, model)
    before = modified(out)
    (out / "labels" / "none.tif").unlink()
    PIL.Image.fromarray(squares(4)).save(images / "four.png")
    segment_files([images], out, model, resume=True)
    after = modified(out)
    assert after.keys() == before.keys() | {"four.tif"}
    assert {name for name in before if before[name] != after[name]} == {"none.tif"}
    assert len(rows(out / "measurements.csv")) == 3 + 2 + 4


def test_resume_does_again_what_would_come_out_otherwise(
    model: Model, images: Path, tmp_path: Path
):
    out = tmp_path / "out"
    segment_files([images], out, model, formats=["labels"])
    before = modified(out)
    PIL.Image.fromarray(squares(5)).save(images / "two.png")
    segment_files([images], out, model, formats=["labels"], resume=True)
    changed = {name for name, time in modified(out).items() if time != before[name]}
    assert changed == {"two.tif"}
    stricter = model.with_postprocessing(min_area=1000)
    again = segment_files([images], out, stricter, formats=["labels"], resume=True)
    assert {row.status for row in again} == {"empty"}
    segment_files([images], out, stricter, resume=True)
    assert (out / "overlays" / "two.png").exists()


def test_resume_tries_failed_images_again(model: Model, images: Path, tmp_path: Path):
    (images / "bad.png").touch()
    segment_files([images], tmp_path / "out", model)
    PIL.Image.fromarray(squares(1)).save(images / "bad.png")
    result = segment_files([images], tmp_path / "out", model, resume=True)
    assert {row.status for row in result} == {"ok", "empty"}


def test_resume_does_again_what_has_a_damaged_record(model: Model, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    segment_files([images], out, model)
    expected = contents(out)
    (out / ".nucseg" / "two.json").write_text("{")
    segment_files([images], out, model, resume=True)
    assert contents(out) == expected


def test_second_run_replaces_its_own_results_and_no_others(
    model: Model, images: Path, tmp_path: Path
):
    out = tmp_path / "out"
    segment_files([images], out, model)
    (out / "mine.txt").write_text("keep")
    (out / "labels" / ".partial-1-two.tif").write_text("left by a killed run")
    (images / "two.png").write_text("broken now")
    result = segment_files([images], out, model)
    assert [row.status for row in result] == ["ok", "empty", "failed"]
    assert not (out / "labels" / "two.tif").exists()
    assert not list(out.rglob(".partial-*"))
    assert (out / "mine.txt").read_text() == "keep"
    assert {row["image"] for row in rows(out / "measurements.csv")} == {
        str(images / "deep" / "three.tif")
    }


def test_a_table_without_nuclei_has_all_columns(model: Model, images: Path, tmp_path: Path):
    segment_files([images / "none.png"], tmp_path / "none", model)
    segment_files([images / "two.png"], tmp_path / "two", model)
    none, two = ((tmp_path / name / "measurements.csv").read_text() for name in ("none", "two"))
    assert none.splitlines() == two.splitlines()[:1]


@pytest.mark.parametrize(
    "name", ["labels/two.tif", "overlays/two.png", "images.csv", "report.html", "run.json"]
)
def test_files_of_others_are_never_replaced(name: str, model: Model, images: Path, tmp_path: Path):
    drawn = tmp_path / "out" / name
    drawn.parent.mkdir(parents=True)
    drawn.write_text("hours of work")
    with pytest.raises(InputError, match=r"would be replaced, and it is not of an earlier run"):
        segment_files([images], tmp_path / "out", model)
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == [drawn.name]
    assert drawn.read_text() == "hours of work"


def test_results_of_a_run_killed_before_its_first_record_are_its_own(
    model: Model, images: Path, tmp_path: Path
):
    out = tmp_path / "out"
    segment_files([images], out, model)
    for record in (out / ".nucseg").rglob("*.json"):
        record.unlink()
    assert len(segment_files([images], out, model, resume=True)) == 3


@pytest.mark.skipif(os.name == "nt", reason="file names are text on Windows")
def test_file_name_that_is_no_text(model: Model, images: Path, tmp_path: Path):
    name = os.fsdecode(b"\xff.png")
    try:
        (images / "two.png").rename(images / name)
    except OSError:
        pytest.skip("this file system wants names that are text")
    segment_files([images], tmp_path / "out", model)
    run = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert str(images / name) in run["inputs"]
    assert r"\udcff.png" in rows(tmp_path / "out" / "images.csv")[2]["path"]
    assert (tmp_path / "out" / "labels" / os.fsdecode(b"\xff.tif")).is_file()


def test_unknown_format_and_missing_input_write_nothing(model: Model, images: Path, tmp_path: Path):
    with pytest.raises(InputError, match="Unknown format 'svg'"):
        segment_files([images], tmp_path / "out", model, formats=["svg"])
    with pytest.raises(InputError, match="There is no file or folder"):
        segment_files([tmp_path / "none"], tmp_path / "out", model)
    assert not (tmp_path / "out").exists()


def test_output_that_cannot_be_a_folder(model: Model, images: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"Cannot write in .*file.*another output folder"):
        segment_files([images], tmp_path / "file", model)
    with pytest.raises(InputError, match=r"Cannot write "):
        segment_files([images], tmp_path / "file" / "deeper", model)


def test_input_that_vanishes_on_the_way(model: Model, images: Path, tmp_path: Path):
    def progress(done: int, _total: int) -> None:
        if done == 1:
            (images / "two.png").unlink()

    result = segment_files([images], tmp_path / "out", model, progress=progress)
    assert [row.status for row in result] == ["ok", "empty", "failed"]
    assert "There is no file" in result[2].error


def test_full_disk_stops_the_run_with_no_half_file(
    model: Model, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out, write_bytes = tmp_path / "out", Path.write_bytes

    def full(self: Path, data) -> int:
        if "two" in self.name and "overlays" in self.parts:
            write_bytes(self, bytes(data)[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"Cannot write .*two\.png: No space left on device"):
        segment_files([images], out, model)
    assert "overlays/two.png" not in contents(out)
    assert not list(out.rglob(".partial-*"))
    monkeypatch.undo()
    segment_files([images], out, model, resume=True)
    segment_files([images], tmp_path / "whole", model)
    assert contents(out) == contents(tmp_path / "whole")


@pytest.fixture
def small_disk(tmp_path: Path):
    """Mount a file system of 64 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system needs root on Linux")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_really_full_disk(model: Model, images: Path, small_disk: Path):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    PIL.Image.fromarray(noise).save(images / "noise.png")
    with pytest.raises(InputError, match=r"Cannot write .*: No space left on device"):
        segment_files([images], small_disk, model)
    for path in (path for path in small_disk.rglob("*") if path.suffix in (".tif", ".png")):
        read_image(path)
    assert not list(small_disk.rglob(".partial-*"))


def test_formats_that_are_folders(bright_model: Path, tmp_path: Path):
    source, out = tmp_path / "a.png", tmp_path / "out"
    image = np.zeros((16, 20), np.uint8)
    image[2:6, 2:6] = image[9:14, 9:14] = 255
    PIL.Image.fromarray(image).save(source)
    model = load_model(bright_model)
    segment_files([source], out, model, formats=["masks"])
    masks = out / "masks" / "a" / "masks"
    written = {path: path.stat().st_mtime_ns for path in masks.iterdir()}
    assert [path.name for path in sorted(written)] == ["1.png", "2.png"]
    # What a killed run leaves.
    (masks.parent / ".partial-masks-new").mkdir()
    (masks.parent / ".partial-masks-new" / "1.png").touch()
    segment_files([source], out, model, formats=["masks"], resume=True)
    assert {path: path.stat().st_mtime_ns for path in masks.iterdir()} == written
    assert [path.name for path in masks.parent.iterdir()] == ["masks"]
    source.write_text("no image any more")
    segment_files([source], out, model, formats=["masks"])
    assert list(masks.parent.iterdir()) == []


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Two slices with two channels; the nuclei of slices 0 and 1 in channel DAPI are 2 and 3."""
    path = tmp_path / "in" / "deep.ome.tif"
    path.parent.mkdir()
    nuclei = np.stack([squares(2), squares(3)])
    other = np.full_like(nuclei, 255)
    about = {"axes": "ZCYX", "Channel": {"Name": ["Actin", "DAPI"]}}
    tifffile.imwrite(path, np.stack([other, nuclei], axis=1), metadata=about)
    PIL.Image.fromarray(squares(1)).save(tmp_path / "in" / "flat.png")
    return path


def test_each_plane_is_an_image(model: Model, stack: Path, tmp_path: Path):
    out = tmp_path / "out"
    result = segment_files([stack.parent], out, model, formats=["labels"])
    assert [(row.path, row.plane, row.nuclei) for row in result] == [
        (str(stack), "z000", 2),
        (str(stack), "z001", 3),
        (str(stack.parent / "flat.png"), "", 1),
    ]
    assert read_image(out / "labels" / "deep.ome_z001.tif").pixels.max() == 3
    columns = ["path", "plane", "status", "nuclei", "seconds", "error", "warnings"]
    assert list(rows(out / "images.csv")[0])[:7] == columns
    table = rows(out / "measurements.csv")
    assert list(table[0])[:3] == ["image", "plane", "label"]
    assert [row["plane"] for row in table] == ["z000"] * 2 + ["z001"] * 3 + [""]


def test_what_was_read_is_told(model: Model, stack: Path, tmp_path: Path):
    segment_files([stack.parent], tmp_path / "out", model)
    run = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert run["reading"] == {
        "channel": None,
        "project": "none",
        "pixel_size": None,
        "exclude": [],
        "measuring": Measuring().model_dump(mode="json"),
    }
    assert run["channels"] == {str(stack): "DAPI", str(stack.parent / "flat.png"): "all"}
    assert run["inputs"].keys() == run["channels"].keys()
    assert len(run["inputs"][str(stack)]) == 64


def test_channel_and_projection(model: Model, stack: Path, tmp_path: Path):
    reading = Reading(channel="DAPI", project="max")
    (row,) = segment_files([stack], tmp_path / "out", model, reading=reading)
    assert (row.plane, row.nuclei) == ("", 3)
    assert list(rows(tmp_path / "out" / "images.csv")[0])[:2] == ["path", "status"]
    (row,) = segment_files([stack], tmp_path / "out", model, reading=Reading(channel="GFP"))
    assert row.status == "failed"
    assert "has no channel 'GFP'. Give --channel one of: 0 (Actin), 1 (DAPI)" in row.error
    run = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert run["channels"] == {str(stack): ""}


def test_a_given_pixel_size_is_used_whatever_the_file_says(
    model: Model, images: Path, tmp_path: Path
):
    segment_files([images], tmp_path / "out", model, reading=Reading(pixel_size=2))
    assert {row["area_um2"] for row in rows(tmp_path / "out" / "measurements.csv")} == {"140"}
    assert read_image(tmp_path / "out" / "labels" / "two.tif").pixel_size == pytest.approx((2, 2))


def test_resume_does_again_what_was_read_otherwise(model: Model, stack: Path, tmp_path: Path):
    out = tmp_path / "out"
    segment_files([stack], out, model, reading=Reading(channel="1"))
    before = modified(out)
    segment_files([stack], out, model, reading=Reading(channel="1"), resume=True)
    assert modified(out) == before
    result = segment_files([stack], out, model, reading=Reading(channel="0"), resume=True)
    assert {row.nuclei for row in result} == {1}


def test_a_zarr_folder_is_read_hashed_and_done_again_if_it_changes(model: Model, tmp_path: Path):
    path = tmp_path / "in" / "a.ome.zarr"
    group = zarr.create_group(path)
    array = group.create_array("0", data=squares(3), chunks=(16, 16))
    group.attrs["ome"] = {"multiscales": [{"axes": ["y", "x"], "datasets": [{"path": "0"}]}]}
    hashes = set()
    for count in (3, 2):
        array[:] = squares(count)
        (row,) = segment_files([path.parent], tmp_path / "out", model, resume=True)
        assert (row.path, row.nuclei) == (str(path), count)
        run = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
        hashes.add(run["inputs"][str(path)])
    assert {len(each) for each in hashes} == {64}
    assert len(hashes) == 2
    assert read_image(tmp_path / "out" / "labels" / "a.ome.tif").pixels.max() == 2


def test_a_stack_that_loses_planes_while_the_run_goes_on(model: Model, stack: Path, tmp_path: Path):
    def progress(done: int, _total: int) -> None:
        if done == 0:
            tifffile.imwrite(stack, squares(2))

    result = segment_files([stack], tmp_path / "out", model, progress=progress)
    assert [row.status for row in result] == ["failed", "failed"]
    assert "has changed since the run began. Start the run again." in result[0].error


def test_a_file_is_opened_once_for_all_of_its_planes(
    model: Model, stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    opened = []

    def count(path: Path, **options):
        opened.append(path.name)
        return open_image(path, **options)

    monkeypatch.setattr("nucseg.batch.records.open_image", count)
    segment_files([stack.parent], tmp_path / "out", model)
    assert opened == ["deep.ome.tif", "flat.png"]


@pytest.fixture
def large_image(tmp_path: Path) -> Path:
    """A tiled TIFF of 1,000 by 1,200 pixels with bright squares."""
    image = np.zeros((1000, 1200), np.uint8)
    for row in range(10, 980, 60):
        for column in range(10, 1180, 70):
            image[row : row + 12, column : column + 15] = 200
    tifffile.imwrite(tmp_path / "large.tif", image, tile=(256, 256))
    return tmp_path / "large.tif"


def test_images_too_large_for_the_memory_give_the_same(
    bright_model: Path, large_image: Path, tmp_path: Path
):
    model = load_model(bright_model)
    for name, window in (("whole", 2048), ("windows", 448)):
        chosen = replace(model, window=window, image_pixels=5 * window**2)
        (outcome,) = segment_files([large_image], tmp_path / name, chosen)
        assert (outcome.status, outcome.error) == ("ok", "")
        assert outcome.nuclei == 17 * 17
    labels = [read_image(tmp_path / name / "labels" / "large.tif").pixels for name in
              ("whole", "windows")]  # fmt: skip
    np.testing.assert_array_equal(labels[0] > 0, labels[1] > 0)
    tables = [pd.read_csv(tmp_path / name / "measurements.csv") for name in ("whole", "windows")]
    places = ["centroid_row", "centroid_column"]
    first, second = (
        table.sort_values(places).drop(columns="label").reset_index(drop=True) for table in tables
    )
    pd.testing.assert_frame_equal(first, second)
    assert not list((tmp_path / "windows").rglob(".partial-*"))


def test_images_too_large_for_the_memory_are_written_in_every_format(
    bright_model: Path, large_image: Path, tmp_path: Path
):
    model, formats = (
        replace(load_model(bright_model), window=448, image_pixels=5 * 448**2),
        list(FORMATS),
    )
    (outcome,) = segment_files([large_image], tmp_path / "out", model, formats=formats)
    assert (outcome.status, outcome.error) == ("ok", "")
    assert all(path.exists() for path in output_files(tmp_path / "out", "large", formats))
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 17 * 17
    assert not list((tmp_path / "out").rglob(".partial-*"))


def test_a_format_that_is_not_installed_stops_before_anything_is_done(
    bright_model: Path, large_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingExtraError, match=r"The format zarr needs.*nucseg\[formats\]"):
        segment_files(
            [large_image], tmp_path / "out", load_model(bright_model), formats=["labels", "zarr"]
        )
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def model_of_three(bright_model: Path) -> Model:
    """On three threads, so that three images are worked on side by side."""
    return load_model(bright_model, threads=3)


@pytest.fixture
def many(images: Path) -> Path:
    for number in range(12):
        PIL.Image.fromarray(squares(number % 5, number)).save(images / f"{number:02}.png")
    (images / "05.png").write_text("no image")
    return images


def test_side_by_side_gives_the_same_as_one_by_one(
    model: Model, model_of_three: Model, many: Path, tmp_path: Path
):
    segment_files([many], tmp_path / "one", model)
    steps = []
    result = segment_files(
        [many], tmp_path / "three", model_of_three, progress=lambda *step: steps.append(step)
    )
    assert (steps[0], steps[-1]) == ((0, 15), (15, 15))
    assert [row.status for row in result].count("failed") == 1
    assert contents(tmp_path / "three") == contents(tmp_path / "one")
    assert outcomes(tmp_path / "three") == outcomes(tmp_path / "one")


def test_side_by_side_stops_at_once_and_is_resumed(
    model: Model, model_of_three: Model, many: Path, tmp_path: Path
):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        segment_files([many], out, model_of_three, progress=stop_after(2))
    assert not (out / "images.csv").exists()
    assert not list(out.rglob(".partial-*"))
    segment_files([many], out, model_of_three, resume=True)
    segment_files([many], tmp_path / "whole", model)
    assert contents(out) == contents(tmp_path / "whole")
    assert outcomes(out) == outcomes(tmp_path / "whole")


def test_an_output_that_cannot_be_written_stops_all(
    model_of_three: Model, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_args):
        raise InputError("Cannot write it.")

    monkeypatch.setattr("nucseg.batch.process.save_formats", full)
    with pytest.raises(InputError, match=r"Cannot write it\."):
        segment_files([many], tmp_path / "out", model_of_three)
    assert not (tmp_path / "out" / "images.csv").exists()


def test_large_images_between_small_ones(
    model: Model, model_of_three: Model, large_image: Path, many: Path, tmp_path: Path
):
    for name, chosen in (("one", model), ("three", model_of_three)):
        segment_files(
            [many, large_image],
            tmp_path / name,
            replace(chosen, window=448, image_pixels=5 * 448**2),
        )
    assert contents(tmp_path / "three") == contents(tmp_path / "one")


@pytest.mark.parametrize("threads", [1, 3])
def test_progress_within_a_large_image(
    threads: int, bright_model: Path, large_image: Path, images: Path, tmp_path: Path
):
    model = replace(load_model(bright_model, threads=threads), window=448, image_pixels=5 * 448**2)
    steps = []
    segment_files([images / "two.png", large_image], tmp_path / "out", model,
                  progress=lambda *step: steps.append(step))  # fmt: skip
    assert (steps[0], steps[-1]) == ((0, 2), (2, 2))
    assert len({done for done, _ in steps if done % 1 > 0}) > 2
    if threads == 1:
        assert steps == sorted(steps)


@pytest.mark.skipif(os.name == "nt", reason="signals are others on Windows")
@pytest.mark.parametrize("threads", [1, 3])
def test_an_interrupt_stops_a_large_image(
    threads: int, bright_model: Path, large_image: Path, images: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    model = replace(load_model(bright_model, threads=threads), window=448, image_pixels=5 * 448**2)
    windows = []
    # Tests that a shell runs in the background ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def segment_slowly(*args, progress, **options):
        def slower(done: int, total: int) -> None:
            progress(done, total)
            windows.append(total)
            if done == 3:
                _thread.interrupt_main()
            time.sleep(0.01)

        return segment_large(*args, progress=slower, **options)

    monkeypatch.setattr("nucseg.inference.planes.segment_large", segment_slowly)
    try:
        with pytest.raises(KeyboardInterrupt):
            segment_files([images / "two.png", large_image], tmp_path / "out", model)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(windows) < windows[0] / 2
    assert not list((tmp_path / "out").rglob(".partial-*"))
    monkeypatch.undo()
    result = segment_files([images / "two.png", large_image], tmp_path / "out", model, resume=True)
    assert [row.status for row in result] == ["ok", "ok"]


@pytest.mark.skipif(os.name == "nt", reason="paths are shorter on Windows")
@pytest.mark.parametrize(("length", "status"), [(247, "ok"), (251, "ok"), (252, "failed")])
def test_names_as_long_as_can_be(
    length: int, status: str, model: Model, images: Path, tmp_path: Path
):
    name = "ä" + "n" * (length - 2)
    suffix = ".png"[: 255 - length]
    (images / "two.png").rename(images / f"{name}{suffix}")
    path = images / f"{name}{suffix}"
    first = segment_files([images / "none.png", path], tmp_path / "out", model)
    assert [row.status for row in first] == ["empty", status]
    if status == "failed":
        assert "too long" in first[1].error
        assert "255 bytes. Rename it." in first[1].error
    before = modified(tmp_path / "out")
    again = segment_files([images / "none.png", path], tmp_path / "out", model, resume=True)
    assert [row.status for row in again] == ["empty", status]
    assert modified(tmp_path / "out") == before
    assert len(rows(tmp_path / "out" / "measurements.csv")) == (2 if status == "ok" else 0)


def test_results_deleted_during_the_run_are_told(bright_model: Path, tmp_path: Path):
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        PIL.Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "in" / f"{name}.png")
    first = tmp_path / "out" / "labels" / "a.tif"

    def progress(done: float, _total: int) -> None:
        if done >= 1:
            first.unlink(missing_ok=True)

    model = load_model(bright_model, threads=1)
    found = segment_files([tmp_path / "in"], tmp_path / "out", model, progress=progress)
    assert [outcome.status for outcome in found] == ["failed", "empty"]
    assert "deleted while the run went on" in found[0].error
    again = segment_files([tmp_path / "in"], tmp_path / "out", model, resume=True)
    assert [(outcome.status, outcome.kept) for outcome in again] == [
        ("empty", False),
        ("empty", True),
    ]
