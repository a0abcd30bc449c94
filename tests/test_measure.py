import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucseg.errors import InputError
from nucseg.measure import measure


def disk(radius: float) -> np.ndarray:
    rows, columns = np.mgrid[-60:61, -60:61]
    return (rows**2 + columns**2 <= radius**2).astype(np.uint16)


def test_by_hand():
    labels = np.array([[1, 1, 0, 0], [1, 1, 0, 5], [0, 0, 0, 5]], np.uint16)
    image = np.array([[1, 2, 9, 9], [3, 6, 9, 10], [9, 9, 9, 20]], np.uint8)
    table = measure(labels, image, scores=np.array([0.9, 0.6]))
    expected = {
        "label": [1, 5],
        "score": [0.9, 0.6],
        "centroid_row": [0.5, 1.5],
        "centroid_column": [0.5, 3.0],
        "bbox_row": [0, 1],
        "bbox_column": [0, 3],
        "bbox_height": [2, 2],
        "bbox_width": [2, 1],
        "area": [4, 2],
        "solidity": [1, 1],
        "intensity_mean": [3, 15],
        "intensity_std": [np.sqrt(3.5), 5],
        "intensity_min": [1, 10],
        "intensity_max": [6, 20],
        "intensity_sum": [12, 30],
    }
    for name, values in expected.items():
        assert table[name].tolist() == pytest.approx(values), name


def test_a_circle():
    table = measure(disk(40), disk(40))
    assert table["area"][0] == pytest.approx(np.pi * 40**2, rel=0.01)
    assert table["perimeter"][0] == pytest.approx(2 * np.pi * 40, rel=0.01)
    assert table["major_axis"][0] == pytest.approx(80, rel=0.01)
    assert table["form_factor"][0] == pytest.approx(1, abs=0.02)
    assert table["eccentricity"][0] < 0.05
    assert table["solidity"][0] > 0.97


def test_an_upright_bar_has_orientation_0():
    labels = np.zeros((20, 20), int)
    labels[2:18, 8:11] = 1
    assert measure(labels, labels)["orientation"][0] == pytest.approx(0)


def test_micrometres():
    table = measure(disk(30), disk(30), pixel_size=(0.5, 0.5))
    assert table["area_um2"][0] == table["area"][0] * 0.25
    for name in ("perimeter", "major_axis", "minor_axis"):
        assert table[f"{name}_um"][0] == table[name][0] * 0.5


def test_oblong_pixels():
    # A circle of pixels twice as high as wide is an upright ellipse.
    table = measure(disk(30), disk(30), pixel_size=(1.0, 0.5))
    assert table["area_um2"][0] == table["area"][0] * 0.5
    assert table["major_axis_um"][0] == pytest.approx(60, rel=0.01)
    assert table["minor_axis_um"][0] == pytest.approx(30, rel=0.01)
    assert np.isnan(table["perimeter_um"][0])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_intensity_of_each_colour_but_not_of_alpha(channels: int):
    labels = np.array([[0, 1]])
    image = np.array([[[0] * 4, [10, 20, 30, 40]]], np.uint8)[..., :channels]
    table = measure(labels, image)
    means = {name: float(v[0]) for name, v in table.items() if name.startswith("intensity_mean")}
    if channels < 3:
        assert means == {"intensity_mean": 10}
    else:
        expected = {"intensity_mean_0": 10, "intensity_mean_1": 20, "intensity_mean_2": 30}
        assert means == expected


def test_sums_of_16_bit_images_do_not_overflow():
    labels = np.ones((300, 300), np.uint16)
    table = measure(labels, np.full((300, 300), 65535, np.uint16))
    assert table["intensity_sum"].tolist() == [65535 * 90_000]
    assert table["intensity_std"].tolist() == [0]


def test_no_nuclei_give_the_same_columns_without_rows():
    image = np.zeros((4, 5, 3), np.uint8)
    empty = measure(np.zeros((4, 5), np.uint16), image, scores=np.zeros(0), pixel_size=(1, 1))
    full = measure(np.ones((4, 5), np.uint16), image, scores=np.ones(1), pixel_size=(1, 1))
    assert list(empty) == list(full)
    assert all(len(column) == 0 for column in empty.values())


def test_image_of_another_size():
    with pytest.raises(InputError, match=r"got an image of \(3, 3\) and labels of \(2, 2\)"):
        measure(np.ones((2, 2), int), np.ones((3, 3)))


def test_scores_of_others():
    with pytest.raises(InputError, match="one score per nucleus: 1, got 2"):
        measure(np.ones((2, 2), int), np.ones((2, 2)), scores=np.ones(2))


@given(
    hnp.arrays(
        np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(0, 4)
    ),
    st.data(),
)
def test_any_nuclei_are_measured_without_a_warning(labels, data):
    image = data.draw(hnp.arrays(np.uint16, labels.shape))
    table = measure(labels, image, pixel_size=(0.3, 0.3))
    numbers = [number for number in np.unique(labels) if number]
    assert table["label"].tolist() == numbers
    for row, number in enumerate(numbers):
        inside = image[labels == number].astype(float)
        assert table["area"][row] == inside.size
        assert table["intensity_mean"][row] == pytest.approx(inside.mean())
        assert table["intensity_std"][row] == pytest.approx(inside.std())
        assert table["intensity_min"][row] == inside.min()
        assert table["intensity_max"][row] == inside.max()
    assert all(np.isfinite(column).all() for column in table.values())
