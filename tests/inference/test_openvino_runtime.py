import os
import pickle
import subprocess
import sys
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from nucseg import load_model
from nucseg.errors import DeviceError, MissingExtraError, ModelError
from nucseg.inference import devices, openvino_runtime
from nucseg.inference.devices import Network, candidates, describe, judged, load_network
from nucseg.inference.openvino_runtime import OpenVinoRuntime, has_bf16, import_openvino
from nucseg.inference.runtimes import load_runtime
from nucseg.inference.self_check import same_share
from nucseg.models.zoo import ONNX, find_model, read_card


@pytest.fixture
def _installed():
    pytest.importorskip("openvino")


@pytest.fixture
def picture() -> np.ndarray:
    from nucseg.datasets.synthetic import sample_image

    return sample_image("fluorescence")


def batch(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((1, 64, 96, 3), np.float32)


@pytest.mark.usefixtures("_installed")
def test_f32_is_as_on_the_cpu(bright_model: Path):
    run = OpenVinoRuntime(bright_model / ONNX, 1)
    expected = load_runtime(bright_model, threads=1)(batch())
    maps = run(batch())
    np.testing.assert_allclose(maps, expected, atol=1e-5)
    run(batch(1))
    np.testing.assert_allclose(maps, expected, atol=1e-5, err_msg="overwritten by the next run")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(run))(batch()), maps)


@pytest.mark.usefixtures("_installed")
def test_threads_side_by_side(bright_model: Path):
    run = OpenVinoRuntime(bright_model / ONNX, 2)
    single, found = run.on_one_thread(), {}
    assert (run.threads, single.threads, single.on_one_thread().threads) == (2, 2, 2)

    def work(seed: int) -> None:
        found[seed] = single(batch(seed))

    threads = [Thread(target=work, args=(seed,)) for seed in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for seed, maps in found.items():
        np.testing.assert_allclose(maps, run(batch(seed)), atol=1e-6)


@pytest.mark.usefixtures("_installed")
def test_same_nuclei_whatever_the_threads(picture: np.ndarray):
    one, two = (
        load_model(threads=threads, device="openvino", precision="f32").segment(picture).labels
        for threads in (1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert same_share(load_model(threads=1).segment(picture).labels, one) == 1


@pytest.mark.usefixtures("_installed")
def test_bf16_finds_the_same(picture: np.ndarray):
    if not has_bf16():
        with pytest.raises(DeviceError, match="openvino does not work in bf16 here"):
            load_model(device="openvino", precision="bf16")
        return
    labels = load_model(device="openvino", precision="bf16").segment(picture).labels
    assert same_share(load_model().segment(picture).labels, labels) >= 0.95


@pytest.mark.usefixtures("_installed")
def test_processor_without_bf16(bright_model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(openvino_runtime, "has_bf16", lambda: False)
    with pytest.raises(DeviceError, match="This processor has no instructions for bf16"):
        OpenVinoRuntime(bright_model / ONNX, 1, "bf16")


@pytest.mark.usefixtures("_installed")
def test_chosen_by_itself(
    bright_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: np.ndarray
):
    monkeypatch.setattr(devices, "user_cache", lambda: tmp_path)
    monkeypatch.setattr(devices, "CLEARLY_FASTER", 0.0)
    network = Network(bright_model, read_card(bright_model), threads=1)
    # What the environment says for the tests counts for auto alone.
    runtime = load_network(network, "openvino")
    assert describe(runtime) == {"device": "openvino", "precision": "f32"}
    assert [each.problem for each in judged(network)] == [""] * len(candidates(network.card))
    monkeypatch.delenv("NUCSEG_DEVICE")
    model = load_model(bright_model, threads=1)
    assert model.runtime.device == "openvino"
    expected = load_model(bright_model, threads=1, device="cpu").segment(picture).labels
    assert same_share(expected, model.segment(picture).labels) == 1

    def fail(*_given: object) -> None:
        raise ModelError("OpenVINO failed.")

    monkeypatch.setattr(model.runtime, "_first", fail)
    np.testing.assert_array_equal(model.segment(picture).labels, expected)
    assert describe(model.runtime)["failure"] == "OpenVINO failed."


@pytest.mark.usefixtures("_installed")
def test_broken_file(tmp_path: Path):
    (tmp_path / ONNX).write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"model\.onnx cannot be loaded in OpenVINO"):
        OpenVinoRuntime(tmp_path / ONNX)
    with pytest.raises(ModelError, match=r"none\.onnx cannot be loaded in OpenVINO"):
        OpenVinoRuntime(tmp_path / "none.onnx")


@pytest.mark.usefixtures("_installed")
def test_batch_that_the_network_cannot_take(bright_model: Path):
    with pytest.raises(ModelError, match=r"in OpenVINO on a batch of shape \(1, 4, 4, 2\)"):
        OpenVinoRuntime(bright_model / ONNX, 1)(np.zeros((1, 4, 4, 2), np.float32))


@pytest.mark.usefixtures("_installed")
def test_wrong_name_of_an_input(bright_model: Path):
    with pytest.raises(ModelError, match="has no input or output 'picture', but image"):
        OpenVinoRuntime(bright_model / ONNX, 1, names=("picture", None))
    run = OpenVinoRuntime(bright_model / ONNX, 1, names=("image", "maps"))
    assert run(batch()).shape == (1, 64, 96, 1)


@pytest.mark.usefixtures("_installed")
def test_nothing_is_reported_to_its_makers(tmp_path: Path):
    code = (
        "import sys; from nucseg.inference.openvino_runtime import OpenVinoRuntime; "
        f"OpenVinoRuntime(__import__('pathlib').Path({str(find_model('nuclei') / ONNX)!r}), 1); "
        "assert not any('openvino_telemetry' in each for each in sys.modules)"
    )
    folders = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"), str(tmp_path))
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, timeout=120, env={**os.environ, **folders})
    assert list(tmp_path.iterdir()) == []


def test_not_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"The device openvino needs .*nucseg\[openvino\]"):
        import_openvino()


def test_broken_installation(
    bright_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(devices, "has_openvino", lambda: True)
    assert [str(each) for each in candidates(read_card(bright_model))] == ["cpu f32"]
    assert "OpenVINO is installed but cannot be used" in caplog.text
