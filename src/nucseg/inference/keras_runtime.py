"""Runtime for Keras, which is part of the ``train`` extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nucseg.errors import MissingExtraError, ModelError, first_line
from nucseg.images.preprocess import FloatImage


class KerasRuntime:
    """A network in Keras, on the backend that Keras is configured for."""

    threads = 1
    device, precision = "keras", "f32"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._network = load_keras(path)

    def __reduce__(self) -> tuple[Any, ...]:
        """Load the same network again after unpickling, for example in another process."""
        return KerasRuntime, (self._path,)

    def on_one_thread(self) -> KerasRuntime:
        """Return the runtime itself: Keras manages its threads."""
        return self

    def __call__(self, batch: FloatImage) -> FloatImage:
        """Run the network; see `Runtime`."""
        # predict_on_batch would compile for any size, which bilinear upsampling does not support.
        return np.asarray(self._network(batch, training=False), np.float32)


def load_keras(path: Path) -> Any:
    """Load a network from the Keras format.

    Parameters
    ----------
    path : Path
        A ``.keras`` file.

    Returns
    -------
    keras.Model

    Raises
    ------
    ModelError
        The file is missing or broken, or contains code.
    MissingExtraError
        Keras is not installed.
    """
    try:
        import keras
    except ImportError as error:
        raise MissingExtraError("Running a model in Keras", "train") from error
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be loaded as a Keras model ({first_line(error)}). "
            "Copy the model folder again, or use the runtime onnx."
        ) from error
