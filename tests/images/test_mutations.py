"""A few hundred damaged images; benchmarks/fuzz.py reads thousands a minute."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from nucseg.errors import InputError
from nucseg.images import open_image

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import fuzz_reading
from fuzz_files import write_case, write_seeds
from fuzz_reading import examine


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_seeds(tmp_path_factory.mktemp("seeds"))


def test_images_that_are_not_damaged_can_be_read(seeds: list[Path]):
    results = [examine(path) for path in seeds]
    assert {(result.finding, result.what) for result in results} == {("", "")}
    assert min(result.nbytes for result in results) > 1000


@pytest.mark.parametrize("hundred", range(4))
def test_damaged_images_give_pixels_or_a_message(hundred: int, seeds: list[Path], tmp_path: Path):
    findings, messages = {}, 0
    for number in range(100 * hundred, 100 * (hundred + 1)):
        path = write_case(seeds, 0, number, tmp_path)
        result = examine(path)
        messages += bool(result.what)
        if result.finding:
            findings[path.name] = result
    assert not findings
    assert 20 < messages < 100


def test_a_case_is_the_same_each_time(seeds: list[Path], tmp_path: Path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for number in range(20):
            write_case(seeds, 7, number, tmp_path / folder)
    first, second = (
        {
            path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        for folder in (tmp_path / "a", tmp_path / "b")
    )
    assert first == second
    assert len(first) > 20


def breaks(path: Path, **_options):
    raise KeyError(path)


def is_nameless(_path: Path, **_options):
    raise InputError("It is damaged.")


def warns(path: Path, **options):
    warnings.warn("odd", UserWarning, stacklevel=1)
    return open_image(path, **options)


@pytest.mark.parametrize(
    ("opened", "finding"), [(breaks, "error"), (is_nameless, "error"), (warns, "chatter")]
)
def test_what_should_not_happen_is_found(
    opened: Callable, finding: str, seeds: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fuzz_reading, "open_image", opened)
    assert examine(seeds[0]).finding == finding


def test_windows_that_differ_are_found(seeds: list[Path], monkeypatch: pytest.MonkeyPatch):
    class Shaky:
        """Gives other pixels each time."""

        def __init__(self) -> None:
            self.pixels = 0

        def __getitem__(self, window):
            self.pixels += 1
            return plane[window] * 0 + self.pixels

        def __getattr__(self, name: str):
            return getattr(plane, name)

    (plane,) = open_image(next(path for path in seeds if path.name == "grey.png"))
    monkeypatch.setattr(fuzz_reading, "open_image", lambda *_args, **_options: [Shaky()])
    assert examine(seeds[0]).finding == "differs"
