import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucseg.config import Preprocessing
from nucseg.errors import InputError
from nucseg.images.colours import to_rgb
from nucseg.images.preprocess import (
    intensity_limits,
    prepare,
    prepared_limits,
    resize_image,
    resize_labels,
    stretch,
)

WHOLE = Preprocessing(size=None)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 2)])
def test_grey_is_repeated_in_three_channels(shape):
    image = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    rgb = to_rgb(image)
    assert rgb.shape == (4, 5, 3)
    assert rgb.dtype == np.uint16
    grey = image.reshape(4, 5, -1)[:, :, 0]
    for channel in range(3):
        np.testing.assert_array_equal(rgb[:, :, channel], grey)


def test_alpha_is_dropped():
    image = np.dstack([np.full((2, 2), value, np.uint8) for value in (10, 20, 30, 255)])
    assert to_rgb(image)[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4, 3), (4, 4, 5)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match="Expected an image of shape"):
        to_rgb(np.zeros(shape))


def test_an_image_without_pixels_is_refused():
    with pytest.raises(InputError, match="no pixels"):
        to_rgb(np.zeros((0, 5)))


def test_complex_numbers_are_refused():
    with pytest.raises(InputError, match="real numbers, got dtype complex128"):
        to_rgb(np.zeros((2, 2), complex))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(bad):
    image = np.ones((4, 4), np.float32)
    image[1, 2] = bad
    with pytest.raises(InputError, match="1 NaN or infinite values of 16"):
        stretch(image, (1, 99.8))


def test_limits_of_an_image_scale_its_parts_alike():
    image = np.random.default_rng(0).integers(0, 4000, (60, 80), np.uint16)
    limits = intensity_limits(image, (1, 99.8))
    whole = stretch(image, (1, 99.8))
    np.testing.assert_array_equal(stretch(image[:20], (1, 99.8), limits=limits), whole[:20])
    prepared = prepare(image[5:, 9:], WHOLE, limits=prepared_limits(image, WHOLE))
    np.testing.assert_array_equal(prepared, prepare(image, WHOLE)[5:, 9:])


@pytest.mark.parametrize(
    ("image", "limits"),
    [
        (np.full((3, 3), 7, np.uint8), (7, 7)),
        (np.eye(300, dtype=np.uint8) * 9, (0, 9)),
        (np.array([[-2.0, 2.0]]), (-1.96, 1.992)),
    ],
)
def test_limits_of_constant_sparse_and_signed_images(image, limits):
    assert intensity_limits(image, (1, 99.8)) == pytest.approx(limits)


def test_large_images_are_sampled_for_their_limits():
    column = np.arange(3000, dtype=np.uint16)
    image = np.broadcast_to(column, (3000, 3000))
    low, high = intensity_limits(image, (10, 90))
    assert (low, high) == pytest.approx((300, 2700), abs=3)


def test_percentiles_become_zero_and_one():
    image = np.linspace(100, 200, 1001)
    scaled = stretch(image, (10, 90))
    assert scaled[0] == 0
    assert scaled[-1] == 1
    assert scaled[500] == pytest.approx(0.5, abs=1e-4)


def test_a_dark_image_fills_the_range():
    image = np.array([[0, 1], [2, 3]], np.uint8)
    assert stretch(image, (0, 100)).max() == 1
    assert stretch(image, None).max() == pytest.approx(3 / 255)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_image_becomes_zero(value):
    assert not stretch(np.full((8, 8), value, np.uint8), (1, 99.8)).any()


def test_one_bright_pixel_in_a_black_image_is_kept():
    image = np.zeros((100, 100), np.uint8)
    image[5, 5] = 9
    assert stretch(image, (1, 99.8))[5, 5] == 1


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32, np.float32, np.bool_]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements={"min_value": 0, "max_value": 1},
    )
)
def test_any_image_becomes_a_network_input(image):
    before = image.copy()
    prepared = prepare(image, Preprocessing(size=(32, 64)))
    assert prepared.shape == (32, 64, 3)
    assert prepared.dtype == np.float32
    assert 0 <= prepared.min() <= prepared.max() <= 1
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("channels", [1, 2])
def test_grey_is_prepared_as_its_three_channels_are(channels):
    grey = np.random.default_rng(0).integers(0, 999, (40, 50, channels), dtype=np.uint16)
    settings = Preprocessing(size=(32, 64), percentiles=(0, 100))
    np.testing.assert_allclose(
        prepare(grey, settings), prepare(np.array(to_rgb(grey)), settings), atol=1e-6
    )


def test_values_beyond_float32_are_refused():
    with pytest.raises(InputError, match="1 NaN or infinite values of 4"):
        prepare(np.array([[0, 1], [2, 1e300]]), WHOLE)


def test_without_a_size_the_image_keeps_its_own():
    assert prepare(np.zeros((7, 9), np.uint8), WHOLE).shape == (7, 9, 3)


def test_shrinking_averages_areas():
    image = np.zeros((4, 4, 3), np.float32)
    image[:2, :2] = 1
    image[0, 3] = 1
    assert resize_image(image, (2, 2))[..., 0].tolist() == [[1, 0.25], [0, 0]]


def test_one_axis_may_shrink_while_the_other_grows():
    image = np.array([[0, 1], [1, 0], [0, 1], [1, 0]], np.float32)
    resized = resize_image(image, (2, 4))
    assert resized.shape == (2, 4)
    np.testing.assert_allclose(resized, 0.5)


def test_labels_are_never_mixed():
    labels = np.array([[1, 9], [9, 1]])
    assert set(np.unique(resize_labels(labels, (37, 23)))) == {1, 9}


def test_labels_resize_like_opencv_nearest_exact():
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, (53, 71), dtype=np.int32)
    expected = cv2.resize(
        labels.astype(np.float32), (32, 96), interpolation=cv2.INTER_NEAREST_EXACT
    )
    np.testing.assert_array_equal(resize_labels(labels, (96, 32)), expected)


@pytest.mark.parametrize("size", [(7, 9), (30, 12), (33, 40)])
def test_any_number_of_channels_is_resized(size):
    image = np.random.default_rng(0).random((20, 24, 6), dtype=np.float32)
    resized = resize_image(image, size)
    assert resized.shape == (*size, 6)
    np.testing.assert_array_equal(resized[..., 5], resize_image(image[..., 5].copy(), size))


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        hnp.array_shapes(min_dims=2, max_dims=3, max_side=9),
        elements=st.integers(0, 200),
    ),
    st.floats(0, 49),
    st.floats(51, 100),
)
def test_whole_numbers_are_stretched_as_floats_are(image, low, high):
    limits = intensity_limits(image, (low, high))
    assert limits == pytest.approx(intensity_limits(image.astype(float), (low, high)), abs=1e-4)
    scaled = stretch(image, None, limits=limits)
    np.testing.assert_array_equal(scaled, stretch(image.astype(float), None, limits=limits))
