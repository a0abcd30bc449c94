"""One image on its own: what happens to it depends on the image and the job alone."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from nucseg import load_model
from nucseg.batch import records
from nucseg.batch.executors import Threads
from nucseg.batch.inputs import Input, search_inputs
from nucseg.batch.process import Job, process_image
from nucseg.batch.records import InputFiles
from nucseg.batch.run import segment_files
from nucseg.config import Reading
from nucseg.inference.segmenter import Model


@pytest.fixture
def model(bright_model: Path) -> Model:
    return load_model(bright_model, threads=1)


@pytest.fixture
def image(tmp_path: Path) -> Input:
    folder = tmp_path / "in"
    folder.mkdir()
    pixels = np.zeros((60, 70), np.uint8)
    pixels[10:25, 20:35] = pixels[40:50, 5:15] = 200
    PIL.Image.fromarray(pixels).save(folder / "two.png")
    (found,) = search_inputs([folder], tmp_path / "out", Reading()).images
    return found


def job_in(folder: Path, model: Model) -> Job:
    (folder / records.FOLDER).mkdir(parents=True)
    return Job(folder, model, InputFiles(Reading()), formats=("labels",), of_all=("report",))


def without_time(record: dict[str, object]) -> dict[str, object]:
    return {**record, "seconds": 0}


def test_another_process_gives_the_same_record_and_files(image, model, tmp_path):
    here = process_image(image, job_in(tmp_path / "here", model))
    job = job_in(tmp_path / "there", model)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        there = pool.submit(process_image, image, job).result(timeout=120)
    assert here["status"] == "ok"
    assert here["nuclei"] == 2
    assert without_time(there) == without_time(here)
    names = [path.relative_to(tmp_path / "here") for path in (tmp_path / "here").rglob("*.tif")]
    assert names == [Path("labels/two.tif")]
    for name in (*names, Path(records.FOLDER, f"two{records.COLUMNS}")):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_a_job_says_all_that_a_worker_needs(image, model, tmp_path):
    job = job_in(tmp_path / "out", model)
    sent = pickle.loads(pickle.dumps(job))
    assert (sent.folder, sent.formats, sent.of_all) == (job.folder, job.formats, job.of_all)
    assert sent.model.card == model.card
    assert sent.files.reading == job.files.reading
    pixels = np.asarray(PIL.Image.open(image.path))
    np.testing.assert_array_equal(sent.model.segment(pixels).labels, model.segment(pixels).labels)


def test_a_second_time_is_kept(image, model, tmp_path):
    job = job_in(tmp_path / "out", model)
    first = process_image(image, job)
    again = process_image(image, Job(**{**vars(job), "resume": True}))
    assert (first["kept"], again["kept"]) == (False, True)
    assert without_time({**again, "kept": False}) == without_time(first)


def test_what_progress_raises_ends_the_work(image, model, tmp_path):
    class EnoughError(Exception):
        pass

    def enough(_share: float) -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        process_image(image, job_in(tmp_path / "out", model), progress=enough)


@pytest.mark.parametrize("most", [1, 3])
def test_executors_give_the_same_run(most, model, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(5):
        pixels = np.zeros((80, 90), np.uint8)
        pixels[10 : 20 + number, 20:35] = pixels[50:60, 5 : 15 + number] = 200
        PIL.Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"nothing")
    steps: list[float] = []
    outcomes = segment_files(
        [folder],
        tmp_path / "out",
        model,
        formats=("labels",),
        executor=Threads(most),
        progress=lambda done, _total: steps.append(done),
    )
    expected = segment_files([folder], tmp_path / "expected", model, formats=("labels",))
    assert [each.status for each in outcomes] == [each.status for each in expected]
    assert [each.nuclei for each in outcomes] == [each.nuclei for each in expected]
    assert sum(each.status == "failed" for each in outcomes) == 1
    assert steps == sorted(steps)
    assert steps[-1] == 6
    table = "measurements.csv"
    assert (tmp_path / "out" / table).read_bytes() == (tmp_path / "expected" / table).read_bytes()
    run = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert run["finished"]
