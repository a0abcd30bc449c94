import subprocess
import sys

import keras
import numpy as np
import onnxruntime
import pytest

from nucseg.config import INSTANCE_MAPS, OFFSET_RANGE, UNet
from nucseg.errors import ModelError
from nucseg.models.losses import (
    OFFSET_WEIGHT,
    accuracy,
    cross_entropy_dice,
    dice,
    instance_loss,
    soft_dice,
)
from nucseg.models.onnx_export import write_onnx
from nucseg.models.picture import _channels_text, architecture_picture, stages
from nucseg.models.unet import build_unet

SMALL = UNet(alpha=0.1, decoder=(8, 8, 8, 8, 8))
FAST = UNet(alpha=0.1, decoder=(8, 8, 8, 8), skips="projected", stem=4)


@pytest.fixture(scope="module")
def network():
    return used(SMALL)


@pytest.fixture(scope="module")
def fast_network():
    return used(FAST)


def used(settings):
    """A network whose normalization statistics are far from where they start."""
    keras.utils.set_random_seed(1)
    model = build_unet(settings)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(0, 0.3, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2, layer.moving_variance.shape))
            layer.gamma.assign(rng.uniform(0.5, 2, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.3, layer.beta.shape))
    return model


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (128, 128)])
def test_any_multiple_of_32_keeps_its_size(network, size):
    maps = np.asarray(network(np.zeros((2, *size, 3), np.float32)))
    assert maps.shape == (2, *size, 1)
    assert 0 <= maps.min() <= maps.max() <= 1


def test_skips_come_from_each_scale_of_the_encoder(network):
    encoder, decoder = stages(network)
    assert [stage.scale for stage in encoder] == [2, 4, 8, 16, 32]
    assert [stage.title for stage in encoder[:4]] == [
        "block_1_expand_relu", "block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu",
    ]  # fmt: skip
    assert [stage.channels for stage in decoder] == [8, 8, 8, 8, 8]


def test_a_decoder_of_four_levels_gives_maps_at_full_size(fast_network):
    encoder, decoder = stages(fast_network)
    assert [stage.title for stage in encoder[:4]] == [
        "expanded_conv_project_BN", "block_2_add", "block_5_add", "block_12_add",
    ]  # fmt: skip
    assert [stage.scale for stage in decoder] == [16, 8, 4, 2]
    assert np.asarray(fast_network(np.zeros((1, 32, 64, 3), np.float32))).shape == (1, 32, 64, 1)


def test_the_stem_shows_the_pixels_to_the_last_level(fast_network):
    concat = fast_network.get_layer("decoder_2_concat")
    assert [tensor.shape[-1] for tensor in concat.input] == [8, 8, 4]


