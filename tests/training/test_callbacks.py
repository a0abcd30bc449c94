import time

import numpy as np
import pytest

from nucseg.training.callbacks import Clock, Progress, Recorder


class Model:
    """What the recorder needs of a model, with files in place of weights."""

    stop_training = False

    class optimizer:
        learning_rate = np.float32(0.5)

    def save_weights(self, path):
        path.write_text("weights")

    save = save_weights


@pytest.fixture
def recorder(tmp_path):
    recorder = Recorder(tmp_path, [], patience=2)
    recorder.set_model(Model())
    return recorder


def test_training_stops_after_the_patience_without_progress(recorder):
    for epoch, loss in enumerate((3.0, 1.0, 2.0, 1.0)):
        assert not recorder.model.stop_training
        recorder.on_epoch_end(epoch, {"val_loss": loss})
    assert recorder.model.stop_training


def test_only_the_best_weights_are_kept(recorder, tmp_path):
    best = tmp_path / "checkpoint" / "best.weights.h5"
    recorder.on_epoch_end(0, {"val_loss": 1.0})
    best.write_text("first")
    recorder.on_epoch_end(1, {"val_loss": 2.0})
    assert best.read_text() == "first"
    recorder.on_epoch_end(2, {"val_loss": 0.5})
    assert best.read_text() == "weights"


def test_a_resumed_recorder_remembers_by_the_history(tmp_path):
    losses = [{"epoch": n + 1, "val_loss": loss} for n, loss in enumerate((1.0, 2.0, 2.0))]
    assert Recorder(tmp_path, losses, patience=2).is_exhausted()
    assert not Recorder(tmp_path, losses, patience=3).is_exhausted()
    assert not Recorder(tmp_path, [], patience=1).is_exhausted()


def test_progress_counts_steps_of_all_epochs():
    told = []
    progress = Progress(lambda *step: told.append(step), epochs=3)
    progress.set_params({"steps": 5})
    progress.on_epoch_begin(1)
    progress.on_train_batch_end(2)
    assert told == [(8, 15)]


def test_the_clock_adds_the_seconds_of_each_epoch():
    clock, figures = Clock(), {"loss": 1.0}
    clock.on_epoch_begin(0)
    time.sleep(0.02)
    clock.on_epoch_end(0, figures)
    assert 0.02 <= figures["seconds"] < 5
