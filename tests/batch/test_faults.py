"""A folder with bad images of all kinds; benchmarks/faults.py runs the command on a larger one."""

import os
import sys
from pathlib import Path

import pytest
import tifffile

from nucseg.batch.run import Outcome, segment_files
from nucseg.inference.loading import load_model
from nucseg.inference.segmenter import Model

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from faults_checks import broken, check_results, leftovers, rows
from faults_files import VANISHES, Case, write_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names, links, pipes of Linux")


@pytest.fixture(scope="module")
def model(bright_model: Path) -> Model:
    return load_model(bright_model, threads=2)


Done = tuple[Path, Path, list[Case], list[Outcome]]


@pytest.fixture(scope="module")
def done(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Done:
    place = tmp_path_factory.mktemp("faults")
    folder, output = place / "images", place / "out"
    cases = write_folder(folder, images=0)

    def vanish(_done: float, _total: int) -> None:
        for case in cases:
            if case.kind == VANISHES:
                case.path.unlink(missing_ok=True)

    return folder, output, cases, segment_files([folder], output, model, progress=vanish)


def test_each_image_comes_out_or_says_why_not(done: Done, model: Model):
    folder, output, cases, outcomes = done
    assert check_results(output, folder, cases, model) == {}
    assert leftovers(output, cases, folder) == []
    assert broken(output) == []
    bad = sum(bool(case.reason) for case in cases)
    assert sum(outcome.status == "failed" for outcome in outcomes) == bad == 40
    assert len(rows(output / "images.csv")) == len(outcomes)


def other_labels(path: Path) -> None:
    labels = tifffile.imread(path)
    tifffile.imwrite(path, labels * 0)


def half_done(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("change", "name", "fault"),
    [
        (other_labels, "labels/odd/CAPITALS.tif", "other labels"),
        (half_done, "labels/odd/CAPITALS.tif", "Error"),
        (os.remove, "overlays/odd/CAPITALS.png", "No such file"),
    ],
)
def test_what_is_lost_is_found(change, name: str, fault: str, done: Done, model: Model):
    folder, output, cases, _ = done
    case = next(case for case in cases if case.kind == "suffix in capitals")
    path = output / name
    before = path.read_bytes()
    change(path)
    wrong = check_results(output, folder, cases, model)
    path.write_bytes(before)
    assert list(wrong) == [case.path]
    assert fault in wrong[case.path]


def test_rows_that_are_lost_are_found(done: Done, model: Model):
    folder, output, cases, _ = done
    table = output / "images.csv"
    before = table.read_text()
    bad = next(case for case in cases if case.kind == "NaN")
    table.write_text("".join(line for line in before.splitlines(True) if str(bad.path) not in line))
    assert check_results(output, folder, cases, model)[bad.path] == "0 rows, not 1"
    table.write_text(before)


def test_files_that_belong_to_no_image_are_found(done: Done):
    folder, output, cases, _ = done
    for name in ("labels/.partial-1-a.tif", "labels/spoilt/nan.tif"):
        (output / name).parent.mkdir(exist_ok=True)
        (output / name).touch()
        assert leftovers(output, cases, folder) == [name]
        (output / name).unlink()
