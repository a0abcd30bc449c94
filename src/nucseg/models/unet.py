"""A U-Net whose encoder is MobileNetV2, as a functional Keras model of stock layers.

Ronneberger et al. 2015, "U-Net"; Sandler et al. 2018, "MobileNetV2".
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from nucseg.config import UNet
from nucseg.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    import keras

# Layers at 1/16, 1/8, 1/4 and 1/2 of the input size. The projected ones are the same features
# before their expansion to six times as many channels.
SKIPS = {
    "expanded": (
        "block_13_expand_relu",
        "block_6_expand_relu",
        "block_3_expand_relu",
        "block_1_expand_relu",
    ),
    "projected": ("block_12_add", "block_5_add", "block_2_add", "expanded_conv_project_BN"),
}
BOTTOM = "block_16_project_BN"


def build_unet(
    settings: UNet,
    *,
    size: tuple[int, int] | None = None,
    encoder_weights: str = "none",
) -> keras.Model:
    """Build the network.

    Parameters
    ----------
    settings : UNet
    size : (height, width), optional
        Fixed input size in pixels; by default any multiples of 32.
    encoder_weights : str
        ``imagenet`` (Keras downloads them), ``none`` (random), or a weights file of
        ``keras.applications.MobileNetV2(include_top=False)`` with the same alpha.

    Returns
    -------
    keras.Model
        Input (N, H, W, 3) in [0, 1]; output (N, H, W, outputs) in [0, 1]. Skip connections leave
        the encoder at 1/2, 1/4, 1/8 and 1/16 of the input size, its bottom is the last projection
        at 1/32.

    Raises
    ------
    MissingExtraError
        Keras is not installed.
    ModelError
        The size is no multiple of 32, or the weights cannot be had or do not fit.
    """
    try:
        from keras import Model, layers
    except ImportError as error:
        raise MissingExtraError("Building a network", "train") from error
    if size is not None and any(side < 32 or side % 32 for side in size):
        raise ModelError(f"The input size must be multiples of 32, not {size[0]}x{size[1]}.")

    image = layers.Input((*(size or (None, None)), 3), name="image")
    # MobileNetV2 was trained on inputs from -1 to 1.
    scaled = layers.Rescaling(2.0, offset=-1.0, name="to_encoder_range")(image)
    encoder = _encoder(scaled, settings, encoder_weights)
    x = encoder.get_layer(BOTTOM).output
    for step, width in enumerate(settings.decoder):
        name = f"decoder_{2 ** (4 - step)}"
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_up")(x)
        x = layers.Concatenate(name=f"{name}_concat")([
            x, *_skips(encoder, scaled, step, settings)
        ])  # fmt: skip
        for part in ("a", "b"):
            x = layers.Conv2D(
                width, 3, padding="same", use_bias=False,
                kernel_initializer="he_normal", name=f"{name}_{part}_conv",
            )(x)  # fmt: skip
            x = _normalized(x, f"{name}_{part}", settings)
    count = len(settings.outputs)
    if len(settings.decoder) == 5:
        head = layers.Conv2D(count, 1, activation="sigmoid", name="probability")
    else:
        # Each position of the last level gives its own 2x2 pixels.
        head = layers.Conv2DTranspose(
            count, 2, strides=2, activation="sigmoid", name="probability"
        )  # fmt: skip
    return Model(image, head(x), name="nucseg_unet")


def _skips(
    encoder: keras.Model, scaled: keras.KerasTensor, step: int, settings: UNet
) -> list[keras.KerasTensor]:
    """Name what a level of the decoder gets besides the level below it."""
    from keras import layers

    names = SKIPS[settings.skips]
    if step == len(names):
        # The image itself is the skip connection of full resolution: outlines of small nuclei
        # are lost at 1/2 already.
        return [scaled]
    skips = [encoder.get_layer(names[step]).output]
    if step == len(names) - 1 and settings.stem:
        stem = layers.Conv2D(
            settings.stem, 4, strides=2, padding="same", use_bias=False,
            kernel_initializer="he_normal", name="stem_conv",
        )(scaled)  # fmt: skip
        skips.append(_normalized(stem, "stem", settings))
    return skips


def _normalized(x: keras.KerasTensor, name: str, settings: UNet) -> keras.KerasTensor:
    from keras import layers

    x = layers.BatchNormalization(momentum=settings.batch_norm_momentum, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _encoder(scaled: keras.KerasTensor, settings: UNet, weights: str) -> keras.Model:
    import keras

    shape = tuple(scaled.shape[1:])
    with_imagenet = weights == "imagenet"
    try:
        encoder = keras.applications.MobileNetV2(
            input_shape=shape,
            alpha=settings.alpha,
            include_top=False,
            weights="imagenet" if with_imagenet else None,
            input_tensor=scaled,
        )
    except Exception as error:  # Keras raises a bare Exception when a download fails
        if not with_imagenet:
            raise
        raise ModelError(
            f"Keras could not fetch the ImageNet weights of MobileNetV2 ({error}). Offline, give "
            "a weights file with --encoder-weights PATH, or --encoder-weights none."
        ) from error
    if weights not in ("imagenet", "none"):
        _load_encoder_weights(encoder, Path(weights))
    for layer in encoder.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = settings.batch_norm_momentum
    return encoder


def _load_encoder_weights(encoder: keras.Model, path: Path) -> None:
    if not path.is_file():
        raise ModelError(
            f"No encoder weights at {path}. Expected imagenet, none, or the path of a weights file."
        )
    try:
        with warnings.catch_warnings():
            # Keras only warns of layers that it finds no weights for and leaves them random.
            warnings.simplefilter("error", UserWarning)
            encoder.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{path} does not fit the encoder: {reason} Expected the weights of "
            f"keras.applications.MobileNetV2(include_top=False) with the same alpha."
        ) from error
