import numpy as np
import pytest
from skimage.measure import regionprops_table
from skimage.segmentation import expand_labels

from nucseg.config import Length
from nucseg.errors import InputError
from nucseg.measure.compartments import (
    Compartments,
    expand,
    find_compartments,
    measure_compartments,
)


def pixels(value: float) -> Length:
    return Length(value=value, unit="pixels")


def micrometres(value: float) -> Length:
    return Length(value=value, unit="um")


def row(*values: int) -> np.ndarray:
    return np.array([values])


def test_a_cell_grows_by_the_length_and_never_into_a_neighbour():
    assert expand(row(0, 0, 0, 4, 0, 0, 0), pixels(2)).tolist() == [[0, 4, 4, 4, 4, 4, 0]]
    assert expand(row(1, 0, 0, 0, 2, 3), pixels(5)).tolist()[0][4:] == [2, 3]
    assert expand(row(0, 0), pixels(5)).tolist() == [[0, 0]]


def test_micrometres_follow_the_pixel_size_along_each_axis():
    labels = np.zeros((9, 9), np.uint16)
    labels[4, 4] = 7
    grown = expand(labels, micrometres(1), (0.5, 0.25))
    assert grown.dtype == np.uint16
    assert (grown[:, 4] > 0).sum() == 5
    assert (grown[4] > 0).sum() == 9
    # Lengths that are no whole binary fraction of a pixel are no pixel short.
    assert (expand(labels, micrometres(0.6), (0.2, 0.2))[4] > 0).sum() == 7


def test_micrometres_need_a_pixel_size():
    with pytest.raises(InputError, match=r"A length of 2um needs the pixel size.*--pixel-size"):
        expand(row(0, 1), micrometres(2))


def test_a_ring_is_in_no_nucleus_and_a_cell_holds_its_nucleus():
    labels = row(0, 0, 5, 5, 6, 0, 0)
    found = find_compartments(labels, ring=pixels(1), cell=pixels(2))
    assert found.ring is not None
    assert found.cell is not None
    assert found.ring.tolist() == [[0, 5, 0, 0, 0, 6, 0]]
    assert found.cell.tolist() == [[5, 5, 5, 5, 6, 6, 6]]
    assert found.outside.tolist() == [[False] * 7]


def test_columns_by_hand():
    labels = row(0, 0, 0, 3, 3, 0, 0, 0, 0)
    gfp = row(1, 1, 5, 11, 13, 7, 1, 1, 90)
    parts = find_compartments(labels, ring=pixels(1), cell=pixels(1))
    table, doubts = measure_compartments(parts, {"GFP": gfp, "": gfp * 2})
    assert doubts == []
    expected = {
        "ring_area": 2, "cell_area": 4, "background_GFP": 1, "nucleus_mean_GFP": 12,
        "nucleus_median_GFP": 12, "nucleus_std_GFP": 1, "nucleus_sum_GFP": 24,
        "nucleus_above_GFP": 11, "nucleus_sum_above_GFP": 22, "ring_mean_GFP": 6,
        "ring_above_GFP": 5, "cell_mean_GFP": 9, "cell_sum_GFP": 36, "cell_sum_above_GFP": 32,
        "nucleus_to_ring_GFP": 2.2, "nucleus_mean": 24, "background": 2, "nucleus_to_ring": 2.2,
    }  # fmt: skip
    assert {name: table[name].tolist() for name in expected} == {
        name: [value] for name, value in expected.items()
    }


def test_a_nucleus_without_a_ring_has_none():
    labels = np.array([[0, 0, 0, 0, 0], [0, 2, 2, 2, 0], [0, 2, 1, 2, 0], [0, 2, 2, 2, 0]])
    parts = find_compartments(labels, ring=pixels(1))
    table, _ = measure_compartments(parts, {"": np.ones((4, 5))})
    assert table["ring_area"].tolist() == [0, 9], "corners are farther than 1"
    assert np.isnan(table["ring_mean"]).tolist() == [True, False]
    assert np.isnan(table["nucleus_to_ring"]).all(), "the ring is no brighter than the background"


def test_figures_are_those_of_scikit_image():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 400, (60, 70)) * (rng.random((60, 70)) < 0.1)
    image = rng.integers(0, 60_000, labels.shape).astype(np.uint16)
    table, _ = measure_compartments(find_compartments(labels, cell=pixels(3)), {"": image})
    cells = expand_labels(labels, 3)
    theirs = regionprops_table(cells, image, ("intensity_mean", "intensity_std", "area"))
    np.testing.assert_allclose(table["cell_mean"], theirs["intensity_mean"])
    np.testing.assert_allclose(table["cell_std"], theirs["intensity_std"])
    np.testing.assert_array_equal(table["cell_area"], theirs["area"])


def test_no_nuclei_give_columns_without_rows():
    parts = find_compartments(np.zeros((3, 4), int), ring=pixels(1))
    table, doubts = measure_compartments(parts, {"": np.ones((3, 4))})
    assert doubts == []
    assert {len(each) for each in table.values()} == {0}
    assert "nucleus_to_ring" in table


def test_a_background_of_hardly_a_pixel_is_doubted():
    labels = np.ones((20, 20), int)
    labels[0, 0] = 0
    _, doubts = measure_compartments(Compartments(labels), {"GFP": labels})
    assert doubts == [
        "Background of GFP doubtful: only 0.2% of the pixels are in no nucleus, ring or cell."
    ]
    table, _ = measure_compartments(Compartments(np.ones((2, 2), int)), {"": np.ones((2, 2))})
    assert np.isnan(table["background"]).all()


def test_a_plane_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"labels' height and width, \(1, 2\), got \(3, 3\)"):
        measure_compartments(Compartments(row(0, 1)), {"GFP": np.ones((3, 3))})
