"""From what a user names - files, folders, patterns, lists - to images and names of results."""

from __future__ import annotations

import csv
import glob
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from nucseg.config import Reading
from nucseg.errors import InputError, NucsegError
from nucseg.export import FORMATS
from nucseg.files import walk
from nucseg.images import INPUT_SUFFIXES, is_zarr, open_image

# Folders that lie beside a folder of images in the layouts that nucseg trains on.
_ANNOTATIONS = frozenset({"masks", "labels"})

# Ends of the names of what is kept of each image, see `nucseg.inference.records`.
RECORD, COLUMNS, PICTURE = KEPT = (".json", ".npy", ".jpg")

# Columns of a CSV file that may hold the paths of images.
_LIST_COLUMNS = ("path", "image", "file", "filename")


@dataclass(frozen=True)
class Input:
    """A plane of an image to segment.

    Attributes
    ----------
    path : Path
        The file, as the user named it or the folder that it lies in.
    name : str
        What its results are called: its path relative to that folder, without suffix, with slashes,
        and the plane.
    plane : str
        Which of the file's planes, see `nucseg.images.Source`; empty where it has one.
    """

    path: Path
    name: str
    plane: str = ""


def find_inputs(
    inputs: Sequence[str | Path], output: Path, reading: Reading | None = None
) -> list[Input]:
    """List the images among files, folders, patterns and lists, and their planes.

    Parameters
    ----------
    inputs : sequence of str or Path
        A file is taken whatever its name. A folder stands for all images in it and its folders,
        told by their suffix, without hidden ones and, where there is a folder ``images``, those
        in ``masks`` and ``labels`` beside it: they are its annotations. A pattern with ``*``,
        ``?``, ``[...]`` or ``**`` stands for all images and folders that match. The folder of
        an OME-Zarr image is an image, and no folder. A CSV file stands for the images whose paths
        are in its column ``path`` (or ``image``, ``file`` or ``filename``, or its only one),
        from where it lies or from the working folder; those that are missing fail as others do.
    output : Path
        Where results go; those of an earlier run in it are left out of folders and patterns.
    reading : Reading, optional
        Which planes there are depends on it.

    Returns
    -------
    list of Input
        In the given order, folders and patterns sorted by path, each file once. The images of
        a folder are named relative to it, those of a pattern relative to the last folder before
        its first wildcard, a single file by its own name. Where two would have the same
        name, as ``a.png`` and ``a.tif``, or one's result the name of another's folder, they keep
        their suffix (``a.png``, ``a.tif``), and if that does not tell them apart, the path from the
        folder that all inputs share. Planes follow
        their file, with its name and theirs: ``stack_z003``. A file that cannot be opened has
        one: the error comes where it is segmented.

    Raises
    ------
    InputError
        Something is missing, a folder or pattern holds no image, or an image lies where results
        go, which would replace it.
    """
    results = {_real(output / name) for name in FORMATS}
    found: dict[Path, tuple[Path, PurePosixPath]] = {}
    for given in inputs:
        for path, relative in _expand(str(given), results):
            # Not the file itself: a link to an image may have a name of its own.
            found.setdefault(_real(path.parent) / path.name, (path, relative))
    for path in found:
        if results.intersection(path.parents):
            raise InputError(
                f"{path} lies where the results go and would be replaced. Give another output "
                "folder."
            )
    shared = os.path.commonpath([path.parent for path in found])
    images, with_suffix, from_shared = [], [], []
    for real, (path, relative) in found.items():
        for plane in _planes(path, reading or Reading()):
            end = f"_{plane}" if plane else ""
            images.append(Input(path, relative.with_suffix("").as_posix() + end, plane))
            with_suffix.append(relative.as_posix() + end)
            from_shared.append(real.relative_to(shared).as_posix() + end)
    # A longer name may in turn be the name of another image, hence the repetition.
    for longer in (with_suffix, from_shared, from_shared):
        taken = _taken([image.name for image in images])
        images = [
            replace(image, name=name) if clashes else image
            for image, name, clashes in zip(images, longer, taken, strict=True)
        ]
    return images


def _taken(names: Sequence[str]) -> list[bool]:
    """Whether a result of each name would be that of another, or would be another's folder."""
    # Without regard to case, as file systems of macOS and Windows are.
    folded = [name.casefold() for name in names]
    uses = Counter(folded)
    folders = {parent.as_posix() for name in folded for parent in PurePosixPath(name).parents}
    ends = {each.suffix for each in FORMATS.values() if "/" not in each.suffix}
    ends |= set(KEPT)
    return [uses[name] > 1 or any(f"{name}{end}" in folders for end in ends) for name in folded]


