"""Devices at the command line: what is said of them, and what is left of a run without one."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from nucseg.cli.main import app
from nucseg.errors import ModelError
from nucseg.inference import devices
from nucseg.inference.devices import EXACT
from nucseg.inference.self_check import Candidate, Judged


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.zeros((64, 64), np.uint8)
    pixels[10:30, 10:30] = 255
    for name in "abc":
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.fixture(autouse=True)
def _no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(devices, "user_cache", lambda: tmp_path / "cache")


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def test_run_json_says_what_ran(images: Path, bright_model: Path, tmp_path: Path):
    out = tmp_path / "out"
    given = ("segment", images, "-o", out, "--model", bright_model)
    result = invoke(*given, "--device", "cpu", "--precision", "f32")
    assert result.exit_code == 0, result.output
    assert json.loads((out / "run.json").read_text())["runtime"] == {
        "device": "cpu",
        "precision": "f32",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "abacus"), "Invalid value for '--device'"),
        (("--precision", "f8"), "Invalid value for '--precision'"),
        (("--device", "directml"), "The device directml is not there. On Windows:"),
        (("--precision", "int8"), "has no network of eight bits"),
    ],
)
def test_what_is_not_there(options, message, images: Path, bright_model: Path, tmp_path: Path):
    result = invoke("segment", images, "-o", tmp_path / "out", "--model", bright_model, *options)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_labels_are_judged_without_a_device(images: Path, tmp_path: Path):
    result = invoke("evaluate", images, "-o", tmp_path / "o", "--labels", images, "--device", "cpu")
    assert result.exit_code == 2
    assert "omit --model, --diameter, --min-score, --device and --precision" in " ".join(
        result.output.split()
    )


def test_no_image_is_lost_where_a_device_fails_on_the_way(
    images: Path, bright_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    """At its second image the device is out of memory."""
    other, calls = Candidate("openvino", "f32"), []
    load = devices.Network.load

    def stand_in(self, candidate):
        runtime = load(self, EXACT)
        return runtime if candidate == EXACT else Failing(runtime, calls)

    monkeypatch.setattr(devices.Network, "load", stand_in)
    monkeypatch.setattr(devices, "has_openvino", lambda: True)
    monkeypatch.setattr(devices, "judged", lambda _: [Judged(EXACT, 1), Judged(other, 9)])
    monkeypatch.setenv("NUCSEG_DEVICE", "auto")
    out = tmp_path / "out"
    result = invoke("segment", images, "-o", out, "--model", bright_model, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert "3 images segmented: 3 nuclei" in result.output
    assert caplog.text.count("out of memory. From here on the CPU is used") == 1
    run = json.loads((out / "run.json").read_text())
    assert run["runtime"] == {"device": "cpu", "precision": "f32", "failure": "out of memory."}
    assert len(calls) == 2


class Failing:
    device, precision, threads = "openvino", "f32", 1

    def __init__(self, runtime, calls) -> None:
        self._runtime, self._calls = runtime, calls

    def on_one_thread(self):
        return self

    def __call__(self, batch):
        self._calls.append(1)
        if len(self._calls) > 1:
            raise ModelError("out of memory.")
        return self._runtime(batch)


def test_doctor_lists_devices(monkeypatch: pytest.MonkeyPatch):
    found = [
        Judged(EXACT, 4.25),
        Judged(Candidate("openvino", "bf16"), 8.5),
        Judged(Candidate("openvino", "int8"), 12.5, "It finds other nuclei: 9 ..."),
        Judged(Candidate("cuda", "f32"), 0.0, "No driver."),
    ]
    monkeypatch.setattr(devices, "judged", lambda *_args, **_options: found)
    result = invoke("doctor")
    assert result.exit_code == 0, result.output
    assert "device cpu f32: 4.2 megapixels per second\n" in result.output
    assert "openvino bf16: 8.5 megapixels per second, selected by --device auto\n" in result.output
    assert (
        "int8: 12.5 megapixels per second\n  Not selected automatically: It finds other"
        in result.output
    )
    assert "cuda f32: does not run\n  Not selected automatically: No driver." in result.output


def test_doctor_where_the_network_does_not_run(monkeypatch: pytest.MonkeyPatch):
    def fail(*_args, **_options):
        raise ModelError("It does not run.")

    monkeypatch.setattr(devices, "judged", fail)
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "devices: It does not run." in result.output


def test_doctor_takes_another_package_of_the_same_module(monkeypatch: pytest.MonkeyPatch):
    from nucseg.cli import doctor

    there = {"onnxruntime-gpu": "1.27.0", "numpy": "2.4"}
    monkeypatch.setattr(doctor, "_version", there.get)
    assert doctor._versions(("numpy", "onnxruntime", "tifffile")) == {
        "numpy": "2.4",
        "onnxruntime-gpu": "1.27.0",
        "tifffile": None,
    }
