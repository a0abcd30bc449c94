"""Interpret and check label images: masks, class images and grey-level images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError

Numbers = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

DoubtKind = Literal[
    "mask instead of labels", "mask turned over", "labels in pieces", "background in doubt"
]

# Label of pixels that are not annotated; they are ignored in training.
UNKNOWN = -1
# Largest label in training; the next number stands for `UNKNOWN`.
MOST_LABELS = 65_534

_LARGEST = 2**32 - 1
_LOSSY = frozenset({".jpg", ".jpeg"})
# Minimum number of rows and columns for recognizing the background.
_SMALLEST = 8
# Numbers of classes have at least this many components on average; those of nuclei have one.
_PIECES_OF_CLASSES = 2
# Components smaller than this fraction of the largest of a number are drawing artefacts.
_CRUMB = 0.1
# Grey levels recur around each nucleus, labels of nuclei do not.
_FEWEST_RIMS, _REPEATED = 3, 1.15
_NAMED = 3
# Maximum rows and columns that are checked; a whole slide would not fit in memory.
_MIDDLE = 8192


@dataclass(frozen=True)
class Doubt:
    """A warning about the interpretation of a label image.

    Attributes
    ----------
    kind : str
        One of a few fixed names, for counting.
    message : str
        What was found and how it is interpreted: a sentence without its beginning, to which the
        caller adds the name of the file.
    """

    kind: DoubtKind
    message: str


@dataclass(frozen=True)
class _Pieces:
    """The connected components of equal numbers above 0."""

    image: npt.NDArray[np.integer]
    numbers: Numbers
    areas: npt.NDArray[np.int64]


def read_labels(values: Numbers, name: str = "") -> tuple[Numbers, tuple[Doubt, ...]]:
    """Interpret the pixels of a label image; used by all commands.

    Parameters
    ----------
    values : ndarray, shape (H, W) or (H, W, C)
        Pixels, as read by `nucseg.images` with ``as_labels``. All colour channels must be equal.
    name : str
        Name of the file. A JPEG suffix means that the numbers have changed.

    Returns
    -------
    labels : ndarray, shape (H, W), whole numbers
        0 background, every other number a nucleus. The numbers are those of `values`. In a mask,
        the connected components are numbered from 1.
    doubts : tuple of Doubt
        Warnings about assumptions that were made.

    Raises
    ------
    InputError
        The image has colours, fractions, negative numbers, grey levels along the edges of nuclei,
        classes instead of nuclei, or a background other than 0.

    Examples
    --------
    >>> import numpy as np
    >>> read_labels(np.array([[0, 9, 0, 4]]))
    (array([[0, 9, 0, 4]]), ())
    >>> labels, doubts = read_labels(np.array([[255, 0, 255]]))
    >>> labels.tolist(), doubts[0].kind
    ([[1, 0, 2]], 'mask instead of labels')
    """
    numbers = whole_numbers(values)
    doubts: list[Doubt] = []
    if numbers.dtype == bool:
        turned = is_background(numbers)
        numbers = (~numbers if turned else numbers).view(np.uint8)
        message = (
            "is a mask of 1 bit per pixel, whose background may be 0 or 1; the value along most "
            "of the border is taken for the background."
        )
        doubts += [Doubt("mask turned over", message)] * turned
    doubts += _check_background(numbers)
    if _is_mask(numbers):
        count, pieces = cv2.connectedComponents((numbers > 0).view(np.uint8), connectivity=8)
        if count > 2:
            message = (
                "has one number for all nuclei; each connected piece is taken for one, also where "
                "nuclei touch."
            )
            doubts.append(Doubt("mask instead of labels", message))
            return np.asarray(pieces, np.int32), tuple(doubts)
    else:
        seen = _seen(numbers)
        found = _pieces(seen)
        _check_levels(seen, found, name)
        in_pieces = _check_pieces(found)
        doubts += in_pieces if seen.shape == numbers.shape else []
    return numbers, tuple(doubts)


def whole_numbers(values: Numbers) -> Numbers:
    """Return one non-negative whole number per pixel.

    Equal colour channels are reduced to one, and alpha is dropped.

    Parameters
    ----------
    values : ndarray, shape (H, W) or (H, W, C)

    Returns
    -------
    ndarray, shape (H, W), same dtype, at most 4,294,967,295

    Raises
    ------
    InputError
        The values are colours, fractions, negative or too large, or only the alpha channel is not
        constant.
    """
    grey = _without_colours(values) if values.ndim == 3 else values
    if grey.ndim != 2:
        raise InputError(
            f"Expected one whole number per pixel, got an array of shape {values.shape}."
        )
    if grey.dtype.kind not in "buif":
        raise InputError(f"Expected whole numbers, got {grey.dtype}.")
    if grey.dtype.kind == "f" and not (grey == np.floor(grey)).all():
        raise InputError(
            f"Expected whole numbers, got fractions ({grey.dtype}). Is it a probability map? "
            "Give a label image, in which each nucleus has a number of its own."
        )
    if grey.size and grey.min() < 0:
        raise InputError(f"Expected numbers from 0 (background), got {grey.min()}.")
    if grey.size and float(grey.max()) > _LARGEST:
        raise InputError(f"Expected labels up to {_LARGEST}, got {grey.max()}.")
    return grey


def is_background(mask: Mask) -> bool:
    """Return whether the foreground of a mask is the background of the image, not nuclei.

    Parameters
    ----------
    mask : ndarray, shape (H, W), bool

    Returns
    -------
    bool
        True if the mask covers more than half of the image and more than half of its border.
        False for images with fewer than 8 rows or columns.

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.zeros((9, 9), bool)
    >>> mask[3:6, 3:6] = True
    >>> is_background(mask), is_background(~mask)
    (False, True)
    """
    if min(mask.shape) < _SMALLEST or 2 * np.count_nonzero(mask) <= mask.size:
        return False
    return bool(_border(mask).mean() > 0.5)


def has_grey_edges(numbers: Numbers) -> bool:
    """Return whether numbers are grey levels: interpolated, anti-aliased or lossily compressed.

    Parameters
    ----------
    numbers : ndarray, shape (H, W), whole numbers

    Returns
    -------
    bool
        True if most connected components of equal numbers are rims: less than three pixels wide
        everywhere, and touching a larger number. Very small touching nuclei also match this, but
        none of their numbers occurs twice, and the largest number is not that of a wider component.
    """
    return _has_rims(numbers, _pieces(numbers))


def _without_colours(values: Numbers) -> Numbers:
    """Reduce equal colour channels to one grey channel."""
    channels = values.shape[2]
    colours = values[..., : 1 if channels == 2 else 3]
    if channels not in (1, 2, 3, 4) or not (colours == colours[..., :1]).all():
        flat = colours.reshape(-1, colours.shape[2])
        number = len(np.unique(flat, axis=0))
        raise InputError(
            f"Expected one whole number per pixel, got colours or channels: shape {values.shape}, "
            f"{number} different colours. Give a grey image whose values are the labels. Where "
            "each colour is a nucleus, give each a number; where colours are classes, or outlines "
            "on a picture, export the label image itself."
        )
    grey = values[..., 0]
    if channels in (2, 4):
        alpha = values[..., -1]
        if (alpha != alpha.flat[0]).any() and (channels == 2 or (grey == grey.flat[0]).all()):
            raise InputError(
                f"Expected one whole number per pixel, got two channels or transparency that "
                f"differs: shape {values.shape}. Give a grey image whose values are the labels."
            )
    return grey


def _border(mask: Mask) -> Mask:
    return np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])


def _pieces(numbers: Numbers) -> _Pieces:
    from skimage.measure import label

    if numbers.dtype.kind == "f":
        numbers = numbers.astype(np.int64)  # at most 2³², see `whole_numbers`
    image = np.asarray(label(numbers, background=0, connectivity=2))  # type: ignore[no-untyped-call]
    areas = np.bincount(image.ravel())
    of_piece = np.zeros(len(areas), numbers.dtype)
    of_piece[image.ravel()] = numbers.ravel()
    return _Pieces(image, of_piece[1:], areas[1:])


def _is_mask(numbers: Numbers) -> bool:
    """Return whether there is at most one number above 0."""
    return not numbers.size or bool(((numbers == 0) | (numbers == numbers.max())).all())


def _seen(numbers: Numbers) -> Numbers:
    """Crop a very large image to its centre, which is representative."""
    if numbers.size <= _MIDDLE**2:
        return numbers
    starts = [max(0, (length - _MIDDLE) // 2) for length in numbers.shape]
    return numbers[starts[0] : starts[0] + _MIDDLE, starts[1] : starts[1] + _MIDDLE]


def _check_background(numbers: Numbers) -> list[Doubt]:
    """Reject a background other than 0, such as that of an inverted mask."""
    if not numbers.size:
        return []
    border = _border(numbers)
    values, counts = np.unique(border, return_counts=True)
    value = values[counts.argmax()]
    marked = numbers == value
    if value == 0 or not is_background(marked):
        return []
    what = (
        f"has the number {value} at {100 * marked.mean():.0f}% of its pixels and along "
        f"{100 * counts.max() / counts.sum():.0f}% of its border"
    )
    if (border[border != value] == 0).any() and not _encloses(numbers == 0):
        message = f"{what}; it is taken for a nucleus. If it is the background, set it to 0."
        return [Doubt("background in doubt", message)]
    raise InputError(
        f"It {what}, so that this is the background, which must be 0: the mask is inverted, or "
        f"background has a number. Invert the mask (Fiji: Edit > Invert), or set {value} to 0."
    )


def _encloses(ground: Mask) -> bool:
    """Return whether components of possible background are inside, as in an inverted mask."""
    count, pieces = cv2.connectedComponents(ground.astype(np.uint8), connectivity=4)
    at_border = np.unique(np.append(_border(np.asarray(pieces)), 0))
    return count > len(at_border)


def _check_levels(numbers: Numbers, pieces: _Pieces, name: str) -> None:
    """Reject numbers that result from compression or interpolation."""
    lossy = PurePath(name).suffix.lower() in _LOSSY
    if not lossy and not _has_rims(numbers, pieces):
        return
    how = (
        "JPEG changes the numbers of pixels"
        if lossy
        else "most of them are thin rims of others, as where a mask was resized with "
        "interpolation, drawn with smooth edges or saved as JPEG"
    )
    raise InputError(
        f"It has {len(np.unique(pieces.numbers))} different numbers above 0 in "
        f"{len(pieces.numbers)} pieces, which are grey levels and not nuclei: {how}. Save label "
        "images and masks as TIFF or PNG, and resize them by nearest neighbour (order 0)."
    )


def _has_rims(numbers: Numbers, pieces: _Pieces) -> bool:
    count = len(pieces.numbers)
    if min(numbers.shape) < _SMALLEST or count < _FEWEST_RIMS:
        return False
    thin = np.ones(count + 1, bool)
    thin[_inside(pieces.image)] = False
    below = np.zeros(count + 1, bool)
    of_piece = np.append(0, pieces.numbers)
    for first, second in _neighbours(pieces.image):
        touching = (first != second) & (first > 0) & (second > 0)
        one, other = first[touching], second[touching]
        below[np.where(of_piece[one] < of_piece[other], one, other)] = True
    rims = np.count_nonzero(below & thin)
    if rims < _FEWEST_RIMS:
        return False
    if count > _REPEATED * len(np.unique(pieces.numbers)):
        return bool(rims > 0.5 * count)
    # Rims of a single nucleus, which has the largest number.
    return bool(rims >= 0.8 * count and not thin[of_piece.argmax()])


def _inside(image: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Return the components of pixels whose eight neighbours are in the same component."""
    same = image[:, :-2] == image[:, 1:-1]
    same &= image[:, 2:] == image[:, 1:-1]
    centre = image[1:-1, 1:-1]
    whole = same[:-2] & same[1:-1] & same[2:]
    whole &= (image[:-2, 1:-1] == centre) & (image[2:, 1:-1] == centre)
    inside: npt.NDArray[np.integer] = centre[whole]
    return inside


