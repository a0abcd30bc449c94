"""What a network runs on, with stand-ins for devices that no test machine has."""

import json
import logging
import pickle
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from nucseg import load_model
from nucseg.config import PRECISIONS
from nucseg.errors import DeviceError, InputError, ModelError
from nucseg.inference import devices
from nucseg.inference.devices import (
    EXACT,
    Network,
    candidates,
    describe,
    in_order,
    judged,
    load_network,
)
from nucseg.inference.runtimes import PROVIDERS, OnnxRuntime
from nucseg.inference.self_check import Candidate, Judged, same_share
from nucseg.models.zoo import INT8, ONNX, read_card, write_card

CUDA = PROVIDERS["cuda"]
AZURE = "AzureExecutionProvider"
Session = onnxruntime.InferenceSession


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(devices, "user_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(devices, "has_openvino", lambda: False)
    monkeypatch.delenv("NUCSEG_DEVICE")
    monkeypatch.delenv("NUCSEG_PRECISION")


class Card:
    """A graphics card that is not there: its sessions run on the CPU, or fail as it would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *providers: str) -> None:
        self.loaded = 0
        self.loading: Exception | None = None  # raised
        self.running: Exception | None = None
        self.silent = False  # takes the CPU without an error
        self.wrong = 0.0  # added to the maps
        card = self

        class Standing:
            def __init__(self, data, options, providers):
                self.asked = [each if isinstance(each, str) else each[0] for each in providers]
                if self.device and card.loading:
                    raise card.loading
                card.loaded += self.device
                self.session = Session(data, options, providers=["CPUExecutionProvider"])
                self.get_inputs, self.get_outputs = (
                    self.session.get_inputs,
                    self.session.get_outputs,
                )

            @property
            def device(self):
                return self.asked[0] != PROVIDERS["cpu"]

            def get_providers(self):
                return [PROVIDERS["cpu"]] if card.silent else self.asked

            def run(self, outputs, inputs):
                if self.device and card.running:
                    raise card.running
                (maps,) = self.session.run(outputs, inputs)
                return [maps + card.wrong * self.device]

        monkeypatch.setattr(onnxruntime, "InferenceSession", Standing)
        monkeypatch.setattr(
            onnxruntime, "get_available_providers", lambda: [*providers, AZURE, PROVIDERS["cpu"]]
        )


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Card:
    # The stand-in is no faster than the CPU that it runs on.
    monkeypatch.setattr(devices, "CLEARLY_FASTER", 0.0)
    return Card(monkeypatch, CUDA)


def network(folder: Path) -> Network:
    return Network(folder, read_card(folder), threads=1)


def batch() -> np.ndarray:
    return np.random.default_rng(0).random((1, 32, 32, 3), np.float32)


def test_the_cpu_alone_is_taken_at_once(bright_model: Path, monkeypatch: pytest.MonkeyPatch):
    Card(monkeypatch)
    monkeypatch.setattr(devices, "judge", lambda *_: pytest.fail("needs no check"))
    runtime = load_network(network(bright_model))
    assert isinstance(runtime, OnnxRuntime)
    assert describe(runtime) == {"device": "cpu", "precision": "f32"}
    assert not (devices.user_cache()).exists()


def test_azure_is_no_device(bright_model: Path, monkeypatch: pytest.MonkeyPatch):
    Card(monkeypatch, "SomeNewExecutionProvider")
    assert candidates(read_card(bright_model)) == [EXACT]


@pytest.mark.parametrize("name", ["cuda", "coreml", "directml", "openvino"])
def test_execution_providers(bright_model: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    Card(monkeypatch, PROVIDERS[name])
    assert candidates(read_card(bright_model)) == [EXACT, Candidate(name, "f32")]
    runtime = load_network(network(bright_model), name)
    assert describe(runtime) == {"device": name, "precision": "f32"}
    expected = load_network(network(bright_model), "cpu")(batch())
    np.testing.assert_array_equal(runtime(batch()), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(runtime))(batch()), expected)
    assert runtime.on_one_thread() is runtime


def test_auto_takes_a_device_that_finds_the_same(cuda: Card, bright_model: Path):
    runtime = load_network(network(bright_model))
    assert describe(runtime) == {"device": "cuda", "precision": "f32"}
    loaded = cuda.loaded
    load_network(network(bright_model))
    assert cuda.loaded == loaded + 1, "the outcome of the check is kept"


def test_auto_takes_no_device_that_gives_other_maps(
    cuda: Card, bright_model: Path, caplog: pytest.LogCaptureFixture
):
    cuda.wrong = 0.3
    with caplog.at_level(logging.INFO, "nucseg"):
        runtime = load_network(network(bright_model))
    assert describe(runtime) == {"device": "cpu", "precision": "f32"}
    assert "cuda f32 is not taken by itself. It " in caplog.text


def test_auto_takes_no_device_that_finds_other_nuclei(cuda: Card):
    cuda.wrong = 0.3
    model = load_model("nuclei", threads=1)
    assert model.runtime.device == "cpu"
    (problem,) = (each.problem for each in judged(network(devices_folder())) if each.problem)
    assert problem.startswith("It finds other nuclei: ")


def devices_folder() -> Path:
    from nucseg.models.zoo import find_model

    return find_model("nuclei")


def test_what_is_asked_for_is_used_although_it_differs(
    cuda: Card, bright_model: Path, caplog: pytest.LogCaptureFixture
):
    cuda.wrong = 0.3
    runtime = load_network(network(bright_model), "cuda")
    assert runtime.device == "cuda"
    assert "cuda f32 is used as asked for. It " in caplog.text


def test_device_that_is_not_there(bright_model: Path, monkeypatch: pytest.MonkeyPatch):
    Card(monkeypatch)
    for name, hint in (
        ("cuda", "onnxruntime-gpu"),
        ("coreml", "macOS"),
        ("directml", "Windows"),
        ("openvino", r"nucseg\[openvino\]"),
    ):
        with pytest.raises(DeviceError, match=rf"The device {name} is not there\. .*{hint}"):
            load_network(network(bright_model), name)
    with pytest.raises(DeviceError, match="it has no CUDAExecutionProvider"):
        network(bright_model).load(Candidate("cuda", "f32"))


@pytest.mark.parametrize("silent", [True, False])
def test_missing_driver(cuda: Card, bright_model: Path, silent: bool):
    """ONNX Runtime takes the CPU without a word, or raises."""
    cuda.silent = silent
    cuda.loading = None if silent else RuntimeError("libcudart.so.12: cannot open\nmore")
    message = "did not take the device cuda: its driver" if silent else r"libcudart.so.12: cannot"
    assert load_network(network(bright_model)).device == "cpu"
    (found,) = (each for each in judged(network(bright_model)) if each.problem)
    assert (found.speed, str(found.candidate)) == (0, "cuda f32")
    with pytest.raises(DeviceError, match=message):
        load_network(network(bright_model), "cuda")


def test_driver_that_is_gone_since_the_check(
    cuda: Card, bright_model: Path, caplog: pytest.LogCaptureFixture
):
    load_network(network(bright_model))
    cuda.loading = RuntimeError("CUDA driver version is insufficient")
    assert load_network(network(bright_model)).device == "cpu"
    assert "CUDA driver version is insufficient" in caplog.text


def test_out_of_memory_on_a_device_of_auto(
    cuda: Card, bright_model: Path, caplog: pytest.LogCaptureFixture
):
    model = load_model(bright_model, threads=1)
    image = np.zeros((64, 64), np.uint8)
    image[10:30, 10:30] = 255
    before = model.segment(image).labels
    cuda.running = RuntimeError("Failed to allocate memory for requested buffer\nmore")
    np.testing.assert_array_equal(model.segment(image).labels, before)
    assert "Failed to allocate memory for requested buffer" in caplog.text
    assert "the CPU is used; no image is lost" in caplog.text
    told = describe(model.runtime)
    assert (told["device"], told["precision"]) == ("cpu", "f32")
    assert "Failed to allocate" in told["failure"]


def test_out_of_memory_on_a_device_that_was_asked_for(cuda: Card, bright_model: Path):
    model = load_model(bright_model, threads=1, device="cuda")
    cuda.running = RuntimeError("Failed to allocate memory")
    with pytest.raises(DeviceError, match=r"cuda failed \(Failed to allocate memory\)"):
        model.segment(np.zeros((64, 64), np.uint8))


def test_bf16_where_nothing_has_it(cuda: Card, bright_model: Path):
    with pytest.raises(DeviceError, match="cuda does not work in bf16 here, but in f32"):
        load_network(network(bright_model), "cuda", "bf16")
    with pytest.raises(DeviceError, match="Nothing here works in bf16"):
        load_network(network(bright_model), "auto", "bf16")


def test_int8_where_the_model_has_none(cuda: Card, bright_model: Path):
    for device in ("auto", "cpu", "cuda"):
        with pytest.raises(ModelError, match=rf"bright has no network of eight bits \({INT8}\)"):
            load_network(network(bright_model), device, "int8")


def test_int8_of_a_model(bright_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The stand-in is the same network, but it is another file that is loaded."""
    Card(monkeypatch)
    folder = tmp_path / "model"
    folder.mkdir()
    for name in (ONNX, INT8):
        (folder / name).write_bytes((bright_model / ONNX).read_bytes())
    write_card(folder, read_card(bright_model).model_copy(update={"files": {ONNX: "", INT8: ""}}))
    assert candidates(read_card(folder)) == [EXACT, Candidate("cpu", "int8")]
    assert load_network(network(folder), "cpu", "int8").precision == "int8"
    assert load_network(network(folder), "cpu", "f32").precision == "f32"
    monkeypatch.setattr(devices, "CLEARLY_FASTER", 0.0)
    assert load_network(network(folder), "cpu").precision == "int8"
    assert load_network(network(folder)).on_one_thread().precision == "int8"


def test_names_that_there_are_not(bright_model: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match=r"Unknown device: 'gpu'. Give auto, cpu, cuda"):
        load_model(bright_model, device="gpu")
    with pytest.raises(InputError, match=rf"Unknown precision: 'f8'. Give auto, {PRECISIONS[0]}"):
        load_model(bright_model, precision="f8")
    monkeypatch.setenv("NUCSEG_DEVICE", "abacus")
    with pytest.raises(InputError, match="device in the environment variable NUCSEG_DEVICE: 'abac"):
        load_model(bright_model)
    assert load_model(bright_model, device="cpu", precision="f32").runtime.device == "cpu"


def test_the_environment_stands_for_auto(
    cuda: Card, bright_model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NUCSEG_DEVICE", "cpu")
    assert load_model(bright_model).runtime.device == "cpu"
    assert load_model(bright_model, device="cuda").runtime.device == "cuda"


def test_little_memory_is_enough_for_the_cpu_alone(cuda: Card, bright_model: Path):
    assert load_model(bright_model, max_memory=2).runtime.device == "cuda"
    assert load_model(bright_model, max_memory=0.6).runtime.device == "cpu"
    assert load_model(bright_model, max_memory=0.6, device="cuda").runtime.device == "cuda"


def test_keras_takes_no_device(bright_model: Path):
    with pytest.raises(InputError, match="The runtime keras takes no device"):
        load_model(bright_model, runtime="keras", device="cuda")


def test_broken_cache_is_made_anew(cuda: Card, bright_model: Path):
    found = judged(network(bright_model))
    (file,) = devices.user_cache().iterdir()
    assert judged(network(bright_model)) == found
    about = json.loads(file.read_text())
    for content in (
        "",
        "{}",
        json.dumps({**about, "about": {}}),
        json.dumps({**about, "judged": 1}),
    ):
        file.write_text(content)
        assert [each.candidate for each in judged(network(bright_model))] == [
            each.candidate for each in found
        ]
        assert json.loads(file.read_text())["about"] == about["about"]


def test_cache_that_cannot_be_written(
    cuda: Card, bright_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(devices, "user_cache", lambda: tmp_path / "file" / "cache")
    assert load_network(network(bright_model)).device == "cuda"


def test_the_cpu_is_taken_unless_another_is_clearly_faster():
    other, wrong = Candidate("openvino", "f32"), Candidate("openvino", "bf16")
    found = [Judged(EXACT, 10), Judged(other, 10.9), Judged(wrong, 99, "It finds other nuclei.")]
    assert in_order(found) == [EXACT, other]
    assert in_order([found[0], Judged(other, 11.1)]) == [other, EXACT]


def test_same_nuclei():
    labels = np.zeros((20, 30), int)
    assert same_share(labels, labels) == 1
    labels[:10, :10], labels[:10, 15:25] = 1, 2
    other = np.where(labels == 2, 7, 0)
    assert same_share(labels, other) == same_share(other, labels) == 0.5
    other[:7, :10] = 1  # an IoU of .7
    assert same_share(labels, other) == pytest.approx(1 / 3)
