"""Write nuclei as GeoJSON for QuPath."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nucseg.core.outlines import Polygon, Ring, outlines
from nucseg.core.segmented import Place, Segmented
from nucseg.export.format import Format
from nucseg.export.json_items import rounded, write_json_items
from nucseg.export.overlay import CLASS_COLOURS

_CLASSIFICATION = {"name": "Nucleus", "color": [230, 159, 0]}


def write_geojson(segmented: Segmented, path: Path, _name: str) -> None:
    """Write nuclei as GeoJSON: detections of QuPath's class Nucleus, with their measurements.

    If nuclei have classes, these become QuPath's classes.

    Coordinates are in pixels, along pixel edges, as in QuPath. Objects in a plane of a stack
    have its channel, z-slice and time point.

    Parameters
    ----------
    segmented : Segmented
        Its `labels` are written, as names, and its `measurements`.
    path : Path

    Raises
    ------
    InputError
        The file cannot be written.
    """
    write_json_items(path, {"type": "FeatureCollection"}, "features", _features(segmented))


def _features(segmented: Segmented) -> Iterator[dict[str, Any]]:
    table = dict(segmented.measurements())
    table.pop("label", None)
    classes, numbers = table.pop("class", None), segmented.class_numbers
    plane = _plane(segmented.place)
    for part in segmented.parts():
        nuclei = outlines(part.labels, origin=part.origin)
        for row, (label, polygons) in enumerate(nuclei, start=part.first):
            measurements = {name: table[name][row] for name in table}
            kind: Mapping[str, Any] = _CLASSIFICATION
            if classes is not None and numbers is not None:
                colour = CLASS_COLOURS[numbers[row] % len(CLASS_COLOURS)]
                kind = {"name": str(classes[row]), "color": list(colour)}
            yield _feature(label, polygons, measurements, plane, kind)


def _plane(place: Place | None) -> dict[str, Any]:
    """Return the plane as in QuPath: -1 for all channels, 0 for the only slice."""
    if place is None:
        return {}
    channel = -1 if place.channel is None else place.channel
    return {"plane": {"c": channel, "z": place.z or 0, "t": place.t or 0}}


def _feature(
    label: int,
    polygons: list[Polygon],
    measurements: Mapping[str, float],
    plane: Mapping[str, Any],
    kind: Mapping[str, Any],
) -> dict[str, Any]:
    coordinates = [[_closed(ring) for ring in rings] for rings in polygons]
    one = len(coordinates) == 1
    properties: dict[str, Any] = {
        "objectType": "detection",
        "name": str(label),
        "classification": kind,
    }
    # JSON has no number for undefined values, so they are omitted.
    known = {name: rounded(value) for name, value in measurements.items() if math.isfinite(value)}
    if known:
        properties["measurements"] = known
    return {
        "type": "Feature",
        "geometry": {
            "type": "Polygon" if one else "MultiPolygon",
            "coordinates": coordinates[0] if one else coordinates,
            **plane,
        },
        "properties": properties,
    }


def _closed(ring: Ring) -> list[list[int]]:
    """Return the corners with the first one repeated at the end."""
    corners: list[list[int]] = ring.tolist()
    return [*corners, corners[0]]


GEOJSON = Format(
    "geojson", ".geojson", "QuPath detections: outlines with measurements", write_geojson
)
