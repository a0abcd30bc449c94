from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nucseg.errors import InputError, MissingExtraError
from nucseg.inference.runtimes import OnnxRuntime
from nucseg.models.quantization import inner_convolutions, quantize

LAYERS = ("first", "second", "third", "last")


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Four convolutions one after the other, the third beside a way around it."""
    rng = np.random.default_rng(0)
    nodes, weights, before, channels = [], [], "image", 3
    for name in LAYERS:
        given = rng.normal(0, 0.4, (8, channels, 3, 3)).astype(np.float32)
        weights.append(
            helper.make_tensor(f"{name}_w", TensorProto.FLOAT, given.shape, given.ravel())
        )
        nodes.append(
            helper.make_node("Conv", [before, f"{name}_w"], [name], name=name, pads=[1] * 4)
        )
        nodes.append(helper.make_node("Relu", [name], [f"{name}_r"], name=f"{name}_r"))
        before, channels = f"{name}_r", 8
        if name == "third":
            nodes.append(helper.make_node("Add", ["second_r", "third_r"], ["sum"], name="sum"))
            before = "sum"
    graph = helper.make_graph(
        nodes,
        "four",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("last_r", TensorProto.FLOAT, ["n", 8, "h", "w"])],
        weights,
    )
    path = tmp_path / "model.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


def batches(number: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.random((1, 3, 16, 24), np.float32) for _ in range(number)]


def test_inner_layers_work_on_eight_bits(network: Path, tmp_path: Path):
    target = tmp_path / "int8.onnx"
    assert quantize(network, target, batches()) == ["second", "third"]
    graph = onnx.load(target).graph
    kinds = {each.name: each.data_type for each in graph.initializer}
    assert sum(kind == TensorProto.INT8 for kind in kinds.values()) >= 2
    assert {kinds["first_w"], kinds["last_w"]} == {TensorProto.FLOAT}
    expected, found = (OnnxRuntime(path, 1)(batches(9)[-1]) for path in (network, target))
    assert not np.array_equal(found, expected)
    assert np.abs(found - expected).mean() < 0.02 * expected.std()


def test_layers_that_are_kept(network: Path, tmp_path: Path):
    assert quantize(network, tmp_path / "int8.onnx", batches(), keep=["second"]) == ["third"]
    with pytest.raises(InputError, match=r"has no convolution fifth\. Give names of: first, last"):
        quantize(network, tmp_path / "int8.onnx", batches(), keep=["fifth"])
    with pytest.raises(InputError, match="no convolution that can work on eight bits"):
        quantize(network, tmp_path / "int8.onnx", batches(), keep=["second", "third"])


def test_no_images(network: Path, tmp_path: Path):
    with pytest.raises(InputError, match="Expected some images"):
        quantize(network, tmp_path / "int8.onnx", [])


def test_outer_layers_on_each_way(network: Path):
    assert inner_convolutions(onnx.load(network).graph) == ["second", "third"]
    assert inner_convolutions(onnx.load(network).graph, ["third"]) == ["second"]


def test_onnx_is_not_installed(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingExtraError, match="Writing a network of eight bits needs"):
        quantize(network, tmp_path / "int8.onnx", batches())
