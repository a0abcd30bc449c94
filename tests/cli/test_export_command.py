"""Exported networks, each run by its own runtime, give the maps of the model."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from click.testing import Result
from typer.testing import CliRunner

from nucseg.cli.main import app
from nucseg.images.preprocess import stretch
from nucseg.inference.runtimes import load_runtime
from nucseg.models.zoo import KERAS, ONNX, Interface, find_model, read_card, write_card

MODEL = "nuclei/bright"
Images = npt.NDArray[np.float32]


def export(model: object, form: str, output: Path, *more: str) -> Result:
    command = ["export", str(model), "--format", form, "-o", str(output), *more]
    return CliRunner().invoke(app, command)


@pytest.fixture(scope="module")
def images() -> Images:
    return np.random.default_rng(0).random((1, 64, 96, 3), np.float32)


@pytest.fixture(scope="module")
def maps(images: Images) -> Images:
    return np.asarray(load_runtime(find_model(MODEL))(images))


def with_card(model: Path, folder: Path, **changes: object) -> Path:
    """Copy a model folder and change its card."""
    shutil.copytree(model, folder)
    write_card(folder, read_card(folder).model_copy(update=changes))
    return folder


def close(found: npt.ArrayLike, maps: Images) -> None:
    np.testing.assert_allclose(np.asarray(found), maps, atol=1e-3)


def test_onnx_runtime_runs_the_onnx_file(tmp_path: Path, images: Images, maps: Images) -> None:
    assert export(MODEL, "onnx", tmp_path / "a.onnx").exit_code == 0
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    close(session.run(None, {"image": images})[0], maps)


def test_the_onnx_file_says_how_it_is_used(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    export(MODEL, "onnx", tmp_path / "a.onnx")
    network = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(network)
    told = {entry.key: entry.value for entry in network.metadata_props}
    card = read_card(find_model(MODEL))
    assert told["outputs"] == ",".join(card.channels)
    assert "multiples of 32" in told["input"]
    assert "percentile 1 of the intensities" in told["preprocessing"]
    assert json.loads(told["postprocessing"]) == card.postprocessing.model_dump(mode="json")
    held = (find_model(MODEL) / ONNX).read_bytes()
    assert (tmp_path / "a.onnx").read_bytes().startswith(held)


def test_openvino_runs_its_own_format(tmp_path: Path, images: Images, maps: Images) -> None:
    openvino = pytest.importorskip("openvino")
    assert export(MODEL, "openvino", tmp_path / "ir").exit_code == 0
    assert {path.name for path in (tmp_path / "ir").iterdir()} == {"model.xml", "model.bin"}
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    network = openvino.Core().compile_model(tmp_path / "ir" / "model.xml", "CPU", settings)
    close(network([images])[0], maps)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_the_interpreter_runs_the_litert_file(tmp_path: Path, images: Images, maps: Images) -> None:
    tf = pytest.importorskip("tensorflow")
    assert export(MODEL, "litert", tmp_path / "a.tflite").exit_code == 0
    interpreter = tf.lite.Interpreter(str(tmp_path / "a.tflite"))
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, images)
    interpreter.invoke()
    close(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), maps)


@pytest.mark.slow
def test_tensorflow_runs_the_saved_model(tmp_path: Path, images: Images, maps: Images) -> None:
    tf = pytest.importorskip("tensorflow")
    assert export(MODEL, "saved-model", tmp_path / "served").exit_code == 0
    loaded = tf.saved_model.load(str(tmp_path / "served"))  # kept, or its variables are deleted
    close(loaded.serve(images), maps)


@pytest.mark.parametrize("model", [MODEL, "classic-128"])
def test_a_package_of_bioimage_io_holds_what_it_describes(model: str, tmp_path: Path) -> None:
    result = export(model, "bioimageio", tmp_path / "a.zip")
    assert result.exit_code == 0, result.output
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    rdf = json.loads(files["rdf.yaml"])
    network, told = rdf["weights"]["onnx"], rdf["inputs"][0]
    named = {network["source"], rdf["documentation"], *rdf["covers"]}
    named |= {each["test_tensor"]["source"] for each in (*rdf["inputs"], *rdf["outputs"])}
    assert named <= set(files)
    assert (rdf["license"], rdf["format_version"]) == ("BSD-3-Clause", "0.5.4")
    pixels = np.load(io.BytesIO(files[told["test_tensor"]["source"]]))
    scale = told["preprocessing"][0]["kwargs"]
    prepared = stretch(pixels, (scale["min_percentile"], scale["max_percentile"]))
    session = onnxruntime.InferenceSession(files[network["source"]])
    expected = np.load(io.BytesIO(files[rdf["outputs"][0]["test_tensor"]["source"]]))
    close(session.run(None, {"image": prepared})[0], expected)
    close(load_runtime(find_model(model))(prepared), expected)


def test_a_package_names_author_and_licence(bright_model: Path, tmp_path: Path) -> None:
    folder = with_card(bright_model, tmp_path / "model", licence="")
    result = export(folder, "bioimageio", tmp_path / "a.zip")
    assert result.exit_code == 2
    assert "Set --author and --licence" in result.output


def test_a_network_of_another_origin_is_no_package(bright_model: Path, tmp_path: Path) -> None:
    credit = ("--author", "Me", "--licence", "MIT")
    outputs = Interface(outputs=("nucleus",))
    folder = with_card(bright_model, tmp_path / "model", network=None, interface=outputs)
    result = export(folder, "bioimageio", tmp_path / "a.zip", *credit)
    assert result.exit_code == 2
    assert "cannot be a package of bioimage.io" in result.output
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("form", "step"),
    [
        ("onnx", "nucseg.models.usage.with_usage"),
        ("openvino", "openvino.save_model"),
        ("litert", "nucseg.models.saved_model.write_litert"),
        ("saved-model", "nucseg.models.saved_model.write_saved_model"),
        ("bioimageio", "nucseg.models.bioimageio._description"),
    ],
)
def test_an_export_that_fails_leaves_nothing(
    form: str, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **_options: object) -> None:
        for path in given:
            if isinstance(path, Path):
                place = path / "part" if path.is_dir() else path
                place.write_bytes(b"part")
        raise OSError(28, "No space left on device")

    pytest.importorskip({"openvino": "openvino", "onnx": "numpy"}.get(form, "tensorflow"))
    monkeypatch.setattr(step, fail)
    result = export(MODEL, form, tmp_path / "out" / "x")
    assert result.exit_code == 2
    assert "No space left" in result.output
    assert list((tmp_path / "out").iterdir()) == []


def test_what_openvino_does_not_take_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino = pytest.importorskip("openvino")

    def fail(*_given: object, **_options: object) -> None:
        raise RuntimeError("Unknown operation")

    monkeypatch.setattr(openvino, "save_model", fail)
    result = export(MODEL, "openvino", tmp_path / "x")
    assert result.exit_code == 2
    assert "Unknown operation" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_a_keras_file_is_not_converted(tmp_path: Path) -> None:
    result = export("classic-128", "litert", tmp_path / "a.tflite")
    assert result.exit_code == 2
    assert f"has no {KERAS}" in result.output
