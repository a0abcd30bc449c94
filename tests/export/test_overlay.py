import numpy as np
import pytest

from nucseg.errors import InputError
from nucseg.export.overlay import display_image, draw_overlay, outlines


def test_outline_of_a_square_one_and_two_pixels_wide():
    labels = np.zeros((7, 7), int)
    labels[1:6, 1:6] = 3
    ring = labels > 0
    ring[2:5, 2:5] = False
    np.testing.assert_array_equal(outlines(labels), ring)
    ring[2:5, 2:5] = True
    ring[3, 3] = False
    np.testing.assert_array_equal(outlines(labels, thickness=2), ring)


def test_touching_nuclei_are_outlined_each():
    labels = np.repeat([[1, 1, 1, 2, 2, 2]], 5, axis=0)
    assert outlines(labels)[2].tolist() == [True, False, True, True, False, True]


def test_neighbouring_labels_get_different_colours_and_the_rest_stays_as_it_is():
    image = np.full((12, 12), 5, np.uint8)
    image[6, 6] = 9
    labels = np.zeros((12, 12), np.uint16)
    labels[1:5, 1:5], labels[1:5, 5:9] = 1, 2
    before = labels.copy()
    picture = draw_overlay(image, labels)
    assert picture[1, 1].tolist() != picture[1, 5].tolist()
    np.testing.assert_array_equal(picture[8:], display_image(image)[8:])
    np.testing.assert_array_equal(labels, before)


@pytest.mark.parametrize("background", [0, 1000])
def test_outlines_stand_out_from_dark_and_bright_images(background: int):
    image = np.full((40, 40), background, np.uint16)
    image[:2] = 1000 - background
    labels = np.zeros((40, 40), int)
    labels[10:20, 10:20], labels[10:20, 25:35], labels[25:35, 10:20] = 1, 2, 3
    picture = draw_overlay(image, labels).astype(int)
    for row, column in ((10, 10), (10, 25), (25, 10)):
        assert np.abs(picture[row, column] - picture[-1, -1]).max() > 100


def test_display_stretches_to_eight_bits():
    image = np.linspace(1000, 3000, 1000).reshape(20, 50).astype(np.uint16)
    picture = display_image(image)
    assert (picture.shape, picture.dtype) == ((20, 50, 3), np.uint8)
    assert (picture.min(), picture.max()) == (0, 255)


def test_labels_of_another_size():
    with pytest.raises(InputError, match=r"labels of the image's size \(4, 4\), got \(5, 4\)"):
        draw_overlay(np.zeros((4, 4)), np.zeros((5, 4), int))
