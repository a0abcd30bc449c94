"""A model with a second one in its folder, for images with a bright background."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nucseg import load_model
from nucseg.batch.run import segment_files
from nucseg.cli.main import app
from nucseg.config import ConnectedComponents
from nucseg.errors import ModelError
from nucseg.inference.planes import segment_plane
from nucseg.inference.runtimes import LoadedLater
from nucseg.inference.segmenter import Model
from nucseg.models.zoo import CARD, ONNX, read_card, write_card
from tests.conftest import write_bright_model


def write_pair(folder: Path, **of_bright) -> Path:
    """Write a model that finds bright nuclei on a dark background, and dark ones on a bright."""
    write_bright_model(folder, name="pair")
    write_bright_model(folder / "second", name="pair/second", sign=-1, **of_bright)
    changes = {"bright": "second", "files": {ONNX: "", f"second/{CARD}": ""}}
    write_card(folder, read_card(folder).model_copy(update=changes))
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Model:
    return load_model(write_pair(tmp_path_factory.mktemp("models") / "pair"))


def two_nuclei() -> np.ndarray:
    image = np.zeros((48, 64), np.uint8)
    image[4:12, 4:12] = image[20:30, 30:44] = 255
    return image


def test_each_kind_of_image_by_its_own_network(pair: Model):
    dark = two_nuclei()
    assert pair.segment(dark).count == 2
    assert pair.segment(255 - dark).count == 2
    np.testing.assert_array_equal(pair.segment(dark).labels, pair.segment(255 - dark).labels)


def test_the_parts_of_a_pair_see_one_kind_right(pair: Model):
    dark = two_nuclei()
    assert pair.suited(dark).bright is None
    # Each by itself calls the background of the other kind one large nucleus.
    assert pair.suited(dark).segment(255 - dark).count == 1
    assert pair.suited(255 - dark).segment(dark).count == 1


def test_both_halves_of_finding_take_the_same_network(pair: Model):
    bright = 255 - two_nuclei()
    maps = pair.network_maps(bright)
    np.testing.assert_array_equal(pair.nuclei(bright, maps).labels, pair.segment(bright).labels)


@pytest.mark.parametrize("invert", [False, True])
def test_a_plane_that_is_read_by_windows(pair: Model, invert: bool):
    image = np.tile(two_nuclei(), (20, 20))
    image = 255 - image if invert else image
    small = Model(pair.card, pair.runtime, window=512, image_pixels=2**18, bright=pair.bright)
    assert not small.fits_memory(image.shape)
    with segment_plane(small, image) as found:
        assert found.count == 800


def test_settings_hold_for_both(pair: Model):
    bright = 255 - two_nuclei()
    assert pair.with_postprocessing(min_area=100).segment(bright).count == 1
    assert pair.with_postprocessing(min_area=100).segment(255 - bright).count == 1
    assert pair.with_tta().segment(bright).count == 2
    assert pair.with_diameter(20.0).segment(bright).confidence.view.source == "diameter"


def test_in_a_batch_on_several_threads(pair: Model, tmp_path: Path):
    import cv2

    for number in range(4):
        image = two_nuclei() if number % 2 else 255 - two_nuclei()
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    outcomes = segment_files([tmp_path], tmp_path / "out", pair, formats=["labels"])
    assert [outcome.nuclei for outcome in outcomes] == [2, 2, 2, 2]


def test_the_second_network_is_loaded_when_it_is_needed(tmp_path: Path):
    model = load_model(write_pair(tmp_path / "pair"))
    assert isinstance(model.bright.runtime, LoadedLater)
    (tmp_path / "pair" / "second" / ONNX).unlink()
    assert model.segment(two_nuclei()).count == 2
    with pytest.raises(ModelError, match="cannot be loaded"):
        model.segment(255 - two_nuclei())


def test_a_pair_can_be_sent_to_another_process(pair: Model):
    sent = pickle.loads(pickle.dumps(pair))
    assert sent.segment(255 - two_nuclei()).count == 2


def test_a_changed_second_model_is_refused(tmp_path: Path):
    folder = write_pair(tmp_path / "pair")
    card = folder / "second" / CARD
    card.write_text(card.read_text().replace("Calls", "Names"))
    with pytest.raises(ModelError, match="SHA-256"):
        load_model(folder)


def test_a_second_model_that_is_not_listed_is_refused(tmp_path: Path):
    folder = write_pair(tmp_path / "pair")
    write_card(folder, read_card(folder).model_copy(update={"files": {ONNX: ""}}))
    with pytest.raises(ModelError, match="second/model.json"):
        load_model(folder)


def test_models_that_filter_otherwise_are_no_pair(tmp_path: Path):
    folder = write_pair(tmp_path / "pair", postprocessing=ConnectedComponents(min_area=50))
    with pytest.raises(ModelError, match="same preprocessing"):
        load_model(folder)


@pytest.mark.parametrize(("bright", "dark", "start"), [(3, 1, "/second"), (1, 3, ""), (2, 2, "")])
def test_training_goes_on_from_the_one_that_suits_most_images(
    tmp_path: Path, bright: int, dark: int, start: str
):
    import cv2

    from nucseg.datasets.reading import open_dataset
    from nucseg.training.fine_tuning import suited_start

    folder = write_pair(tmp_path / "pair")
    for part in ("images", "labels"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for number in range(bright + dark):
        image = 255 - two_nuclei() if number < bright else two_nuclei()
        cv2.imwrite(str(tmp_path / "data" / "images" / f"{number}.png"), image)
        labels = (two_nuclei() > 0).astype(np.uint16)
        cv2.imwrite(str(tmp_path / "data" / "labels" / f"{number}.png"), labels)
    dataset = open_dataset(tmp_path / "data")
    assert suited_start(str(folder), dataset) == f"{folder}{start}"
    assert suited_start("classic-128", dataset) == "classic-128"


def test_exporting_one_of_two_says_so(tmp_path: Path):
    folder = write_pair(tmp_path / "pair")
    arguments = ["export", str(folder), "--format", "onnx", "-o", str(tmp_path / "a.onnx")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "dark background" in result.stdout
    assert f"{folder}/second" in result.stdout
    second = [arguments[0], f"{folder}/second", *arguments[2:-1], str(tmp_path / "b.onnx")]
    assert "dark background" not in CliRunner().invoke(app, second).stdout
