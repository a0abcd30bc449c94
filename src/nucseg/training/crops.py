"""Training on random crops of images at their own resolution: the instance recipe's data."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.config import Crops, Preprocessing, Training
from nucseg.core.labelling import MOST_LABELS
from nucseg.datasets.facts import FACTS
from nucseg.datasets.merged import part_merged, seem_merged
from nucseg.datasets.reading import Dataset, Facts, Sample
from nucseg.datasets.report import guess_modality
from nucseg.errors import InputError
from nucseg.images.preprocess import prepare
from nucseg.training.augment import crowded_field, random_crop, separate_copies
from nucseg.training.augment.clutter import clutter_image
from nucseg.training.pipeline import Arrays, labelled_samples
from nucseg.training.targets import training_targets

if TYPE_CHECKING:
    import tensorflow as tf

logger = logging.getLogger(__name__)

# Side of a packed field, in eighths of a crop's.
FIELD = 9


@dataclass(frozen=True)
class Images:
    """Prepared images of any size with their label images.

    Attributes
    ----------
    image_ids : tuple of str
    images : tuple of ndarray, each shape (H, W, 3), uint8
        Stretched, 0 to 255.
    labels : tuple of ndarray, each shape (H, W), int32
        `nucseg.core.labelling.UNKNOWN` where nobody has said what is there.
    chances : ndarray, shape (N,), float64
        How often each is drawn; they sum to 1.
    borders : tuple of bool
        Whether nuclei that touch are told apart in each.
    """

    image_ids: tuple[str, ...]
    images: tuple[npt.NDArray[np.uint8], ...]
    labels: tuple[npt.NDArray[np.int32], ...]
    chances: npt.NDArray[np.float64]
    borders: tuple[bool, ...]


def load_images(
    dataset: Dataset,
    image_ids: Sequence[str],
    settings: Preprocessing,
    *,
    draw: Mapping[str, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Images:
    """Read and scale images, keeping their size.

    Parameters
    ----------
    dataset : Dataset
    image_ids : sequence of str
    settings : Preprocessing
        Without a size.
    draw : mapping of str to float, optional
        How often images of a data set, by its name, are drawn, compared with what is balanced.
    progress : callable, optional
        ``progress(done, total)``.

    Raises
    ------
    InputError
        An image cannot be read, or none is annotated.

    Notes
    -----
    In a data set whose masks are binary, as `Facts.touching` says or as it seems, nuclei that are
    one are parted or unknown (`nucseg.datasets.merged`), and borders are not learned.
    """
    ids, images, labels, groups, sets = [], [], [], [], []
    for sample in labelled_samples(dataset, image_ids, progress=progress):
        if sample.labels.max() > MOST_LABELS:
            raise InputError(
                f"{sample.image_id} has {sample.labels.max():,} nuclei; training reads images of "
                f"at most {MOST_LABELS:,}. Cut it into parts, with its label image."
            )
        ids.append(sample.image_id)
        images.append(_scaled(sample.pixels, settings))
        labels.append(sample.labels)
        facts = dataset.facts_of(sample.image_id)
        sets.append(facts)
        groups.append((facts.name, *_group(sample)))
    merged = {
        name for name in sorted({facts.name for facts in sets}) if _is_merged(name, sets, labels)
    }
    apart = [facts.name not in merged for facts in sets]
    parted = [
        given if right else part_merged(given) for given, right in zip(labels, apart, strict=True)
    ]
    names = {facts.name for facts in sets}
    if unknown := sorted((draw or {}).keys() - names):
        raise InputError(
            f"--draw names the data set {unknown[0]!r}; those given are {', '.join(sorted(names))}."
        )
    times = np.array([(draw or {}).get(facts.name, 1.0) for facts in sets])
    chances = balanced_chances(groups, images) * times
    return Images(tuple(ids), tuple(images), tuple(parted), chances / chances.sum(), tuple(apart))


def _is_merged(name: str, sets: Sequence[Facts], labels: Sequence[npt.NDArray[np.int32]]) -> bool:
    """Tell whether nuclei that touch are one in a data set: as it says, or as it seems."""
    of_set = [(facts, each) for facts, each in zip(sets, labels, strict=True) if facts.name == name]
    stated = of_set[0][0].touching
    if stated is not None:
        return stated == "merged"
    seems = seem_merged([each for _, each in of_set])
    if seems:
        logger.warning(
            "In %s no two nuclei touch, and some have the shape of several: its masks seem to be "
            "binary. Such nuclei are parted or left out, and borders are not learned from it. If "
            'that is wrong, write touching = "apart" in its %s.',
            name,
            FACTS,
        )
    return seems


def _scaled(pixels: npt.NDArray[Any], settings: Preprocessing) -> npt.NDArray[np.uint8]:
    return np.asarray(prepare(pixels, settings) * 255 + 0.5, np.uint8)


def _group(sample: Sample) -> tuple[str, int]:
    """Name what kind of image it is: its modality, and the size of its nuclei in octaves."""
    areas = np.bincount(sample.labels.ravel())[1:]
    areas = areas[areas > 0]
    octave = round(float(np.log2(np.median(areas)) / 2)) if len(areas) else 0
    return guess_modality(sample.pixels), octave


def balanced_chances(
    groups: Sequence[Any], images: Sequence[npt.NDArray[Any]]
) -> npt.NDArray[np.float64]:
    """Draw rare kinds of images more often than their number says, large images too.

    Parameters
    ----------
    groups : sequence
        The kind of each image. A kind is drawn by the square root of its number, so that one with
        a tenth of the images gets about a quarter of the draws.
    images : sequence of ndarray
        Within a kind, an image is drawn by the square root of its area.

    Returns
    -------
    ndarray, shape (N,), float64
        They sum to 1.

    Examples
    --------
    >>> import numpy as np
    >>> images = [np.zeros((8, 8))] * 5
    >>> balanced_chances(["a", "a", "a", "a", "b"], images).round(3).tolist()
    [0.167, 0.167, 0.167, 0.167, 0.333]
    """
    sides = np.sqrt([image.shape[0] * image.shape[1] for image in images])
    counts = Counter(groups)
    totals = Counter[Any]()
    for group, side in zip(groups, sides, strict=True):
        totals[group] += side
    chances = np.array([
        np.sqrt(counts[group]) * side / totals[group]
        for group, side in zip(groups, sides, strict=True)
    ])  # fmt: skip
    return np.asarray(chances / chances.sum(), np.float64)


def crop_batches(images: Images, settings: Training, *, epochs: range) -> tf.data.Dataset:
    """Batches of random crops with their maps, of several epochs, one after the other.

    What is drawn depends on the seed, the epoch and the place in it alone, so a run that is
    resumed sees what an uninterrupted one would have seen.

    Parameters
    ----------
    images : Images
    settings : Training
        Of the instance recipe.
    epochs : range

    Returns
    -------
    tf.data.Dataset
        Batches (crops, maps), float32; the last of each epoch may be smaller.
    """
    import tensorflow as tf

    crops = _crops(settings)

    def cut(epoch: Any, place: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        return cut_crop(images, settings, int(epoch), int(place))

    def read(epoch: tf.Tensor, place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, maps = tf.numpy_function(cut, (epoch, place), (tf.float32, tf.float32))
        image.set_shape((crops.size, crops.size, 3))
        maps.set_shape((crops.size, crops.size, len(settings.network.outputs) + 1))
        return image, maps

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        places = tf.data.Dataset.range(crops.per_epoch)
        cut_out = places.map(lambda place: read(epoch, place), num_parallel_calls=tf.data.AUTOTUNE)
        return cut_out.batch(settings.batch_size)

    numbers = tf.data.Dataset.range(epochs.start, epochs.stop)
    return numbers.flat_map(one_epoch).prefetch(tf.data.AUTOTUNE)


def cut_crop(
    images: Images, settings: Training, epoch: int, place: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Draw one random crop with its maps, by the seed, the epoch and the place in it alone.

    Parameters
    ----------
    images : Images
    settings : Training
        Of the instance recipe.
    epoch, place : int

    Returns
    -------
    crop : ndarray, shape (size, size, 3), float32, in [0, 1]
    maps : ndarray, shape (size, size, outputs + 1), float32
        As `nucseg.training.targets.training_targets` gives them.
    """
    rng = np.random.default_rng((settings.seed, epoch, place))
    image, labels, borders = draw_crop(images, settings, rng)
    return image, training_targets(labels, settings.network.outputs, borders=borders)


