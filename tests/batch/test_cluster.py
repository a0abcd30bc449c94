"""A run on the workers of a Dask cluster: the same files, whatever dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from nucseg import load_model
from nucseg.batch.cluster import Dask
from nucseg.batch.cluster import _work as work
from nucseg.batch.run import segment_files
from nucseg.cli.main import app
from nucseg.errors import InputError, MissingExtraError

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.slow,
    # Of Dask, when a cluster ends while a worker is dead.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = np.zeros((80, 90), np.uint8)
        for row, column in rng.integers(5, 70, (number % 4, 2)):
            pixels[row : row + 8, column : column + 9] = 200
        PIL.Image.fromarray(pixels).save(folder / f"{number:02}.png")
    (folder / "broken.png").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def expected(images: Path, bright_model: Path, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("threads") / "out"
    segment_files([images], out, load_model(bright_model, threads=1))
    return contents(out)


def contents(folder: Path) -> dict[str, bytes]:
    """Files of a run, but for those with times in them, by path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    timed = {"run.json", "images.csv"}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.name not in timed and ".json" not in path.suffixes
    }


def test_it_gives_the_same_files_as_threads(images, bright_model, expected, tmp_path):
    steps: list[float] = []
    outcomes = segment_files(
        [images],
        tmp_path / "out",
        load_model(bright_model, threads=1),
        executor=Dask(workers=2),
        progress=lambda done, _total: steps.append(done),
    )
    assert [each.path for each in outcomes] == sorted(str(each) for each in images.iterdir())
    assert sum(each.status == "failed" for each in outcomes) == 1
    assert contents(tmp_path / "out") == expected
    assert steps == sorted(steps)
    assert steps[-1] == 13


class Killer:
    """A progress bar that kills a worker of this process's cluster now and then."""

    def __init__(self, *at: int) -> None:
        self.left, self.killed = list(at), 0

    def __call__(self, done: float, _total: int) -> None:
        if not self.left or done < self.left[0]:
            return
        self.left.pop(0)
        mine = ["pgrep", "-f", "spawn_main", "-P", str(os.getpid())]
        listed = subprocess.run(mine, capture_output=True, text=True, check=True).stdout.split()
        os.kill(int(listed[self.killed % len(listed)]), signal.SIGKILL)
        self.killed += 1


@pytest.mark.skipif(sys.platform != "linux", reason="pgrep")
def test_workers_that_are_killed_lose_nothing(images, bright_model, expected, tmp_path):
    killer = Killer(2, 5, 9)
    segment_files(
        [images],
        tmp_path / "out",
        load_model(bright_model, threads=1),
        executor=Dask(workers=2),
        progress=killer,
    )
    assert killer.killed == 3
    assert contents(tmp_path / "out") == expected


def test_an_image_on_which_workers_die_fails_and_the_others_go_on(
    images, bright_model, expected, tmp_path, monkeypatch
):
    folder = tmp_path / "in"
    shutil.copytree(images, folder)
    model = load_model(bright_model, threads=1)
    monkeypatch.setattr("nucseg.batch.cluster._work", die_of_the_third)
    outcomes = segment_files([folder], tmp_path / "out", model, executor=Dask(workers=2))
    failed = {Path(each.path).name: each.error for each in outcomes if each.status == "failed"}
    assert sorted(failed) == ["02.png", "broken.png"]
    assert "Workers died while they worked on this image" in failed["02.png"]
    found = contents(tmp_path / "out")
    labels = [name for name in expected if name.startswith("labels") and "02" not in name]
    assert [found[name] for name in labels] == [expected[name] for name in labels]


def die_of_the_third(image, **shared):
    """Process an image, but for one on which the worker dies."""
    if image.path.name == "02.png":
        os.kill(os.getpid(), signal.SIGKILL)
    return work(image, **shared)


def test_a_scheduler_of_its_own(images, bright_model, expected, tmp_path, monkeypatch):
    """Scheduler and workers as processes that were started before, in another folder."""
    file = tmp_path / "scheduler.json"
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--scheduler-file", file,
         "--port", "0", "--no-dashboard", "--host", "127.0.0.1"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    worker = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", file,
         "--nworkers", "2", "--nthreads", "1", "--no-dashboard"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        monkeypatch.chdir(images.parent)
        result = CliRunner().invoke(
            app,
            ["segment", images.name, "-o", str(tmp_path / "out"), "--model", str(bright_model),
             "--scheduler", str(file)],
        )  # fmt: skip
        assert result.exit_code == 1, result.output
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait()
    labels = [name for name in expected if name.startswith("labels")]
    found = contents(tmp_path / "out")
    assert [found[name] for name in labels] == [expected[name] for name in labels]


@pytest.mark.parametrize("scheduler", ["tcp://127.0.0.1:1", "127.0.0.1:1", "none.json"])
def test_no_scheduler_answers_and_an_earlier_run_stays(
    scheduler, images, bright_model, tmp_path, monkeypatch
):
    monkeypatch.setattr("nucseg.batch.cluster._PATIENCE", 1)
    out = tmp_path / "out"
    segment_files([images / "03.png"], out, load_model(bright_model, threads=1))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    result = CliRunner().invoke(
        app, ["segment", str(images), "-o", str(out), "--scheduler", scheduler]
    )
    assert result.exit_code == 2
    assert f"No Dask scheduler answers at {scheduler}" in " ".join(result.stderr.split())
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "2"], "--workers is for --engine dask"),
        (["--engine", "dask", "--threads", "2"], "A Dask worker uses one core"),
        (["--scheduler", "tcp://127.0.0.1:1", "--workers", "2"], "has its own workers"),
    ],
)
def test_options_that_have_no_effect_are_errors(options, message, images, tmp_path):
    result = CliRunner().invoke(app, ["segment", str(images), "-o", str(tmp_path), *options])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


@pytest.mark.skipif(sys.platform == "win32", reason="process groups")
def test_an_interrupt_of_command_and_workers_is_resumed(images, bright_model, expected, tmp_path):
    """As Ctrl-C in a terminal, which all processes of the command get."""
    folder, out = tmp_path / "in", tmp_path / "out"
    for part in range(8):
        shutil.copytree(images, folder / str(part))
    command = [sys.executable, "-m", "nucseg", "segment", folder, "-o", out, "--model",
               bright_model, "--engine", "dask", "--workers", "2"]  # fmt: skip
    # Programs that a shell starts in the background ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
    finally:
        signal.signal(signal.SIGINT, before)
    while len(list(out.rglob(".nucseg/**/*.json"))) < 10 and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert b"--resume goes on from here" in error
    outcomes = segment_files(
        [folder], out, load_model(bright_model, threads=1), resume=True, executor=Dask(workers=2)
    )
    assert sum(each.kept for each in outcomes) >= 9
    found = contents(out)
    for name in (each for each in expected if each.startswith("labels")):
        place, file = name.split("/")
        assert all(found[f"{place}/{part}/{file}"] == expected[name] for part in range(8))


def test_wrong_use_is_explained(monkeypatch):
    with pytest.raises(InputError, match="at least 1 worker"):
        Dask(workers=0)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"nucseg\[scale\]"):
        Dask()