def test_moving_statistics_follow_fast(network):
    momenta = {
        layer.momentum
        for layer in network.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    assert momenta == {0.9}


def test_several_outputs_may_be_asked_for():
    model = build_unet(SMALL.model_copy(update={"outputs": ("nucleus", "border")}), size=(32, 64))
    assert model.output_shape == (None, 32, 64, 2)


def test_a_size_that_does_not_fit_is_refused():
    with pytest.raises(ModelError, match="multiples of 32, not 100x128"):
        build_unet(SMALL, size=(100, 128))


def test_encoder_weights_are_loaded_from_a_file(tmp_path):
    path = tmp_path / "encoder.weights.h5"
    encoder = keras.applications.MobileNetV2(
        input_shape=(None, None, 3), alpha=0.1, include_top=False, weights=None
    )
    encoder.save_weights(path)
    model = build_unet(SMALL, encoder_weights=str(path))
    for name in ("Conv1", "block_16_project"):
        np.testing.assert_array_equal(
            model.get_layer(name).get_weights()[0], encoder.get_layer(name).get_weights()[0]
        )


def test_encoder_weights_of_another_shape_are_refused(tmp_path):
    path = tmp_path / "encoder.weights.h5"
    keras.applications.MobileNetV2(
        input_shape=(None, None, 3), alpha=0.2, include_top=False, weights=None
    ).save_weights(path)
    with pytest.raises(ModelError, match="does not fit the encoder"):
        build_unet(SMALL, encoder_weights=str(path))


def test_encoder_weights_that_are_no_weights_are_refused(tmp_path):
    path = tmp_path / "encoder.weights.h5"
    path.write_text("not weights")
    with pytest.raises(ModelError, match="does not fit the encoder"):
        build_unet(SMALL, encoder_weights=str(path))


def test_missing_encoder_weights_are_named(tmp_path):
    with pytest.raises(ModelError, match="No encoder weights at .*nothing"):
        build_unet(SMALL, encoder_weights=str(tmp_path / "nothing"))


def test_imagenet_weights_offline_are_explained(monkeypatch):
    def offline(*_args, **_kwargs):
        raise Exception("URL fetch failure")  # noqa: TRY002 - as Keras raises it

    monkeypatch.setattr(keras.applications, "MobileNetV2", offline)
    with pytest.raises(ModelError, match=r"Offline, give a weights file with --encoder-weights"):
        build_unet(SMALL, encoder_weights="imagenet")


@pytest.mark.parametrize("kind", ["network", "fast_network"])
@pytest.mark.parametrize("shape", [(2, 128, 128, 3), (1, 32, 64, 3)])
def test_onnx_gives_what_keras_gives(request, kind, tmp_path, shape):
    network = request.getfixturevalue(kind)
    path = tmp_path / "model.onnx"
    write_onnx(network, path, ("nucleus",))
    session = onnxruntime.InferenceSession(path)
    images = np.random.default_rng(2).random(shape, dtype=np.float32)
    maps = session.run(None, {"image": images})[0]
    expected = np.asarray(network(images))
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(maps, expected, atol=1e-4)
    assert session.get_modelmeta().custom_metadata_map == {"outputs": "nucleus"}


def test_normalizations_are_folded_away(network, tmp_path):
    onnx = pytest.importorskip("onnx")
    write_onnx(network, tmp_path / "model.onnx", ("nucleus",))
    kinds = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert "BatchNormalization" not in kinds
    # Padding is left to the convolutions.
    assert kinds <= {"Transpose", "Mul", "Add", "Conv", "Clip", "Resize", "Concat", "Relu",
                     "Sigmoid"}  # fmt: skip


def test_kernels_of_half_precision_are_stored_in_it(fast_network, tmp_path):
    full, half = tmp_path / "full.onnx", tmp_path / "half.onnx"
    write_onnx(fast_network, full, ("nucleus",))
    rounded = keras.models.clone_model(fast_network)
    rounded.set_weights([
        weights.astype("f2").astype("f4") if weights.ndim > 1 else weights
        for weights in fast_network.get_weights()
    ])  # fmt: skip
    write_onnx(rounded, half, ("nucleus",))
    assert half.stat().st_size < 0.7 * full.stat().st_size
    images = np.random.default_rng(2).random((1, 64, 64, 3), dtype=np.float32)
    maps = onnxruntime.InferenceSession(half).run(None, {"image": images})[0]
    np.testing.assert_allclose(maps, np.asarray(rounded(images)), atol=1e-4)


def layers_of_other_kinds():
    image = keras.layers.Input((8, 8, 3))
    yield (
        "layer gaussian_noise of type GaussianNoise",
        keras.Model(image, keras.layers.GaussianNoise(0.1)(image)),
    )
    yield "activation tanh", keras.Model(image, keras.layers.Activation("tanh")(image))
    yield (
        "activation leaky",
        keras.Model(image, keras.layers.ReLU(negative_slope=0.1, name="leaky")(image)),
    )
    yield (
        "transposed convolution blurred",
        keras.Model(image, keras.layers.Conv2DTranspose(2, 3, strides=2, name="blurred")(image)),
    )
    yield (
        "convolution wide",
        keras.Model(image, keras.layers.Conv2D(2, 3, dilation_rate=2, name="wide")(image)),
    )


@pytest.mark.parametrize(("message", "model"), list(layers_of_other_kinds()))
def test_what_cannot_be_written_is_named(tmp_path, message, model):
    with pytest.raises(ModelError, match=f"{message}.*cannot be written as ONNX"):
        write_onnx(model, tmp_path / "model.onnx", ("maps",))
    assert not (tmp_path / "model.onnx").exists()


def test_every_stock_layer_is_written_as_keras_computes_it(tmp_path):
    layers = keras.layers
    image = layers.Input((8, 8, 3))
    x = layers.BatchNormalization()(image)
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.UpSampling2D(2, interpolation="nearest")(x)
    # Without a convolution behind it, padding is a node of its own.
    x = layers.ReLU()(layers.ZeroPadding2D(((0, 1), (2, 3)))(x))
    x = layers.Conv2D(4, (2, 6))(x)
    x = layers.Activation("relu")(layers.Conv2D(4, 1)(x))
    x = layers.Activation("sigmoid")(x)
    model = keras.Model(image, x)
    write_onnx(model, tmp_path / "model.onnx", ("maps",))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    images = np.random.default_rng(0).random((2, 8, 8, 3), dtype=np.float32)
    maps = session.run(None, {"image": images})[0]
    np.testing.assert_allclose(maps, np.asarray(model(images)), atol=1e-6)


def test_the_architecture_is_drawn(network, tmp_path):
    from PIL import Image

    architecture_picture(network, tmp_path / "model.png")
    with Image.open(tmp_path / "model.png") as picture:
        assert min(picture.size) > 600


@pytest.mark.parametrize(("count", "text"), [(1, "1 channel"), (2, "2 channels")])
def test_channels_are_counted_in_the_right_number(count, text):
    assert _channels_text(count) == text


def test_the_keras_file_loads_without_nucseg(network, tmp_path):
    path = tmp_path / "model.keras"
    network.save(path)
    images = np.random.default_rng(0).random((2, 64, 64, 3), dtype=np.float32)
    np.save(tmp_path / "images.npy", images)
    script = (
        "import sys, numpy as np, keras; "
        f"model = keras.saving.load_model({str(path)!r}, safe_mode=True); "
        f"np.save({str(tmp_path / 'maps.npy')!r}, model.predict(np.load("
        f"{str(tmp_path / 'images.npy')!r}), verbose=0)); "
        "assert 'nucseg' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    expected = network.predict(images, verbose=0)
    np.testing.assert_allclose(np.load(tmp_path / "maps.npy"), expected, atol=1e-6)


def test_soft_dice_by_hand():
    truth = np.array([[1, 1, 0, 0], [0, 0, 0, 0]], np.float32).reshape(2, 2, 2, 1)
    probability = np.array([[1, 0, 0, 0], [0, 0, 0, 0]], np.float32).reshape(2, 2, 2, 1)
    values = keras.ops.convert_to_numpy(soft_dice(truth, probability))
    np.testing.assert_allclose(values, [(2 * 1 + 1) / (3 + 1), 1])
    thresholded = keras.ops.convert_to_numpy(dice(truth, probability * 0.6))
    np.testing.assert_allclose(thresholded, values)


@pytest.mark.parametrize(
    ("loss", "channels", "extra"),
    [(cross_entropy_dice, 1, 0), (instance_loss(INSTANCE_MAPS), len(INSTANCE_MAPS), 1)],
)
def test_a_better_prediction_has_a_lower_loss(loss, channels, extra):
    truth = np.zeros((1, 4, 4, channels + extra), np.float32)
    truth[0, :2] = 1
    maps = truth[..., :channels]
    good = float(loss(truth, np.abs(maps - 0.1))[0])
    assert good > 0
    for channel in range(channels):
        worse = np.abs(maps - 0.1)
        worse[..., channel] = np.abs(maps[..., channel] - 0.4)
        assert float(loss(truth, worse)[0]) > good


def test_offsets_count_as_shares_of_the_radius_and_on_nuclei_alone():
    def loss_of(error, *, inside=True, inverse_radius=0.25):
        truth = np.zeros((1, 20, 20, 3), np.float32)
        truth[0, :10, :, 0], truth[0, :10, :, 2] = 1, inverse_radius
        maps = truth[..., :2].copy()
        maps[0, slice(0, 10) if inside else slice(10, 20), :, 1] = error / (2 * OFFSET_RANGE)
        return float(instance_loss(("nucleus", "row_offset"))(truth, maps)[0])

    right = loss_of(0)
    assert loss_of(8, inside=False) == right
    assert loss_of(8) - right == pytest.approx(OFFSET_WEIGHT * 8 / 4, rel=0.01)
    assert loss_of(8, inverse_radius=0.5) - right == pytest.approx(OFFSET_WEIGHT * 8 / 2, rel=0.01)


def test_metrics_look_at_the_nuclei_alone():
    truth = np.zeros((1, 2, 2, 3), np.float32)
    truth[0, 0] = 1
    maps = np.zeros_like(truth)
    maps[0, 0, 0] = (0.6, 0, 0)
    assert float(accuracy(truth, maps)[0]) == pytest.approx(3 / 4)
    assert float(dice(truth, maps)[0]) == pytest.approx((2 * 1 + 1) / (2 + 1 + 1))
