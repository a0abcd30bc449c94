import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nucseg.errors import InputError, MissingExtraError, ModelError
from nucseg.inference.keras_runtime import load_keras
from nucseg.inference.runtimes import load_runtime
from nucseg.models.zoo import KERAS, ModelCard, read_card


def test_onnx_runs_a_batch(bright_model: Path):
    run = load_runtime(bright_model, threads=1)
    batch = np.zeros((2, 3, 4, 3), np.float32)
    batch[1] = 1
    maps = run(batch)
    assert (maps.shape, maps.dtype) == ((2, 3, 4, 1), np.float32)
    np.testing.assert_allclose(maps[0], 1 / (1 + np.exp(10)), rtol=1e-3)
    np.testing.assert_allclose(maps[1], 1 / (1 + np.exp(-10)), rtol=1e-5)


def test_nothing_is_reported_to_the_makers_of_onnx_runtime(bright_model: Path, tmp_path: Path):
    """It would leave the identity that it reports under in the cache of the user."""
    code = "import sys; from nucseg import load_model; load_model(sys.argv[1], threads=1)"
    # It reports nothing from test machines of itself, which it knows by CI.
    kept = {k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY")}
    folders = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"), str(tmp_path))
    command = [sys.executable, "-c", code, str(bright_model)]
    subprocess.run(command, check=True, timeout=60, env={**kept, **folders})
    assert list(tmp_path.iterdir()) == []


def test_broken_onnx_file(bright_model: Path, tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"no network")
    card = read_card(bright_model)
    with pytest.raises(ModelError, match=r"model\.onnx cannot be loaded as an ONNX network"):
        load_runtime(tmp_path, card=card)


def test_missing_onnx_file(bright_model: Path, tmp_path: Path):
    card = read_card(bright_model)
    with pytest.raises(ModelError, match=r"model\.onnx cannot be loaded as an ONNX network"):
        load_runtime(tmp_path, card=card)


def test_little_memory_gives_the_same(bright_model: Path):
    batch = np.random.default_rng(0).random((1, 64, 96, 3), np.float32)
    lean = load_runtime(bright_model, threads=1, arena=False)
    expected = load_runtime(bright_model, threads=1)(batch)
    np.testing.assert_array_equal(lean(batch), expected)
    np.testing.assert_array_equal(lean.on_one_thread()(batch), expected)


def test_batch_that_the_network_cannot_take(bright_model: Path):
    with pytest.raises(ModelError, match=r"cannot run on a batch of shape \(1, 4, 4, 2\)"):
        load_runtime(bright_model)(np.zeros((1, 4, 4, 2), np.float32))


def test_unknown_runtime(bright_model: Path):
    with pytest.raises(InputError, match=r"Unknown runtime 'torch'\. Give onnx or keras"):
        load_runtime(bright_model, "torch")


def test_no_threads(bright_model: Path):
    with pytest.raises(InputError, match="at least 1 thread, got 0"):
        load_runtime(bright_model, threads=0)


def test_keras_is_not_installed(bright_model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingExtraError, match=r"Running a model in Keras .*nucseg\[train\]"):
        load_runtime(bright_model, "keras", card=with_keras(bright_model))


def with_keras(folder: Path) -> ModelCard:
    return read_card(folder).model_copy(update={"files": {KERAS: "0" * 64}})


class _Saving:
    @staticmethod
    def load_model(path: Path, **_options: object) -> object:
        raise ValueError(f"File not found: {path}\nmore")


class _Keras:
    saving = _Saving


def test_broken_keras_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "keras", _Keras)
    with pytest.raises(ModelError, match=r"cannot be loaded as a Keras model \(File not found"):
        load_keras(tmp_path / "none.keras")


def test_keras_network_is_asked_for_its_prediction(
    bright_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Network:
        def __call__(self, batch, *, training):
            assert not training
            return batch[..., :1] * 2.0

    monkeypatch.setattr(_Saving, "load_model", staticmethod(lambda path, **_: Network()))
    monkeypatch.setitem(sys.modules, "keras", _Keras)
    maps = load_runtime(tmp_path, "keras", card=with_keras(bright_model))(
        np.ones((1, 2, 2, 3), np.float32)
    )
    assert (maps.tolist(), maps.dtype) == ([[[[2.0], [2.0]], [[2.0], [2.0]]]], np.float32)


def test_fewer_threads_where_the_process_may_use_fewer_cores(monkeypatch: pytest.MonkeyPatch):
    from nucseg.inference.runtimes import _restricted_cores, usable_cores

    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0, 3}, raising=False)
    assert (usable_cores(), _restricted_cores()) == (2, 2)
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(8)))
    assert (usable_cores(), _restricted_cores()) == (8, 0)
    monkeypatch.delattr("os.sched_getaffinity")
    assert (usable_cores(), _restricted_cores()) == (8, 0)
