"""Training in bfloat16, where the processor multiplies it faster than float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


@keras.saving.register_keras_serializable("nucseg")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalization, in training by TensorFlow's one operation for it.

    Keras's own makes float32 of its input and runs a dozen operations over it, which would cost
    more than bfloat16 saves. Statistics are float32 here too.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalize; as Keras does, but for the order of additions."""
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], variance.dtype)
        # TensorFlow's estimate has no bias, Keras keeps the variance of the batch itself.
        for moving, seen in (
            (self.moving_mean, mean),
            (self.moving_variance, variance * (count - 1) / count),
        ):
            moving.assign(moving * self.momentum + tf.stop_gradient(seen) * (1 - self.momentum))
        return outputs


def in_bfloat16(model: keras.Model) -> keras.Model:
    """Copy a network for training: most of it computes in bfloat16.

    Weights, statistics of normalization and the last layer stay float32, depthwise convolutions
    too, which are slower in bfloat16.

    Parameters
    ----------
    model : keras.Model
        Of stock layers in float32.
    """
    kept = (
        model.layers[-1],
        *(layer for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)),
    )
    return _copy(
        model,
        {keras.layers.BatchNormalization: FusedBatchNormalization},
        lambda layer: "float32" if layer in kept else "mixed_bfloat16",
    )


def in_float32(model: keras.Model) -> keras.Model:
    """Copy what `in_bfloat16` made into a network of stock layers in float32."""
    return _copy(
        model, {FusedBatchNormalization: keras.layers.BatchNormalization}, lambda _layer: "float32"
    )


def _copy(
    model: keras.Model,
    kinds: dict[type[keras.layers.Layer], type[keras.layers.Layer]],
    dtype: Callable[[keras.layers.Layer], str],
) -> keras.Model:
    """Copy a network and its weights, with other kinds of layers that compute in other types."""
    config = model.get_config()
    for place, layer in enumerate(model.layers):
        if isinstance(layer, keras.layers.InputLayer):
            continue
        kind = kinds.get(type(layer), type(layer))
        settings = {**layer.get_config(), "dtype": dtype(layer)}
        made = keras.saving.serialize_keras_object(kind.from_config(settings))
        config["layers"][place] |= made
    copy = keras.Model.from_config(config)
    copy.set_weights(model.get_weights())
    return copy
