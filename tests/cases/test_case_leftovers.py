"""What an earlier run left in the output folder is gone after a run that replaces it."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from case_images import discs, nucseg, rows_of

from nucseg.batch import leftovers
from nucseg.batch import run as batch
from nucseg.batch.run import segment_files
from nucseg.inference.loading import load_model
from nucseg.inference.segmenter import Model

RECORDS = ".nucseg"


@pytest.fixture(scope="module")
def model(bright_model: Path) -> Model:
    return load_model(bright_model, threads=1)


def picture(count: int = 1) -> np.ndarray:
    image = np.full((24, 40), 20, np.uint8)
    for number in range(count):
        image[4:12, 4 + 12 * number : 12 + 12 * number] = 250
    return image


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(("a", "b", "deep/c"), start=1):
        PIL.Image.fromarray(picture(number)).save(folder / f"{name}.png")
    return folder


def contents(folder: Path) -> set[str]:
    """Files, and folders without any."""
    return {
        each.relative_to(folder).as_posix()
        for each in folder.rglob("*")
        if each.is_file() or not any(each.iterdir())
    }


def results(folder: Path, *, but: Sequence[str] = ("images.csv", "run.json")) -> dict[str, bytes]:
    """Content of all files that do not say when they were written."""
    return {
        name: (folder / name).read_bytes()
        for name in contents(folder)
        if name not in but and not name.startswith(RECORDS)
    }


def test_a_stack_and_then_its_projection(tmp_path: Path):
    stack = np.stack([discs()[0]] * 3)
    tifffile.imwrite(tmp_path / "s.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    out = tmp_path / "out"
    for options in ((), ("--project", "max")):
        result = nucseg("segment", tmp_path / "s.tif", "-o", out, *options)
        assert result.exit_code == 0, result.output
    kept = {f"{RECORDS}/s{end}" for end in (".json", ".npy", ".jpg")}
    tables = {"images.csv", "measurements.csv", "report.html", "run.json"}
    assert contents(out) == {"labels/s.tif", "overlays/s.png", *kept, *tables}


def test_other_images(model: Model, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    segment_files([images], out, model)
    segment_files([images / "a.png"], out, model)
    segment_files([images / "a.png"], tmp_path / "clean", model)
    assert contents(out) == contents(tmp_path / "clean")


def test_an_image_that_was_deleted(model: Model, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    segment_files([images], out, model)
    (images / "deep" / "c.png").unlink()
    segment_files([images], out, model)
    assert not (out / "labels" / "deep").exists()
    assert not (out / RECORDS / "deep").exists()
    assert (out / "labels" / "b.tif").exists()


def test_other_formats(model: Model, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    segment_files([images], out, model, formats=["labels", "rois", "masks", "parquet"])
    segment_files([images], out, model, formats=["labels"])
    segment_files([images], tmp_path / "clean", model, formats=["labels"])
    assert contents(out) == contents(tmp_path / "clean")


def test_an_image_that_fails_now(model: Model, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    segment_files([images], out, model, formats=["labels", "rois"])
    (images / "a.png").write_bytes(b"no image")
    segment_files([images], out, model, formats=["labels"])
    assert not list(out.rglob("a.tif"))
    assert not (out / "rois").exists()


def test_files_that_are_not_of_nucseg_stay(model: Model, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    segment_files([images], out, model, formats=["labels", "rois"])
    own = [out / "labels" / "notes.txt", out / "rois" / "mine.zip", out / "mine.csv"]
    own += [out / "labels" / "deep" / "z.tif", out / "elsewhere" / "a.tif"]
    for path in own:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    segment_files([images / "a.png"], out, model, formats=["labels"])
    assert all(path.read_text() == "mine" for path in own)
    assert {each.name for each in (out / "labels").rglob("*.tif")} == {"a.tif", "z.tif"}


def test_a_file_put_where_nucseg_had_removed_its_own(model: Model, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    for formats in (["labels", "rois"], ["labels"]):
        segment_files([images], out, model, formats=formats)
    (out / "rois").mkdir()
    (out / "rois" / "a.zip").write_text("mine")
    segment_files([images], out, model, formats=["labels"])
    assert (out / "rois" / "a.zip").read_text() == "mine"


@pytest.mark.parametrize("name", ["../../precious", "/tmp/precious", "C:/precious"])
def test_a_record_cannot_name_files_elsewhere(
    name: str, model: Model, images: Path, tmp_path: Path
):
    out = tmp_path / "deep" / "out"
    segment_files([images / "a.png"], out, model)
    precious = tmp_path / "precious.tif"
    precious.write_text("mine")
    (out / RECORDS / "x.json").write_text(json.dumps({"name": name, "formats": ["labels"]}))
    segment_files([images / "a.png"], out, model)
    assert precious.read_text() == "mine"


def test_records_that_cannot_be_read_stop_nothing(model: Model, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    segment_files([images], out, model)
    (out / RECORDS / "b.json").write_text("{")
    (out / RECORDS / "deep" / "c.json").write_text("[]")
    (row,) = segment_files([images / "a.png"], out, model)
    assert row.status == "ok"


def test_records_of_older_versions_name_no_image(model: Model, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    segment_files([images], out, model)
    for path in (out / RECORDS).rglob("*.json"):
        record = json.loads(path.read_text())
        del record["name"], record["written"]
        path.write_text(json.dumps(record))
    segment_files([images / "a.png"], out, model)
    assert {each.name for each in (out / "labels").rglob("*.tif")} == {"a.tif"}


def test_a_resumed_run_completes(
    model: Model, images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    out = tmp_path / "out"
    segment_files([images / "a.png"], out, model, formats=["labels", "rois"])
    segment_files([images / "b.png"], out, model, formats=["labels"], resume=True)
    assert "also holds results of 1 images that are not among these inputs" in caplog.text
    assert (out / "labels" / "a.tif").exists()
    # A format more of the same results leaves the others valid.
    segment_files([images / "a.png"], out, model, formats=["geojson"], resume=True)
    assert (out / "rois" / "a.zip").exists()
    (row,) = segment_files([images / "a.png"], out, model, formats=["rois"], resume=True)
    assert row.kept


def test_a_resumed_run_of_other_settings_leaves_no_format_of_before(
    model: Model, images: Path, tmp_path: Path
):
    out = tmp_path / "out"
    segment_files([images / "a.png"], out, model, formats=["labels", "rois"])
    other = model.with_postprocessing(threshold=0.6)
    segment_files([images / "a.png"], out, other, formats=["labels"], resume=True)
    assert not (out / "rois").exists()


class Killed(BaseException):
    """Nothing catches it, as nothing does a kill."""


@pytest.mark.parametrize("fatal", range(1, 30, 2))
def test_a_run_that_is_killed_while_it_replaces(
    fatal: int, model: Model, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out, clean = tmp_path / "out", tmp_path / "clean"
    segment_files([images], out, model, formats=["labels", "rois", "masks"])
    before = {name for name in contents(out) if name.startswith(("rois/", "masks/"))}
    left, real = fatal, Path.replace

    def replace(self: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    try:
        segment_files([images / "a.png"], out, model, formats=["labels", "masks"])
    except Killed:
        # What is not made again was not lost, unless all that is new was there.
        gone = before - contents(out)
        assert (out / "images.csv").exists() or all("/a" in name for name in gone)
    monkeypatch.setattr(Path, "replace", real)
    segment_files([images / "a.png"], out, model, formats=["labels", "masks"], resume=True)
    segment_files([images / "a.png"], clean, model, formats=["labels", "masks"])
    assert results(out) == results(clean)
    assert {each for each in contents(out) if each.startswith(RECORDS)} == {
        each for each in contents(clean) if each.startswith(RECORDS)
    }


def test_what_cannot_be_removed_is_an_error(
    model: Model, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    segment_files([images], tmp_path / "out", model)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(leftovers, "remove", refuse)
    result = nucseg(
        "segment", images / "a.png", "-o", tmp_path / "out", "--model", model.runtime._path.parent
    )
    assert result.exit_code == 2
    assert "Cannot remove what an earlier run left" in result.stderr


@pytest.mark.parametrize("threads", [2, 4])
def test_when_a_run_ends_its_threads_have_ended(
    threads: int, bright_model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    started = threading.Event()
    real = batch.save_formats

    def slow(*given: object) -> list[Path]:
        started.set()
        threading.Event().wait(0.3)
        return real(*given)

    def stop(done: float, total: int) -> None:
        if started.is_set():
            raise KeyboardInterrupt

    monkeypatch.setattr(batch, "save_formats", slow)
    before = set(threading.enumerate())
    model = load_model(bright_model, threads=threads)
    with pytest.raises(KeyboardInterrupt):
        segment_files([images], tmp_path / "out", model, progress=stop)
    assert set(threading.enumerate()) <= before
    held = results(tmp_path / "out", but=())
    threading.Event().wait(0.5)
    assert results(tmp_path / "out", but=()) == held


def test_an_evaluation_that_fails_leaves_nothing(images: Path, tmp_path: Path):
    data = tmp_path / "data"
    for name in ("images", "labels"):
        (data / name).mkdir(parents=True)
    PIL.Image.fromarray(picture()).save(data / "images" / "a.png")
    PIL.Image.fromarray((picture() > 100).astype(np.uint8)).save(data / "labels" / "a.png")
    for given in (("--model", tmp_path / "none"), ("--labels", tmp_path / "none")):
        result = nucseg("evaluate", data, *given, "-o", tmp_path / "judged" / "here")
        assert result.exit_code == 2
        assert not (tmp_path / "judged").exists()
    assert (
        nucseg("evaluate", data, "--labels", data / "labels", "-o", tmp_path / "j").exit_code == 0
    )
    held = results(tmp_path / "j", but=())
    assert {"run.json", "metrics.json", "images.csv"} <= held.keys()
    assert nucseg("evaluate", data, "--model", "none", "-o", tmp_path / "j").exit_code == 2
    assert results(tmp_path / "j", but=()) == held


def test_tables_list_what_is_there(model: Model, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    segment_files([images], out, model)
    segment_files([images / "a.png", images / "b.png"], out, model)
    listed = {Path(row["path"]).stem for row in rows_of(out / "images.csv")}
    assert {each.stem for each in (out / "labels").rglob("*.tif")} == listed == {"a", "b"}
