import keras
import numpy as np
import pytest

from nucseg.config import UNet
from nucseg.models.unet import build_unet
from nucseg.training.precision import FusedBatchNormalization, in_bfloat16, in_float32


@pytest.fixture
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_unet(UNet(alpha=0.1, decoder=(8, 8, 8, 8)), size=(32, 32))


def test_normalization_learns_as_kerass_own():
    rng = np.random.default_rng(0)
    fused, own = (
        kind(momentum=0.9) for kind in (FusedBatchNormalization, keras.layers.BatchNormalization)
    )
    for factor in (1, 3, 2):
        batch = (factor * rng.normal(2, 3, (4, 8, 8, 5))).astype(np.float32)
        given, expected = fused(batch, training=True), own(batch, training=True)
        np.testing.assert_allclose(given, expected, atol=1e-5)
    for mine, its in zip(fused.get_weights(), own.get_weights(), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fused(batch), own(batch), atol=1e-5)


def test_the_copy_computes_in_bfloat16_and_gives_float32(network: keras.Model):
    copy = in_bfloat16(network)
    computed = {layer.name: layer.compute_dtype for layer in copy.layers}
    assert computed["decoder_16_a_conv"] == "bfloat16"
    assert computed["probability"] == computed["expanded_conv_depthwise"] == "float32"
    assert {weights.dtype for weights in copy.weights} == {"float32"}
    image = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    assert copy(image).dtype == "float32"
    np.testing.assert_allclose(copy(image), network(image), atol=0.02)


def test_there_and_back_is_the_same_network(network: keras.Model):
    back = in_float32(in_bfloat16(network))
    assert [type(layer) for layer in back.layers] == [type(layer) for layer in network.layers]
    image = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    np.testing.assert_array_equal(back(image), network(image))


def test_what_shall_not_learn_does_not(network: keras.Model):
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    copy = in_bfloat16(network)
    kept = [layer for layer in copy.layers if isinstance(layer, FusedBatchNormalization)]
    assert kept
    assert not any(layer.trainable for layer in kept)
