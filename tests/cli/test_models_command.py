import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nucseg.cli.main import app


def run(*arguments: object):
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


@pytest.fixture
def bundled(bright_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(bright_model, tmp_path / "bundled" / "bright")
    monkeypatch.setattr("nucseg.models.zoo.BUNDLED", tmp_path / "bundled")
    return tmp_path / "bundled"


@pytest.mark.usefixtures("bundled")
def test_list():
    result = run()
    assert result.exit_code == 0
    assert "bright" in result.stdout
    assert "Calls bright pixels nuclei." in result.stdout
    assert "MB" in result.stdout


def test_list_as_json(bundled: Path):
    (model,) = json.loads(run("--json").stdout)
    assert model["name"] == "bright"
    assert model["bytes"] == (bundled / "bright" / "model.onnx").stat().st_size


def test_no_bundled_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nucseg.models.zoo.BUNDLED", tmp_path)
    assert "This copy of nucseg has no bundled models" in run().stdout


def test_one_in_detail(bright_model: Path):
    result = run(bright_model)
    assert "licence: BSD-3-Clause" in result.stdout
    assert "dice: 0.5" in result.stdout
    assert json.loads(run(bright_model, "--json").stdout)["recipe"] == "semantic"


def test_unknown():
    result = run("classik-128")
    assert result.exit_code == 2
    assert "Unknown model 'classik-128'" in result.stderr
