"""What every command does with an error: a message and exit status 2, a traceback on request."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from nucseg.cli.main import app


def refuse(_path: Path) -> bool:
    raise PermissionError(13, "Permission denied", "locked/data")


def test_error_of_the_system_is_a_message(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "is_dir", refuse)
    result = CliRunner().invoke(app, ["data", "info", "locked/data"])
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: Cannot use locked/data: Permission denied. Check the path and its permissions.\n"
    )


def test_traceback_on_request(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "is_dir", refuse)
    result = CliRunner().invoke(app, ["--debug", "data", "info", "locked/data"])
    assert isinstance(result.exception, PermissionError)


def test_a_reader_that_has_seen_enough_is_no_error(monkeypatch: pytest.MonkeyPatch):
    def closed(_path: Path) -> bool:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(Path, "is_dir", closed)
    result = CliRunner().invoke(app, ["data", "info", "x"])
    assert "Broken pipe" not in result.stderr
