"""Layout of Kaggle's 2018 Data Science Bowl: one folder per image, one mask per nucleus."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.core.labelling import has_grey_edges, is_background, read_labels
from nucseg.datasets.samples import Dataset, Labels, Pixels, Problem, Sample
from nucseg.datasets.storage import Files, read_rgb
from nucseg.errors import InputError, NucsegError
from nucseg.files import png_fault
from nucseg.images import IMAGE_SUFFIXES, decode_image
from nucseg.images.colours import to_rgb

Mask = npt.NDArray[np.bool_]


class Placed(NamedTuple):
    """A mask, its position in the image, and its file name."""

    name: str
    place: tuple[slice, slice]
    mask: Mask


PNG_START = b"\x89PNG\r\n\x1a\n"
_PALETTE = 3  # colour type of a palette, in byte 25 of a PNG file


@dataclass
class _Entry:
    """File names of one image."""

    images: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)

    def image(self, image_id: str) -> str:
        """Return the image file: the one with the name of the folder, else the first."""
        return min(self.images, key=lambda name: (PurePosixPath(name).stem != image_id, name))


def open_kaggle(files: Files) -> Dataset | None:
    """Open a data set in Kaggle's layout, ``<id>/images/<id>.png`` and ``<id>/masks/*.png``.

    Parameters
    ----------
    files : Files

    Returns
    -------
    Dataset or None
        None if the files are not in this layout.

    Raises
    ------
    InputError
        Two images have the same id.
    """
    entries = {
        folder: entry
        for folder, entry in _entries(files.names).items()
        if any(PurePosixPath(name).stem == folder.name for name in entry.images)
        or (entry.masks and len(entry.images) == 1)
    }
    if not entries:
        return None
    by_id: dict[str, _Entry] = {}
    for folder, entry in entries.items():
        image_id = folder.name or PurePosixPath(entry.images[0]).stem
        if image_id in by_id:
            raise InputError(
                f"{files.path} holds the image {image_id} twice: {by_id[image_id].images[0]} and "
                f"{entry.images[0]}. Give the folder of one of the sets."
            )
        by_id[image_id] = entry

    def read(image_id: str) -> Sample:
        return _read(files, image_id, by_id[image_id])

    def read_pixels(image_id: str) -> Pixels:
        return read_rgb(files, by_id[image_id].image(image_id))

    return Dataset(files.path, "kaggle", tuple(sorted(by_id)), read, read_pixels)


def merge_masks(
    masks: Iterable[tuple[str, tuple[slice, slice], Mask]], shape: tuple[int, int], image_id: str
) -> tuple[Labels, list[Problem]]:
    """Merge the masks of single nuclei into one label image.

    Parameters
    ----------
    masks : iterable of (name, place, mask)
        `mask` is a bool array that fills `place`, two slices of the image. Where masks overlap,
        the earlier one keeps the pixels.
    shape : (height, width) in pixels
    image_id : str
        Image of the reported problems.

    Returns
    -------
    labels : ndarray, shape (height, width), int32
        0 is background, 1…N are nuclei in the order of the masks, without gaps.
    problems : list of Problem
        Empty masks, masks completely covered by earlier ones, and number of overlapping pixels.

    Examples
    --------
    >>> import numpy as np
    >>> left = ("a.png", np.s_[:, :2], np.ones((1, 2), bool))
    >>> right = ("b.png", np.s_[:, 1:], np.ones((1, 3), bool))
    >>> labels, problems = merge_masks([left, right], (1, 4), "x")
    >>> labels.tolist(), problems[0].count
    ([[1, 1, 2, 2]], 1)
    """
    labels = np.zeros(shape, np.int32)
    problems = []
    shared = 0
    nuclei = 0
    for name, place, mask in masks:
        region = labels[place]
        area = int(np.count_nonzero(mask))
        free = mask & (region == 0)
        left = int(np.count_nonzero(free))
        shared += area - left
        if left:
            nuclei += 1
            region[free] = nuclei
        elif area:
            message = f"{name}: all {area} pixels belong to earlier masks; it is left out."
            problems.append(Problem(image_id, "hidden mask", message))
        else:
            message = f"{name} marks no pixel; it is left out."
            problems.append(Problem(image_id, "empty mask", message))
    if shared:
        message = f"{shared} pixels are in more than one mask; the earlier mask keeps them."
        problems.append(Problem(image_id, "overlapping masks", message, shared))
    return labels, problems


def _entries(names: Iterable[str]) -> dict[PurePosixPath, _Entry]:
    """Group image and mask files by the folder that contains ``images`` and ``masks``."""
    entries: defaultdict[PurePosixPath, _Entry] = defaultdict(_Entry)
    for name in names:
        path = PurePosixPath(name)
        if path.suffix.lower() in IMAGE_SUFFIXES and path.parent.name in ("images", "masks"):
            entry = entries[path.parent.parent]
            (entry.images if path.parent.name == "images" else entry.masks).append(name)
    return {folder: entry for folder, entry in entries.items() if entry.images}


def _read(files: Files, image_id: str, entry: _Entry) -> Sample:
    name = entry.image(image_id)
    pixels = read_rgb(files, name)
    shape = (pixels.shape[0], pixels.shape[1])
    faults: list[Problem] = []
    labels, problems = merge_masks(_masks(files, image_id, entry, shape, faults), shape, image_id)
    if faults and not labels.any():
        message = f"None of the masks of {name} can be used; it is of no use for training."
        problems.append(Problem(image_id, "no masks", message))
    if not entry.masks:
        message = f"{name} has no mask files beside it; it is of no use for training."
        problems.append(Problem(image_id, "no masks", message))
    return Sample(image_id, pixels, labels, (*faults, *problems))


def _masks(
    files: Files, image_id: str, entry: _Entry, shape: tuple[int, int], faults: list[Problem]
) -> Iterator[Placed]:
    """Yield the usable masks, each with its position; append the faulty ones to `faults`."""
    for name in sorted(entry.masks):
        try:
            values = _grey(files.read(name), name)
            if values.shape != shape:
                message = (
                    f"{name} is {values.shape[0]} by {values.shape[1]} pixels (height by width), "
                    f"its image {shape[0]} by {shape[1]}; it is left out."
                )
                faults.append(Problem(image_id, "mask of another size", message))
                continue
            placed = _place(values, name)
            if placed.mask.shape == shape and is_background(placed.mask):
                if values.dtype != bool:
                    message = (
                        f"{name} marks most of the image and of its border, as an inverted mask "
                        "does; it is left out. Invert it: what is not the nucleus has to be 0."
                    )
                    faults.append(Problem(image_id, "inverted mask", message))
                    continue
                # Programs disagree on which value of a 1-bit image is white.
                values = ~values
                placed = _place(values, name)
            yield from _nuclei(values, placed, image_id, faults, alone=len(entry.masks) == 1)
        except NucsegError as error:
            message = f"{name} is left out: {error}"
            faults.append(Problem(image_id, "unreadable mask", message))


def _place(values: npt.NDArray[Any], name: str) -> Placed:
    """Return the bounding box of the marked pixels of a mask, and the mask in it."""
    left, top, width, height = cv2.boundingRect((values > 0).view(np.uint8))
    place = (slice(top, top + height), slice(left, left + width))
    values = values[place]
    # Half of the maximum works for 0/1, 0/255 and 16-bit masks, and for soft edges of JPEG.
    return Placed(name, place, values > values.max(initial=0) / 2)


def _nuclei(
    values: npt.NDArray[Any],
    placed: Placed,
    image_id: str,
    faults: list[Problem],
    *,
    alone: bool,
) -> Iterator[Placed]:
    """Yield the nucleus of a mask, or all nuclei if the mask has several against the layout."""
    name, place, mask = placed
    marked = values[place]
    several = bool(((marked > 0) & (marked < marked.max(initial=0))).any())
    if several and not (_is_jpeg(name) or has_grey_edges(values)):
        numbers, _ = read_labels(values, name)
        message = f"{name} has several numbers above 0; each is taken for a nucleus."
        faults.append(Problem(image_id, "label image as mask", message))
    elif alone and cv2.connectedComponents(mask.view(np.uint8))[0] > 2:
        numbers, doubts = read_labels((values > values.max() / 2).view(np.uint8))
        faults += [Problem(image_id, each.kind, f"{name} {each.message}") for each in doubts]
    else:
        yield placed
        return
    whole = (slice(None), slice(None))
    yield from (Placed(name, whole, numbers == n) for n in np.unique(numbers[numbers > 0]))


def _is_jpeg(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in (".jpg", ".jpeg")


def _grey(data: bytes, name: str) -> npt.NDArray[Any]:
    """Decode an image to greyscale, for all colour types and bit depths; drop alpha."""
    if data.startswith(PNG_START) and png_fault(data) is None:
        # OpenCV takes less than half of Pillow's time, and a data set has a mask per nucleus. If
        # OpenCV fails, the code below tries again to get an error message, which OpenCV does not
        # give.
        with contextlib.suppress(cv2.error):
            flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
            values = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
            # Palette colours may be equal in grey; with more than two, use the palette indices.
            if values is not None and (data[25] != _PALETTE or len(np.unique(values)) < 3):
                return np.asarray(values)
    return np.asarray(to_rgb(decode_image(data, name, as_labels=True)).max(axis=2))
