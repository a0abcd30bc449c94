"""Convert outlines in JSON to masks: QuPath's GeoJSON, and COCO's instances."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.draw import polygon

from nucseg.datasets.kaggle import Placed
from nucseg.errors import InputError

Mask = npt.NDArray[np.bool_]
# QuPath finds detections or cells; an annotation may be a region drawn by hand.
_FOUND = ("detection", "cell")


def parse_json(data: bytes, name: str) -> Any:
    """Parse a JSON file.

    Raises
    ------
    InputError
        The file is not JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is no JSON ({error}). Export it again.") from error


def geojson_masks(content: Any, shape: tuple[int, int], name: str) -> list[Placed]:
    """Draw masks of the nuclei of a GeoJSON file, as QuPath writes it.

    Parameters
    ----------
    content : object
        Parsed by `parse_json`: a feature collection, a list of features or one feature.
    shape : (height, width)
        Size of the image.
    name : str
        Name of the file, for messages.

    Returns
    -------
    list of Placed
        One for each polygon or multipolygon; for cells, the nucleus. If there are detections or
        cells, annotations count as regions, not as nuclei.

    Raises
    ------
    InputError
        The content is not GeoJSON, or a polygon has no coordinates.
    """
    features = content.get("features", [content]) if isinstance(content, dict) else content
    if not isinstance(features, list) or not all(isinstance(each, dict) for each in features):
        raise InputError(f"{name} is no GeoJSON: expected a list of features. Export it again.")
    kinds = [_kind(feature) for feature in features]
    wanted = _FOUND if any(kind in _FOUND for kind in kinds) else (*_FOUND, "annotation", None)
    masks = []
    for number, (feature, kind) in enumerate(zip(features, kinds, strict=True), start=1):
        geometry = feature.get("nucleusGeometry") or feature.get("geometry") or {}
        if kind not in wanted or geometry.get("type") not in ("Polygon", "MultiPolygon"):
            continue
        given = geometry.get("coordinates")
        polygons = [given] if geometry["type"] == "Polygon" else given
        place = f"{name}, feature {number}"
        masks.append(
            _drawn([_rings(each, place) for each in _listed(polygons, place)], shape, place)
        )
    if features and not masks:
        raise InputError(
            f"{name} has {len(features)} features and no polygon. Export the nuclei as polygons."
        )
    return masks


def is_coco(content: Any) -> bool:
    """Return whether a JSON file has images and annotations, like COCO."""
    return isinstance(content, dict) and all(
        isinstance(content.get(key), list) for key in ("images", "annotations")
    )


def coco_masks(
    annotations: Sequence[Mapping[str, Any]], shape: tuple[int, int], name: str
) -> list[Placed]:
    """Draw masks of the annotations of one image in COCO's JSON.

    Parameters
    ----------
    annotations : sequence of mapping
        Annotations of the image; ``segmentation`` is a list of polygons, or a run-length encoding,
        as a list of counts or compressed.
    shape : (height, width)
        Size of the image.
    name : str
        Name of the file, for messages.

    Raises
    ------
    InputError
        A segmentation has another format, or belongs to an image of another size.
    """
    masks = []
    for annotation in annotations:
        place = f"{name}, annotation {annotation.get('id')}"
        given = annotation.get("segmentation")
        if isinstance(given, dict):
            whole = _decoded(given, shape, place)
            masks.append(Placed(place, (slice(0, shape[0]), slice(0, shape[1])), whole))
        else:
            rings = [_pairs(flat, place) for flat in _listed(given, place)]
            masks.append(_drawn([[ring] for ring in rings], shape, place))
    return masks


def _kind(feature: Mapping[str, Any]) -> str | None:
    """Return QuPath's type of a feature; older versions store it elsewhere."""
    properties = feature.get("properties") or {}
    kind = properties.get("objectType") or properties.get("object_type")
    return str(kind).lower() if kind else None


def _listed(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise InputError(f"{place} has no polygon: expected a list of coordinates, got {value!r}.")
    return value


def _rings(given: Any, place: str) -> list[npt.NDArray[np.float64]]:
    """Return the corners (x, y) of the outer ring of a polygon and of its holes."""
    return [_numbers(ring, place)[:, :2] for ring in _listed(given, place)]


def _pairs(flat: Any, place: str) -> npt.NDArray[np.float64]:
    """Return corners (x, y) from COCO's flat list of numbers."""
    if not isinstance(flat, list) or len(flat) < 6 or len(flat) % 2:
        raise InputError(f"{place} has a polygon without three corners of x and y: {flat!r}.")
    return _numbers([flat[at : at + 2] for at in range(0, len(flat), 2)], place)


def _numbers(ring: Any, place: str) -> npt.NDArray[np.float64]:
    try:
        corners = np.array(ring, np.float64)
    except (TypeError, ValueError):
        corners = np.empty(0)
    if corners.ndim != 2 or corners.shape[1] < 2 or not np.isfinite(corners).all():
        raise InputError(f"{place} has a ring that is no list of corners x, y.")
    return corners


def _drawn(
    polygons: Sequence[Sequence[npt.NDArray[np.float64]]], shape: tuple[int, int], place: str
) -> Placed:
    """Draw polygons with holes: pixels whose centre is inside, clipped to the image."""
    outer = np.concatenate([rings[0] for rings in polygons])
    # Corners are at pixel edges, half a pixel from pixel centres.
    left, top = np.clip(np.floor(outer.min(axis=0)).astype(int), 0, shape[::-1])
    right, bottom = np.clip(np.ceil(outer.max(axis=0)).astype(int), 0, shape[::-1])
    mask = np.zeros((max(bottom - top, 0), max(right - left, 0)), bool)
    for rings in polygons:
        piece = _filled(rings[0], mask.shape, top, left)
        for hole in rings[1:]:
            piece &= ~_filled(hole, mask.shape, top, left)
        mask |= piece
    return Placed(place, (slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1])), mask)


def _filled(ring: npt.NDArray[np.float64], shape: tuple[int, ...], top: int, left: int) -> Mask:
    mask = np.zeros(shape, bool)
    if mask.size:
        rows, columns = ring[:, 1] - 0.5 - top, ring[:, 0] - 0.5 - left
        mask[polygon(rows, columns, shape)] = True  # type: ignore[no-untyped-call]
    return mask


def _decoded(given: Mapping[str, Any], shape: tuple[int, int], place: str) -> Mask:
    """Decode COCO's run lengths, which go down the columns and begin with background."""
    counts, size = given.get("counts"), given.get("size")
    if size is not None and list(size) != list(shape):
        raise InputError(f"{place} is of an image of {size}, its image is {list(shape)}.")
    runs: Any = list(_uncompressed(counts, place)) if isinstance(counts, str) else counts
    whole = isinstance(runs, list) and all(isinstance(run, int) and run >= 0 for run in runs)
    if not whole or sum(runs) != shape[0] * shape[1]:
        raise InputError(
            f"{place} has run lengths that do not add up to the {shape[0]} by {shape[1]} pixels of "
            "its image."
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(shape[::-1]).T


def _uncompressed(text: str, place: str) -> Iterator[int]:
    """Decode pycocotools' text: 5 bits per character, from the third number on differences."""
    before: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise InputError(f"{place} has run lengths that cannot be decoded.")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        before.append(value + (before[-2] if len(before) > 2 else 0))
        yield before[-1]
        value = shift = 0
