import numpy as np
import pytest
import tifffile
from PIL import Image

from nucseg.datasets.groups import groups_of
from nucseg.datasets.reading import open_dataset, open_datasets
from nucseg.errors import InputError

NAMES = ("p1_a", "p1_b", "p2_a", "p2_b", "p3_a")


@pytest.fixture
def dataset_folder(tmp_path):
    folder = tmp_path / "set"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in NAMES:
        Image.fromarray(rng.integers(0, 255, (40, 40), np.uint8)).save(
            folder / f"images/{name}.png"
        )
        tifffile.imwrite(folder / f"labels/{name}.tif", np.ones((40, 40), np.uint16))
    return folder


def grouped(groups):
    by_number = {}
    for name, number in groups.items():
        by_number.setdefault(number, []).append(name)
    return sorted(by_number.values())


BY_PATIENT = [["p1_a", "p1_b"], ["p2_a", "p2_b"], ["p3_a"]]


@pytest.mark.parametrize("group", ["p[0-9]", "^(p[0-9])_", "^[^_]+"])
def test_images_are_grouped_by_a_part_of_their_name(dataset_folder, group):
    assert grouped(groups_of(open_dataset(dataset_folder), group)) == BY_PATIENT


def test_images_are_grouped_as_the_set_says(dataset_folder):
    seen = []
    dataset = open_dataset(dataset_folder)
    assert len(grouped(groups_of(dataset, progress=lambda *done: seen.append(done)))) == 5
    assert seen[-1] == (5, 5)
    (dataset_folder / "dataset.toml").write_text("group = 'p\\d'")
    assert grouped(groups_of(open_dataset(dataset_folder))) == BY_PATIENT


def test_images_are_grouped_by_a_column_of_a_table(dataset_folder, tmp_path):
    table = tmp_path / "patients.csv"
    rows = [f"{name},{name[:2]}" for name in NAMES[:-1]]
    table.write_text("\n".join(["image_id,patient", *rows]), encoding="utf-8-sig")
    dataset = open_dataset(dataset_folder)
    assert grouped(groups_of(dataset, f"{table}:patient")) == BY_PATIENT
    with pytest.raises(InputError, match="expected image_id and slide"):
        groups_of(dataset, f"{table}:slide")
    with pytest.raises(InputError, match="Cannot read the table"):
        groups_of(dataset, f"{tmp_path / 'none.csv'}:patient")


def test_images_of_two_sets_are_never_of_one_group(dataset_folder):
    dataset = open_datasets([dataset_folder, dataset_folder])
    groups = groups_of(dataset, "p[0-9]")
    assert len(set(groups.values())) == 6
    assert groups["set/p1_a"] == groups["set/p1_b"] != groups["set-2/p1_a"]


def test_an_expression_that_groups_nothing_is_an_error(dataset_folder):
    dataset = open_dataset(dataset_folder)
    for group in ("patient", ".*"):
        with pytest.raises(InputError, match="a group of its own"):
            groups_of(dataset, group)
    with pytest.raises(InputError, match="no regular expression"):
        groups_of(dataset, "(")
