"""A network of any origin segments, with a description written by hand."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from nucseg.cli.main import app
from nucseg.errors import ModelError
from nucseg.files import sha256
from nucseg.inference.finding import windows_of
from nucseg.inference.loading import load_model
from nucseg.models.zoo import CARD, ONNX, Interface, read_card

SIZE = (70, 93)
CARD_BY_HAND = {
    "name": "theirs",
    "description": "Three classes, of somebody else.",
    "interface": {
        "input": "pixels",
        "output": "logits",
        "layout": "NCHW",
        "channels": 1,
        "mean": [0.5],
        "deviation": [0.25],
        "outputs": ["background", "border", "nucleus"],
        "activation": "softmax",
        "stride": 16,
        "margin": 32,
        "bytes_per_pixel": 100,
    },
    "preprocessing": {"size": None, "percentiles": None},
    "postprocessing": {"method": "connected-components", "min_area": 4},
    "licence": "MIT",
}


def write_theirs(folder: Path, **changes) -> Path:
    """Write a network in the way of other tools: NCHW, grey, logits of three classes, stride 16.

    Nuclei are where the mean of the channels is above 0.5.
    """
    from onnx import TensorProto, checker, helper, save

    folder.mkdir(parents=True)
    weights = np.array([0, -3, 20], np.float32).reshape(3, 1, 1, 1)
    scales, zero = np.array([1, 1, 16, 16], np.float32), np.zeros(1, np.float32)
    nodes = [
        helper.make_node("Conv", ["pixels", "weights"], ["classes"]),
        # What needs a size in whole strides: smaller, larger again, and added with no weight.
        helper.make_node(
            "AveragePool", ["classes"], ["small"], kernel_shape=[16, 16], strides=[16, 16]
        ),
        helper.make_node("Resize", ["small", "", "scales"], ["large"], mode="nearest"),
        helper.make_node("Mul", ["large", "zero"], ["nothing"]),
        helper.make_node("Add", ["classes", "nothing"], ["logits"]),
        helper.make_node("Identity", ["classes"], ["other"]),
    ]
    shape = ["n", "c", "h", "w"]
    constants = {"weights": weights, "scales": scales, "zero": zero}
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name in ("other", "logits")
        ],
        [
            helper.make_tensor(name, TensorProto.FLOAT, array.shape, array.ravel())
            for name, array in constants.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    save(model, folder / ONNX)
    interface = {**CARD_BY_HAND["interface"], **changes}
    card = {**CARD_BY_HAND, "interface": interface, "files": {ONNX: sha256(folder / ONNX)}}
    (folder / CARD).write_text(json.dumps(card))
    return folder


def image() -> tuple[np.ndarray, np.ndarray]:
    labels = np.zeros(SIZE, np.int32)
    labels[5:20, 5:25], labels[40:66, 60:90] = 1, 2
    pixels = np.where(labels[..., None] > 0, (220, 200, 180), (40, 20, 60)).astype(np.uint8)
    return pixels, labels


def test_a_network_of_any_origin_segments(tmp_path: Path):
    pixels, labels = image()
    model = load_model(write_theirs(tmp_path / "theirs"), threads=1)
    assert model.card.network is None
    assert model.card.outputs == ("nucleus", "border")
    found = model.segment(pixels)
    np.testing.assert_array_equal(found.labels, labels)
    # Logits of background, border and nucleus of a mean of 200 of 255, by hand.
    logits = np.array([0, -3, 20]) * (200 / 255 - 0.5) / 0.25
    expected = np.exp(logits[2]) / np.exp(logits).sum()
    assert found.probability[10, 10] == pytest.approx(expected, abs=1e-5)
    turned = model.with_tta().segment(pixels)
    np.testing.assert_array_equal(turned.labels, labels)


def test_the_same_by_windows_and_by_the_command(tmp_path: Path):
    pixels, _ = image()
    folder = write_theirs(tmp_path / "theirs")
    large = np.tile(pixels, (4, 3, 1))
    model = replace(load_model(folder, threads=1), window=128)
    assert len(windows_of(model, large.shape[:2])) > 3
    assert model.segment(large).count == 24
    Image.fromarray(pixels).save(tmp_path / "a.png")
    arguments = ["segment", tmp_path / "a.png", "-o", tmp_path / "out", "--model", folder]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    with (tmp_path / "out" / "images.csv").open(newline="") as file:
        assert [row["nuclei"] for row in csv.DictReader(file)] == ["2"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"output": "maps"}, "no input or output 'maps', but other, logits"),
        ({"layout": "NHWC"}, "cannot run|gave maps of shape"),
        ({"outputs": ["nucleus"]}, "gave maps of shape"),
        ({"outputs": ["cell"]}, "must name the channel 'nucleus', not cell"),
        ({"channels": 2}, "interface.channels"),
        ({"mean": [0.5, 0.5]}, "mean needs one value, or one for each channel"),
        ({"deviation": [0.0]}, "deviation must be above 0"),
    ],
)
def test_a_wrong_description_is_an_error_that_says_what(tmp_path: Path, changes, said):
    folder = write_theirs(tmp_path / "theirs", **changes)
    with pytest.raises(ModelError, match=said):
        load_model(folder, threads=1).segment(image()[0])


def test_own_models_have_the_interface_of_the_u_net(bright_model: Path):
    card = read_card(bright_model)
    assert card.interface == Interface()
    assert card.outputs == card.channels == card.network.outputs
