import io
import json
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from browser_client import Browser, nuclei_image, png

from nucseg.app import batches
from nucseg.app.server import create_app
from nucseg.config import App
from nucseg.errors import InputError
from nucseg.inference.segmenter import Model

OWN = {"min_score": 0, "min_area": 4, "max_area": None, "border_nuclei": "keep"}


def send(browser: Browser, name: str, data: bytes | None = None):
    data = png(nuclei_image()) if data is None else data
    return browser.post("/api/batch/files", params={"name": name}, content=data)


def start(browser: Browser, **changes: Any):
    wanted = {"filters": OWN, "formats": ["labels"], **changes}
    return browser.post("/api/batch/start", json=wanted)


def ended(browser: Browser) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        report = browser.get("/api/batch").json()
        if report["state"] not in ("waiting", "running", "cancelling"):
            return report
        assert time.monotonic() < deadline, report
        time.sleep(0.02)


def test_a_batch_gives_what_segment_writes(browser: Browser, model: Model, temporary: Path):
    browser.post("/api/batch")
    for name in ("a.png", "a.png"):
        assert send(browser, name).status_code == 200
    send(browser, "broken.png", b"no image")
    started = start(browser, filters={**OWN, "min_area": 20}, formats=["labels", "rle"]).json()
    assert started["command"] == (
        "nucseg segment a.png 'a (2).png' broken.png -o out --model bright "
        "--save labels,rle --min-area 20"
    )
    report = ended(browser)
    assert (report["state"], report["done"], report["total"]) == ("done", 3, 3)
    assert [each["status"] for each in report["images"]] == ["ok", "ok", "failed"]
    assert [each["path"] for each in report["images"]] == ["a.png", "a (2).png", "broken.png"]
    reply = browser.get("/api/batch/results.zip")
    assert str(temporary) not in json.dumps(report)
    archive = zipfile.ZipFile(io.BytesIO(reply.content))
    assert sorted(archive.namelist()) == [
        "images.csv",
        "labels/a (2).tif",
        "labels/a.tif",
        "measurements.csv",
        "rle/a (2).csv",
        "rle/a.csv",
        "run.json",
    ]
    labels = tifffile.imread(io.BytesIO(archive.read("labels/a.tif")))
    direct = model.with_postprocessing(min_area=20).segment(nuclei_image())
    assert (labels == direct.labels).all()
    table = pd.read_csv(io.BytesIO(archive.read("measurements.csv")))
    assert table["image"].tolist() == ["a.png"] * 2 + ["a (2).png"] * 2
    for name in ("images.csv", "run.json", "measurements.csv"):
        assert str(temporary) not in archive.read(name).decode()
    record = json.loads(archive.read("run.json"))
    assert record["finished"]
    assert list(record["inputs"]) == ["a.png", "a (2).png", "broken.png"]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Runs wait at their second image until this is set."""
    proceed = threading.Event()
    segment = batches.segment_files

    def waiting(*args: Any, progress: Any, **options: Any) -> Any:
        def report(done: float, total: int) -> None:
            progress(done, total)
            while done >= 1 and not proceed.is_set():
                time.sleep(0.01)
                progress(done, total)

        return segment(*args, progress=report, **options)

    monkeypatch.setattr(batches, "segment_files", waiting)
    return proceed


def test_a_run_can_be_cancelled_and_gone_on_with(browser: Browser, slow: threading.Event):
    browser.post("/api/batch")
    for name in ("a.png", "b.png", "c.png"):
        send(browser, name)
    start(browser)
    assert "goes on" in start(browser).json()["error"]
    assert "run has begun" in send(browser, "d.png").json()["error"]
    assert browser.post("/api/batch/cancel").json()["state"] == "cancelling"
    report = ended(browser)
    assert report["state"] == "cancelled"
    assert "no results yet" in browser.get("/api/batch/results.zip").json()["error"]
    slow.set()
    start(browser, resume=True)
    report = ended(browser)
    assert (report["state"], len(report["images"])) == ("done", 3)


def test_one_batch_waits_for_the_other(browser: Browser, slow: threading.Event):
    other = Browser(browser.app)
    other.begin()
    for client in (browser, other):
        client.post("/api/batch")
        send(client, "a.png")
        start(client)
    states = {client.get("/api/batch").json()["state"] for client in (browser, other)}
    assert "waiting" in states
    waiting = other if other.get("/api/batch").json()["state"] == "waiting" else browser
    waiting.post("/api/batch/cancel")
    assert ended(waiting)["state"] == "cancelled"
    slow.set()
    assert ended(browser if waiting is other else other)["state"] == "done"


def test_a_session_that_ends_stops_its_batch(
    browser: Browser, slow: threading.Event, temporary: Path
):
    browser.post("/api/batch")
    send(browser, "a.png")
    start(browser)
    browser.delete("/api/session")
    assert not [path for path in temporary.rglob("*") if path.is_file()]


def test_stopping_the_app_stops_batches(model: Model, slow: threading.Event, temporary: Path):
    with Browser(create_app(model)) as client:
        client.begin()
        client.post("/api/batch")
        send(client, "a.png")
        start(client)
    assert not list(temporary.iterdir())


def test_what_a_batch_does_not_take(browser: Browser):
    assert browser.get("/api/batch").status_code == 404
    browser.post("/api/batch")
    assert "no files" in start(browser).json()["error"]
    assert "not taken" in send(browser, "list.csv", b"path\n/etc/passwd\n").json()["error"]
    assert send(browser, "large.png", bytes(100_001)).status_code == 413
    assert browser.get("/api/batch").json()["files"] == []
    for name in ("a.png", "b.png", "c.png"):
        send(browser, name)
    assert "may have 3 files" in send(browser, "d.png").json()["error"]
    assert browser.delete("/api/batch").json() == {}
    assert browser.get("/api/batch").status_code == 404


def test_a_batch_takes_no_image_of_too_many_pixels(model: Model):
    with Browser(create_app(model, App(max_pixels=0.0005))) as client:
        client.begin()
        client.post("/api/batch")
        assert send(client, "a.png").status_code == 413


def test_a_run_that_fails_tells_why(browser: Browser, monkeypatch: pytest.MonkeyPatch):
    browser.post("/api/batch")
    send(browser, "a.png")
    assert "Unknown format 'gif'" in error_of(browser, formats=["gif"])

    def no_room(_images: Any, output: Path, *_args: Any, **_options: Any):
        raise InputError(f"Cannot write {output / 'labels'}: no space left.")

    monkeypatch.setattr(batches, "segment_files", no_room)
    assert error_of(browser) == "Cannot write out/labels: no space left."

    def broken(*_args: Any, **_options: Any):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(batches, "segment_files", broken)
    assert "ZeroDivisionError" in error_of(browser)


def error_of(browser: Browser, **changes: Any) -> str:
    start(browser, **changes)
    report = ended(browser)
    assert report["state"] == "failed"
    return report["error"]


def test_the_command_of_many_files_names_a_folder(model: Model):
    with Browser(create_app(model)) as client:
        client.begin()
        client.post("/api/batch")
        for number in range(4):
            send(client, f"{number}.png", png(np.zeros((9, 9), np.uint8)))
        started = start(client).json()
        assert started["command"].startswith("nucseg segment images/ -o out")
        assert "images/" in started["notes"][0]
        report = ended(client)
        assert [each["status"] for each in report["images"]] == ["empty"] * 4
