"""From annotated images to batches: arrays first, then ``tf.data``."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nucseg.config import Augmentation, Preprocessing
from nucseg.datasets.reading import Dataset, Sample
from nucseg.errors import InputError
from nucseg.images.preprocess import prepare, resize_labels
from nucseg.training.augment import augment
from nucseg.training.targets import foreground

if TYPE_CHECKING:
    import tensorflow as tf

logger = logging.getLogger(__name__)

FloatImages = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Arrays:
    """Prepared images with their targets.

    Attributes
    ----------
    image_ids : tuple of str
    images : ndarray, shape (N, height, width, 3), float32, in [0, 1]
    targets : ndarray, shape (N, height, width, T), float32, in [0, 1]
    """

    image_ids: tuple[str, ...]
    images: FloatImages
    targets: FloatImages


def load_arrays(
    dataset: Dataset,
    image_ids: Sequence[str],
    settings: Preprocessing,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Arrays:
    """Read, resize and scale images and their masks into arrays.

    Parameters
    ----------
    dataset : Dataset
    image_ids : sequence of str
    settings : Preprocessing
        With a fixed size: images are resized by area averaging, masks by nearest pixels.
    progress : callable, optional
        ``progress(done, total)``.

    Raises
    ------
    InputError
        An image cannot be read, none is annotated, or no fixed size is given.

    Notes
    -----
    Images that nobody annotated are left out: an empty mask would teach that they hold no nuclei.
    They, and other problems of the annotations, are told in the log.
    """
    if settings.size is None:
        raise InputError("Training on whole images needs a fixed size; none is set.")
    kept: list[str] = []
    images = np.empty((len(image_ids), *settings.size, 3), np.float32)
    targets = np.empty((len(image_ids), *settings.size, 1), np.float32)
    for index, sample in enumerate(labelled_samples(dataset, image_ids, progress=progress)):
        images[index] = prepare(sample.pixels, settings)
        targets[index] = foreground(resize_labels(sample.labels, settings.size))
        kept.append(sample.image_id)
    return Arrays(tuple(kept), images[: len(kept)], targets[: len(kept)])


def labelled_samples(
    dataset: Dataset,
    image_ids: Sequence[str],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Sample]:
    """Read images one by one, leave out those that nobody annotated, and log problems at the end.

    Raises
    ------
    InputError
        An image cannot be read, or none is annotated.
    """
    problems, labelled = Counter[str](), 0
    for done, image_id in enumerate(image_ids, start=1):
        sample = dataset.read(image_id)
        problems.update(problem.kind for problem in sample.problems)
        if sample.labelled:
            labelled += 1
            yield sample
        if progress is not None:
            progress(done, len(image_ids))
    if problems:
        listed = ", ".join(f"{kind} ({count})" for kind, count in problems.most_common())
        logger.warning("Problems in the data: %s. `nucseg data info` names each.", listed)
    if not labelled:
        raise InputError(f"None of the {len(image_ids)} images is annotated: nothing to learn.")


def training_batches(
    arrays: Arrays,
    augmentation: Augmentation | None,
    *,
    batch_size: int,
    seed: int,
    epochs: range,
) -> tf.data.Dataset:
    """Shuffled, augmented batches of several epochs, one after the other.

    The order of the images and the changes of each depend on the seed, the epoch and the image
    alone, so a run that is resumed sees what an uninterrupted one would have seen.

    Parameters
    ----------
    arrays : Arrays
    augmentation : Augmentation or None
        None leaves images as they are.
    batch_size : int
    seed : int
    epochs : range
        The epochs to give, for instance ``range(10, 40)`` after resuming from the tenth.

    Returns
    -------
    tf.data.Dataset
        Batches (images, targets), float32; the last of each epoch may be smaller.
    """
    import tensorflow as tf

    count = len(arrays.images)

    def changed(index: Any, epoch: Any) -> tuple[FloatImages, FloatImages]:
        image, target = arrays.images[index], arrays.targets[index]
        if augmentation is None:
            return image, target
        rng = np.random.default_rng((seed, int(epoch), int(index)))
        return augment(image, target, rng, augmentation)

    def read(index: tf.Tensor, epoch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, target = tf.numpy_function(changed, (index, epoch), (tf.float32, tf.float32))
        image.set_shape(arrays.images.shape[1:])
        target.set_shape(arrays.targets.shape[1:])
        return image, target

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count), seed=tf.stack([tf.constant(seed, tf.int64), epoch])
        )
        indices = tf.data.Dataset.from_tensor_slices(order)
        samples = indices.map(lambda index: read(index, epoch), num_parallel_calls=tf.data.AUTOTUNE)
        return samples.batch(batch_size)

    numbers = tf.data.Dataset.range(epochs.start, epochs.stop)
    return numbers.flat_map(one_epoch).prefetch(tf.data.AUTOTUNE)


def validation_batches(arrays: Arrays, *, batch_size: int) -> tf.data.Dataset:
    """Give the images in their order and unchanged, cached in memory."""
    import tensorflow as tf

    samples = tf.data.Dataset.from_tensor_slices((arrays.images, arrays.targets))
    return samples.batch(batch_size).cache().prefetch(tf.data.AUTOTUNE)
