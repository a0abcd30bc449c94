"""What happens during training besides training: records, checkpoints, pictures, progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nucseg.files import atomic_write
from nucseg.training import run_folder
from nucseg.training.pipeline import Arrays

logger = logging.getLogger(__name__)


class Clock(keras.callbacks.Callback):
    """Add the duration of each epoch in seconds, validation included, to its logs.

    It must be the first callback, because all callbacks share the logs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.begun = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Remember when the epoch began."""
        self.begun = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Add the seconds since then."""
        if logs is not None:
            logs["seconds"] = round(time.perf_counter() - self.begun, 3)


class Log(keras.callbacks.TensorBoard):
    """Write the curves of each epoch for TensorBoard, numbered from 1 as in ``history.csv``.

    The callback of Keras also writes the validation curves a second time by steps, and counts from
    0.

    Parameters
    ----------
    folder : Path
        The run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / run_folder.LOG, write_graph=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the figures of the epoch."""
        super().on_epoch_end(epoch + 1, logs)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Write nothing: the curves are written at the end of the epoch."""
        super().on_test_end({})


class Recorder(keras.callbacks.Callback):
    """Keep history, best weights and a checkpoint after each epoch, and stop without progress.

    The order of writing makes any moment safe for a kill: history and best weights first, the
    checkpoint last. A resumed run drops the rows behind the checkpoint and trains them again.
    Whether to stop is told by the history alone, so that nothing else has to be kept.

    Parameters
    ----------
    folder : Path
        The run folder.
    history : list of dict
        Rows of the epochs already done; it grows in place.
    patience : int
        Epochs without a lower validation loss after which training stops.
    on_epoch : callable, optional
        Called with each new row.
    """

    def __init__(
        self,
        folder: Path,
        history: run_folder.History,
        *,
        patience: int,
        on_epoch: Callable[[dict[str, float]], None] | None = None,
    ) -> None:
        super().__init__()
        self.folder, self.history = folder, history
        self.patience, self.on_epoch = patience, on_epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write what the epoch brought."""
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        figures = {key: float(value) for key, value in (logs or {}).items()}
        self.history.append({"epoch": epoch + 1, **figures, "learning_rate": rate})
        run_folder.write_history(self.folder / run_folder.HISTORY, self.history)
        best = run_folder.best_epoch(self.history)
        if best == epoch:
            with atomic_write(self.folder / run_folder.BEST) as partial:
                self.model.save_weights(partial)
        with atomic_write(self.folder / run_folder.LAST) as partial:
            self.model.save(partial)
        if self.on_epoch is not None:
            self.on_epoch(self.history[-1])
        if self.is_exhausted():
            logger.info("No lower validation loss for %d epochs: stopping.", self.patience)
            self.model.stop_training = True

    def is_exhausted(self) -> bool:
        """Tell whether the last `patience` epochs brought no lower validation loss."""
        if not self.history:
            return False
        return len(self.history) - 1 - run_folder.best_epoch(self.history) >= self.patience


class PredictionDisplay(keras.callbacks.Callback):
    """Show input, true mask and predicted mask of some images, as files and in TensorBoard.

    Parameters
    ----------
    arrays : Arrays
        The images to show.
    folder : Path
        The run folder; pictures go to ``predictions/`` and to the log.
    every : int
        Epochs between pictures; the first epoch is always shown.
    threshold : float
        Probability from which a pixel counts.
    """

    def __init__(self, arrays: Arrays, folder: Path, *, every: int, threshold: float) -> None:
        super().__init__()
        self.arrays, self.folder, self.every = arrays, folder, every
        self.threshold = threshold

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Predict and write the pictures."""
        if (epoch + 1) % self.every and epoch:
            return
        import tensorflow as tf

        from nucseg.figures.pictures import write_png
        from nucseg.figures.plotting import panel

        masks = (
            np.asarray(self.model.predict_on_batch(self.arrays.images))[..., 0] >= self.threshold
        )
        panels = [
            panel(image, truth[..., 0] > 0, mask)
            for image, truth, mask in zip(
                self.arrays.images, self.arrays.targets, masks, strict=True
            )
        ]
        picture = np.concatenate(panels)
        write_png(self.folder / run_folder.PREDICTIONS / f"epoch_{epoch + 1:03d}.png", picture)
        writer = tf.summary.create_file_writer(str(self.folder / run_folder.LOG / "predictions"))
        with writer.as_default(step=epoch + 1):
            tf.summary.image("input, true mask, predicted mask", np.stack(panels), max_outputs=16)
        writer.close()


class LearningRate(keras.callbacks.Callback):
    """Set the learning rate before each step.

    Parameters
    ----------
    schedule : callable
        ``schedule(step)`` is the rate of that step, counted from 0 over all epochs.
    """

    def __init__(self, schedule: Callable[[int], Any]) -> None:
        super().__init__()
        self.schedule = schedule

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Set the rate of this step."""
        optimizer = self.model.optimizer
        optimizer.learning_rate = self.schedule(int(optimizer.iterations))


class Progress(keras.callbacks.Callback):
    """Tell how many of all training steps are done.

    Parameters
    ----------
    progress : callable
        ``progress(done, total)``.
    epochs : int
        Number of all epochs.
    """

    def __init__(self, progress: Callable[[int, int], None], *, epochs: int) -> None:
        super().__init__()
        self.progress, self.epochs = progress, epochs
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Remember the epoch."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Count the step."""
        steps = self.params["steps"]
        self.progress(self.epoch * steps + batch + 1, self.epochs * steps)


def write_graph(model: keras.Model, folder: Path, shape: tuple[int, ...]) -> None:
    """Write the network's operations, for images of this shape, for TensorBoard's graph page.

    Keras's own callback writes only a list of layers, which that page fails to draw.
    """
    import tensorflow as tf

    image = tf.TensorSpec((None, *shape), tf.float32, name="image")
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(image).graph
    writer = tf.summary.create_file_writer(str(folder / run_folder.LOG / "train"))
    with writer.as_default():
        tf.summary.graph(graph)
    writer.close()
