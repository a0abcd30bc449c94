"""The layout ``images/`` + ``labels/`` or ``masks/``: a label image for each image, by its name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from nucseg.core.labelling import Doubt, read_labels
from nucseg.datasets.samples import Dataset, Labels, Pixels, Problem, Sample
from nucseg.datasets.storage import Files, read_rgb
from nucseg.errors import InputError, NucsegError
from nucseg.images import IMAGE_SUFFIXES, decode_image


def open_folders(files: Files) -> Dataset | None:
    """Open a data set of ``images/`` and ``labels/``, or ``masks/``, side by side.

    Parameters
    ----------
    files : Files

    Returns
    -------
    Dataset or None
        None where the files are not in this layout. A folder ``masks/`` whose files are not named
        as the images is one of Kaggle's layout, with a mask for each nucleus.

    Raises
    ------
    InputError
        There are several such pairs of folders, or two files of one folder differ only by suffix.
    """
    images_in = _by_root(files, "images")
    labels_in = _by_root(files, "labels")
    pairs = [(root, root / "labels") for root in sorted(images_in.keys() & labels_in.keys())]
    guess: Problem | None = None
    if not pairs:
        masks_in = _by_root(files, "masks")
        roots = sorted(images_in.keys() & masks_in.keys())
        named = [root for root in roots if images_in[root].keys() & masks_in[root].keys()]
        pairs = [(root, root / "masks") for root in named if len(images_in[root]) > 1]
        if not pairs and len(roots) == len(named) == 1:
            guess = _guess(files, named[0], images_in[named[0]], masks_in[named[0]])
            pairs = [(named[0], named[0] / "masks")] * (guess is not None)
    if not pairs:
        return None
    if len(pairs) > 1:
        listed = ", ".join(str(files.path / root) for root, _ in pairs)
        raise InputError(f"{files.path} holds several data sets: {listed}. Give one of them.")
    root, label_folder = pairs[0]
    images = _by_stem(files, root / "images")
    labels = _by_stem(files, label_folder)
    problems = tuple(
        Problem(
            stem,
            "label image without image",
            f"{labels[stem]} has no image of the same name in images/; it is not used.",
        )
        for stem in sorted(labels.keys() - images.keys())
    )

    def read(image_id: str) -> Sample:
        sample = _read(files, image_id, images[image_id], labels.get(image_id), label_folder.name)
        return sample if guess is None else replace(sample, problems=(guess, *sample.problems))

    def read_pixels(image_id: str) -> Pixels:
        return read_rgb(files, images[image_id])

    return Dataset(files.path, "folders", tuple(sorted(images)), read, read_pixels, problems)


def to_labels(values: npt.NDArray[np.generic], name: str = "") -> tuple[Labels, tuple[Doubt, ...]]:
    """Bring the pixels of a label image to labels without gaps.

    Parameters
    ----------
    values : ndarray, shape (H, W), or (H, W, C) with equal channels, whole numbers from 0
    name : str
        Name of the file, if any: see `nucseg.core.labelling.read_labels`.

    Returns
    -------
    labels : ndarray, shape (H, W), int32
        0 background, 1…N in the order of the values.
    doubts : tuple of Doubt
        What `nucseg.core.labelling.read_labels` had to guess.

    Raises
    ------
    InputError
        It is no label image: see `nucseg.core.labelling.read_labels`.

    Examples
    --------
    >>> import numpy as np
    >>> to_labels(np.array([[0, 9, 0, 4]]))[0].tolist()
    [[0, 2, 0, 1]]
    >>> labels, (doubt,) = to_labels(np.array([[255, 0, 255]]))
    >>> labels.tolist(), doubt.kind
    ([[1, 0, 2]], 'mask instead of labels')
    """
    numbers, doubts = read_labels(values, name)
    present, inverse = np.unique(numbers, return_inverse=True)
    labels = inverse.reshape(numbers.shape).astype(np.int32) + np.int32(present[0] != 0)
    return labels, doubts


def _by_root(files: Files, folder: str) -> dict[PurePosixPath, dict[str, str]]:
    """Image files below each folder of this name, as `_by_stem`, by the folder that holds it."""
    found: defaultdict[PurePosixPath, dict[str, str]] = defaultdict(dict)
    for name in files.names:
        path = PurePosixPath(name)
        if path.suffix.lower() in IMAGE_SUFFIXES and folder in path.parts[:-1]:
            place = path.parts.index(folder)
            stem = PurePosixPath(*path.parts[place + 1 :]).with_suffix("").as_posix()
            found[PurePosixPath(*path.parts[:place])][stem] = name
    return found


def _guess(
    files: Files, root: PurePosixPath, images: Mapping[str, str], masks: Mapping[str, str]
) -> Problem | None:
    """Say that the one mask named as the one image shows all nuclei; None where it may show one.

    In Kaggle's layout the folder is named as the image, and each mask shows one nucleus.
    """
    (stem,) = images
    folder = root.name or files.path.name
    alone = len(masks) == 1 and folder not in (stem, f"{stem}.zip")
    if not alone and not _has_labels(files, masks[stem]):
        return None
    reason = "is the only mask" if alone else "has more than one number above 0"
    message = (
        f"{masks[stem]} is named as its image and {reason}; it is taken for a label image of all "
        "nuclei, not for the mask of one."
    )
    return Problem(stem, "guessed layout", message)


def _has_labels(files: Files, name: str) -> bool:
    """Tell whether a mask has several numbers above 0 that are nuclei."""
    try:
        numbers, doubts = read_labels(decode_image(files.read(name), name, as_labels=True), name)
    except NucsegError:
        return False
    cut = any(doubt.kind == "mask instead of labels" for doubt in doubts)
    return not cut and len(np.unique(numbers[numbers > 0])) > 1


def _by_stem(files: Files, folder: PurePosixPath) -> dict[str, str]:
    """File names of the images below a folder, by their path in it without the suffix."""
    found: dict[str, str] = {}
    for name in files.names:
        path = PurePosixPath(name)
        if path.is_relative_to(folder) and path.suffix.lower() in IMAGE_SUFFIXES:
            stem = path.relative_to(folder).with_suffix("").as_posix()
            if stem in found:
                raise InputError(
                    f"{files.path} holds {found[stem]} and {name}: the name without the suffix "
                    "pairs an image with its label image, so it must be unique. Rename one."
                )
            found[stem] = name
    return found


def _read(
    files: Files, image_id: str, name: str, label_name: str | None, label_folder: str
) -> Sample:
    pixels = read_rgb(files, name)
    height, width = pixels.shape[0], pixels.shape[1]
    nothing = np.zeros((height, width), np.int32)
    if label_name is None:
        message = f"{name} has no label image of the same name in {label_folder}/."
        return Sample(image_id, pixels, nothing, (Problem(image_id, "no label image", message),))
    try:
        values = decode_image(files.read(label_name), label_name, as_labels=True)
        found, doubts = to_labels(values, label_name)
        if found.shape != nothing.shape:
            raise InputError(
                f"it is {found.shape[0]} by {found.shape[1]} pixels (height by width), its image "
                f"{height} by {width}"
            )
    except NucsegError as error:
        message = f"{label_name} cannot be used: {str(error).rstrip('.')}."
        problem = Problem(image_id, "unusable label image", message)
        return Sample(image_id, pixels, nothing, (problem,))
    problems = [Problem(image_id, each.kind, f"{label_name} {each.message}") for each in doubts]
    return Sample(image_id, pixels, found, tuple(problems))
