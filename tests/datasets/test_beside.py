"""Nuclei in files beside the images, as Cellpose, QuPath and COCO have them."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from pycocotools import mask as coco_mask

from nucseg.core.outlines import outlines
from nucseg.datasets.reading import open_dataset
from nucseg.errors import InputError

LABELS = np.array(
    [
        [0, 1, 1, 0, 0, 0],
        [0, 1, 1, 0, 2, 2],
        [0, 0, 0, 0, 2, 2],
        [3, 3, 3, 0, 0, 0],
        [3, 0, 3, 0, 4, 0],
        [3, 3, 3, 0, 0, 0],
    ],
    np.int32,
)


def write_image(path: Path, shape: tuple[int, int] = LABELS.shape) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full(shape, 50, np.uint8))


def labels_of(folder: Path, image_id: str = "a") -> np.ndarray:
    sample = open_dataset(folder).read(image_id)
    assert sample.problems == ()
    return sample.labels


def fault_of(folder: Path, image_id: str = "a") -> str:
    sample = open_dataset(folder).read(image_id)
    assert [problem.kind for problem in sample.problems] == ["unusable label image"]
    assert not sample.labelled
    assert not sample.labels.any()
    return sample.problems[0].message


def write_seg(path: Path, content: Any) -> None:
    np.save(path, content, allow_pickle=True)


def segmentation(masks: np.ndarray = LABELS) -> dict[str, Any]:
    """What Cellpose's window saves, as far as it matters."""
    return {
        "outlines": np.zeros(masks.shape, np.uint16),
        "colors": np.zeros((4, 3), np.uint8),
        "masks": masks.astype(np.uint16),
        "chan_choose": [0, 0],
        "filename": "a.png",
        "flows": [[np.zeros((1, 2), np.float32)], []],
        "diameter": np.float64(17.5),
        "manual_changes": [],
    }


# Cellpose


@pytest.mark.parametrize("name", ["a_masks.tif", "a_masks.png", "a_cp_masks.png"])
def test_label_images_beside_the_images(tmp_path, name):
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png")
    if name.endswith("tif"):
        tifffile.imwrite(tmp_path / name, LABELS.astype(np.uint16))
    else:
        cv2.imwrite(str(tmp_path / name), LABELS.astype(np.uint16))
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "cellpose"
    assert dataset.image_ids == ("a", "b")
    np.testing.assert_array_equal(labels_of(tmp_path), LABELS)
    unlabelled = dataset.read("b")
    assert [problem.kind for problem in unlabelled.problems] == ["no label image"]
    assert dataset.read_pixels("a").shape == (*LABELS.shape, 3)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_seg_npy_is_read_without_running_anything(tmp_path, protocol):
    write_image(tmp_path / "deep" / "a.png")
    array = np.array(segmentation(), object)
    with (tmp_path / "deep" / "a_seg.npy").open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, header)
        pickle.dump(array, file, protocol=protocol)
    np.testing.assert_array_equal(labels_of(tmp_path, "deep/a"), LABELS)


def test_masks_and_seg_npy_of_one_image_are_the_same_nuclei(tmp_path):
    write_image(tmp_path / "a.png")
    write_seg(tmp_path / "a_seg.npy", segmentation(LABELS * 0))
    tifffile.imwrite(tmp_path / "a_masks.tif", LABELS.astype(np.uint16))
    np.testing.assert_array_equal(labels_of(tmp_path), LABELS)


class Made:
    """Unpickles as ``make(*parts)`` with a state, all chosen by whoever wrote the file."""

    def __init__(self, make: Any, parts: tuple[Any, ...], state: tuple[Any, ...]) -> None:
        self.reduced = make, parts, state

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def forged(kind: str, *structure: Any, shape: tuple[int, ...] = ()) -> Made:
    """An array whose bytes NumPy would take for the addresses of objects, and crash or worse."""
    dtype = Made(np.dtype, (kind, False, True), (3, "|", *structure, 1, 0))
    reconstruct = np.zeros(1).__reduce__()[0]
    return Made(reconstruct, (np.ndarray, (0,), b"b"), (1, shape, dtype, False, b"A" * 8))


FIELDS = (None, ("a",), {"a": (np.dtype("O"), 0)}, 8)


@pytest.mark.parametrize("kind", ["V8", "O8", "i8"])
@pytest.mark.parametrize("structure", [FIELDS, (None, None, None, 8)], ids=["fields", "plain"])
@pytest.mark.parametrize("outer", [True, False], ids=["file", "masks"])
def test_seg_npy_whose_types_lie_is_refused_without_a_crash(tmp_path, kind, structure, outer):
    write_image(tmp_path / "a.png")
    content: Any = forged(kind, *structure, shape=() if outer else (1,))
    if not outer:
        content = np.array({"masks": content}, object)
    with (tmp_path / "a_seg.npy").open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, header)
        pickle.dump(content, file)
    assert "a_seg.npy" in fault_of(tmp_path)


