"""Training runs from end to end, each with a network of seconds."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import onnxruntime
import pytest
from PIL import Image
from pydantic import ValidationError
from typer.testing import CliRunner

import nucseg
from nucseg.cli.main import app
from nucseg.config import (
    FINE_TUNING,
    FINE_TUNING_CROPS,
    INSTANCE_MAPS,
    RECIPES,
    Crops,
    Scoring,
    Training,
    UNet,
    Watershed,
)
from nucseg.errors import InputError, ModelError
from nucseg.models.zoo import KERAS, ONNX, read_card, write_card
from nucseg.training import run_folder
from nucseg.training.fine_tuning import blended, fine_tuning, starting_network
from nucseg.training.fit import train
from nucseg.training.logs import missing_curves, read_log
from nucseg.training.outcome import without_folders

pytestmark = pytest.mark.slow

FILES = [
    KERAS, ONNX, "model.json", "config.toml", "history.csv", "split.csv", "plots/epoch_acc.png",
    "plots/epoch_loss.png", "plots/epoch_seconds.png", "plots/model.png", "plots/model.txt",
    "predictions/epoch_001.png",
    "predictions/epoch_002.png", "predictions/epoch_004.png",
]  # fmt: skip


def history(run, *, seconds=False):
    """Rows of the history; how long an epoch took is never the same again."""
    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: row[key] for key in row if seconds or key != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def told():
    return {"progress": [], "epochs": []}


@pytest.fixture(scope="module")
def run(discs, tiny, told, tmp_path_factory):
    """An uninterrupted run that all tests may read."""
    return train(
        discs,
        tmp_path_factory.mktemp("train") / "run",
        tiny,
        progress=lambda *step: told["progress"].append(step),
        on_epoch=told["epochs"].append,
    )


def test_a_run_holds_what_is_promised(run):
    missing = [name for name in FILES if not (run / name).stat().st_size]
    assert missing == []
    assert not (run / "checkpoint").exists()
    with Image.open(run / "predictions" / "epoch_004.png") as picture:
        assert picture.mode == "RGB"


def test_history_and_progress_tell_of_every_epoch(run, told):
    assert [row["epoch"] for row in history(run)] == ["1", "2", "3", "4"]
    assert {"loss", "accuracy", "dice", "val_loss", "val_accuracy", "val_dice",
            "learning_rate"} <= set(history(run)[0])  # fmt: skip
    assert all(float(row["seconds"]) > 0 for row in history(run, seconds=True))
    assert [row["epoch"] for row in told["epochs"]] == [1, 2, 3, 4]
    assert ("training", 8, 8) in told["progress"]
    assert ("reading images", 10, 10) in told["progress"]


def test_the_network_learned(run):
    losses = [float(row["loss"]) for row in history(run)]
    assert losses[-1] < losses[0]


def test_the_card_says_how_the_model_came_about(run, tiny):
    card = read_card(run)
    assert card.preprocessing == tiny.preprocessing
    assert card.training["images"] == {"train": 7, "validation": 3, "test": 0}
    assert card.training["settings"]["seed"] == 0
    assert card.training["kept_epoch"] == 1 + int(
        np.argmin([float(row["val_loss"]) for row in history(run)])
    )
    assert set(card.files) == {KERAS, ONNX}
    assert card.versions["keras"]


def test_keras_and_onnx_are_the_same_network(run):
    import keras

    images = np.random.default_rng(0).random((3, 32, 32, 3), dtype=np.float32)
    expected = keras.saving.load_model(run / KERAS, safe_mode=True).predict(images, verbose=0)
    maps = onnxruntime.InferenceSession(run / ONNX).run(None, {"image": images})[0]
    np.testing.assert_allclose(maps, expected, atol=1e-4)


def test_tensorboard_has_curves_pictures_and_graph(run):
    contents = {content.name: content for content in read_log(run)}
    assert missing_curves(list(contents.values())) == []
    assert contents["train"].scalars["epoch_loss"] == 4
    assert contents["validation"].scalars["epoch_accuracy"] == 4
    assert set(contents["validation"].scalars) == {"epoch_accuracy", "epoch_dice", "epoch_loss"}
    assert set(contents["train"].scalars) - set(contents["validation"].scalars) == {
        "epoch_learning_rate",
        "epoch_seconds",
    }
    assert contents["train"].graph
    assert list(contents["predictions"].images.values()) == [3]


def test_doctor_lists_the_curves(run):
    result = CliRunner().invoke(app, ["doctor", str(run)])
    assert result.exit_code == 0, result.output
    assert "curve epoch_loss: 4 point(s)" in result.output
    assert "tensorboard --logdir" in result.output


def test_a_finished_run_has_nothing_to_resume(run, discs):
    before = (run / "history.csv").read_bytes()
    with pytest.raises(InputError, match="is finished"):
        train(discs, run, resume=True)
    assert (run / "history.csv").read_bytes() == before


def test_a_run_is_not_resumed_with_other_settings(discs, tiny, tmp_path):
    run_folder.write_settings(tmp_path / "config.toml", tiny)
    other = tiny.model_copy(update={"seed": 1, "patience": 3})
    with pytest.raises(InputError, match="begun with other settings of patience, seed"):
        train(discs, tmp_path, other, resume=True)


def test_a_killed_run_resumes_to_the_same_history(run, discs, tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "nucseg", "train", str(discs), "-o", str(folder)]
    process = subprocess.Popen(
        [*command, "--config", str(run / "config.toml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not (folder / run_folder.LAST).exists():
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline, "no epoch ended in time"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / KERAS).exists()
    subprocess.run([*command, "--resume"], check=True, capture_output=True)
    assert history(folder) == history(run)
    assert missing_curves(read_log(folder)) == []


def test_an_interrupt_keeps_the_best_epoch_and_can_be_resumed(run, discs, tiny, tmp_path):
    def interrupt(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    folder = train(discs, tmp_path / "run", tiny, on_epoch=interrupt)
    assert read_card(folder).training["interrupted"]
    assert history(folder) == history(run)[:2]
    train(discs, folder, resume=True)
    assert history(folder) == history(run)
    assert not read_card(folder).training["interrupted"]


def test_a_run_in_bfloat16_is_resumed_and_leaves_a_plain_network(run, discs, tiny, tmp_path):
    def interrupt(row):
        if row["epoch"] == 1:
            raise KeyboardInterrupt

    settings = tiny.model_copy(update={"precision": "bfloat16"})
    folder = train(discs, tmp_path / "run", settings, on_epoch=interrupt)
    train(discs, folder, resume=True)
    losses = [[float(row["loss"]) for row in history(each)] for each in (folder, run)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
    kept, plain = (keras.saving.load_model(each / KERAS) for each in (folder, run))
    assert [type(layer) for layer in kept.layers] == [type(layer) for layer in plain.layers]
    assert {layer.compute_dtype for layer in kept.layers} == {"float32"}


def test_an_interrupt_before_the_first_epoch_leaves_no_model(discs, tiny, tmp_path):
    def interrupt(what, _done, _total):
        if what == "training":
            raise KeyboardInterrupt

    with pytest.raises(InputError, match="before the first epoch"):
        train(discs, tmp_path / "run", tiny, progress=interrupt)
    assert not (tmp_path / "run" / KERAS).exists()


def test_the_card_names_files_without_their_folders():
    settings = Training(split="/home/me/split.csv", encoder_weights="/data/encoder.h5")
    record = without_folders(settings)
    assert (record["split"], record["encoder_weights"]) == ("split.csv", "encoder.h5")
    assert without_folders(Training())["encoder_weights"] == "imagenet"
    for start, told in (("nuclei/bright", "nuclei/bright"), ("/home/me/run", "run")):
        assert without_folders(Training(start_from=start))["start_from"] == told


def test_an_overwritten_run_leaves_nothing_behind(discs, tiny, tmp_path):
    run_folder.write_settings(tmp_path / "config.toml", tiny)
    for old in ("checkpoint/last.keras", "predictions/epoch_099.png", "model.json"):
        (tmp_path / old).parent.mkdir(exist_ok=True)
        (tmp_path / old).write_text("old")

    def interrupt(what, _done, _total):
        if what == "training":
            raise KeyboardInterrupt

    with pytest.raises(InputError, match="before the first epoch"):
        train(discs, tmp_path, tiny, overwrite=True, progress=interrupt)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not left & {"last.keras", "epoch_099.png", "model.json"}


def test_a_wrong_split_leaves_the_old_run(run, discs, tiny):
    settings = tiny.model_copy(update={"split": "nowhere.csv"})
    with pytest.raises(InputError, match="nowhere.csv"):
        train(discs, run, settings, overwrite=True)
    assert read_card(run).training["epochs"] == 4


def test_wrong_weights_are_refused_before_anything_is_written(discs, tiny, tmp_path):
    settings = tiny.model_copy(update={"encoder_weights": str(tmp_path / "none.h5")})
    with pytest.raises(ModelError, match="No encoder weights"):
        train(discs, tmp_path / "run", settings)
    assert not (tmp_path / "run" / KERAS).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "greater than or equal to 1"),
        (["--learning-rate", "-1"], "Wrong value of --learning-rate"),
        (["--recipe", "magic"], "Wrong value of --recipe"),
        (["--relearn"], "Only a model that goes on (--from) can learn anew (--relearn)."),
        (["--split", "nowhere.csv"], "nowhere.csv"),
        (["--config", "nowhere.toml"], "Cannot read the settings"),
        (["--resume"], "no run to resume"),
        (["--draw", "mine"], "Wrong value of --draw: expected NAME=NUMBER, not mine."),
        (["--draw", "mine=much"], "Wrong value of --draw"),
        (["--draw", "mine=2", "--recipe", "semantic"], "of the instance recipe"),
        (["--group", "("], "no regular expression"),
        (["--group", "nothing"], "is a group of its own"),
    ],
)
def test_wrong_options_are_explained(discs, tmp_path, arguments, message):
    command = ["train", str(discs), "-o", str(tmp_path / "run"), *arguments]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_missing_and_empty_data_are_explained(tmp_path, make):
    data = tmp_path / "data"
    make(data)
    result = CliRunner().invoke(app, ["train", str(data), "-o", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert str(data) in result.output.replace("\n", "")
    assert not (tmp_path / "run").exists()


def test_a_bad_training_image_is_named_before_training(tmp_path, discs, tiny):
    import shutil

    data = shutil.copytree(discs, tmp_path / "data")
    (data / "image03" / "images" / "image03.png").write_bytes(b"")
    with pytest.raises(InputError, match="image03"):
        train(data, tmp_path / "run", tiny)


def test_the_card_is_valid_json_for_others(run):
    assert json.loads((run / "model.json").read_text())["format"] == 1


@pytest.fixture(scope="module")
def instance_run(discs, tiny, tmp_path_factory):
    settings = RECIPES["instance"].model_copy(
        update={
            "epochs": 2,
            "batch_size": 4,
            "split": "random",
            "encoder_weights": "none",
            "network": tiny.network.model_copy(update={"outputs": INSTANCE_MAPS}),
            "crops": Crops(size=32, per_epoch=8),
        }
    )
    return train(discs, tmp_path_factory.mktemp("train") / "instance", settings)


def test_the_instance_recipe_trains_on_crops_to_a_model_that_segments(instance_run):
    assert [row["epoch"] for row in history(instance_run)] == ["1", "2"]
    card = read_card(instance_run)
    assert (card.recipe, card.network.outputs) == ("instance", INSTANCE_MAPS)
    assert isinstance(card.postprocessing, Watershed)
    assert card.scoring is not None
    # The last, whatever the validation loss.
    assert card.training["kept_epoch"] == 2
    image = np.random.default_rng(0).integers(0, 255, (50, 70), dtype=np.uint8)
    assert nucseg.load_model(instance_run).segment(image).labels.shape == (50, 70)
    assert missing_curves(read_log(instance_run)) == []


def test_several_sets_train_one_model_that_names_them(discs, tiny, tmp_path, caplog):
    tissue = shutil.copytree(discs, tmp_path / "tissue")
    (tissue / "dataset.toml").write_text(
        'name = "my tissue"\nlicence = "CC0 1.0"\nsource = "somewhere"\ngroup = "image0[0-4]"'
    )
    settings = RECIPES["instance"].model_copy(
        update={
            "epochs": 1,
            "batch_size": 4,
            "encoder_weights": "none",
            "draw": {"my tissue": 2.0},
            "network": tiny.network.model_copy(update={"outputs": INSTANCE_MAPS}),
            "crops": Crops(size=32, per_epoch=4),
        }
    )
    run = train([discs, tissue], tmp_path / "run", settings)
    data = read_card(run).training["data"]
    assert list(data) == ["discs", "my tissue"]
    assert data["my tissue"]["licence"] == "CC0 1.0"
    assert data["my tissue"]["source"] == "somewhere"
    assert "not stated" in data["discs"]["licence"]
    assert "No licence is stated for discs" in caplog.text
    counted = [sum(each["images"].values()) for each in data.values()]
    assert counted == [10, 10]
    with (run / "split.csv").open(newline="") as file:
        names = {row["image_id"] for row in csv.DictReader(file)}
    assert {"discs/image00", "my tissue/image09"} <= names
    assert run_folder.read_settings(run / "config.toml") == settings
    shown = CliRunner().invoke(app, ["models", str(run)]).output
    assert "my tissue" in shown
    assert "whether this model may be given away is not known" in shown


def test_settings_of_two_recipes_are_not_mixed(tmp_path):
    (tmp_path / "config.toml").write_text('recipe = "instance"')
    with pytest.raises(InputError, match="needs preprocessing.size and no crops"):
        run_folder.read_settings(tmp_path / "config.toml")


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_comes_back_from_its_settings_file(tmp_path, recipe):
    run_folder.write_settings(tmp_path / "config.toml", RECIPES[recipe])
    assert run_folder.read_settings(tmp_path / "config.toml") == RECIPES[recipe]


def normalizations(folder):
    network = keras.saving.load_model(folder / KERAS, compile=False)
    return [
        (np.asarray(layer.moving_mean), np.asarray(layer.moving_variance))
        for layer in network.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]


def test_fine_tuning_goes_on_from_a_trained_model(run, discs, tmp_path):
    options = ["--from", str(run), "--epochs", "2", "--split", "random", "--patience", "2"]
    arguments = ["train", str(discs), "-o", str(tmp_path / "mine"), *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert float(history(tmp_path / "mine")[0]["loss"]) < float(history(run)[0]["loss"])
    card = read_card(tmp_path / "mine")
    assert card.network == read_card(run).network
    held = card.training["settings"]
    assert (held["start_from"], held["learning_rate"]) == (run.name, FINE_TUNING["learning_rate"])
    for before, after in zip(normalizations(run), normalizations(tmp_path / "mine"), strict=True):
        np.testing.assert_array_equal(before, after)


def test_relearning_goes_on_with_all_of_the_model(instance_run, discs, tmp_path):
    settings = fine_tuning(str(instance_run), relearn=True)
    recipe = RECIPES["instance"]
    assert (settings.epochs, settings.learning_rate) == (recipe.epochs, recipe.learning_rate)
    assert settings.crops == recipe.crops
    crops = settings.crops.model_copy(update={"size": 32, "per_epoch": 2})
    update = {"crops": crops, "epochs": 1, "split": "random", "batch_size": 2}
    train(discs, tmp_path / "mine", settings.model_copy(update=update))
    before, after = normalizations(instance_run), normalizations(tmp_path / "mine")
    assert any(not np.array_equal(*pair) for pair in zip(before, after, strict=True))
    assert read_card(tmp_path / "mine").scoring is not None


def test_fine_tuning_keeps_thresholds_and_score_of_the_model(instance_run, discs, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(instance_run, base)
    card = read_card(base)
    scoring = Scoring(weights=(1, 2, 3, 4, 5, 6, 7), bias=0.25)
    thresholds = Watershed(threshold=0.35, min_score=0.15)
    update = {"scoring": scoring, "postprocessing": thresholds}
    write_card(base, card.model_copy(update=update))
    settings = fine_tuning(str(base))
    assert settings.crops.per_epoch == FINE_TUNING_CROPS
    crops = settings.crops.model_copy(update={"size": 32, "per_epoch": 2})
    update = {"crops": crops, "epochs": 1, "split": "random", "batch_size": 2}
    train(discs, tmp_path / "mine", settings.model_copy(update=update))
    tuned = read_card(tmp_path / "mine")
    assert tuned.scoring == scoring
    assert tuned.postprocessing == thresholds


def test_what_is_learned_is_blended_with_what_was_known(instance_run):
    settings = fine_tuning(str(instance_run)).model_copy(update={"blend": 0.25})
    before = starting_network(settings).get_weights()
    model = starting_network(settings)
    model.set_weights([weights + 1 for weights in before])
    blended(model, settings)
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_allclose(now, old + settings.blend, atol=1e-6)
    with pytest.raises(ValidationError, match="Only a model that goes on"):
        Training(blend=0.5)


def test_fine_tuning_keeps_the_network_of_the_model(run, discs, tmp_path):
    settings = fine_tuning(str(run)).model_copy(update={"network": UNet(), "split": "random"})
    with pytest.raises(InputError, match="settings of network are not those of the model run"):
        train(discs, tmp_path / "mine", settings)


@pytest.mark.parametrize(
    ("start", "message"),
    [("classic-128", "has no nucleus_segmentation_model.keras"), ("nothing", "Unknown model")],
)
def test_nothing_to_go_on_from(discs, tmp_path, start, message):
    arguments = ["train", str(discs), "-o", str(tmp_path / "mine"), "--from", start]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "mine").exists()
