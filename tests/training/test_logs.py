import pytest
from typer.testing import CliRunner

from nucseg.cli.main import app
from nucseg.errors import InputError
from nucseg.training.logs import LogContent, missing_curves, read_log


def test_a_folder_without_logs_is_explained(tmp_path):
    assert read_log(tmp_path) == []
    result = CliRunner().invoke(app, ["doctor", str(tmp_path)])
    assert result.exit_code == 1
    assert "no TensorBoard event file" in result.output


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        read_log(tmp_path / "run")
    assert CliRunner().invoke(app, ["doctor", str(tmp_path / "run")]).exit_code == 2


def test_missing_curves_are_named():
    train = LogContent("train", 1, {"epoch_loss": 1, "epoch_dice": 1}, {}, graph=True)
    assert missing_curves([train]) == [
        "train/epoch_accuracy",
        "validation/epoch_loss",
        "validation/epoch_accuracy",
        "validation/epoch_dice",
    ]


def test_doctor_reports_the_installation():
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "onnxruntime" in result.output