@pytest.mark.parametrize("kind", ["<u2", ">i4", "u1", "<i8"])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_seg_npy_of_each_type_and_layout(tmp_path, kind, layout):
    write_image(tmp_path / "a.png")
    write_seg(tmp_path / "a_seg.npy", {"masks": np.array(LABELS, np.dtype(kind), order=layout)})
    np.testing.assert_array_equal(labels_of(tmp_path), LABELS)


class Harmful:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path, ("harm",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"masks": LABELS, "filename": Harmful()}, "names pathlib"),
        ({"outlines": LABELS}, "'masks'"),
        (np.zeros((3, 4)), "an array and no dictionary"),
        ({"masks": np.zeros((2, 6, 6), np.uint16)}, r"shape \(2, 6, 6\)"),
        ({"masks": LABELS[:4]}, "it is 4 by 6 pixels"),
        (["masks"], "cannot be read"),
    ],
    ids=["code", "no masks", "array", "stack", "size", "list"],
)
def test_seg_npy_that_cannot_be_used_is_named(tmp_path, content, reason):
    write_image(tmp_path / "a.png")
    write_seg(tmp_path / "a_seg.npy", content)
    message = fault_of(tmp_path)
    assert message.startswith("a_seg.npy")
    assert re.search(reason, message), message


@pytest.mark.parametrize("data", [b"", b"nothing", b"\x93NUMPY\x01\x00\x76\x00{"])
def test_broken_seg_npy_is_named(tmp_path, data):
    write_image(tmp_path / "a.png")
    (tmp_path / "a_seg.npy").write_bytes(data)
    assert "Save it again in Cellpose" in fault_of(tmp_path)


# QuPath


def feature(ring: list[list[float]], kind: str | None = "detection", **more: Any) -> dict[str, Any]:
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "geometry": geometry, "properties": {"objectType": kind}, **more}


def write_geojson(path: Path, features: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def box(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


@pytest.mark.parametrize("place", ["a.geojson", "images/a.geojson", "annotations/a.geojson"])
def test_outlines_along_the_edges_of_pixels_give_the_pixels(tmp_path, place):
    write_image(tmp_path / ("a.png" if place == "a.geojson" else "images/a.png"))
    features = []
    for _, polygons in outlines(LABELS.astype(np.uint16)):
        coordinates = [[ring.tolist() for ring in rings] for rings in polygons]
        geometry = {"type": "MultiPolygon", "coordinates": coordinates}
        features.append({"type": "Feature", "geometry": geometry, "properties": {}})
    write_geojson(tmp_path / place, features)
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "geojson"
    np.testing.assert_array_equal(labels_of(tmp_path, dataset.image_ids[0]), LABELS)


def test_of_cells_the_nucleus_is_taken_and_regions_are_left_out(tmp_path):
    write_image(tmp_path / "a.png")
    nucleus = {"type": "Polygon", "coordinates": [box(1, 1, 3, 3)]}
    cell = feature(box(0, 0, 4, 4), "cell", nucleusGeometry=nucleus)
    region = feature(box(0, 0, 6, 6), "annotation")
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 1]}}
    write_geojson(tmp_path / "a.geojson", [region, cell, point])
    expected = np.zeros_like(LABELS)
    expected[1:3, 1:3] = 1
    np.testing.assert_array_equal(labels_of(tmp_path), expected)


def test_annotations_alone_are_nuclei_and_may_leave_the_image(tmp_path):
    write_image(tmp_path / "a.png")
    ellipse = [[-2, 1.6], [1.4, 1.6], [1.4, 3.4], [-2, 3.4]]
    (tmp_path / "a.geojson").write_text(json.dumps([feature(ellipse, "annotation")]))
    expected = np.zeros_like(LABELS)
    expected[2:3, 0] = 1
    np.testing.assert_array_equal(labels_of(tmp_path), expected)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is no JSON"),
        ("7", "expected a list of features"),
        ('[{"geometry": {"type": "Point", "coordinates": [1, 2]}}]', "1 features and no polygon"),
        ('[{"geometry": {"type": "Polygon", "coordinates": []}}]', "feature 1 has no polygon"),
        ('[{"geometry": {"type": "Polygon", "coordinates": [[1, 2]]}}]', "no list of corners"),
        ('[{"geometry": {"type": "Polygon", "coordinates": [["a"]]}}]', "no list of corners"),
    ],
)
def test_geojson_that_cannot_be_used_is_named(tmp_path, content, reason):
    write_image(tmp_path / "a.png")
    (tmp_path / "a.geojson").write_text(content)
    message = fault_of(tmp_path)
    assert reason in message
    assert message.startswith("a.geojson")


def test_overlapping_outlines_are_a_problem_not_an_error(tmp_path):
    write_image(tmp_path / "a.png")
    write_geojson(tmp_path / "a.geojson", [feature(box(0, 0, 3, 3)), feature(box(2, 2, 5, 5))])
    sample = open_dataset(tmp_path).read("a")
    assert [problem.kind for problem in sample.problems] == ["overlapping masks"]
    assert sample.labels.max() == 2


