"""A model is what its description says: nothing else is opened."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from case_images import nucseg

from nucseg.errors import ModelError
from nucseg.inference.loading import load_model
from nucseg.inference.runtimes import load_runtime
from nucseg.models.zoo import CARD, KERAS, ONNX, ModelCard, find_model, read_card, write_card


def changed(folder: Path, files: dict[str, str]) -> Path:
    """Write a description that lists these files."""
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, "files": files}))
    return folder


@pytest.fixture
def folder(bright_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bright_model, tmp_path / "model"))


def test_a_network_that_is_not_listed_is_not_run(folder: Path, tmp_path: Path):
    changed(folder, {})
    PIL.Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    result = nucseg("segment", tmp_path / "a.png", "-o", tmp_path / "out", "--model", folder)
    assert result.exit_code == 2
    assert f"has no {ONNX} among the files that its {CARD} lists (none)" in result.stderr
    assert "There is such a file in its folder, but it may be any." in result.stderr
    with pytest.raises(ModelError, match="among the files"):
        load_runtime(folder)


def test_another_file_may_be_listed_and_the_network_is_still_not_run(folder: Path):
    (folder / "notes.txt").write_text("mine")
    changed(folder, {"notes.txt": "0" * 64})
    with pytest.raises(ModelError, match="its SHA-256 differs"):
        load_model(folder)


@pytest.mark.parametrize("name", [ONNX, KERAS])
def test_a_file_that_is_not_there_says_no_more(name: str, folder: Path):
    (folder / ONNX).unlink()
    changed(folder, {})
    with pytest.raises(ModelError, match=r"lists \(none\)\. Copy the whole model folder again"):
        load_runtime(folder, "onnx" if name == ONNX else "keras")


def test_keras_runs_no_file_that_is_not_listed(folder: Path):
    shutil.copy(find_model("nuclei") / KERAS, folder / KERAS)
    with pytest.raises(ModelError, match=f"no {KERAS} among the files"):
        load_model(folder, runtime="keras")


def test_a_file_changed_since_is_an_error(folder: Path):
    with (folder / ONNX).open("ab") as file:
        file.write(b"\\0")
    with pytest.raises(ModelError, match="its SHA-256 differs"):
        load_model(folder)


@pytest.mark.parametrize("form", ["onnx", "keras", "saved-model", "litert", "openvino"])
def test_export_writes_what_is_listed_and_no_more(form: str, folder: Path, tmp_path: Path):
    changed(folder, {})
    result = nucseg("export", folder, "--format", form, "-o", tmp_path / "x")
    assert result.exit_code == 2
    assert "among the files that its" in result.stderr
    assert not (tmp_path / "x").exists()


def test_every_format_of_the_bundled_model_is_exported(tmp_path: Path):
    tf = pytest.importorskip("tensorflow")
    for form, name in (("onnx", "a.onnx"), ("keras", "a.keras"), ("saved-model", "served")):
        result = nucseg("export", "nuclei", "--format", form, "-o", tmp_path / name)
        assert result.exit_code == 0, result.output
    held = (find_model("nuclei") / ONNX).read_bytes()
    assert (tmp_path / "a.onnx").read_bytes().startswith(held)  # metadata follows
    image = np.random.default_rng(0).random((1, 64, 96, 3), np.float32)
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    served = loaded.serve(image).numpy()
    np.testing.assert_allclose(served, load_runtime(find_model("nuclei"))(image), atol=1e-4)


@pytest.mark.slow
def test_converting_prints_nothing_of_tensorflow(tmp_path: Path):
    pytest.importorskip("tensorflow")
    command = [sys.executable, "-m", "nucseg", "export", "nuclei/bright", "--format", "saved-model"]
    environment = {key: value for key, value in os.environ.items() if key[:3] != "TF_"}
    done = subprocess.run(
        [*command, "-o", tmp_path / "served"],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("Wrote ")


def test_a_model_without_a_keras_file_says_so(tmp_path: Path):
    result = nucseg("export", "classic-128", "--format", "saved-model", "-o", tmp_path / "x")
    assert result.exit_code == 2
    assert f"has no {KERAS} among the files" in result.stderr


def test_a_network_that_opens_other_files_is_not_run(folder: Path):
    onnx = pytest.importorskip("onnx")
    network = onnx.load(folder / ONNX)
    for weights in network.graph.initializer:  # in the form that can be in another file
        array = onnx.numpy_helper.to_array(weights)
        weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))
    options = {"save_as_external_data": True, "size_threshold": 0, "location": "weights.bin"}
    onnx.save_model(network, folder / ONNX, **options)
    assert (folder / "weights.bin").is_file()
    card = read_card_anew(folder)
    assert "weights.bin" not in card.files
    with pytest.raises(ModelError, match=f"{ONNX} cannot be loaded as an ONNX network"):
        load_model(folder)


def read_card_anew(folder: Path):
    """Description of a model whose network was changed by those who own it."""
    card = ModelCard.model_validate_json((folder / CARD).read_bytes())
    write_card(folder, card)
    return read_card(folder)
