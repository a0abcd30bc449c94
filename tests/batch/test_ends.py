"""When a run of several threads ends, none of them writes any more."""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from nucseg.batch import process as batch
from nucseg.batch.run import segment_files
from nucseg.errors import InputError
from nucseg.inference.loading import load_model
from nucseg.inference.segmenter import Model

COUNT = 30


@pytest.fixture
def model(bright_model: Path) -> Model:
    return load_model(bright_model, threads=3)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(COUNT):
        PIL.Image.fromarray(np.zeros((16, 16), np.uint8)).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Results take a while to be written; set once the first is begun."""
    save, begun = batch.save_formats, threading.Event()

    def slowly(*args):
        begun.set()
        time.sleep(0.2)
        return save(*args)

    monkeypatch.setattr(batch, "save_formats", slowly)
    return begun


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def check_ended(threads: set[threading.Thread], output: Path) -> None:
    """Nothing is written any more, and most images were not begun."""
    before = files(output)
    assert set(threading.enumerate()) <= threads
    time.sleep(0.3)
    assert files(output) == before
    assert len(list((output / "labels").glob("*.tif"))) < COUNT / 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, InputError])
def test_what_progress_raises_ends_all_threads(
    error: type[BaseException], model: Model, images: Path, slow: threading.Event, tmp_path: Path
):
    def progress(_done: float, _total: int) -> None:
        if slow.is_set():
            raise error("stop")

    threads = set(threading.enumerate())
    with pytest.raises(error):
        segment_files([images], tmp_path / "out", model, progress=progress)
    check_ended(threads, tmp_path / "out")


def test_an_error_of_the_output_ends_all_threads(
    model: Model, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    save = batch.save_formats

    def full(segmentation, folder: Path, name: str, formats):
        time.sleep(0.2 if name != "00" else 0.05)
        if name == "00":
            raise InputError("Cannot write 00.")
        return save(segmentation, folder, name, formats)

    monkeypatch.setattr(batch, "save_formats", full)
    threads = set(threading.enumerate())
    with pytest.raises(InputError, match="Cannot write 00"):
        segment_files([images], tmp_path / "out", model)
    check_ended(threads, tmp_path / "out")


@pytest.mark.skipif(os.name == "nt", reason="signals are others on Windows")
def test_a_second_interrupt_ends_all_threads_too(
    model: Model, images: Path, slow: threading.Event, tmp_path: Path
):
    def interrupt_twice() -> None:
        slow.wait()
        for _ in range(2):
            _thread.interrupt_main()
            time.sleep(0.05)

    # Tests that a shell runs in the background ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threads = set(threading.enumerate())
    interrupting = threading.Thread(target=interrupt_twice)
    interrupting.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            try:
                segment_files([images], tmp_path / "out", model)
            finally:
                interrupting.join()  # the second may come only now
        check_ended(threads, tmp_path / "out")
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_before_all_images_are_waiting_begins_no_more(
    model: Model, images: Path, slow: threading.Event, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    submit, submitted = ThreadPoolExecutor.submit, 0

    def interrupted(self: ThreadPoolExecutor, *args):
        nonlocal submitted
        submitted += 1
        if submitted == COUNT - 2:
            raise KeyboardInterrupt
        return submit(self, *args)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    threads = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        segment_files([images], tmp_path / "out", model)
    check_ended(threads, tmp_path / "out")