# COCO


def coco(annotations: list[dict[str, Any]], name: str = "a.png", image: Any = 7) -> dict[str, Any]:
    entry = {"id": image, "file_name": name, "height": 6, "width": 6}
    return {"images": [entry], "annotations": annotations, "categories": []}


def annotation(segmentation: Any, number: int = 1) -> dict[str, Any]:
    return {"id": number, "image_id": 7, "segmentation": segmentation, "iscrowd": 0}


def run_lengths(mask: np.ndarray, how: str) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    if how == "text":
        return {"size": encoded["size"], "counts": encoded["counts"].decode()}
    flat = mask.ravel(order="F").astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": counts if not flat[0] else [0, *counts]}


@pytest.mark.parametrize("how", ["text", "list"])
@pytest.mark.parametrize("name", ["a.png", "a", "train/a.png", "images/a.png"])
def test_run_lengths_of_coco(tmp_path, how, name):
    write_image(tmp_path / "images" / "a.png")
    write_image(tmp_path / "images" / "b.png")
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "broken.json").write_text("{")
    annotations = [annotation(run_lengths(n == LABELS, how), n) for n in range(1, 5)]
    (tmp_path / "instances.json").write_text(json.dumps(coco(annotations, name)))
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "coco"
    assert dataset.image_ids == ("images/a.png", "images/b.png")
    np.testing.assert_array_equal(labels_of(tmp_path, "images/a.png"), LABELS)
    assert [each.kind for each in dataset.read("images/b.png").problems] == ["no label image"]


def test_long_run_lengths_of_coco_are_those_of_pycocotools(tmp_path):
    rng = np.random.default_rng(0)
    mask = cv2.GaussianBlur(rng.random((300, 200)), (0, 0), 5) > 0.5
    write_image(tmp_path / "a.png", mask.shape)
    content = coco([annotation(run_lengths(mask, "text"))])
    (tmp_path / "instances.json").write_text(json.dumps(content))
    np.testing.assert_array_equal(labels_of(tmp_path, "a.png"), mask.astype(int))


def test_polygons_of_coco(tmp_path):
    write_image(tmp_path / "a.png")
    parts = [[1, 0, 3, 0, 3, 2, 1, 2], [4, 1, 6, 1, 6, 3, 4, 3]]
    (tmp_path / "instances.json").write_text(json.dumps(coco([annotation(parts)])))
    expected = np.where((LABELS == 1) | (LABELS == 2), 1, 0)
    np.testing.assert_array_equal(labels_of(tmp_path, "a.png"), expected)


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([], "has no polygon"),
        (None, "has no polygon"),
        ([[1, 2, 3, 4]], "without three corners"),
        ([[1, 2, 3, 4, 5, "x"]], "no list of corners"),
        ({"size": [5, 6], "counts": [30]}, r"of an image of [5, 6]"),
        ({"size": [6, 6], "counts": [30]}, "do not add up"),
        ({"counts": ["x"]}, "do not add up"),
        ({"counts": " "}, "cannot be decoded"),
    ],
)
def test_coco_that_cannot_be_used_is_named(tmp_path, segmentation, reason):
    write_image(tmp_path / "a.png")
    content = coco([annotation(segmentation, 3)])
    (tmp_path / "instances.json").write_text(json.dumps(content))
    message = fault_of(tmp_path, "a.png")
    assert reason in message
    assert message.startswith("instances.json, annotation 3")


def test_an_image_in_two_coco_files_is_an_error(tmp_path):
    write_image(tmp_path / "a.png")
    for name in ("one.json", "two.json"):
        (tmp_path / name).write_text(json.dumps(coco([])))
    with pytest.raises(InputError, match=r"a\.png is in one\.json and in two\.json"):
        open_dataset(tmp_path)


def test_a_name_that_may_be_two_images_is_an_error(tmp_path):
    write_image(tmp_path / "x" / "a.png")
    write_image(tmp_path / "y" / "a.png")
    (tmp_path / "one.json").write_text(json.dumps(coco([])))
    with pytest.raises(InputError, match=r"may be x/a\.png or y/a\.png"):
        open_dataset(tmp_path)


# All of them


def test_two_kinds_of_files_for_one_image_are_an_error(tmp_path):
    write_image(tmp_path / "a.png")
    write_seg(tmp_path / "a_seg.npy", segmentation())
    write_geojson(tmp_path / "a.geojson", [])
    with pytest.raises(InputError, match="Keep one of them"):
        open_dataset(tmp_path)


def test_images_that_differ_by_suffix_are_an_error(tmp_path):
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "a.tif")
    write_seg(tmp_path / "a_seg.npy", segmentation())
    with pytest.raises(InputError, match="must be unique"):
        open_dataset(tmp_path)
