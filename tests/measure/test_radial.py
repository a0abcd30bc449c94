import numpy as np
import pytest

from nucseg.errors import InputError
from nucseg.measure.radial import measure_radial, rings


def test_a_case_computed_by_hand():
    # A square of 5: the centre is 3 from the edge. Of 2 rings, the inner one holds what is nearer
    # to the centre than to the edge: the centre (0), its 4 neighbours (1 and 2), and the diagonal
    # ones (1.41 and 2). The rim is 2 to 2.83 away and 1 from the edge.
    labels = np.pad(np.ones((5, 5), int), 2)
    ring, centre = rings(labels > 0, 2)
    assert centre == (4, 4)
    assert ring[2:-2, 2:-2].tolist() == [
        [1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1],
    ]  # fmt: skip
    plane = np.where(ring == 0, 4.0, 1.0)
    table = measure_radial(labels, plane, bins=2)
    assert table["radial_fraction_1"][0] == pytest.approx(36 / 52)
    assert table["radial_fraction_2"][0] == pytest.approx(16 / 52)
    assert table["radial_mean_1"][0] == pytest.approx(36 / 52 / (9 / 25))
    assert table["radial_mean_2"][0] == pytest.approx(16 / 52 / (16 / 25))
    assert table["radial_cv_1"][0] == table["radial_cv_2"][0] == 0


def test_variation_by_wedges_computed_by_hand():
    labels = np.pad(np.ones((5, 5), int), 2)
    plane = np.ones((9, 9))
    plane[5:, :] = 3  # below the centre, which are 4 of the 8 wedges
    table = measure_radial(labels, plane, bins=1)
    # In a wedge below all is 3, in one above, which holds the row of the centre, all is 1.
    down, across = np.mgrid[-2:3, -2:3]
    wedge = (down > 0) * 1 + (across > 0) * 2 + (np.abs(down) > np.abs(across)) * 4
    means = [plane[2:7, 2:7][wedge == each].mean() for each in range(8)]
    assert sorted(means) == [1] * 4 + [3] * 4
    assert table["radial_cv_1"][0] == pytest.approx(0.5)


def test_steps_go_around_a_bay_and_neighbours_are_apart():
    labels = np.zeros((20, 30), int)
    labels[2:18, 2:15], labels[2:18, 15:28] = 3, 8
    plane = np.where(labels == 8, 5, 1)
    table = measure_radial(labels, plane)
    shares = np.sum([table[f"radial_fraction_{ring}"] for ring in (1, 2, 3, 4)], axis=0)
    assert shares == pytest.approx([1, 1])
    assert [table[f"radial_mean_{ring}"].round(9).tolist() for ring in (1, 4)] == [[1, 1], [1, 1]]
    bay = np.pad(np.ones((9, 9), bool), 1)
    bay[1:8, 5] = False  # a slit: the farther arm is reached around its end
    ring, centre = rings(bay, 4)
    assert ring[2, 10 - centre[1]] == 3


def test_what_is_not_defined_is_missing():
    table = measure_radial(np.array([[0, 1, 0]]), np.array([[9, 9, 9]]))
    assert table["radial_fraction_1"].tolist() == [1]
    assert np.isnan(table["radial_mean_2"]).all()
    assert np.isnan(measure_radial(np.ones((4, 4), int), np.zeros((4, 4)))["radial_mean_1"]).all()
    apart = np.zeros((12, 12), int)
    apart[1:6, 1:6] = apart[10, 10] = 1
    assert rings(apart > 0, 4)[0][10, 10] == 3
    assert measure_radial(apart * 0, apart)["radial_cv_1"].shape == (0,)


@pytest.mark.parametrize(("bins", "message"), [(0, "at least 1 ring"), (2, "height and width")])
def test_failures(bins: int, message: str):
    with pytest.raises(InputError, match=message):
        measure_radial(np.ones((3, 3), int), np.ones((3, 3 + bins)), bins=bins)
