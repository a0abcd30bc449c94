from pathlib import Path

import numpy as np
import pandas as pd

from nucseg.datasets.reading import open_dataset
from nucseg.export import LabelImage, save_formats


def test_masks_beside_an_image_are_a_data_set_to_train_on(tmp_path: Path):
    import cv2

    labels = np.zeros((9, 12), np.uint16)
    labels[1:4, 2:7], labels[5:, 6:] = 1, 12
    (folder,) = save_formats(LabelImage(labels), tmp_path, "cell", ["masks"])
    assert sorted(path.name for path in folder.iterdir()) == ["01.png", "12.png"]
    images = folder.parent / "images"
    images.mkdir()
    cv2.imwrite(str(images / "cell.png"), labels.astype(np.uint8))
    sample = open_dataset(tmp_path / "masks").read("cell")
    np.testing.assert_array_equal(sample.labels, np.minimum(labels, 2))
    assert sample.problems == ()


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path):
    for labels in (np.array([[1, 2]], np.uint16), np.array([[0, 3]], np.uint16)):
        (folder,) = save_formats(LabelImage(labels), tmp_path, "cell", ["masks"])
    assert [path.name for path in folder.iterdir()] == ["3.png"]
    assert [path.name for path in folder.parent.iterdir()] == ["masks"]


def test_runs_go_down_the_columns_from_one(tmp_path: Path):
    labels = np.array([[0, 1, 1], [4, 1, 0]], np.uint16)
    (path,) = save_formats(LabelImage(labels), tmp_path, "a/cell, left", ["rle"])
    table = pd.read_csv(path)
    assert table.to_dict("list") == {
        "ImageId": ["a/cell, left"] * 2,
        "EncodedPixels": ["3 3", "2 1"],
    }


def test_an_image_without_nuclei_has_a_row(tmp_path: Path):
    (path,) = save_formats(LabelImage(np.zeros((3, 3), np.uint16)), tmp_path, "cell", ["rle"])
    assert path.read_text() == "ImageId,EncodedPixels\ncell,\n"
