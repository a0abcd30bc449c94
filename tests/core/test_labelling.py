"""What the pixels of a label image mean: numbers kept, masks cut, all else refused."""

import numpy as np
import pytest

from nucseg.core.labelling import has_grey_edges, is_background, read_labels, whole_numbers
from nucseg.errors import InputError


def spots(*numbers: int, step: int = 12) -> np.ndarray:
    """Squares of 6 by 6 pixels in rows of four, with the numbers given."""
    labels = np.zeros((step * (1 + (len(numbers) - 1) // 4), 4 * step), np.int32)
    for place, number in enumerate(numbers):
        row, column = divmod(place, 4)
        labels[row * step + 3 : row * step + 9, column * step + 3 : column * step + 9] = number
    return labels


def kinds(values: np.ndarray) -> list[str]:
    return [doubt.kind for doubt in read_labels(values)[1]]


def test_numbers_of_nuclei_are_kept():
    labels = spots(3, 300, 70_000)
    for dtype in (np.int32, np.uint32, np.float32, np.float64):
        found, doubts = read_labels(labels.astype(dtype))
        assert np.array_equal(found, labels)
        assert doubts == ()


def test_no_nuclei_and_no_pixels():
    assert kinds(np.zeros((20, 20), np.uint8)) == []
    assert kinds(np.zeros((20, 20), bool)) == []
    assert whole_numbers(np.zeros((0, 5), np.uint8)).shape == (0, 5)


def test_one_number_in_one_piece_is_a_nucleus_and_in_several_a_mask():
    assert kinds(spots(9)) == []
    found, (doubt,) = read_labels(spots(9, 9))
    assert np.unique(found).tolist() == [0, 1, 2]
    assert doubt.kind == "mask instead of labels"


def test_a_few_labels_in_pieces_are_counted_and_kept():
    labels = spots(1, 2, 3, 4, 5, 6, 7, 3)
    found, (doubt,) = read_labels(labels)
    assert np.array_equal(found, labels)
    assert doubt.kind == "labels in pieces"
    assert "1 of 7 labels in several pieces (3 in 2)" in doubt.message


def test_crumbs_of_drawing_do_not_make_classes():
    labels = spots(1, 2)
    labels[0, ::5], labels[-1, ::5] = 1, 2
    assert kinds(labels) == ["labels in pieces"]


@pytest.mark.parametrize("numbers", [(1, 2, 1, 2), (1, 2, 2, 2, 2, 2), (5, 5, 9, 9, 200, 200)])
def test_classes_are_refused(numbers):
    with pytest.raises(InputError, match=r"which are classes and not nuclei.*skimage"):
        read_labels(spots(*numbers))


@pytest.mark.parametrize("ground", [1, 7, 65535])
def test_a_background_that_is_not_0_is_refused(ground):
    labels = spots(2, 3, 4).astype(np.uint16)
    labels[labels == 0] = ground
    with pytest.raises(InputError, match=rf"number {ground} at .* inverted, or .*background"):
        read_labels(labels)


def test_a_nucleus_that_fills_the_image_is_kept_and_said():
    labels = np.ones((20, 20), np.uint8)
    labels[:5, :5] = 0
    found, (doubt,) = read_labels(labels)
    assert np.array_equal(found, labels)
    assert doubt.kind == "background in doubt"
    assert "number 1 at 94% of its pixels" in doubt.message


def test_bits_are_turned_so_that_the_background_is_at_the_border():
    bits = spots(1, 1, 1) > 0
    assert kinds(bits) == ["mask instead of labels"]
    turned, doubts = read_labels(~bits)
    assert np.array_equal(turned > 0, bits)
    assert [doubt.kind for doubt in doubts] == ["mask turned over", "mask instead of labels"]


def test_small_images_are_not_judged_by_their_border():
    assert not is_background(np.ones((7, 50), bool))
    assert read_labels(np.full((7, 7), 4))[1] == ()
    assert not has_grey_edges(np.arange(49).reshape(7, 7))


def test_grey_edges_are_refused_and_tiny_nuclei_that_touch_are_not():
    soft = np.kron(spots(4), np.ones((1, 1), int)) * 60
    soft[:, 2], soft[:, 9] = soft[:, 3] // 3, soft[:, 8] // 2
    soft[2], soft[9] = soft[3] // 4, soft[8] // 5
    with pytest.raises(InputError, match=r"grey levels and not nuclei.*nearest neighbour"):
        read_labels(soft)
    tiny = np.zeros((20, 20), int)
    tiny[4:16, 4:16] = np.kron(
        np.random.default_rng(0).permutation(36).reshape(6, 6) + 1, [[1] * 2] * 2
    )
    assert read_labels(tiny)[1] == ()


def test_the_name_of_a_jpeg_file_says_that_numbers_have_changed():
    with pytest.raises(InputError, match="JPEG changes the numbers"):
        read_labels(spots(1, 2, 3), "a/b.JPG")
    assert read_labels(spots(1, 2, 3), "a/b.png")[1] == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.arange(75).reshape(5, 5, 3), r"got colours or channels: .*25 different colours"),
        (np.zeros((5, 5, 7)), r"got colours or channels"),
        (np.zeros((2, 5, 5, 3)), r"array of shape \(2, 5, 5, 3\)"),
        (np.dstack([spots(1), spots(2)]), r"two channels or transparency"),
        (np.dstack([spots(1) * 0] * 3 + [spots(255)]), r"two channels or transparency"),
        (np.full((5, 5), 0.5), r"got fractions \(float64\)"),
        (np.full((5, 5), np.inf), r"up to 4294967295, got inf"),
        (np.full((5, 5), 1j), r"got complex128"),
        (np.full((5, 5), -1), r"got -1"),
        (np.full((5, 5), 2**32), r"up to 4294967295, got 4294967296"),
    ],
)
def test_what_are_no_whole_numbers(values, message):
    with pytest.raises(InputError, match=message):
        whole_numbers(values)


def test_equal_colours_and_alpha_are_one_number():
    labels = spots(1, 2).astype(np.uint8)
    opaque = np.full_like(labels, 255)
    for layers in (
        [labels] * 3,
        [labels] * 3 + [opaque],
        [labels] * 3 + [labels],
        [labels, opaque],
    ):
        assert np.array_equal(whole_numbers(np.dstack(layers)), labels)
    assert np.array_equal(whole_numbers(labels[:, :, None]), labels)


def test_of_a_very_large_image_the_middle_is_judged(monkeypatch):
    monkeypatch.setattr("nucseg.core.labelling._MIDDLE", 30)
    labels = np.zeros((90, 120), np.int32)
    labels[:12, :48] = spots(1, 2, 3, 1)
    found, doubts = read_labels(labels)
    assert np.array_equal(found, labels)
    assert doubts == ()
    labels[33:57, 40:88] = spots(1, 2, 1, 2, 2, 1, 2, 1)
    with pytest.raises(InputError, match="which are classes"):
        read_labels(labels)
