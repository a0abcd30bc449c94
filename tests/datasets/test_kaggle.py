"""Kaggle's layout: colours, merged masks, and every fault of a mask named."""

import zlib

import cv2
import hypothesis.extra.numpy as st_numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.datasets.kaggle import merge_masks
from nucseg.datasets.reading import open_dataset
from nucseg.errors import InputError

MASK = np.array([[255, 255, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "x" / "images").mkdir(parents=True)
    (tmp_path / "x" / "masks").mkdir()
    return tmp_path / "x"


def write(path, array):
    assert cv2.imwrite(str(path), array)


def read(folder):
    return open_dataset(folder.parent).read("x")


def test_the_order_of_colours_is_red_green_blue_and_alpha_is_dropped(folder):
    blue_green_red_alpha = np.full((3, 4, 4), (1, 2, 3, 77), np.uint8)
    write(folder / "images" / "x.png", blue_green_red_alpha)
    write(folder / "masks" / "1.png", MASK)
    assert read(folder).pixels[0, 0].tolist() == [3, 2, 1]


def test_grey_becomes_three_channels_that_can_be_written_to(folder):
    write(folder / "images" / "x.png", np.full((3, 4), 5, np.uint8))
    write(folder / "masks" / "1.png", MASK)
    pixels = read(folder).pixels
    assert pixels.shape == (3, 4, 3)
    assert pixels.dtype == np.uint8
    pixels[0, 0, 0] = 6
    assert pixels[0, 0].tolist() == [6, 5, 5]


def test_masks_become_labels_in_the_order_of_their_names(folder):
    write(folder / "images" / "x.png", np.zeros((3, 4, 3), np.uint8))
    write(folder / "masks" / "b.png", MASK)
    write(folder / "masks" / "a.png", MASK[::-1])
    sample = read(folder)
    assert sample.labels.tolist() == [[2, 2, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]]
    assert sample.labels.dtype == np.int32


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".jpg"])
def test_masks_of_other_formats_are_read(folder, suffix):
    write(folder / "images" / "x.png", np.zeros((24, 32), np.uint8))
    write(folder / "masks" / f"1{suffix}", np.kron(MASK, np.ones((8, 8), np.uint8)))
    assert (read(folder).labels == np.kron(MASK > 0, np.ones((8, 8), int))).all()


@pytest.mark.parametrize(
    "mask",
    [
        MASK // 255,
        MASK.astype(np.uint16) * 257,
        np.dstack([MASK] * 3),
        np.dstack([MASK, MASK, MASK, np.full_like(MASK, 255)]),
    ],
    ids=["0 and 1", "16 bits", "colour", "alpha"],
)
def test_masks_of_any_kind_are_read(folder, mask):
    write(folder / "images" / "x.png", np.zeros((3, 4), np.uint8))
    write(folder / "masks" / "1.png", mask)
    assert (read(folder).labels == (MASK > 0)).all()


def test_each_fault_is_named_and_the_good_masks_are_kept(folder):
    write(folder / "images" / "x.png", np.zeros((3, 4), np.uint8))
    masks = folder / "masks"
    write(masks / "1.png", MASK)
    write(masks / "2-overlaps.png", np.roll(MASK, 1, axis=1))
    write(masks / "3-hidden.png", MASK)
    write(masks / "4-empty.png", MASK * 0)
    write(masks / "5-size.png", np.full((4, 4), 255, np.uint8))
    masks.joinpath("6-cut.png").write_bytes(masks.joinpath("1.png").read_bytes()[:50])
    masks.joinpath("7-text.png").write_text("mask")
    masks.joinpath("8-nothing.png").write_bytes(b"")
    damaged = bytearray(masks.joinpath("1.png").read_bytes())
    damaged[damaged.index(b"IDAT") + 6] ^= 255
    masks.joinpath("9-damaged.png").write_bytes(damaged)
    huge = bytearray(masks.joinpath("1.png").read_bytes())
    huge[16:24] = 2 * (100_000).to_bytes(4)
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4)
    masks.joinpath("9-huge.png").write_bytes(huge)
    sample = read(folder)
    assert sample.labels[0].tolist() == [1, 1, 2, 0]
    assert sample.labels.max() == 2
    assert sample.labelled
    found = [(problem.kind, problem.count) for problem in sample.problems]
    assert sorted(found) == [
        ("empty mask", 1),
        ("hidden mask", 1),
        ("mask of another size", 1),
        ("overlapping masks", 3),
        ("unreadable mask", 1),
        ("unreadable mask", 1),
        ("unreadable mask", 1),
        ("unreadable mask", 1),
        ("unreadable mask", 1),
    ]
    messages = " ".join(problem.message for problem in sample.problems)
    for text in (
        "4-empty.png",
        "is 4 by 4 pixels",
        "its image 3 by 4",
        "6-cut.png",
        "3 pixels are in",
        "7-text.png is left out: x/masks/7-text.png is not a PNG",
        "9-huge.png is too large",
    ):
        assert text in messages


def test_an_image_without_masks_is_not_labelled(folder):
    write(folder / "images" / "x.png", np.zeros((3, 4), np.uint8))
    sample = read(folder)
    assert [problem.kind for problem in sample.problems] == ["no masks"]
    assert not sample.labelled
    assert not sample.labels.any()


def test_a_corrupt_image_is_an_error(folder):
    (folder / "images" / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    write(folder / "masks" / "1.png", MASK)
    with pytest.raises(InputError, match=r"x/images/x\.png"):
        read(folder)


def test_one_image_folder_is_a_data_set(folder):
    write(folder / "images" / "x.png", np.zeros((3, 4), np.uint8))
    write(folder / "masks" / "1.png", MASK)
    dataset = open_dataset(folder)
    assert dataset.image_ids == ("x",)
    assert dataset.read("x").labels.max() == 1


def test_two_images_of_one_id_are_an_error(tmp_path):
    for top in ("train", "test"):
        (tmp_path / top / "x" / "images").mkdir(parents=True)
        write(tmp_path / top / "x" / "images" / "x.png", MASK)
    with pytest.raises(InputError, match="image x twice"):
        open_dataset(tmp_path)


@given(
    st.lists(st_numpy.arrays(bool, (4, 5)), max_size=6),
)
def test_merged_labels_have_no_gaps_and_account_for_every_pixel(masks):
    named = [(str(n), np.s_[0:4, 0:5], mask) for n, mask in enumerate(masks)]
    labels, problems = merge_masks(named, (4, 5), "x")
    count = {problem.kind: 0 for problem in problems}
    for problem in problems:
        count[problem.kind] += problem.count
    left_out = count.get("empty mask", 0) + count.get("hidden mask", 0)
    assert np.array_equal(np.unique(labels[labels > 0]), np.arange(1, 1 + len(masks) - left_out))
    area = sum(int(mask.sum()) for mask in masks)
    assert np.count_nonzero(labels) + count.get("overlapping masks", 0) == area
    assert ((labels > 0) == np.any([np.zeros((4, 5), bool), *masks], axis=0)).all()