def _planes(path: Path, reading: Reading) -> list[str]:
    try:
        planes = open_image(path, channel=reading.channel, project=reading.project)
    except NucsegError:
        return [""]
    return [source.plane for source in planes]


def _real(path: Path) -> Path:
    """Path without links and ``..``; unlike `Path.resolve`, loops of links are no error."""
    return Path(os.path.realpath(path))


def _expand(given: str, results: set[Path]) -> Iterable[tuple[Path, PurePosixPath]]:
    """Files that one input stands for, each with its path relative to where naming starts."""
    if not given:
        raise InputError("An input is empty. Give a file, a folder or a pattern.")
    path = Path(given)
    if path.is_dir() and not is_zarr(path):
        found = _images_in(path, path, results)
        expected = f"The folder {path} holds no images"
    elif path.suffix.lower() == ".csv" and path.is_file():
        found = _listed(path)
        expected = f"The list {path} names no images"
    elif path.exists():
        return [(path, PurePosixPath(path.name))]
    elif glob.has_magic(given):
        found = _matches(given, results)
        expected = f"No image matches {given}"
    else:
        raise InputError(f"There is no file or folder {given}. Check its name and folder.")
    if not found and path.suffix.lower() == ".csv":
        raise InputError(f"{expected}. Expected a path in each row below the column's name.")
    if not found:
        suffixes = ", ".join(sorted([*INPUT_SUFFIXES, ".zarr"]))
        raise InputError(f"{expected}. Expected files that end in {suffixes}.")
    return found


def _listed(table: Path) -> list[tuple[Path, PurePosixPath]]:
    """Images that a CSV file lists, with their paths in it where those are relative."""
    try:
        with table.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (OSError, csv.Error) as error:
        raise InputError(f"The list {table} cannot be read: {error}.") from error
    columns = [name.strip().lower() for name in header]
    named = [columns.index(name) for name in _LIST_COLUMNS if name in columns]
    if not named and len(columns) > 1:
        raise InputError(
            f"The list {table} has the columns {', '.join(header)}, and none tells which holds the "
            f"images. Call it {_LIST_COLUMNS[0]}."
        )
    column = named[0] if named else 0
    if not named and header and _exists(table.parent / header[0]):
        rows = [header, *rows]  # a list without a name for its column
    given = [row[column].strip() for row in rows if len(row) > column and row[column].strip()]
    return [(_from_list(table, each), _below(Path(each))) for each in given]


def _from_list(table: Path, given: str) -> Path:
    """Path that a list names: from where the list lies, else from the working folder."""
    beside = table.parent / given
    return Path(given) if not _exists(beside) and _exists(Path(given)) else beside


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _below(path: Path) -> PurePosixPath:
    """Path of results: the one given, unless it begins elsewhere than at the list."""
    inside = not path.is_absolute() and ".." not in path.parts
    return PurePosixPath(path.as_posix() if inside else path.name)


def _images_in(folder: Path, start: Path, results: set[Path]) -> list[tuple[Path, PurePosixPath]]:
    """Images in a folder and its folders, sorted, with their paths relative to `start`."""
    images = []
    for parent, folders, files in walk(folder):
        annotations = _ANNOTATIONS if "images" in folders else frozenset()
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in annotations
            and _real(parent / name) not in results
        ]
        images += [parent / name for name in files if _is_image(name)]
        images += [parent / name for name in folders if is_zarr(Path(name))]
        folders[:] = [name for name in folders if not is_zarr(Path(name))]
    return [(path, PurePosixPath(path.relative_to(start).as_posix())) for path in sorted(images)]


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in INPUT_SUFFIXES


def _matches(pattern: str, results: set[Path]) -> list[tuple[Path, PurePosixPath]]:
    """Images that match a pattern, relative to the last folder before the first wildcard."""
    parts = Path(pattern).parts
    start = Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
    rest = Path(pattern).relative_to(start)
    if ".." in rest.parts:
        raise InputError(
            f"The pattern {pattern} goes up (..) behind a wildcard, so that results would have no "
            "place. Put .. before the first wildcard."
        )
    try:
        matches = sorted(start.glob(str(rest)))
    except ValueError as error:
        raise InputError(f"{pattern} is no pattern that nucseg knows: {error}.") from error
    images = []
    for path in matches:
        hidden = any(part.startswith(".") for part in path.relative_to(start).parts)
        real = _real(path)
        if hidden or results.intersection((real, *real.parents)):
            continue
        if path.is_dir() and not is_zarr(path):
            images += _images_in(path, start, results)
        elif path.is_dir() or _is_image(path.name):
            images.append((path, PurePosixPath(path.relative_to(start).as_posix())))
    return images
