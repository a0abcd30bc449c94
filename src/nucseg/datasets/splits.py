"""Split a data set into subsets so that no field of view is in two of them."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError, MissingExtraError
from nucseg.files import atomic_write

# Chosen on the 2018 Data Science Bowl, with a preference for joining: two fields of view taken for
# one are harmless, one taken for two causes leakage. `benchmarks/fields.py` prints the results.
MIN_CORRELATION = 0.93
MAX_STEP = 6.0
MIN_BORDER = 32
BLOCK = 512
SHUFFLES = 50
SUBSETS = ("train", "validation", "test")

Borders = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Split:
    """Training, validation and test images.

    Attributes
    ----------
    train, validation, test : tuple of str
        Image ids, sorted; no id is in two subsets, and `test` may be empty.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] = ()


def find_fields(images: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, int]:
    """Group images that are tiles of the same larger field of view.

    Two images of the same size are grouped if the last row or column of one continues in the first
    of the other: the two borders correlate, and their difference is little more than that of
    neighbouring rows or columns inside the images. Flat borders are never matched. Images with
    identical pixels are grouped too.

    Parameters
    ----------
    images : mapping of str to ndarray, shape (H, W) or (H, W, C), real dtype

    Returns
    -------
    dict of str to int
        Number of the field of view of each image, counted from 0 in the order of `images`.

    Notes
    -----
    Tiles that have a gap or an overlap are not found. The time grows with the square of the
    number of images of one size: 664 images take some seconds.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> field, other = rng.normal(size=(2, 64, 128)).cumsum(axis=2)
    >>> find_fields({"left": field[:, :64], "right": field[:, 64:], "other": other[:, 64:]})
    {'left': 0, 'right': 0, 'other': 1}
    """
    ids = list(images)
    parents = list(range(len(ids)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    same_shape: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    first_of: dict[bytes, int] = {}
    for index, image in enumerate(images.values()):
        same_shape[image.shape].append(index)
        content = np.ascontiguousarray(image)
        key = hashlib.sha256(f"{content.shape}{content.dtype}".encode() + content.data).digest()
        parents[index] = first_of.setdefault(key, index)
    for indices in same_shape.values():
        arrays = [images[ids[index]] for index in indices]
        for axis in (0, 1):
            for one, other in _continuations(arrays, axis):
                parents[root(indices[one])] = root(indices[other])
    numbers: dict[int, int] = {}
    return {
        image_id: numbers.setdefault(root(index), len(numbers))
        for index, image_id in enumerate(ids)
    }


def make_split(
    image_ids: Sequence[str],
    *,
    fields: Mapping[str, int] | None,
    validation_fraction: float,
    seed: int,
) -> Split:
    """Choose validation images at random, by field of view or by image.

    Parameters
    ----------
    image_ids : sequence of str
    fields : mapping of str to int, or None
        Field of view of each image, from `find_fields`; images of one field stay together. None
        draws single images, which causes leakage if images are tiles of larger fields.
    validation_fraction : float
        Fraction of validation images, between 0 and 1; with fields, it is met as closely as whole
        fields permit.
    seed : int
        The same seed gives the same split, independent of the order of `image_ids`.

    Returns
    -------
    Split
        Without test images.

    Raises
    ------
    InputError
        There are fewer than two images or fields, or the fraction is not between 0 and 1.
    MissingExtraError
        scikit-learn is not installed.
    """
    try:
        from sklearn.model_selection import GroupShuffleSplit, train_test_split
    except ImportError as error:
        raise MissingExtraError("Splitting a data set", "train") from error
    if not 0 < validation_fraction < 1:
        raise InputError(
            f"The validation fraction must lie between 0 and 1, not {validation_fraction}."
        )
    ids = sorted(image_ids)
    groups = ids if fields is None else [str(fields[image_id]) for image_id in ids]
    units = len(set(groups))
    if units < 2:
        what = "image" if fields is None else "field of view"
        hint = " Give more images" + (
            ", or split by single images (random)." if fields and len(ids) > 1 else "."
        )
        raise InputError(
            f"Cannot split {len(ids)} image(s) of {units} {what}(s) into training and validation: "
            f"at least two are needed.{hint}"
        )
    held_out = min(max(round(validation_fraction * units), 1), units - 1)
    if fields is None:
        train, validation = train_test_split(ids, test_size=held_out, random_state=seed)
        return Split(tuple(sorted(train)), tuple(sorted(validation)))
    # Fields differ in size: of several draws, the one closest to the requested number is used.
    shuffle = GroupShuffleSplit(n_splits=SHUFFLES, test_size=held_out, random_state=seed)
    draws: list[tuple[Any, Any]] = list(shuffle.split(ids, groups=groups))
    wanted = validation_fraction * len(ids)
    train, validation = min(draws, key=lambda draw: abs(len(draw[1]) - wanted))
    return Split(tuple(ids[index] for index in train), tuple(ids[index] for index in validation))


def read_split(path: Path, image_ids: Sequence[str]) -> Split:
    """Read a split from a CSV file with the columns ``image_id`` and ``subset``.

    Parameters
    ----------
    path : Path
        `subset` is train, validation or test; images with an empty subset, and images without a
        row, are not used.
    image_ids : sequence of str
        All existing images.

    Raises
    ------
    InputError
        The file is missing or not such a table, contains an unknown image or subset or an image
        twice, or has no training or no validation images.
    """
    subsets: dict[str, list[str]] = {name: [] for name in (*SUBSETS, "none")}
    known, seen = set(image_ids), set()
    for line, (image_id, subset) in _rows(path):
        place = f"{path}, line {line}:"
        if image_id not in known:
            raise InputError(f"{place} the data set has no image {image_id!r}. Check the name.")
        if image_id in seen:
            raise InputError(f"{place} the image {image_id} has a row already. Keep one of them.")
        if subset not in subsets:
            raise InputError(
                f"{place} unknown subset {subset!r}. Expected one of {', '.join(subsets)}."
            )
        seen.add(image_id)
        subsets[subset].append(image_id)
    for name in ("train", "validation"):
        if not subsets[name]:
            raise InputError(f"{path} gives no image the subset {name}; at least one is needed.")
    return Split(*(tuple(sorted(subsets[name])) for name in SUBSETS))


def write_split(path: Path, split: Split) -> None:
    """Write a split as the CSV file that `read_split` reads.

    Parameters
    ----------
    path : Path
    split : Split

    Raises
    ------
    InputError
        The file cannot be written.
    """
    rows = sorted((image_id, name) for name in SUBSETS for image_id in getattr(split, name))
    with atomic_write(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("image_id", "subset"), *rows])


def _rows(path: Path) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield line number, image id and subset of each row of a split file."""
    try:
        # Spreadsheet programs write a byte order mark at the start of a file.
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            columns = table.fieldnames or []
            if not {"image_id", "subset"} <= set(columns):
                raise InputError(
                    f"{path} has the columns {', '.join(columns) or '(none)'}; expected a CSV "
                    "file with the columns image_id and subset."
                )
            for row in table:
                image_id, subset = ((row[name] or "").strip() for name in ("image_id", "subset"))
                yield table.line_num, (image_id, subset)
    except FileNotFoundError as error:
        raise InputError(
            f"There is no split file {path}. Give field, random, or a CSV file."
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read the split file {path}: {error}.") from error


def _continuations(
    images: Sequence[npt.NDArray[np.generic]], axis: int
) -> Iterator[tuple[int, int]]:
    """Yield pairs of images of one shape, the second of which continues the first along an axis."""
    shape = images[0].shape
    if len(images) < 2 or shape[axis] < 2 or shape[1 - axis] < MIN_BORDER:
        return
    first, second, last_but_one, last = (
        np.stack([np.take(image, at, axis).ravel() for image in images]).astype(np.float32)
        for at in (0, 1, -2, -1)
    )
    step_in = np.mean((second - first) ** 2, axis=1)
    step_out = np.mean((last - last_but_one) ** 2, axis=1)
    starts, ends = _standardised(first), _standardised(last)
    for begin in range(0, len(images), BLOCK):
        correlation = ends[begin : begin + BLOCK] @ starts.T
        for row, column in np.argwhere(correlation > MIN_CORRELATION):
            one, other = begin + int(row), int(column)
            step = np.mean((last[one] - first[other]) ** 2)
            if one != other and step <= MAX_STEP * (step_out[one] + step_in[other]) / 2:
                yield one, other


def _standardised(borders: Borders) -> Borders:
    """Standardize each row, so that a product is a correlation; flat rows are 0."""
    centred: Borders = borders - borders.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    np.divide(centred, length, out=centred, where=length > 0)
    return centred
