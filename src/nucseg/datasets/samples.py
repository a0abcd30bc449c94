"""Samples of a data set: images with their label images and problems."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from nucseg.datasets.facts import Facts
from nucseg.errors import InputError, NucsegError

Labels = npt.NDArray[np.int32]
Pixels = npt.NDArray[np.generic]

Kind = Literal[
    "unreadable image",
    "no masks",
    "unreadable mask",
    "mask of another size",
    "empty mask",
    "hidden mask",
    "overlapping masks",
    "no label image",
    "unusable label image",
    "mask instead of labels",
    "mask turned over",
    "labels in pieces",
    "background in doubt",
    "inverted mask",
    "label image as mask",
    "guessed layout",
    "label image without image",
]

# Layouts of data sets: "beside" if the nuclei are in files of several kinds, and "several" if
# data sets are combined.
Layout = Literal["kaggle", "folders", "cellpose", "geojson", "coco", "beside", "several"]

NO_FACTS = Facts()

WITHOUT_LABELS: frozenset[Kind] = frozenset(["no masks", "no label image", "unusable label image"])


@dataclass(frozen=True)
class Problem:
    """A problem of one image of a data set or of its masks.

    Attributes
    ----------
    image_id : str
    kind : str
        One of a few fixed names, for counting.
    message : str
        What was found, where, and how nucseg handles it.
    count : int
        Number of pixels for overlapping masks, number of files for everything else.
    """

    image_id: str
    kind: Kind
    message: str
    count: int = 1


@dataclass(frozen=True)
class Sample:
    """An image with its label image.

    Attributes
    ----------
    image_id : str
    pixels : ndarray, shape (H, W, 3), dtype of the file
        In the order red, green, blue; grey is repeated, alpha is dropped.
    labels : ndarray, shape (H, W), int32
        0 is background, 1…N are nuclei without gaps.
    problems : tuple of Problem
    """

    image_id: str
    pixels: Pixels
    labels: Labels
    problems: tuple[Problem, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether the nuclei are annotated; if not, `labels` is all 0."""
        return not any(problem.kind in WITHOUT_LABELS for problem in self.problems)


@dataclass(frozen=True)
class Dataset:
    """A set of images with label images, read one by one from a folder or a zip file.

    Attributes
    ----------
    path : Path
    layout : str
        One of `Layout`.
    image_ids : tuple of str, sorted
    problems : tuple of Problem
        Problems of the set other than of its images, such as a label image without an image.
    facts : Facts
        Content of ``dataset.toml``; empty if several data sets are combined.
    members : tuple of Dataset
        The combined data sets, if any; their image ids are ``<name of the set>/<image id>``.
    """

    path: Path
    layout: Layout
    image_ids: tuple[str, ...]
    _read: Callable[[str], Sample]
    _read_pixels: Callable[[str], Pixels]
    problems: tuple[Problem, ...] = ()
    facts: Facts = NO_FACTS
    members: tuple[Dataset, ...] = ()

    def facts_of(self, image_id: str) -> Facts:
        """Return the facts of the data set that an image belongs to."""
        if not self.members:
            return self.facts
        name = image_id.partition("/")[0]
        return next(member.facts for member in self.members if member.facts.name == name)

    def read(self, image_id: str) -> Sample:
        """Read one image; safe to call from several threads.

        Parameters
        ----------
        image_id : str
            One of `image_ids`.

        Raises
        ------
        InputError
            The image does not exist or cannot be read. Problems of its masks raise no error; they
            are in the problems of the sample.
        """
        return self._read(self._known(image_id))

    def read_pixels(self, image_id: str) -> Pixels:
        """Read one image without its masks, which takes a fraction of the time.

        Parameters
        ----------
        image_id : str
            One of `image_ids`.

        Returns
        -------
        ndarray, shape (H, W, 3)
            The pixels, as in `Sample`.

        Raises
        ------
        InputError
            The image does not exist or cannot be read.
        """
        return self._read_pixels(self._known(image_id))

    def _known(self, image_id: str) -> str:
        if image_id not in self.image_ids:
            raise InputError(f"There is no image {image_id!r} in {self.path}.")
        return image_id


# Returns the label image of an image of the given height and width, and its problems.
Reader = Callable[[tuple[int, int]], tuple[Labels, tuple[Problem, ...]]]


def sample_of(image_id: str, pixels: Pixels, read: Reader | None, missing: str) -> Sample:
    """Combine an image and its label image to a sample.

    Parameters
    ----------
    image_id : str
    pixels : ndarray, shape (H, W, 3)
    read : callable or None
        Reads the label image; None if there is none. Its errors become problems of the sample.
    missing : str
        Message of the problem if there is no label image.
    """
    shape = (pixels.shape[0], pixels.shape[1])
    nothing = np.zeros(shape, np.int32)
    if read is None:
        return Sample(image_id, pixels, nothing, (Problem(image_id, "no label image", missing),))
    try:
        labels, problems = read(shape)
    except NucsegError as error:
        problem = Problem(image_id, "unusable label image", str(error))
        return Sample(image_id, pixels, nothing, (problem,))
    return Sample(image_id, pixels, labels, problems)
