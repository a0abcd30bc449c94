import shutil
import zipfile

import pytest

from nucseg.datasets.reading import open_dataset, open_datasets
from nucseg.errors import InputError

TOML = 'name = "my nuclei"\nlicence = "CC0 1.0"\npixel_size = 0.5\ntouching = "merged"\n'


@pytest.fixture
def folder(tmp_path, write_folders):
    return write_folders(tmp_path / "set")


def test_a_set_is_named_by_its_folder_or_file(folder, tmp_path):
    assert open_dataset(folder).facts.name == "set"
    archive = shutil.make_archive(tmp_path / "packed", "zip", folder)
    assert open_dataset(archive).facts.name == "packed"


def test_facts_are_read_inside_and_beside(folder, tmp_path):
    archive = shutil.make_archive(tmp_path / "packed", "zip", folder)
    (tmp_path / "packed.toml").write_text(TOML)
    (folder / "dataset.toml").write_text(TOML.replace("my nuclei", "inside"), encoding="utf-8-sig")
    assert open_dataset(folder).facts.name == "inside"
    facts = open_dataset(archive).facts
    assert (facts.name, facts.licence, facts.pixel_size) == ("my nuclei", "CC0 1.0", 0.5)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("set/dataset.toml", TOML.replace("my nuclei", "in the zip"))
    assert open_dataset(archive).facts.name == "in the zip"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "no TOML"),
        ('nmae = "x"', "nmae"),
        ("pixel_size = 50", "pixel_size"),
        ('touching = "some"', "touching"),
        ('group = "("', "no regular expression"),
    ],
)
def test_wrong_facts_are_an_error_that_names_the_line(folder, text, said):
    (folder / "dataset.toml").write_text(text)
    with pytest.raises(InputError, match=said) as raised:
        open_dataset(folder)
    assert "dataset.toml" in str(raised.value)


def test_several_sets_are_taken_as_one(folder, tmp_path, write_folders):
    second = write_folders(tmp_path / "other" / "set")
    (folder / "dataset.toml").write_text('name = "a/b"\nlicence = "MIT"\n')
    whole = open_datasets([folder, second])
    alone = open_dataset(folder)
    assert open_datasets([folder]).image_ids == alone.image_ids
    names = [member.facts.name for member in whole.members]
    assert names == ["a-b", "set"]
    assert len(whole.image_ids) == 2 * len(alone.image_ids)
    first = alone.image_ids[0]
    sample = whole.read(f"a-b/{first}")
    assert sample.image_id == f"a-b/{first}"
    assert (sample.labels == alone.read(first).labels).all()
    assert (whole.read_pixels(f"set/{first}") == alone.read_pixels(first)).all()
    assert whole.facts_of(f"a-b/{first}").licence == "MIT"
    assert alone.facts_of(first) == alone.facts
    with pytest.raises(InputError, match="no image"):
        whole.read(first)


def test_problems_of_several_sets_name_the_set(folder, tmp_path, write_folders):
    second = write_folders(tmp_path / "second")
    image_id = open_dataset(folder).image_ids[0]
    next((folder / "labels").glob(f"{image_id}.*")).unlink()
    sample = open_datasets([folder, second]).read(f"set/{image_id}")
    assert [problem.image_id for problem in sample.problems] == [f"set/{image_id}"]


def test_two_sets_of_one_name_are_numbered_and_none_is_an_error(folder):
    names = [member.facts.name for member in open_datasets([folder, folder]).members]
    assert names == ["set", "set-2"]
    with pytest.raises(InputError, match="No data set"):
        open_datasets([])
