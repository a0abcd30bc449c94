import json

import pytest

from nucseg.config import ConnectedComponents, Preprocessing, UNet
from nucseg.errors import ModelError
from nucseg.models.zoo import CARD, ModelCard, bundled_models, find_model, read_card, write_card


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"weights")
    card = ModelCard(
        name="mine",
        network=UNet(),
        preprocessing=Preprocessing(),
        postprocessing=ConnectedComponents(),
        files={"model.onnx": ""},
    )
    write_card(tmp_path, card)
    return tmp_path


def test_a_card_comes_back_as_it_was_written(folder):
    card = read_card(folder)
    assert card.name == "mine"
    assert card.preprocessing == Preprocessing()
    assert len(card.files["model.onnx"]) == 64


def test_a_folder_is_found_by_its_path(folder):
    assert find_model(folder) == folder
    assert find_model(str(folder)) == folder


def test_an_unknown_name_is_never_replaced_by_a_default():
    with pytest.raises(ModelError, match="Unknown model 'clasic-128': there is no folder"):
        find_model("clasic-128")


def test_a_folder_without_a_card_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"holds no model\.json"):
        find_model(tmp_path)


def test_changed_weights_are_refused(folder):
    (folder / "model.onnx").write_bytes(b"weightz")
    with pytest.raises(ModelError, match="its SHA-256 differs"):
        read_card(folder)


def test_missing_weights_are_named(folder):
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"lacks its file .*model\.onnx"):
        read_card(folder)


def test_an_unknown_key_is_refused(folder):
    content = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**content, "treshold": 0.4}))
    with pytest.raises(ModelError, match="treshold: Extra inputs are not permitted"):
        read_card(folder)


def test_a_broken_card_is_refused(folder):
    (folder / CARD).write_text("{")
    with pytest.raises(ModelError, match="does not describe a model"):
        read_card(folder)


def test_a_folder_that_vanished_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"Cannot read .*model\.json"):
        read_card(tmp_path)


@pytest.mark.parametrize("name", bundled_models())
def test_bundled_models_are_complete(name):
    assert read_card(find_model(name)).name == name
