"""Fields of view found by their borders, and splits that keep them whole."""

import builtins
import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from nucseg.datasets.reading import open_dataset
from nucseg.datasets.splits import Split, find_fields, make_split, read_split, write_split
from nucseg.errors import InputError, MissingExtraError


def field(seed, shape=(96, 96), scale=4000):
    """Smooth random structure with a little noise, as uint8."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=shape), 3) * scale / 4
    return np.clip(smooth * 0.4 + 100 + rng.normal(size=shape), 0, 255).astype(np.uint8)


def tiles(image, size=48):
    return [
        image[row : row + size, column : column + size]
        for row in range(0, image.shape[0], size)
        for column in range(0, image.shape[1], size)
    ]


def test_tiles_of_one_field_are_found_and_others_kept_apart():
    images = {f"{n}-{k}": tile for n in range(4) for k, tile in enumerate(tiles(field(n)))}
    fields = find_fields(images)
    assert list(fields) == list(images)
    assert list(fields.values()) == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4


def test_colour_tiles_are_found():
    colour = np.dstack([field(n, (48, 96)) for n in range(3)])
    assert find_fields({"a": colour[:, :48], "b": colour[:, 48:]}) == {"a": 0, "b": 0}


def test_flat_borders_join_nothing():
    dark = np.zeros((64, 64), np.uint8)
    one, other = dark.copy(), dark.copy()
    one[30:35, 30:35] = 200
    other[10:20, 30:35] = 200
    assert find_fields({"one": one, "other": other}) == {"one": 0, "other": 1}


def test_copies_are_one_field_and_tiny_images_are_no_trouble():
    image = field(0)
    assert find_fields({"a": image, "b": image.copy(), "c": image.astype(np.uint16)}) == {
        "a": 0,
        "b": 0,
        "c": 1,
    }
    tiny = {str(n): np.full((1, 1), n, np.uint8) for n in range(3)}
    assert find_fields(tiny) == {"0": 0, "1": 1, "2": 2}
    assert find_fields({}) == {}


IDS = [f"i{n:02}" for n in range(40)]


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 9), min_size=40, max_size=40).filter(lambda f: len(set(f)) > 1),
    st.floats(0.05, 0.9),
    st.integers(0, 1000),
)
def test_a_split_keeps_fields_whole_and_loses_no_image(numbers, fraction, seed):
    fields = dict(zip(IDS, numbers, strict=True))
    split = make_split(IDS, fields=fields, validation_fraction=fraction, seed=seed)
    assert sorted(split.train + split.validation) == IDS
    assert split.train
    assert split.validation
    assert not {fields[i] for i in split.train} & {fields[i] for i in split.validation}
    assert split == make_split(IDS[::-1], fields=fields, validation_fraction=fraction, seed=seed)


def test_the_fraction_is_met():
    fields = {image_id: n // 4 for n, image_id in enumerate(IDS)}
    for given_fields in (fields, None):
        split = make_split(IDS, fields=given_fields, validation_fraction=0.2, seed=1)
        assert len(split.validation) == 8
        assert split.test == ()


def test_the_largest_field_does_not_decide_the_fraction():
    fields = {image_id: max(n - 25, 0) for n, image_id in enumerate(IDS)}  # one of 26, 14 of 1
    split = make_split(IDS, fields=fields, validation_fraction=0.1, seed=0)
    assert len(split.validation) in (1, 2)


def test_the_seed_decides_a_random_split():
    splits = [
        make_split(IDS, fields=None, validation_fraction=0.25, seed=seed) for seed in (1, 1, 2)
    ]
    assert splits[0] == splits[1] != splits[2]


def test_two_images_are_split_one_to_one():
    split = make_split(["a", "b"], fields=None, validation_fraction=0.95, seed=0)
    assert len(split.train) == len(split.validation) == 1


@pytest.mark.parametrize(
    ("ids", "fields", "message"),
    [
        ([], None, r"0 image\(s\) of 0"),
        (["a"], None, r"1 image\(s\) of 1 image.*more images"),
        (["a", "b"], {"a": 0, "b": 0}, r"2 image\(s\) of 1 field of view.*\(random\)"),
    ],
)
def test_too_few_to_split_is_an_error(ids, fields, message):
    with pytest.raises(InputError, match=message):
        make_split(ids, fields=fields, validation_fraction=0.2, seed=0)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_a_senseless_fraction_is_an_error(fraction):
    with pytest.raises(InputError, match="between 0 and 1"):
        make_split(IDS, fields=None, validation_fraction=fraction, seed=0)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def fake(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(MissingExtraError, match=r"nucseg\[train\]"):
        make_split(IDS, fields=None, validation_fraction=0.2, seed=0)


def test_a_split_survives_its_file(tmp_path):
    split = Split(("a", "c,d"), ("b",), ("e",))
    write_split(tmp_path / "new" / "split.csv", split)
    assert read_split(tmp_path / "new" / "split.csv", ["a", "b", "c,d", "e", "unused"]) == split


def test_a_split_from_a_spreadsheet_is_read(tmp_path):
    path = tmp_path / "split.csv"
    path.write_bytes(
        "\ufeffsubset,image_id,note\r\ntrain,a,x\r\nvalidation,b,\r\nnone,c,\r\n".encode()
    )
    assert read_split(path, ["a", "b", "c"]) == Split(("a",), ("b",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,subset\nz,train\n", r"line 2: the data set has no image 'z'"),
        ("image_id,subset\na,train\na,test\n", r"line 3: the image a has a row already"),
        ("image_id,subset\na,training\n", r"unknown subset 'training'.*train, validation"),
        ("image_id,subset\na\n", r"unknown subset ''"),
        ("image_id,subset\nb,validation\n", "no image the subset train"),
        ("image_id,subset\na,train\n", "no image the subset validation"),
        ("id,subset\na,train\n", "has the columns id, subset; expected"),
        ("", r"has the columns \(none\)"),
        (b"image_id,subset\n\xff\xfe,train\n", "Cannot read the split file"),
    ],
)
def test_a_faulty_split_file_is_an_error(tmp_path, text, message):
    path = tmp_path / "split.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        read_split(path, ["a", "b"])


def test_a_missing_split_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no split file"):
        read_split(tmp_path / "split.csv", ["a"])


@pytest.mark.skipif("NUCSEG_TEST_DATA" not in os.environ, reason="needs the real data set")
def test_fields_of_the_real_data_set_are_found():
    folder = Path(os.environ["NUCSEG_TEST_DATA"]) / "dsb2018"
    with (folder / "split.csv").open(encoding="utf-8") as file:
        known = {row["image_id"]: row["source_field"] for row in csv.DictReader(file)}
    dataset = open_dataset(folder / "stage1_train.zip")
    ids = dataset.image_ids
    fields = find_fields({image_id: dataset.read_pixels(image_id) for image_id in ids})
    true = np.unique([known[i] for i in ids], return_inverse=True)[1]
    found = np.array(list(fields.values()))
    together, joined = true[:, None] == true, found[:, None] == found
    pairs = np.triu_indices(len(ids), 1)
    assert (together & joined)[pairs].sum() > 0.75 * together[pairs].sum()
    assert (together & joined)[pairs].sum() > 0.85 * joined[pairs].sum()
