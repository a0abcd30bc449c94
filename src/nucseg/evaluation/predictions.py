"""Sources of predicted nuclei: a model, or label images in files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from nucseg.core.labelling import Doubt
from nucseg.datasets.folders import to_labels
from nucseg.datasets.reading import Sample
from nucseg.errors import InputError
from nucseg.images import IMAGE_SUFFIXES, read_image
from nucseg.inference.segmenter import Model

Labels = npt.NDArray[np.integer]
Predict = Callable[[Sample], "Prediction"]


@dataclass(frozen=True)
class Prediction:
    """Prediction for one image.

    Attributes
    ----------
    labels : ndarray, shape (H, W), integer
        0 is background, other numbers are nuclei.
    mask : ndarray of bool or None
        Mask at the size of the network input; None without a network.
    doubts : tuple of Doubt
        Guesses made in reading a label image.
    """

    labels: Labels
    mask: npt.NDArray[np.bool_] | None = None
    doubts: tuple[Doubt, ...] = ()


def by_model(model: Model) -> Predict:
    """Predict with a model."""

    def predict(sample: Sample) -> Prediction:
        suited = model.suited(sample.pixels)
        threshold = suited.card.postprocessing.threshold
        if suited.card.preprocessing.size is None:
            found = suited.segment(sample.pixels)
            return Prediction(found.labels, found.probability >= threshold)
        maps = suited.network_maps(sample.pixels)
        labels = suited.nuclei(sample.pixels, maps).labels
        return Prediction(labels, maps[..., 0] >= threshold)

    return predict


def by_files(folder: Path, image_ids: Collection[str]) -> Predict:
    """Find the label image of each sample by its name, or by its path below the folder.

    Parameters
    ----------
    folder : Path
        Folder of label images. For an output folder of ``nucseg segment``, its folder
        ``labels/`` is used.
    image_ids : collection of str
        The requested images.

    Raises
    ------
    InputError
        The folder does not exist, or contains no label image of any of the images.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder} of label images.")
    if (folder / "labels").is_dir():  # the output of `nucseg segment`, which has more folders
        folder = folder / "labels"
    files: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            relative = PurePosixPath(path.relative_to(folder).with_suffix("").as_posix())
            for name in {str(relative), relative.name}:
                files[name].append(path)
    if not files.keys() & set(image_ids):
        raise InputError(
            f"None of the images has a label image in {folder}. Expected files named as the "
            f"images, such as {min(image_ids)}.tif."
        )

    def predict(sample: Sample) -> Prediction:
        found = files.get(sample.image_id, [])
        if len(found) != 1:
            listed = ", ".join(map(str, found)) or f"none in {folder}"
            raise InputError(f"Expected one label image for {sample.image_id}, found {listed}.")
        return _read_label_image(found[0], sample.labels.shape)

    return predict


def _read_label_image(path: Path, shape: tuple[int, ...]) -> Prediction:
    values = read_image(path, as_labels=True).pixels
    if values.shape[:2] != shape:
        raise InputError(
            f"{path} holds {values.dtype} of shape {values.shape}; expected a label image of "
            f"integers of shape {shape}."
        )
    try:
        labels, doubts = to_labels(values, str(path))
    except InputError as error:
        raise InputError(f"{path} cannot be used: {error}") from error
    return Prediction(labels, doubts=doubts)
