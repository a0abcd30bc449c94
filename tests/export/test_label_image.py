import numpy as np
import pytest

from nucseg.errors import InputError
from nucseg.export import to_label_image


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (bool, np.uint16),
        (np.int8, np.uint16),
        (np.uint16, np.uint16),
        (np.int64, np.uint16),
        (np.float32, np.uint16),
        (">u2", np.uint16),
    ],
)
def test_whole_numbers_of_any_type_are_labels(dtype, expected):
    found = to_label_image(np.array([[0, 1, 1]], dtype), (0.5, 0.5))
    assert found.labels.tolist() == [[0, 1, 1]]
    assert found.labels.dtype == expected
    assert (found.count, found.pixel_size, found.scores) == (1, (0.5, 0.5), None)


def test_numbers_stay_as_they_are():
    found = to_label_image(np.array([[70_000, 0, 7]], np.float64))
    assert found.labels.tolist() == [[70_000, 0, 7]]
    assert found.labels.dtype == np.uint32
    assert found.count == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), r"got colours or channels: shape \(4, 4, 3\)"),
        (np.zeros((4, 4), complex), "Expected whole numbers, got complex128"),
        (np.full((4, 4), 0.5, np.float32), r"got fractions \(float32\)"),
        (np.full((4, 4), np.nan), r"got fractions \(float64\)"),
        (np.full((4, 4), -3, np.int16), "Expected numbers from 0 .*, got -3"),
        (np.full((4, 4), 2**32), "Expected labels up to 4294967295, got 4294967296"),
    ],
)
def test_what_is_no_label_image(values, message):
    with pytest.raises(InputError, match=message):
        to_label_image(values)
