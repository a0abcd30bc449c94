"""The progress bar, on a terminal and in a file."""

import re

import pytest
from rich.console import Console

from nucseg.cli import common
from nucseg.cli.train import _time_left


@pytest.mark.parametrize(
    ("a_second", "said"),
    [(None, ""), (0.0, ""), (12.34, "12.3/s"), (1.0, "1.0/s"), (0.25, "4.0 s each")],
)
def test_rates(a_second: float | None, said: str):
    assert common._rate(a_second) == said


def test_count_rate_and_time_left_are_shown(monkeypatch: pytest.MonkeyPatch):
    console = Console(width=120, force_terminal=True, record=True)
    monkeypatch.setattr("rich.console.Console", lambda **_options: console)
    with common.progress_bar("Segmenting") as progress:
        for done in range(5):
            progress(done, 8)
    shown = console.export_text()
    assert "Segmenting" in shown
    assert "4/8" in shown
    assert re.search(r"\d\.\d(/s| s each)", shown)


def test_in_a_file_there_are_no_colours(capsys: pytest.CaptureFixture[str]):
    with common.progress_bar("Segmenting") as progress:
        for done in range(3):
            progress(done, 2)
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "epochs", "said"),
    [
        ([], 3, ""),
        ([42.0], 0, "42.0 s"),
        ([42.0], 2, "42.0 s, about 0:01:24 left"),
        ([42.0, 10.0, 11.0, 90.0, 10.0], 3, "10.0 s, about 0:00:32 left"),
    ],
)
def test_the_time_left_follows_from_the_last_epochs(seconds: list[float], epochs: int, said: str):
    assert _time_left(seconds, epochs) == said
