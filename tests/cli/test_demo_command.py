from pathlib import Path

import pytest
from typer.testing import CliRunner

from nucseg.cli.main import app
from nucseg.images import read_image


def test_demo_segments_its_samples_without_a_network(
    bright_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def offline(*_args, **_options):
        raise OSError("no network")

    monkeypatch.setattr("socket.socket.connect", offline)
    out = tmp_path / "demo"
    result = CliRunner().invoke(app, ["demo", "-o", str(out), "--model", str(bright_model)])
    assert result.exit_code == 0, result.output
    for name in ("tissue", "fluorescence"):
        image = read_image(out / "images" / f"{name}.png").pixels
        labels = read_image(out / "results" / "labels" / f"{name}.tif").pixels
        assert labels.shape == image.shape[:2]
        assert str(out / "results" / "overlays" / f"{name}.png") in result.stdout
    assert str(out / "results" / "report.html") in result.stdout
    assert ".nucseg" not in result.stdout
    assert "2 images segmented" in result.stdout
