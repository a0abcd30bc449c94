from pathlib import Path

import pytest

from nucseg.errors import InputError
from nucseg.export.folders import remove, whole_folder


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path):
    place = tmp_path / "new" / "masks"
    for before in ([], ["old.png"]):
        full = pytest.raises(InputError, match="Cannot write .*masks: No space left")
        with full, whole_folder(place) as partial:
            (partial / "1.png").touch()
            raise OSError(28, "No space left on device")
        assert [path.name for path in place.parent.rglob("*.png")] == before
        with whole_folder(place) as partial:
            (partial / "old.png").touch()


def test_what_a_killed_run_left_is_cleared(tmp_path: Path):
    writing = whole_folder(tmp_path / "masks")
    (writing.__enter__() / "half.png").touch()
    with whole_folder(tmp_path / "masks") as partial:
        (partial / "whole.png").touch()
    assert [path.name for path in tmp_path.rglob("*.png")] == ["whole.png"]


def test_a_file_where_the_folder_should_be_stays(tmp_path: Path):
    (tmp_path / "masks").write_text("mine")
    with pytest.raises(InputError, match="Cannot write"), whole_folder(tmp_path / "masks"):
        pass
    assert (tmp_path / "masks").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["masks"]


def test_files_and_folders_are_removed(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").touch()
    (tmp_path / "file").touch()
    for name in ("folder", "file", "nothing"):
        remove(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_what_a_link_leads_to_stays(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    remove(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
