"""Find images and names of results from files, folders, patterns and lists."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from nucseg.batch.lists import Columns, read_list
from nucseg.config import Reading
from nucseg.errors import InputError, NucsegError
from nucseg.export import FORMATS
from nucseg.files import walk
from nucseg.images import INPUT_SUFFIXES, is_zarr, open_image

# A file, the path of its results, and other columns of the list that contains it.
Named = tuple[Path, PurePosixPath, Columns]

# Annotation folders beside a folder of images in the layouts that nucseg trains on.
_ANNOTATIONS = frozenset({"masks", "labels"})

# Suffixes that tools append to the name of an image for its masks.
MASK_ENDINGS = (
    "_masks", "_mask", "_cp_masks", "_seg", "_labels", "_label", "_cp_outlines", "_outlines",
    "_flows", "_cp_output",
)  # fmt: skip
# The folder of the records, see `nucseg.batch.records`, and why files beside it are skipped.
_RECORDS, _RESULTS = ".nucseg", "results of nucseg"
_KINDS = {*FORMATS, "flat_field"}
# Number of skipped files that are listed per reason.
_NAMED = 3

# Suffixes of the files that are kept for each image, see `nucseg.batch.records`.
RECORD, COLUMNS, PICTURE, BEGUN = KEPT = (".json", ".npy", ".jpg", ".begun")


@dataclass(frozen=True)
class Input:
    """A plane of an image to segment.

    Attributes
    ----------
    path : Path
        The file, as the user gave it or in the folder that the user gave.
    name : str
        Name of its results: its path relative to that folder, without suffix, with slashes, and
        the plane.
    plane : str
        Which of the file's planes, see `nucseg.images.Source`; empty if it has only one.
    columns : tuple of (str, str)
        Names and values of the other columns of the list that contains it.
    """

    path: Path
    name: str
    plane: str = ""
    columns: Columns = ()


@dataclass(frozen=True)
class Inputs:
    """Images to segment, and skipped files.

    Attributes
    ----------
    images : list of Input
    left_out : dict of str to list of Path
        Image files that the search skipped, by reason: see `search_inputs`.
    """

    images: list[Input]
    left_out: dict[str, list[Path]]

    def told(self) -> str:
        """Describe in a sentence how many files were skipped and which; empty if none were."""
        parts = []
        for kind, paths in self.left_out.items():
            names = ", ".join(path.name for path in paths[:_NAMED])
            more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
            parts.append(f"{kind}: {len(paths)} ({names}{more})")
        if not parts:
            return ""
        return f"Left out - {'; '.join(parts)}. Name a file to take it all the same."


def find_inputs(
    inputs: Sequence[str | Path], output: Path, reading: Reading | None = None
) -> list[Input]:
    """List images and their planes; see `search_inputs`."""
    return search_inputs(inputs, output, reading).images


def search_inputs(
    inputs: Sequence[str | Path],
    output: Path,
    reading: Reading | None = None,
    *,
    annotations: bool = False,
) -> Inputs:
    """List the images among files, folders, patterns and lists, and their planes.

    Parameters
    ----------
    inputs : sequence of str or Path
        A file is always an input, whatever its name. A folder stands for all images in it and its
        subfolders, recognized by their suffix, except hidden ones. A pattern with ``*``, ``?``,
        ``[...]`` or ``**`` stands for all images and folders that match. The folder of an OME-Zarr
        image is an image, not a folder. A CSV file stands for the images whose paths are in one of
        its columns, see `nucseg.batch.lists.read_list`; missing images fail like any others.
    output : Path
        Folder for the results. Results of an earlier run in it are skipped in folders and patterns.
    reading : Reading, optional
        Determines which planes there are, and which files are excluded.
    annotations : bool
        Whether results of nucseg and masks are inputs too.

    Returns
    -------
    Inputs
        The search in folders and patterns skips: results of nucseg, in a folder with its records
        (``.nucseg/``); thumbnails (``a_thumb.png``); masks beside their image (``a_masks.tif``,
        ``_mask``, ``_cp_masks``, ``_seg``, ``_labels`` and more beside ``a.*``); folders ``masks``
        and ``labels`` beside a folder ``images``. Files that match `Reading.exclude` are skipped
        even if they are given by name.

        Images are in the given order, folders and patterns sorted by path, each file once. Images
        in a folder are named relative to it, those of a pattern relative to the last folder before
        its first wildcard, a single file by its own name. If two images would get the same name,
        such as ``a.png`` and ``a.tif``, or the result of one would have the name of another's
        folder, they keep their suffix (``a.png``, ``a.tif``). If the names are still equal, they
        start with the path from the folder that all inputs share. Planes follow their file, with
        its name and theirs: ``stack_z003``. A file that cannot be opened counts as one plane; the
        error is raised when it is segmented.

    Raises
    ------
    InputError
        An input is missing, a folder or pattern contains no image, or an image is located where a
        result would replace it.
    """
    results = {_real(output / name) for name in FORMATS}
    reading = reading or Reading()
    search = _Search(results, reading.exclude, annotations=annotations)
    found: dict[Path, tuple[Path, PurePosixPath, Columns]] = {}
    for given in inputs:
        for path, relative, columns in _expand(str(given), search):
            # Not the resolved file: a link to an image may have a name of its own.
            place = _real(path.parent) / path.name
            if not search.excludes(path, relative):
                found.setdefault(place, (path, relative, columns))
    if not found:
        raise InputError(
            f"No image is left. {Inputs([], search.left_out).told()} Change --exclude."
        )
    for path in found:
        if results.intersection(path.parents):
            raise InputError(
                f"{path} lies where the results go and would be replaced. Give another output "
                "folder."
            )
    shared = os.path.commonpath([path.parent for path in found])
    images, with_suffix, from_shared = [], [], []
    for real, (path, relative, columns) in found.items():
        for plane in _planes(path, reading):
            end = f"_{plane}" if plane else ""
            name = relative.with_suffix("").as_posix() + end
            images.append(Input(path, name, plane, columns))
            with_suffix.append(relative.as_posix() + end)
            from_shared.append(real.relative_to(shared).as_posix() + end)
    # A longer name may in turn be the name of another image, hence the loop.
    for longer in (with_suffix, from_shared, from_shared):
        taken = _taken([image.name for image in images])
        images = [
            replace(image, name=name) if clashes else image
            for image, name, clashes in zip(images, longer, taken, strict=True)
        ]
    return Inputs(images, search.left_out)


def _taken(names: Sequence[str]) -> list[bool]:
    """Return for each name whether its result equals another's, or is another's folder."""
    # Case is ignored, as on the file systems of macOS and Windows.
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
    """Return a path without links and ``..``; unlike in `Path.resolve`, link loops are allowed."""
    return Path(os.path.realpath(path))


def _expand(given: str, search: _Search) -> Sequence[Named]:
    """List the files of one input, each with its path relative to where naming starts."""
    if not given:
        raise InputError("An input is empty. Give a file, a folder or a pattern.")
    path = Path(given)
    if path.is_dir() and not is_zarr(path):
        found = search.images_in(path, path)
        expected = f"The folder {path} holds no images"
    elif path.suffix.lower() == ".csv" and path.is_file():
        found = read_list(path)
        expected = f"The list {path} names no images"
    elif path.exists():
        return [(path, PurePosixPath(path.name), ())]
    elif glob.has_magic(given):
        found = search.matches(given)
        expected = f"No image matches {given}"
    else:
        raise InputError(f"There is no file or folder {given}. Check its name and folder.")
    if not found and path.suffix.lower() == ".csv":
        raise InputError(f"{expected}. Expected a path in each row below the column's name.")
    if not found and search.left_out:
        raise InputError(
            f"{expected} but what is left out. {Inputs([], search.left_out).told()} Name the files "
            "that are meant."
        )
    if not found:
        suffixes = ", ".join(sorted([*INPUT_SUFFIXES, ".zarr"]))
        raise InputError(f"{expected}. Expected files that end in {suffixes}.")
    return found


class _Search:
    """Searches for images in folders and by patterns, and notes which files it skips.

    Parameters
    ----------
    results : set of Path
        Result folders of this run.
    exclude : sequence of str
        Patterns of names and relative paths.
    annotations : bool
        Whether results and masks are images too.
    """

    def __init__(self, results: set[Path], exclude: Sequence[str], *, annotations: bool) -> None:
        self.left_out: dict[str, list[Path]] = {}
        self._results, self._exclude, self._annotations = results, exclude, annotations

    def excludes(self, path: Path, relative: PurePosixPath) -> bool:
        """Return whether a pattern matches a path, its name or one of its folders; note a match."""
        whole = relative.as_posix()
        excluded = any(
            fnmatch.fnmatch(name, pattern)
            for pattern in self._exclude
            for name in (whole, *relative.parts)
        )
        if excluded:
            self._leave_out("excluded", path)
        return excluded

    def _leave_out(self, kind: str, path: Path) -> None:
        self.left_out.setdefault(kind, []).append(path)

    def images_in(self, folder: Path, start: Path) -> list[Named]:
        """List images in a folder and its subfolders, sorted, with paths relative to `start`."""
        images = []
        for parent, folders, files in walk(folder):
            kept = []
            for name in folders:
                kind = self._kind_of_folder(parent, name, folders)
                if kind is None:
                    kept.append(name)
                elif kind:
                    for inside in _image_files(parent / name):
                        self._leave_out(kind, inside)
            folders[:] = kept
            stems = {Path(name).stem.casefold() for name in files if _is_image(name)}
            for name in filter(_is_image, sorted(files)):
                if self._takes(parent / name, stems):
                    images.append(parent / name)
            images += [parent / name for name in folders if is_zarr(Path(name))]
            folders[:] = [name for name in folders if not is_zarr(Path(name))]
        return [_below(path, start) for path in sorted(images)]

    def _kind_of_folder(self, parent: Path, name: str, beside: Sequence[str]) -> str | None:
        """Return why a folder is skipped, None if it is searched; empty for hidden folders."""
        if name.startswith("."):
            return ""
        if _real(parent / name) in self._results:
            return _RESULTS
        if self._annotations:
            return None
        if name in _KINDS and (parent / _RECORDS).is_dir():
            return _RESULTS
        return "annotations beside images/" if name in _ANNOTATIONS and "images" in beside else None

    def _takes(self, path: Path, stems: set[str]) -> bool:
        """Return whether a file is an image by its name; otherwise note it."""
        stem = path.stem.casefold()
        if self._annotations:
            return True
        if stem.endswith("_thumb"):
            self._leave_out("thumbnails", path)
            return False
        bases = (stem.removesuffix(end) for end in MASK_ENDINGS if stem.endswith(end))
        if any(base in stems for base in bases):
            self._leave_out("masks beside their images", path)
            return False
        return True

    def matches(self, pattern: str) -> list[Named]:
        """List images that match a pattern, relative to the last folder before the wildcard."""
        parts = Path(pattern).parts
        start = Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
        rest = Path(pattern).relative_to(start)
        if ".." in rest.parts:
            raise InputError(
                f"The pattern {pattern} goes up (..) behind a wildcard, so that results would have "
                "no place. Put .. before the first wildcard."
            )
        try:
            matches = sorted(start.glob(str(rest)))
        except ValueError as error:
            raise InputError(f"{pattern} is no pattern that nucseg knows: {error}.") from error
        images = []
        for path in matches:
            hidden = any(part.startswith(".") for part in path.relative_to(start).parts)
            if hidden or (_is_image(path.name) and self._is_result(path, start)):
                continue
            if path.is_dir() and not is_zarr(path):
                if not self._is_result(path / "x", start, note=False):
                    images += self.images_in(path, start)
            elif path.is_dir():
                images.append(_below(path, start))
            elif _is_image(path.name):
                beside = (each.name for each in path.parent.iterdir())
                stems = {Path(name).stem.casefold() for name in beside if _is_image(name)}
                if self._takes(path, stems):
                    images.append(_below(path, start))
        return images

    def _is_result(self, path: Path, start: Path, *, note: bool = True) -> bool:
        """Return whether a file is a result of this run or of another run below `start`."""
        real = _real(path)
        found = bool(self._results.intersection((real, *real.parents)))
        for folder in path.parents:
            if found or folder == start or self._annotations:
                break
            found = folder.name in _KINDS and (folder.parent / _RECORDS).is_dir()
        if found and note:
            self._leave_out(_RESULTS, path)
        return found


def _below(path: Path, start: Path) -> Named:
    """Return a path with its path relative to a folder above it."""
    return path, PurePosixPath(path.relative_to(start).as_posix()), ()


def _image_files(folder: Path) -> list[Path]:
    """List all files in a folder that are images by their suffix, sorted."""
    return sorted(
        parent / name for parent, _, files in walk(folder) for name in files if _is_image(name)
    )


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in INPUT_SUFFIXES
