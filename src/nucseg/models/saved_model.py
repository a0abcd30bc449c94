"""Networks as TensorFlow SavedModels, which TensorFlow Serving runs, and as LiteRT files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any


def write_saved_model(network: Any, folder: Path) -> None:
    """Write a network as a SavedModel that takes images of any size.

    Keras doubles the size of maps only where it knows it beforehand; here it is read when the
    network runs. The values are the same.

    Parameters
    ----------
    network : keras.Model
    folder : Path
        Gets the files.
    """
    import keras
    import tensorflow as tf

    class Upsampling(keras.layers.UpSampling2D):  # type: ignore[misc]  # no type hints
        def call(self, inputs: Any) -> Any:
            size = tf.shape(inputs)[1:3] * tf.constant(self.size)
            return tf.image.resize(inputs, size, self.interpolation)

    def copied(layer: Any) -> Any:
        upsamples = isinstance(layer, keras.layers.UpSampling2D)
        return (Upsampling if upsamples else type(layer)).from_config(layer.get_config())

    copy = keras.models.clone_model(network, clone_function=copied)
    copy.set_weights(network.get_weights())
    copy.export(folder, format="tf_saved_model", verbose=False)


def write_litert(network: Any, path: Path) -> None:
    """Write a network as a LiteRT (TensorFlow Lite) file.

    Parameters
    ----------
    network : keras.Model
    path : Path
        The file to write. An interpreter must be told the size of its images
        (``resize_tensor_input``) before it runs.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        write_saved_model(network, Path(folder))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        path.write_bytes(converter.convert())
