import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from nucseg.export import LabelImage, save_formats
from nucseg.inference.segmentation import Segmentation


def features(segmented, folder: Path) -> list[dict]:
    (path,) = save_formats(segmented, folder, "a", ["geojson"])
    collection = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert collection["type"] == "FeatureCollection"
    return collection["features"]


@pytest.fixture
def segmented() -> Segmentation:
    labels = np.zeros((8, 9), np.uint16)
    labels[1:5, 1:4], labels[6, 7] = 1, 2
    image = np.random.default_rng(0).integers(0, 255, labels.shape, np.uint8)
    scores = np.array([0.9, 0.1], np.float32)
    return Segmentation(image, labels, scores, np.zeros(labels.shape, np.float32), (0.5, 0.25))


def test_nuclei_are_detections_of_a_class(segmented: Segmentation, tmp_path: Path):
    first, second = features(segmented, tmp_path)
    assert first["type"] == "Feature"
    assert first["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[1, 1], [4, 1], [4, 5], [1, 5], [1, 1]]],
    }
    properties = second["properties"]
    assert (properties["objectType"], properties["name"]) == ("detection", "2")
    assert properties["classification"] == {"name": "Nucleus", "color": [230, 159, 0]}


def test_measurements_are_those_of_the_table(segmented: Segmentation, tmp_path: Path):
    table = segmented.measurements()
    assert np.isnan(table["perimeter_um"]).all()  # pixels that are not square
    for row, feature in enumerate(features(segmented, tmp_path)):
        expected = {
            name: pytest.approx(float(values[row]), rel=1e-8)
            for name, values in table.items()
            if name != "label" and np.isfinite(values[row])
        }
        found = feature["properties"]["measurements"]
        assert found == expected
        # QuPath takes nothing but numbers; Python holds True for one.
        assert {type(value) for value in found.values()} == {float}
        assert {"area", "score", "intensity_mean"} <= expected.keys()


def test_label_images_have_no_measurements(tmp_path: Path):
    (feature,) = features(LabelImage(np.ones((2, 2), np.uint16)), tmp_path)
    assert "measurements" not in feature["properties"]


def test_holes_and_pieces(tmp_path: Path):
    labels = np.zeros((5, 9), np.uint16)
    labels[:, :5] = 1
    labels[2, 2] = 0
    with_hole, in_pieces = labels.copy(), labels.copy()
    in_pieces[0, 8] = 1
    (feature,) = features(LabelImage(with_hole), tmp_path)
    assert feature["geometry"]["type"] == "Polygon"
    assert shapely.geometry.shape(feature["geometry"]).area == 24
    (feature,) = features(LabelImage(in_pieces), tmp_path)
    assert feature["geometry"]["type"] == "MultiPolygon"
    assert shapely.geometry.shape(feature["geometry"]).area == 25
