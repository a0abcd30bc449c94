from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from nucseg.export import LabelImage, save_formats
from nucseg.export import runs as module
from nucseg.export.runs import coco_texts, column_runs
from nucseg.inference.segmentation import Segmentation

LABELS = hnp.arrays(
    np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 3)
)


@settings(max_examples=200)
@given(LABELS, st.sampled_from([1, 2, 4096]))
def test_encoding_is_that_of_pycocotools(labels: np.ndarray, at_once: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BAND", at_once)
        patch.setattr(module, "_NUCLEI", at_once)
        runs = column_runs(labels)
        texts = list(coco_texts(runs))
    expected = [coco_mask.encode(np.asfortranarray(labels == each)) for each in runs.labels]
    assert texts == [each["counts"].decode() for each in expected]
    assert runs.areas().tolist() == [coco_mask.area(each) for each in expected]
    assert runs.boxes().tolist() == [coco_mask.toBbox(each).tolist() for each in expected]


def test_long_runs_take_several_characters():
    labels = np.zeros((3000, 2000), np.uint16)
    labels[7, 3] = labels[2999, 1999] = 1
    labels[10:20, 1000] = labels[2000:, 1001] = 2
    runs = column_runs(labels)
    for label, text in zip(runs.labels, coco_texts(runs), strict=True):
        (expected,) = coco_mask.encode(np.asfortranarray(labels == label)[:, :, None])
        assert text == expected["counts"].decode()


def test_annotations_of_an_image(tmp_path: Path):
    labels = np.array([[0, 1, 1], [4, 0, 1]], np.uint16)
    scores = np.array([0.25, 0.9], np.float32)
    seg = Segmentation(labels, labels, scores, np.zeros(labels.shape, np.float32))
    (path,) = save_formats(seg, tmp_path, "folder/cell", ["coco"])
    coco = COCO(path)
    assert coco.loadImgs(1) == [{"id": 1, "file_name": "folder/cell", "height": 2, "width": 3}]
    (nucleus,) = coco.loadCats(coco.getCatIds())
    assert (nucleus["id"], nucleus["name"]) == (1, "nucleus")
    first, second = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert {**first, "segmentation": None} == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "segmentation": None,
        "area": 3,
        "bbox": [1, 0, 2, 2],
        "iscrowd": 0,
        "score": 0.25,
    }
    assert (second["id"], second["score"]) == (4, pytest.approx(0.9))
    np.testing.assert_array_equal(coco.annToMask(second), [[0, 0, 0], [1, 0, 0]])


def test_scores_are_left_out_where_nobody_knows_them(tmp_path: Path):
    (path,) = save_formats(LabelImage(np.ones((2, 2), np.uint16)), tmp_path, "a", ["coco"])
    (annotation,) = COCO(path).dataset["annotations"]
    assert "score" not in annotation
