"""Layouts with annotation files beside the images: Cellpose, QuPath, COCO."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

from nucseg.datasets.folders import check_size, doubts_of, label_reader, to_labels
from nucseg.datasets.kaggle import Placed, merge_masks
from nucseg.datasets.outlined import coco_masks, geojson_masks, is_coco, parse_json
from nucseg.datasets.samples import (
    Dataset,
    Labels,
    Layout,
    Pixels,
    Problem,
    Reader,
    Sample,
    sample_of,
)
from nucseg.datasets.seg_npy import cellpose_masks
from nucseg.datasets.storage import Files, read_rgb
from nucseg.errors import InputError
from nucseg.images import IMAGE_SUFFIXES

# Suffixes of the names of Cellpose's label images, without file extension.
_MASKS = ("_cp_masks", "_masks")
_SEG = "_seg.npy"
_GEOJSON = ".geojson"
# Folders beside images/ that may contain GeoJSON files.
_ANNOTATIONS = ("annotations", "geojson", "labels")


def open_beside(files: Files) -> Dataset | None:
    """Open images with annotation files beside them.

    Parameters
    ----------
    files : Files
        ``a.png`` with a file of Cellpose beside it, ``a_masks.tif`` or ``a_cp_masks.png`` (label
        images) or ``a_seg.npy``; or with ``a.geojson`` of QuPath, beside it or in a folder
        ``annotations/``, ``geojson/`` or ``labels/`` beside ``images/``.

    Returns
    -------
    Dataset or None
        None if no image has such a file.

    Raises
    ------
    InputError
        Two images differ only by suffix, or an image has annotations in files of two kinds.
    """
    images = _images(files)
    found: defaultdict[str, list[tuple[Layout, str]]] = defaultdict(list)
    for name in files.names:
        kind, candidates = _partners(name)
        for image_id in candidates:
            if image_id in images and name != images[image_id]:
                found[image_id].append((kind, name))
    if not found:
        return None
    kinds = {kind for each in found.values() for kind, _ in each}
    of_image = {}
    for image_id, each in found.items():
        # Cellpose's GUI saves _seg.npy, and masks on request, with the same nuclei.
        (_, name), *others = sorted(each, key=lambda one: one[1].endswith(_SEG))
        if any(kind != each[0][0] or not other.endswith(_SEG) for kind, other in others):
            listed = " and in ".join(other for _, other in each)
            raise InputError(f"{images[image_id]} has its nuclei in {listed}. Keep one of them.")
        of_image[image_id] = name

    def reader(image_id: str) -> Reader | None:
        name = of_image.get(image_id)
        return None if name is None else _reader(files, image_id, name)

    layout = kinds.pop() if len(kinds) == 1 else "beside"
    what = "_masks.tif, _masks.png, _seg.npy or .geojson"
    return _dataset(files, layout, images, reader, f"file beside it that ends in {what}")


def open_coco(files: Files) -> Dataset | None:
    """Open images whose nuclei are annotated in one or more JSON files in COCO's format.

    Parameters
    ----------
    files : Files

    Returns
    -------
    Dataset or None
        None if there is no such file. Images that are in no file count as not annotated.

    Raises
    ------
    InputError
        Two images or entries have the same name.
    """
    annotations: dict[str, tuple[str, list[Any]]] = {}
    images = {name: name for name in _image_names(files)}
    for name, content in _coco_files(files):
        by_image: defaultdict[Any, list[Any]] = defaultdict(list)
        for each in content["annotations"]:
            by_image[each.get("image_id")].append(each)
        for entry in content["images"]:
            image = _named(str(entry.get("file_name", "")), images)
            if image is not None and image in annotations:
                other = annotations[image][0]
                raise InputError(f"{image} is in {other} and in {name}. Keep one entry.")
            if image is not None:
                annotations[image] = name, by_image[entry.get("id")]
    if not annotations:
        return None

    def reader(image: str) -> Reader | None:
        if image not in annotations:
            return None
        name, given = annotations[image]
        return _drawn(image, lambda shape: coco_masks(given, shape, name))

    return _dataset(files, "coco", images, reader, "entry in a JSON file of COCO's format")


def _coco_files(files: Files) -> Iterator[tuple[str, Any]]:
    for name in files.names:
        if name.lower().endswith(".json"):
            # The folder may contain other JSON files, also broken ones.
            with contextlib.suppress(InputError):
                content = parse_json(files.read(name), name)
                if is_coco(content):
                    yield name, content


def _dataset(
    files: Files,
    layout: Layout,
    images: dict[str, str],
    reader: Callable[[str], Reader | None],
    expected: str,
) -> Dataset:
    def read(image_id: str) -> Sample:
        name, find = images[image_id], reader(image_id)
        missing = f"{name} has no {expected}."
        return sample_of(image_id, read_rgb(files, name), find, missing)

    def read_pixels(image_id: str) -> Pixels:
        return read_rgb(files, images[image_id])

    return Dataset(files.path, layout, tuple(sorted(images)), read, read_pixels)


def _images(files: Files) -> dict[str, str]:
    """Return image files that are not label images of Cellpose, by their names without suffix."""
    found: dict[str, str] = {}
    names = _image_names(files)
    stems = {_stem(name) for name in names}
    for name in names:
        stem = _stem(name)
        if any(stem.removesuffix(end) in stems for end in _MASKS if stem.endswith(end)):
            continue
        if stem in found:
            raise InputError(
                f"{files.path} holds {found[stem]} and {name}: the name without the suffix pairs "
                "an image with its nuclei, so it must be unique. Rename one."
            )
        found[stem] = name
    return found


def _image_names(files: Files) -> list[str]:
    return [n for n in files.names if PurePosixPath(n).suffix.lower() in IMAGE_SUFFIXES]


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _partners(name: str) -> tuple[Layout, list[str]]:
    """Return the images, by names without suffix, whose nuclei a file may contain."""
    path = PurePosixPath(name)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        stem = _stem(name)
        ends = [end for end in _MASKS if stem.endswith(end)]
        return "cellpose", [stem.removesuffix(end) for end in ends]
    if name.endswith(_SEG):
        return "cellpose", [name.removesuffix(_SEG)]
    if path.suffix.lower() != _GEOJSON:
        return "geojson", []
    beside = [_stem(name)]
    if path.parent.name in _ANNOTATIONS:
        beside.append(str(path.parent.parent / "images" / path.stem))
    return "geojson", beside


def _reader(files: Files, image_id: str, name: str) -> Reader:
    if name.lower().endswith(_GEOJSON):

        def masks(shape: tuple[int, int]) -> list[Placed]:
            return geojson_masks(parse_json(files.read(name), name), shape, name)

        return _drawn(image_id, masks)
    if not name.endswith(_SEG):
        return label_reader(files, image_id, name)

    def read(shape: tuple[int, int]) -> tuple[Labels, tuple[Problem, ...]]:
        labels, doubts = to_labels(cellpose_masks(files.read(name), name), name)
        try:
            check_size(labels, shape)
        except InputError as error:
            raise InputError(f"{name} cannot be used: {error}.") from error
        return labels, doubts_of(image_id, name, doubts)

    return read


def _drawn(image_id: str, masks: Callable[[tuple[int, int]], list[Placed]]) -> Reader:
    def read(shape: tuple[int, int]) -> tuple[Labels, tuple[Problem, ...]]:
        labels, problems = merge_masks(masks(shape), shape, image_id)
        return labels, tuple(problems)

    return read


def _named(file_name: str, images: dict[str, str]) -> str | None:
    """Find the image of an entry: by its path, its name, or its name without suffix."""
    wanted = PurePosixPath(file_name.replace("\\", "/"))
    stem = wanted.stem if wanted.suffix.lower() in IMAGE_SUFFIXES else wanted.name
    paths = [PurePosixPath(name) for name in images]
    for found in (
        [path.as_posix() for path in paths if path == wanted],
        [path.as_posix() for path in paths if path.name == wanted.name],
        [path.as_posix() for path in paths if path.stem == stem],
    ):
        if len(found) > 1:
            raise InputError(f"{file_name} may be {found[0]} or {found[1]}. Rename one.")
        if found:
            return found[0]
    return None
