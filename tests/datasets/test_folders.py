"""images/ + labels/: pairs by name, any format, faults of label images named."""

import cv2
import numpy as np
import pytest
import tifffile

from nucseg.datasets.folders import to_labels
from nucseg.datasets.reading import open_dataset
from nucseg.errors import InputError

LABELS = np.array([[0, 300, 300], [7, 0, 0]], np.uint16)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.jpg"), np.full((2, 3), 50, np.uint8))
    tifffile.imwrite(tmp_path / "labels" / "a.tif", LABELS)
    return tmp_path


def test_pairs_by_name_whatever_the_format(folder):
    (folder / "images" / "plate").mkdir()
    (folder / "labels" / "plate").mkdir()
    tifffile.imwrite(folder / "images" / "plate" / "b.tiff", np.full((2, 3), 5000, np.uint16))
    cv2.imwrite(str(folder / "labels" / "plate" / "b.png"), LABELS)
    dataset = open_dataset(folder)
    assert dataset.layout == "folders"
    assert dataset.image_ids == ("a", "plate/b")
    for image_id, dtype in (("a", np.uint8), ("plate/b", np.uint16)):
        sample = dataset.read(image_id)
        assert sample.pixels.shape == (2, 3, 3)
        assert sample.pixels.dtype == dtype
        assert sample.labels.tolist() == [[0, 2, 2], [1, 0, 0]]
        assert sample.problems == ()
        assert np.array_equal(dataset.read_pixels(image_id), sample.pixels)


def test_the_pair_may_lie_deeper(folder):
    inner = folder / "my" / "set"
    inner.mkdir(parents=True)
    for name in ("images", "labels"):
        (folder / name).rename(inner / name)
    assert open_dataset(folder).image_ids == ("a",)


def test_an_image_without_label_image_is_named(folder):
    (folder / "labels" / "a.tif").rename(folder / "labels" / "b.tif")
    dataset = open_dataset(folder)
    sample = dataset.read("a")
    assert [problem.kind for problem in sample.problems] == ["no label image"]
    assert not sample.labelled
    assert [problem.kind for problem in dataset.problems] == ["label image without image"]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros((3, 3), np.uint8), "it is 3 by 3 pixels"),
        (np.full((2, 3), 0.5, np.float32), "fractions"),
        (np.full((2, 3), -1, np.int16), "from 0"),
        (np.arange(18, dtype=np.uint8).reshape(2, 3, 3), "one whole number per pixel"),
    ],
    ids=["size", "fractions", "negative", "colours"],
)
def test_a_label_image_that_cannot_be_used_is_named(folder, labels, reason):
    tifffile.imwrite(folder / "labels" / "a.tif", labels)
    sample = open_dataset(folder).read("a")
    assert [problem.kind for problem in sample.problems] == ["unusable label image"]
    assert reason in sample.problems[0].message
    assert not sample.labelled


def test_a_corrupt_label_image_is_named_and_a_corrupt_image_is_an_error(folder):
    (folder / "labels" / "a.tif").write_bytes(b"II*\0broken")
    assert open_dataset(folder).read("a").problems[0].kind == "unusable label image"
    (folder / "images" / "a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"images/a\.jpg"):
        open_dataset(folder).read("a")


def test_a_mask_is_cut_into_its_pieces_and_named(folder):
    cv2.imwrite(str(folder / "images" / "a.jpg"), np.zeros((1, 5), np.uint8))
    tifffile.imwrite(folder / "labels" / "a.tif", np.array([[255, 0, 255, 255, 0]], np.uint8))
    sample = open_dataset(folder).read("a")
    assert sample.labels.tolist() == [[1, 0, 2, 2, 0]]
    assert [problem.kind for problem in sample.problems] == ["mask instead of labels"]
    assert sample.labelled


def test_whole_numbers_as_floats_and_labels_without_background_are_taken():
    assert to_labels(np.array([[0.0, 2.0]], np.float32))[0].tolist() == [[0, 1]]
    assert to_labels(np.array([[5, 2]], np.uint8))[0].tolist() == [[2, 1]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0, np.nan]], np.float32), r"images/b\.tif holds NaN .*at 1 pixels"),
        (np.array([[0, np.inf]], np.float16), r"images/b\.tif holds NaN or infinite"),
        (np.array([[0, 1j]], np.complex64), r"images/b\.tif cannot be used: .*real numbers"),
    ],
    ids=["nan", "infinite", "complex"],
)
def test_an_image_that_is_not_of_finite_real_numbers_is_named(folder, values, message):
    tifffile.imwrite(folder / "images" / "b.tif", values)
    for read in (open_dataset(folder).read, open_dataset(folder).read_pixels):
        with pytest.raises(InputError, match=message):
            read("b")


def test_labels_are_no_complex_numbers():
    with pytest.raises(InputError, match="whole numbers, got complex64"):
        to_labels(np.array([[0, 1j]], np.complex64))


def test_two_images_of_one_name_are_an_error(folder):
    cv2.imwrite(str(folder / "images" / "a.png"), np.zeros((2, 3), np.uint8))
    with pytest.raises(InputError, match=r"images/a\.jpg and images/a\.png.*unique"):
        open_dataset(folder)


def test_several_pairs_are_an_error(folder):
    inner = folder / "more"
    inner.mkdir()
    for name in ("images", "labels"):
        (inner / name).mkdir()
        cv2.imwrite(str(inner / name / "a.png"), np.zeros((2, 3), np.uint8))
    with pytest.raises(InputError, match="several data sets"):
        open_dataset(folder)


@pytest.mark.parametrize("missing", ["images", "labels"])
def test_folders_without_any_image_are_no_data_set(folder, missing):
    for file in (folder / missing).iterdir():
        file.rename(file.with_suffix(".txt"))
    with pytest.raises(InputError, match="no data set that nucseg knows"):
        open_dataset(folder)
