import numpy as np
import pytest

from nucseg.errors import InputError
from nucseg.measure.granularity import measure_granularity


def spectrum(labels, plane, **options):
    table = measure_granularity(labels, plane, **options)
    return np.stack(list(table.values()), axis=1)


def test_a_grain_of_each_size_by_hand():
    # Squares of sides 1, 3 and 5: an erosion by a cross takes 1, 2 and 3 steps to remove them.
    plane = np.zeros((40, 60), np.uint8)
    labels = np.zeros(plane.shape, int)
    for number, (side, left) in enumerate(((1, 5), (3, 20), (5, 40)), start=1):
        plane[10 : 10 + side, left : left + side] = 200
        labels[5:25, left - 4 : left + 10] = number
    found = spectrum(labels, plane, length=4)
    assert found.shape == (3, 4)
    assert found.tolist() == [[100, 0, 0, 0], [0, 100, 0, 0], [0, 0, 100, 0]]


def test_a_bright_grain_on_a_plateau_by_hand():
    # The cross reaches the plateau after a step: what is above it goes, the plateau stays.
    plane = np.full((61, 61), 10.0)
    plane[30, 30] = 34
    labels = np.zeros((61, 61), int)
    labels[28:33, 28:33] = 1  # 25 pixels, mean (24 * 10 + 34) / 25 = 10.96
    found = spectrum(labels, plane, length=2)
    # The background, 10 everywhere, is taken off after the mean: step 1 loses all of 10.96.
    assert found[0].tolist() == pytest.approx([100, 0])


def test_an_even_image_is_background_and_none_has_no_rows():
    labels = np.ones((30, 30), int)
    assert spectrum(labels, np.full((30, 30), 7), length=3)[0].tolist() == [100, 0, 0]
    assert spectrum(labels * 0, labels, length=3).shape == (0, 3)
    assert not spectrum(labels, labels * 0, length=2).any()


def test_the_background_is_an_opening_of_the_whole_image():
    rows = np.arange(120.0)[:, None] + np.zeros((1, 120))
    labels = np.zeros(rows.shape, int)
    labels[50:70, 50:70] = 1
    # A slope is its own opening. Subsampled as CellProfiler does it, it shifts by up to a pixel.
    for sample in (1, 0.5, 0.25):
        found = spectrum(labels, rows, length=2, background_sample=sample, radius=4)
        assert found[0].sum() == pytest.approx(100, abs=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"length": 0}, "got 0, 10 and 0.25"), ({"background_sample": 0}, "above 0 to 1"),
     ({"radius": 0}, "at least 1")],
)  # fmt: skip
def test_wrong_numbers(options, message):
    with pytest.raises(InputError, match=message):
        measure_granularity(np.ones((3, 3), int), np.ones((3, 3)), **options)


def test_a_plane_of_another_shape():
    with pytest.raises(InputError, match="Expected a plane of the labels' height and width"):
        measure_granularity(np.ones((3, 3), int), np.ones((3, 4)))
