"""The layout ``images/`` + ``labels/``: a label image beside each image, paired by their names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.datasets.samples import Dataset, Labels, Pixels, Problem, Sample
from nucseg.datasets.storage import Files, read_rgb
from nucseg.errors import InputError, NucsegError
from nucseg.images import IMAGE_SUFFIXES, decode_image


def open_folders(files: Files) -> Dataset | None:
    """Open a data set of ``images/`` and ``labels/`` side by side.

    Parameters
    ----------
    files : Files

    Returns
    -------
    Dataset or None
        None where the files are not in this layout.

    Raises
    ------
    InputError
        There are several such pairs of folders, or two files of one folder differ only by suffix.
    """
    folders = {PurePosixPath(name).parent.parts for name in files.names}
    roots = {
        PurePosixPath(*parts[: parts.index("images")]) for parts in folders if "images" in parts
    }
    labelled = {
        PurePosixPath(*parts[:place])
        for parts in folders
        for place, part in enumerate(parts)
        if part == "labels"
    }
    pairs = sorted(roots & labelled)
    if not pairs:
        return None
    if len(pairs) > 1:
        listed = ", ".join(str(files.path / root) for root in pairs)
        raise InputError(f"{files.path} holds several data sets: {listed}. Give one of them.")
    images = _by_stem(files, pairs[0] / "images")
    labels = _by_stem(files, pairs[0] / "labels")
    if not images or not labels:
        return None
    problems = tuple(
        Problem(
            stem,
            "label image without image",
            f"{labels[stem]} has no image of the same name in images/; it is not used.",
        )
        for stem in sorted(labels.keys() - images.keys())
    )

    def read(image_id: str) -> Sample:
        return _read(files, image_id, images, labels)

    def read_pixels(image_id: str) -> Pixels:
        return read_rgb(files, images[image_id])

    return Dataset(files.path, "folders", tuple(sorted(images)), read, read_pixels, problems)


def to_labels(values: npt.NDArray[np.generic]) -> tuple[Labels, bool]:
    """Bring the pixels of a label image to labels without gaps.

    Parameters
    ----------
    values : ndarray, shape (H, W), or (H, W, C) with equal channels, whole numbers from 0

    Returns
    -------
    labels : ndarray, shape (H, W), int32
        0 background, 1…N in the order of the values.
    was_mask : bool
        All nuclei had the same value in several pieces; each piece has become a label.

    Raises
    ------
    InputError
        The values are colours, fractions or negative.

    Examples
    --------
    >>> import numpy as np
    >>> to_labels(np.array([[0, 9, 0, 4]]))[0].tolist()
    [[0, 2, 0, 1]]
    >>> to_labels(np.array([[255, 0, 255]]))
    (array([[1, 0, 2]], dtype=int32), True)
    """
    if values.ndim == 3 and (values[..., :3] == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim != 2:
        raise InputError(
            f"expected one whole number per pixel, got an array of shape {values.shape}"
        )
    if values.dtype.kind not in "buif":
        raise InputError(f"expected whole numbers, got {values.dtype}")
    if values.dtype.kind == "f" and not (values == np.floor(values)).all():
        raise InputError(f"expected whole numbers, got fractions ({values.dtype})")
    if values.size and values.min() < 0:
        raise InputError(f"expected numbers from 0 (background), got {values.min()}")
    present, inverse = np.unique(values, return_inverse=True)
    labels = inverse.reshape(values.shape).astype(np.int32) + np.int32(present[0] != 0)
    if labels.max() == 1:
        pieces, separate = cv2.connectedComponents(labels.astype(np.uint8), connectivity=8)
        if pieces > 2:
            return np.asarray(separate, np.int32), True
    return labels, False


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
    files: Files, image_id: str, images: Mapping[str, str], labels: Mapping[str, str]
) -> Sample:
    name = images[image_id]
    pixels = read_rgb(files, name)
    height, width = pixels.shape[0], pixels.shape[1]
    nothing = np.zeros((height, width), np.int32)
    if image_id not in labels:
        message = f"{name} has no label image of the same name in labels/."
        return Sample(image_id, pixels, nothing, (Problem(image_id, "no label image", message),))
    label_name = labels[image_id]
    try:
        found, was_mask = to_labels(decode_image(files.read(label_name), label_name))
        if found.shape != nothing.shape:
            raise InputError(
                f"it is {found.shape[0]} by {found.shape[1]} pixels (height by width), its image "
                f"{height} by {width}"
            )
    except NucsegError as error:
        message = f"{label_name} cannot be used: {str(error).rstrip('.')}."
        problem = Problem(image_id, "unusable label image", message)
        return Sample(image_id, pixels, nothing, (problem,))
    problems: tuple[Problem, ...] = ()
    if was_mask:
        message = (
            f"{label_name} has one value for all nuclei; each connected piece is taken for one."
        )
        problems = (Problem(image_id, "mask instead of labels", message),)
    return Sample(image_id, pixels, found, problems)