def _neighbours(
    image: npt.NDArray[np.integer],
) -> list[tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]]:
    return [
        (image[:, 1:], image[:, :-1]),
        (image[1:], image[:-1]),
        (image[1:, 1:], image[:-1, :-1]),
        (image[1:, :-1], image[:-1, 1:]),
    ]


def _check_pieces(pieces: _Pieces) -> list[Doubt]:
    """Reject numbers of classes, and count the nuclei with several components."""
    present = np.unique(pieces.numbers)
    if len(present) < 2:
        return []
    place = np.searchsorted(present, pieces.numbers)
    largest = np.zeros(len(present), np.int64)
    np.maximum.at(largest, place, pieces.areas)
    sizable = np.bincount(place[pieces.areas >= _CRUMB * largest[place]])
    if sizable.sum() >= _PIECES_OF_CLASSES * len(present):
        raise InputError(
            f"It has {len(present)} different numbers above 0 in {sizable.sum()} pieces, which are "
            "classes and not nuclei. Give each nucleus a number of its own, for instance by "
            "skimage.measure.label or Fiji's Analyze Particles, or a mask of one class with 0 "
            "elsewhere."
        )
    number = np.bincount(place)
    several = np.flatnonzero(number > 1)
    if not several.size:
        return []
    most = several[np.argsort(-number[several], kind="stable")][:_NAMED]
    named = ", ".join(f"{present[i]} in {number[i]}" for i in most)
    message = (
        f"has {len(several)} of {len(present)} labels in several pieces ({named}"
        f"{', …' if len(several) > _NAMED else ''}); each stays one nucleus."
    )
    return [Doubt("labels in pieces", message)]


def to_unsigned(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint16]:
    """Convert a label image for training to 16 bits.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        Labels up to `MOST_LABELS`, or `UNKNOWN`, which becomes `MOST_LABELS` + 1.
    """
    return np.where(labels < 0, MOST_LABELS + 1, labels).astype(np.uint16)


def from_unsigned(labels: npt.NDArray[np.generic]) -> npt.NDArray[np.int32]:
    """Undo `to_unsigned`; return shape (H, W), int32."""
    return np.where(labels == MOST_LABELS + 1, UNKNOWN, labels.astype(np.int32))
