"""Nuclei as GeoJSON that QuPath opens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nucseg.export.format import Format, Segmented
from nucseg.export.json_items import rounded, write_json_items
from nucseg.outlines import Ring, outlines

_CLASSIFICATION = {"name": "Nucleus", "color": [230, 159, 0]}


def write_geojson(segmented: Segmented, path: Path, _name: str) -> None:
    """Write nuclei as GeoJSON: detections of QuPath's class Nucleus, with their measurements.

    Positions are in pixels, along the edges of pixels, as QuPath has them.

    Parameters
    ----------
    segmented : Segmented
        Its `labels` are written, as names, and what it gives as `measurements`.
    path : Path

    Raises
    ------
    InputError
        The file cannot be written.
    """
    write_json_items(path, {"type": "FeatureCollection"}, "features", _features(segmented))


def _features(segmented: Segmented) -> Iterator[dict[str, Any]]:
    columns = {
        name: values.tolist()
        for name, values in segmented.measurements().items()
        if name != "label"
    }
    for row, (label, polygons) in enumerate(outlines(segmented.labels)):
        coordinates = [[_closed(ring) for ring in rings] for rings in polygons]
        one = len(coordinates) == 1
        properties: dict[str, Any] = {
            "objectType": "detection",
            "name": str(label),
            "classification": _CLASSIFICATION,
        }
        # What is undefined has no number in JSON, and is left out.
        known = {
            name: rounded(values[row])
            for name, values in columns.items()
            if math.isfinite(values[row])
        }
        if known:
            properties["measurements"] = known
        yield {
            "type": "Feature",
            "geometry": {
                "type": "Polygon" if one else "MultiPolygon",
                "coordinates": coordinates[0] if one else coordinates,
            },
            "properties": properties,
        }


def _closed(ring: Ring) -> list[list[int]]:
    """Corners with the first one again at the end."""
    corners: list[list[int]] = ring.tolist()
    return [*corners, corners[0]]


GEOJSON = Format(
    "geojson", ".geojson", "QuPath detections: outlines with measurements", write_geojson
)
