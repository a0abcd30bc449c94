"""``nucseg evaluate`` that fails leaves the folder of its results as it was."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from nucseg.cli.main import app
from nucseg.datasets.reading import Dataset


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for kind in ("images", "labels"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for name, corner in (("a", 0), ("b", 10), ("c", 20)):
        labels = np.zeros((40, 40), np.uint16)
        labels[corner : corner + 12, corner : corner + 12] = 1
        tifffile.imwrite(tmp_path / "data" / "labels" / f"{name}.tif", labels)
        picture = labels.astype(np.uint8) * 255
        cv2.imwrite(str(tmp_path / "data" / "images" / f"{name}.png"), picture)
    return tmp_path / "data"


@pytest.fixture(params=["new", "earlier"])
def out(request: pytest.FixtureRequest, data: Path, tmp_path: Path) -> Path:
    """Where nothing was, or the results of an earlier evaluation with a file of the user's."""
    folder = tmp_path / "deep" / "out"
    if request.param == "earlier":
        result = run(data, "--labels", data / "labels", "-o", folder, "--plots")
        assert result.exit_code == 0, result.output
        (folder / "panels" / "notes.txt").write_text("mine")
    return folder


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


MISTAKES: dict[str, tuple[str, ...]] = {
    "a model and labels": ("--model", "nuclei", "--labels", "labels"),
    "an unknown model": ("--model", "zebra"),
    "no folder of labels": ("--labels", "nowhere"),
    "no such subset": ("--labels", "labels", "--split", "split.csv", "--subset", "zebra"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_leaves_all_as_it_was(mistake: str, data: Path, out: Path, tmp_path: Path):
    before = contents(tmp_path)
    result = run(data, *MISTAKES[mistake], "-o", out)
    assert result.exit_code == 2
    assert contents(tmp_path) == before


def vanish(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let images be there when they are judged and be gone when their panels are drawn."""
    read, times = Dataset.read, 0

    def once(self: Dataset, image_id: str):
        nonlocal times
        times += 1
        if times > 4:
            self.path.joinpath("images", f"{image_id}.png").unlink()
        return read(self, image_id)

    monkeypatch.setattr(Dataset, "read", once)
    return "images"


def no_space(monkeypatch: pytest.MonkeyPatch) -> str:
    def full(_path: Path, _summary: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("nucseg.evaluation.report.write_run_record", full)
    return "No space left on device"


def no_plot(monkeypatch: pytest.MonkeyPatch) -> str:
    def full(*_args: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("nucseg.evaluation.report._write_plot", full)
    return "Input/output error"


@pytest.mark.parametrize("fault", [vanish, no_space, no_plot])
def test_a_fault_while_writing_leaves_all_as_it_was(
    fault, data: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = contents(tmp_path)
    message = fault(monkeypatch)
    result = run(data, "--labels", data / "labels", "-o", out, "--plots")
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
    after = contents(tmp_path)
    images = {path for path in before if path.parent.name == "images"}
    assert {k: v for k, v in after.items() if k not in images} == {
        k: v for k, v in before.items() if k not in images
    }


def test_an_interrupt_leaves_all_as_it_was(
    data: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    before = contents(tmp_path)
    monkeypatch.setattr("nucseg.evaluation.report.write_table", interrupt)
    result = run(data, "--labels", data / "labels", "-o", out)
    assert result.exit_code != 0
    assert contents(tmp_path) == before


def test_an_earlier_evaluation_is_replaced_whole(data: Path, tmp_path: Path):
    again, fresh = tmp_path / "again", tmp_path / "fresh"
    labels = ("--labels", data / "labels")
    assert run(data, *labels, "-o", again, "--plots").exit_code == 0
    (again / ".partial-evaluation").mkdir()  # of one that was killed
    (again / ".partial-evaluation" / "images.csv").touch()
    (data / "images" / "a.png").unlink()
    (data / "labels" / "a.tif").unlink()
    for folder in (again, fresh):
        assert run(data, *labels, "-o", folder, "--no-plots").exit_code == 0
    names = {path.relative_to(again) for path in again.rglob("*") if path.is_file()}
    assert names == {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()}
    assert (again / "images.csv").read_bytes() == (fresh / "images.csv").read_bytes()
