import errno
import hashlib
import os

import cv2
import numpy as np
import pytest

from nucseg.errors import InputError
from nucseg.files import UnfitFileError, atomic_write, check_writable, png_fault, sha256, walk


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with atomic_write(path) as partial:
        partial.write_text("half")
        assert not path.exists()
        partial.write_text("whole")
    assert path.read_text() == "whole"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    path = tmp_path / "file" / "below.txt"
    with (
        pytest.raises(InputError, match=r"Cannot write .*below.txt: "),
        atomic_write(path) as partial,
    ):
        partial.write_text("x")


@pytest.mark.parametrize(
    ("number", "unfit"),
    [(errno.ENAMETOOLONG, True), (errno.EFBIG, True), (errno.ENOSPC, False), (errno.EIO, False)],
)
def test_a_file_that_cannot_be_is_told_from_a_place_that_cannot_be_written(number, unfit, tmp_path):
    kind = UnfitFileError if unfit else InputError
    with (
        pytest.raises(InputError, match=r"Cannot write .*x\.txt: ") as caught,
        atomic_write(tmp_path / "x.txt"),
    ):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is kind


def test_a_path_that_is_too_long(tmp_path):
    path = tmp_path.joinpath(*["d" * 200] * 30, "x.txt")
    with pytest.raises(UnfitFileError, match=r"Cannot write .*x\.txt: "), atomic_write(path):
        pytest.fail("there is no place to write to")


def test_the_hash_is_that_of_the_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"nucleus")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"nucleus").hexdigest()


def test_a_name_may_be_as_long_as_names_can_be(tmp_path):
    path = tmp_path / ("x" * 251 + ".txt")
    with atomic_write(path) as partial:
        assert partial.suffix == ".txt"
        partial.write_text("x")
    assert path.read_text() == "x"


def test_every_wrong_bit_of_a_png_is_found():
    pixels = np.random.default_rng(0).integers(0, 2, (9, 9), np.uint8) * 255
    data = cv2.imencode(".png", pixels)[1].tobytes()
    assert png_fault(data) is None
    assert png_fault(data + b"what follows") is None
    for place in range(8, len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        assert png_fault(bytes(damaged)), place
    for length in range(8, len(data)):
        assert png_fault(data[:length]) == "its end is missing"


def test_a_wrong_checksum_of_a_remark_is_no_fault():
    data = cv2.imencode(".png", np.zeros((2, 2), np.uint8))[1].tobytes()
    remark = (3).to_bytes(4) + b"tEXta\0b" + b"\0\0\0\0"
    assert png_fault(data[:33] + remark + data[33:]) is None


def test_a_walk_takes_each_folder_once_and_by_its_own_name(tmp_path):
    for name in ("b", "c", "left-out"):
        (tmp_path / "top" / name).mkdir(parents=True)
        (tmp_path / "top" / name / "file").touch()
    (tmp_path / "other").mkdir()
    for name, target in (("a", "b"), ("d", "../other"), ("up", ".")):
        (tmp_path / "top" / name).symlink_to(target, target_is_directory=True)
    seen = []
    for folder, folders, files in walk(tmp_path / "top"):
        folders[:] = [name for name in folders if name != "left-out"]
        seen.append((folder.name, files))
    assert seen == [("top", []), ("b", ["file"]), ("c", ["file"]), ("d", [])]


def test_a_walk_names_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    def refuse(top, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", str(top)))
        return iter(())

    monkeypatch.setattr(os, "walk", refuse)
    with pytest.raises(InputError, match="Cannot read the folder .*: Permission denied"):
        list(walk(tmp_path))


def test_where_files_can_be_written_none_is_left(tmp_path):
    check_writable(tmp_path / "not" / "there" / "yet")
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/out", "file/deep/out"])
def test_a_folder_that_cannot_be_written_in_is_an_error(place: str, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"Cannot write in .*Give another output folder"):
        check_writable(tmp_path / place)
