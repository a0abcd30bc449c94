"""Opening data sets of either layout, and what is said where there is none."""

import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from nucseg.datasets.reading import open_dataset
from nucseg.datasets.storage import open_files
from nucseg.errors import InputError


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.asarray(array))


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


@pytest.fixture
def kaggle(tmp_path):
    folder = tmp_path / "stage1_train"
    mask = np.zeros((4, 6), np.uint8)
    for name in ("b", "a"):
        write(folder / name / "images" / f"{name}.png", np.full((4, 6), 9, np.uint8))
        mask[:2, :3] = 255
        write(folder / name / "masks" / "1.png", mask)
    return folder


def test_a_folder_and_its_zip_read_the_same(kaggle, tmp_path):
    sets = [
        open_dataset(kaggle),
        open_dataset(kaggle.parent),  # nested in one more folder
        open_dataset(zipped(kaggle, tmp_path / "flat.zip")),
        open_dataset(str(zipped(tmp_path, tmp_path.with_suffix(".zip")))),
    ]
    for dataset in sets:
        assert dataset.layout == "kaggle"
        assert dataset.image_ids == ("a", "b")
        sample = dataset.read("b")
        assert sample.pixels.shape == (4, 6, 3)
        assert sample.labels.sum() == 6
        assert sample.problems == ()
        assert sample.labelled
        assert np.array_equal(dataset.read_pixels("b"), sample.pixels)


def test_a_zip_is_read_by_several_threads(kaggle, tmp_path):
    dataset = open_dataset(zipped(kaggle, tmp_path / "set.zip"))
    with ThreadPoolExecutor(8) as threads:
        samples = list(threads.map(dataset.read, ["a", "b"] * 50))
    assert all(sample.labels.sum() == 6 for sample in samples)


def test_hidden_files_are_no_images(kaggle):
    (kaggle / "a" / "masks" / "._1.png").write_bytes(b"\0")
    write(kaggle / "__MACOSX" / "c" / "images" / "c.png", np.zeros((4, 6), np.uint8))
    assert open_dataset(kaggle).image_ids == ("a", "b")
    assert open_dataset(kaggle).read("a").problems == ()


def test_a_link_back_up_the_tree_ends(kaggle):
    (kaggle / "a" / "loop").symlink_to(kaggle, target_is_directory=True)
    assert open_dataset(kaggle).image_ids == ("a", "b")


def test_an_unknown_image_is_an_error(kaggle):
    with pytest.raises(InputError, match="no image 'c' in"):
        open_dataset(kaggle).read("c")
    with pytest.raises(InputError, match="no image 'c' in"):
        open_dataset(kaggle).read_pixels("c")


def test_a_missing_path_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"no folder or zip file .*nowhere"):
        open_dataset(tmp_path / "nowhere")


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match="holds no files"):
        open_dataset(tmp_path)


def test_a_file_that_is_no_zip_is_an_error(tmp_path):
    path = tmp_path / "set.zip"
    path.write_text("not a zip")
    with pytest.raises(InputError, match="neither a folder nor a readable zip"):
        open_dataset(path)


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "C:\\evil.png", "a\\..\\b"])
def test_a_zip_that_points_outside_itself_is_refused(tmp_path, name):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/images/a.png", b"")
        archive.writestr(name, b"")
    with pytest.raises(InputError, match=r"refused.*points outside"):
        open_dataset(path)


def test_files_in_no_known_layout_are_an_error(tmp_path):
    write(tmp_path / "pictures" / "a.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match=r"no data set that nucseg knows.*Kaggle.*labels/"):
        open_dataset(tmp_path)


def test_a_damaged_member_of_a_zip_is_an_error(kaggle, tmp_path):
    path = zipped(kaggle, tmp_path / "set.zip")
    content = bytearray(path.read_bytes())
    start = content.index(b"IHDR")
    content[start : start + 8] = b"damaged!"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a/images/a\.png in .* is damaged"):
        open_dataset(path).read("a")


def test_a_member_that_needs_a_password_is_an_error(kaggle, tmp_path):
    path = zipped(kaggle, tmp_path / "set.zip")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x03\x04") + 6] |= 1
    position = -1
    while (position := content.find(b"PK\x01\x02", position + 1)) >= 0:
        content[position + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"password.*Unpack it first"):
        open_dataset(path).read("a")


@pytest.mark.skipif(os.name == "nt", reason="file permissions of Unix")
def test_a_file_that_vanishes_is_an_error(kaggle):
    files = open_files(kaggle)
    (kaggle / files.names[0]).unlink()
    with pytest.raises(InputError, match="Cannot read"):
        files.read(files.names[0])


@pytest.mark.skipif("NUCSEG_TEST_DATA" not in os.environ, reason="needs the real data set")
def test_the_real_data_set_is_read_from_its_zip():
    dataset = open_dataset(Path(os.environ["NUCSEG_TEST_DATA"]) / "dsb2018" / "stardist_test50.zip")
    assert len(dataset.image_ids) == 50
    for image_id in dataset.image_ids[::10]:
        sample = dataset.read(image_id)
        assert sample.pixels.dtype == np.uint8
        assert sample.pixels.shape == (*sample.labels.shape, 3)
        assert np.array_equal(np.unique(sample.labels), np.arange(sample.labels.max() + 1))
