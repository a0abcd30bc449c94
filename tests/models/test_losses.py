"""Losses pass over what is not known of the truth."""

import keras
import numpy as np
import pytest

from nucseg.config import INSTANCE_MAPS
from nucseg.models.losses import accuracy, cross_entropy_dice, dice, instance_loss
from nucseg.training.targets import training_targets

LOSS = instance_loss(INSTANCE_MAPS)


def computed(function, truth, maps):
    """Call a loss and give its value and its gradient by the maps."""
    tensorflow = pytest.importorskip("tensorflow")
    given = tensorflow.Variable(maps)
    with tensorflow.GradientTape() as tape:
        value = function(tensorflow.constant(truth), given)
    return np.asarray(value), np.asarray(tape.gradient(value, given))


@pytest.fixture
def truth():
    labels = np.zeros((32, 32), np.int32)
    labels[5:15, 5:15], labels[5:15, 15:25], labels[20:28, 4:14] = 1, 2, 3
    return labels


@pytest.fixture
def maps():
    return np.random.default_rng(0).uniform(0.05, 0.95, (1, 32, 32, 5)).astype(np.float32)


def test_pixels_that_are_not_known_teach_nothing(truth, maps):
    truth[truth == 3] = -1
    targets = training_targets(truth, INSTANCE_MAPS)[None]
    hidden = np.isnan(targets[..., 0])
    assert hidden.sum() == 10 * 12  # and a pixel around
    value, gradient = computed(LOSS, targets, maps)
    assert np.isfinite(value).all()
    assert not gradient[hidden].any()
    assert np.abs(gradient[~hidden][..., :3]).min() > 0
    other = maps.copy()
    other[hidden] = 0.5
    np.testing.assert_allclose(computed(LOSS, targets, other)[0], value, rtol=1e-6)


def test_borders_that_are_not_known_teach_nothing(truth, maps):
    targets = training_targets(truth, INSTANCE_MAPS, borders=False)[None]
    _, gradient = computed(LOSS, targets, maps)
    assert not gradient[..., 1].any()
    assert np.abs(gradient[..., 0]).min() > 0


def test_where_all_is_known_the_loss_is_that_of_the_formula(truth, maps):
    targets = training_targets(truth, INSTANCE_MAPS)[None]
    nucleus, given = targets[..., :1], maps[..., :1]
    entropy = -(nucleus * np.log(given) + (1 - nucleus) * np.log(1 - given)).mean()
    overlap = (2 * (nucleus * given).sum() + 1) / (nucleus.sum() + given.sum() + 1)
    value, _ = computed(cross_entropy_dice, nucleus, given)
    np.testing.assert_allclose(value, entropy + 1 - overlap, rtol=1e-4)


def test_metrics_count_what_is_known(truth, maps):
    targets = training_targets(truth, INSTANCE_MAPS)[None]
    right = np.repeat(targets[..., :1], 5, axis=-1)
    assert float(keras.ops.mean(dice(targets, right))) == pytest.approx(1)
    assert float(keras.ops.mean(accuracy(targets, right))) == pytest.approx(1)
    targets[:, :16] = np.nan
    wrong = right.copy()
    wrong[:, :16] = 1 - wrong[:, :16]
    assert float(keras.ops.mean(dice(targets, wrong))) == pytest.approx(1)
    assert float(keras.ops.mean(accuracy(targets, wrong))) == pytest.approx(1)
