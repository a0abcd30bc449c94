"""A run that is killed at one of its writes; benchmarks/kills.py kills the command at any time."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nucseg.batch.run import segment_files
from nucseg.inference.loading import load_model

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from faults_checks import broken, differences
from faults_files import TEXT, picture, save

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX"),
]

FORMATS = ["labels", "masks", "report"]

# Segments images, and kills itself before or after one of the files or folders gets its name.
KILLED = """
import os, signal, sys
from pathlib import Path
from nucseg.batch.run import segment_files
from nucseg.inference.loading import load_model

model, images, output, fatal, after = sys.argv[1:]
left, replace = int(fatal), Path.replace

def last(self, target):
    global left
    left -= 1
    if left < 0 and after == "False":
        os.kill(os.getpid(), signal.SIGKILL)
    replace(self, target)
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

Path.replace = last
segment_files([images], output, load_model(model, threads=1), formats=["labels", "masks", "report"])
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills") / "images"
    for seed, name in enumerate(("a.png", "deep/b.tif", "deep/c.png")):
        save(folder / name, picture(seed))
    (folder / "bad.png").write_bytes(TEXT)
    return folder


@pytest.fixture(scope="module")
def clean(bright_model: Path, images: Path) -> Path:
    output = images.parent / "clean"
    segment_files([images], output, load_model(bright_model, threads=1), formats=FORMATS)
    return output


# A run names a file or folder 25 times: run.json; of each whole image a record that it is begun,
# labels, masks, measurements, thumbnail and its record; both records of the bad one; the two
# tables, the report, and run.json again.
@pytest.mark.parametrize(
    ("fatal", "after"),
    [(0, True), (2, True), (4, True), (5, False), (8, False), (18, True), (22, True), (23, False)],
)
def test_a_killed_run_is_gone_on_with(
    fatal: int, after: bool, bright_model: Path, images: Path, clean: Path, tmp_path: Path
):
    output = tmp_path / "out"
    given = [str(each) for each in (bright_model, images, output, fatal, after)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *given], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [name for name in broken(output) if ".partial" not in name] == []
    assert (output / "images.csv").exists() == (fatal >= 22)
    model = load_model(bright_model, threads=1)
    outcomes = segment_files([images], output, model, formats=FORMATS, resume=True)
    assert [outcome.status == "failed" for outcome in outcomes] == [False, True, False, False]
    assert differences(output, clean) == []


def test_differences_are_found(clean: Path, tmp_path: Path):
    assert differences(clean, clean) == []
    assert "labels/a.tif" in differences(tmp_path, clean)
    assert "images.csv" in differences(tmp_path, clean)
    assert "report.html" in differences(tmp_path, clean)


@pytest.mark.parametrize("name", ["labels/a.tif", ".nucseg/a.jpg", "report.html"])
def test_half_a_file_is_found(name: str, clean: Path, tmp_path: Path):
    half = tmp_path / name
    half.parent.mkdir(exist_ok=True)
    whole = (clean / name).read_bytes()
    half.write_bytes(whole[: len(whole) // 2])
    (found,) = broken(tmp_path)
    assert found.startswith(f"{half} is not whole: ")
    assert broken(clean) == []