def draw_crop(
    images: Images, settings: Training, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], bool]:
    """Draw one random crop with its labels.

    Parameters
    ----------
    images : Images
    settings : Training
        Of the instance recipe.
    rng : Generator
        The only source of randomness.

    Returns
    -------
    crop : ndarray, shape (size, size, 3), float32, in [0, 1]
    labels : ndarray, shape (size, size), int32
        `nucseg.core.labelling.UNKNOWN` where nobody has said what is there.
    borders : bool
        Whether nuclei that touch are told apart.
    """
    crops = _crops(settings)
    if rng.random() < crops.clutter:
        drawn = clutter_image(rng, crops.size)
        whole, numbered = _scaled(drawn, settings.preprocessing), np.zeros(drawn.shape[:2], int)
        borders = True
    else:
        chosen = int(rng.choice(len(images.images), p=images.chances))
        whole, numbered = images.images[chosen], images.labels[chosen]
        borders = images.borders[chosen]
        if rng.random() < crops.crowd:
            packed = crowded_field(whole, numbered, rng, crops.size * FIELD // 8)
            if packed is not None:
                (whole, numbered), borders = packed, True
    image, labels = random_crop(whole, numbered, rng, settings.augmentation, crops)
    return image, labels, borders


def fixed_crops(images: Images, settings: Training) -> Arrays:
    """Cut the middle of each image, unchanged, for validation; small ones are mirrored to size."""
    size = _crops(settings).size
    cut = [_middle(image, size) for image in images.images]
    names = settings.network.outputs
    middles = [separate_copies(_middle(labels, size)) for labels in images.labels]
    maps = [
        training_targets(middle, names, borders=borders)
        for middle, borders in zip(middles, images.borders, strict=True)
    ]
    scaled = np.stack(cut).astype(np.float32) / np.float32(255)
    return Arrays(images.image_ids, scaled, np.stack(maps))


def _middle(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    missing = [max(size - side, 0) for side in array.shape[:2]]
    top, left = missing[0] // 2, missing[1] // 2
    padded = cv2.copyMakeBorder(
        array, top, missing[0] - top, left, missing[1] - left, cv2.BORDER_REFLECT_101
    )
    row, column = ((side - size) // 2 for side in padded.shape[:2])
    return np.asarray(padded[row : row + size, column : column + size])


def _crops(settings: Training) -> Crops:
    if settings.crops is None:
        raise InputError("The instance recipe trains on crops; none are set.")
    return settings.crops
