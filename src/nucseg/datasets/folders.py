"""Layout ``images/`` + ``labels/`` or ``masks/``: image and label image have the same name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from nucseg.core.labelling import Doubt, read_labels
from nucseg.datasets.samples import (
    Dataset,
    Labels,
    Pixels,
    Problem,
    Reader,
    Sample,
    sample_of,
)
from nucseg.datasets.storage import Files, read_rgb
from nucseg.errors import InputError, NucsegError
from nucseg.images import IMAGE_SUFFIXES, decode_image


def open_folders(files: Files) -> Dataset | None:
    """Open a data set of ``images/`` and ``labels/`` or ``masks/`` in the same folder.

    Parameters
    ----------
    files : Files

    Returns
    -------
    Dataset or None
        None if the files are not in this layout. If the files of ``masks/`` do not have the names
        of the images, it is Kaggle's layout, with one mask per nucleus.

    Raises
    ------
    InputError
        There are several such pairs of folders, or two files in a folder differ only by suffix.
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
        name, label_name = images[image_id], labels.get(image_id)
        find = None if label_name is None else label_reader(files, image_id, label_name)
        missing = f"{name} has no label image of the same name in {label_folder.name}/."
        sample = sample_of(image_id, read_rgb(files, name), find, missing)
        return sample if guess is None else replace(sample, problems=(guess, *sample.problems))

    def read_pixels(image_id: str) -> Pixels:
        return read_rgb(files, images[image_id])

    return Dataset(files.path, "folders", tuple(sorted(images)), read, read_pixels, problems)


def to_labels(values: npt.NDArray[np.generic], name: str = "") -> tuple[Labels, tuple[Doubt, ...]]:
    """Relabel the pixels of a label image without gaps.

    Parameters
    ----------
    values : ndarray, shape (H, W), or (H, W, C) with equal channels, whole numbers from 0
    name : str
        Name of the file, if any: see `nucseg.core.labelling.read_labels`.

    Returns
    -------
    labels : ndarray, shape (H, W), int32
        0 is background, 1…N are nuclei in the order of the values.
    doubts : tuple of Doubt
        Guesses of `nucseg.core.labelling.read_labels`.

    Raises
    ------
    InputError
        `values` is not a label image: see `nucseg.core.labelling.read_labels`.

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
    """Group image files below each folder of this name by its parent, see `_by_stem`."""
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
    """Return a problem if the only mask, named like the only image, shows all nuclei, else None.

    In Kaggle's layout the folder has the name of the image, and each mask shows one nucleus.
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
    """Return whether a mask has several values above 0 that are nuclei."""
    try:
        numbers, doubts = read_labels(decode_image(files.read(name), name, as_labels=True), name)
    except NucsegError:
        return False
    cut = any(doubt.kind == "mask instead of labels" for doubt in doubts)
    return not cut and len(np.unique(numbers[numbers > 0])) > 1


def _by_stem(files: Files, folder: PurePosixPath) -> dict[str, str]:
    """Map the relative paths of images below a folder, without suffix, to file names."""
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


def label_reader(files: Files, image_id: str, name: str) -> Reader:
    """Return a function that reads a label image and checks its size against the image."""

    def read(shape: tuple[int, int]) -> tuple[Labels, tuple[Problem, ...]]:
        try:
            labels, doubts = to_labels(decode_image(files.read(name), name, as_labels=True), name)
            check_size(labels, shape)
        except NucsegError as error:
            raise InputError(f"{name} cannot be used: {str(error).rstrip('.')}.") from error
        return labels, doubts_of(image_id, name, doubts)

    return read


def doubts_of(image_id: str, name: str, doubts: Iterable[Doubt]) -> tuple[Problem, ...]:
    """Convert the guesses made in reading a label image to problems of its image."""
    return tuple(Problem(image_id, each.kind, f"{name} {each.message}") for each in doubts)


def check_size(labels: npt.NDArray[np.generic], shape: tuple[int, int]) -> None:
    """Reject a label image whose size differs from that of its image.

    Raises
    ------
    InputError
        The sizes differ.
    """
    if labels.shape != shape:
        raise InputError(
            f"it is {labels.shape[0]} by {labels.shape[1]} pixels (height by width), its image "
            f"{shape[0]} by {shape[1]}"
        )
