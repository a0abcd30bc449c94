from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import regionprops_table

from nucseg.datasets.synthetic import synthetic_image
from nucseg.errors import InputError
from nucseg.measure import measure, measure_tile, nearest_neighbours

OF_SCIKIT_IMAGE = {
    "label": "label",
    "centroid_row": "centroid-0",
    "centroid_column": "centroid-1",
    "bbox_row": "bbox-0",
    "bbox_column": "bbox-1",
    "area": "area",
    "perimeter": "perimeter_crofton",
    "major_axis": "axis_major_length",
    "minor_axis": "axis_minor_length",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
    "orientation": "orientation",
    "intensity_mean": "intensity_mean",
    "intensity_median": "intensity_median",
    "intensity_std": "intensity_std",
    "intensity_min": "intensity_min",
    "intensity_max": "intensity_max",
}


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
        "touches_border": [True, True],
        "area": [4, 2],
        "solidity": [1, 1],
        "intensity_mean": [3, 15],
        "intensity_median": [2.5, 15],
        "intensity_std": [np.sqrt(3.5), 5],
        "intensity_min": [1, 10],
        "intensity_max": [6, 20],
        "intensity_sum": [12, 30],
        "nearest_neighbour": [np.hypot(1, 2.5)] * 2,
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


def test_only_nuclei_at_an_edge_of_the_image_touch_its_border():
    labels = np.zeros((9, 11), int)
    labels[0, 5], labels[4, 0], labels[8, 5], labels[4, 10], labels[1:8, 1:10] = 1, 2, 3, 4, 5
    assert measure(labels, labels)["touches_border"].tolist() == [True] * 4 + [False]


def test_numbers_of_nuclei_may_be_far_apart():
    labels = np.array([[3, 0, 2**32 - 1]], np.uint32)
    table = measure(labels, labels)
    assert table["label"].tolist() == [3, 2**32 - 1]
    assert table["perimeter"][0] == table["perimeter"][1] > 0


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
    lonely = len(numbers) == 1
    for name, column in table.items():
        assert (
            np.isnan(column).all() if lonely and "neighbour" in name else np.isfinite(column).all()
        )


@st.composite
def label_fields(draw):
    """Make touching nuclei of any shape, of one pixel or several pieces, with holes and gaps."""
    numbers = draw(st.sampled_from([(0, 1), (0, 1, 2, 3), (0, 5, 9), (1, 2, 300), (0, 0, 0, 7)]))
    shape = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)
    labels = draw(hnp.arrays(np.int32, shape, elements=st.sampled_from(numbers)))
    ellipses = st.tuples(*[st.integers(0, 11)] * 4, st.integers(0, 179), st.sampled_from(numbers))
    # Larger ones, of smooth outlines, over those.
    labels = np.kron(labels, np.ones((draw(st.integers(1, 3)), draw(st.integers(1, 3))), np.int32))
    for row, column, major, minor, angle, number in draw(st.lists(ellipses, max_size=4)):
        cv2.ellipse(labels, (column, row), (major, minor), angle, 0, 360, number, -1)
    return labels


def assert_as_scikit_image(labels: np.ndarray, image: np.ndarray):
    ours = measure(labels, image)
    theirs = regionprops_table(labels, image, properties=set_of(OF_SCIKIT_IMAGE.values()))
    for name, other in OF_SCIKIT_IMAGE.items():
        a, b = ours[name], theirs[other]
        if name == "orientation":
            # An axis points both ways, and a circle's nowhere.
            a, b = (np.exp(2j * x) * (ours["major_axis"] - ours["minor_axis"]) for x in (a, b))
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6, err_msg=name)


def set_of(columns) -> list[str]:
    return list(dict.fromkeys(column.partition("-")[0] for column in columns))


@given(label_fields(), st.data())
def test_as_scikit_image(labels, data):
    image = data.draw(hnp.arrays(np.uint16, labels.shape, fill=st.integers(0, 9)))
    assert_as_scikit_image(labels, image)


def test_as_scikit_image_on_a_field_of_nuclei():
    image, labels = synthetic_image(np.random.default_rng(0), size=(300, 400), nuclei=40)
    assert_as_scikit_image(labels, image[..., 0])


def test_axes_as_scikit_image_where_pixels_are_oblong():
    image, labels = synthetic_image(np.random.default_rng(1), size=(200, 200), nuclei=15)
    ours = measure(labels, image, pixel_size=(0.7, 0.2))
    lengths = ("axis_major_length", "axis_minor_length")
    theirs = regionprops_table(labels, properties=lengths, spacing=(0.7, 0.2))
    for name, other in zip(("major_axis_um", "minor_axis_um"), lengths, strict=True):
        np.testing.assert_allclose(ours[name], theirs[other], rtol=1e-6)


@given(label_fields(), st.data())
def test_measured_in_parts_as_measured_whole(labels, data):
    image = np.random.default_rng(0).integers(0, 65536, (*labels.shape, 3), np.uint16)
    numbers = np.unique(labels[labels > 0])
    options = {"pixel_size": data.draw(st.sampled_from([(0.3, 0.3), (0.5, 0.2)]))}
    whole = measure(labels, image, scores=numbers / 1000, **options)
    part_of = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(numbers))), int)
    tables = []
    for part in range(3):
        chosen = numbers[part_of[: len(numbers)] == part]
        only = np.where(np.isin(labels, chosen), labels, 0)
        rows, columns = (np.flatnonzero(only.any(axis=axis)) for axis in (1, 0))
        # As little as holds them, and sometimes more.
        origin = tuple(data.draw(st.integers(0, np.min(x, initial=0))) for x in (rows, columns))
        crop = tuple(
            slice(start, np.max(x, initial=0) + 1)
            for start, x in zip(origin, (rows, columns), strict=True)
        )
        place = {"origin": origin, "shape": labels.shape}
        tables.append(
            measure_tile(only[crop], image[crop], scores=chosen / 1000, **place, **options)
        )
    joined = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    order = np.argsort(joined["label"])
    joined = {name: column[order] for name, column in joined.items()}
    joined |= nearest_neighbours(joined["centroid_row"], joined["centroid_column"], **options)
    assert list(joined) == list(whole)
    for name, column in whole.items():
        assert column.dtype == joined[name].dtype, name
        np.testing.assert_allclose(joined[name], column, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("origin", [(-1, 0), (0, 3), (9, 0)])
def test_part_that_is_not_in_the_image(origin):
    part = np.ones((2, 3), int)
    with pytest.raises(InputError, match=r"part of the image of \(10, 5\), got one of \(2, 3\) at"):
        measure_tile(part, part, origin=origin, shape=(10, 5))


def test_nearest_neighbours_by_hand():
    rows, columns = np.array([0.0, 0, 3]), np.array([0.0, 10, 4])
    assert nearest_neighbours(rows, columns)["nearest_neighbour"].tolist() == [5, 45**0.5, 5]
    # High pixels bring the third one nearer to neither, and the first nearer to the second.
    high = nearest_neighbours(rows, columns, pixel_size=(4.0, 1.0))
    assert high["nearest_neighbour"].tolist() == [5, 45**0.5, 5]
    assert high["nearest_neighbour_um"].tolist() == [10, 10, 160**0.5]


def test_a_ring_and_the_nucleus_in_its_middle_have_one_centre():
    labels = np.full((5, 5), 1)
    labels[1:4, 1:4] = 0
    labels[2, 2] = 2
    assert measure(labels, labels)["nearest_neighbour"].tolist() == [0, 0]


def test_a_lonely_nucleus_has_no_neighbour():
    table = measure(np.ones((2, 2), int), np.ones((2, 2)), pixel_size=(1, 1))
    assert np.isnan(table["nearest_neighbour"]).all()
    assert np.isnan(table["nearest_neighbour_um"]).all()


def test_every_column_is_explained():
    page = Path(__file__).parents[1] / "docs" / "measurements.md"
    labels = np.ones((2, 2), int)
    table = measure(labels, labels, scores=np.ones(1), pixel_size=(1, 1))
    text = page.read_text(encoding="utf-8")
    assert [name for name in table if f"`{name}`" not in text] == []
