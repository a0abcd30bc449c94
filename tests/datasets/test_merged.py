import numpy as np
import pytest

from nucseg.core.labelling import UNKNOWN
from nucseg.datasets.merged import part_merged, seem_merged, touching


def discs(*centres, radius=10, shape=(120, 120)):
    """Connected pieces of discs, as a binary mask has them."""
    from skimage.measure import label

    rows, columns = np.indices(shape)
    mask = np.zeros(shape, bool)
    for row, column in centres:
        mask |= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return label(mask).astype(np.int32)


def test_two_nuclei_of_one_piece_are_parted_between_them():
    labels = discs((40, 30), (40, 47), (90, 90))
    assert labels.max() == 2
    parted = part_merged(labels)
    assert sorted(np.unique(parted)) == [0, 1, 2, 3]
    assert parted[40, 24] != parted[40, 53]
    assert parted[90, 90] == labels[90, 90]
    areas = np.bincount(parted.ravel())[1:]
    assert areas.min() > 0.8 * areas.max()
    np.testing.assert_array_equal(parted > 0, labels > 0)
    assert labels.max() == 2  # what is given stays


def test_a_piece_of_no_clear_parts_is_not_known():
    labels = discs((90, 90))
    labels[10:50, 10:14] = labels[10:14, 10:50] = 2  # an angle
    parted = part_merged(labels)
    assert (parted[labels == 2] == UNKNOWN).all()
    assert (parted[labels == 1] == 1).all()


def test_specks_are_not_known_and_round_nuclei_stay():
    labels = discs((30, 30), (80, 80))
    labels[100:103, 20:23] = 3
    parted = part_merged(labels)
    assert (parted[labels == 3] == UNKNOWN).all()
    np.testing.assert_array_equal(parted[labels < 3], labels[labels < 3])
    assert not part_merged(np.zeros((9, 9), np.int32)).any()


def test_nuclei_touch_side_by_side():
    assert touching(np.array([[1, 2]]))
    assert touching(np.array([[1], [2]]))
    assert not touching(np.array([[1, 0, 2]]))
    assert not touching(np.zeros((3, 3), int))


@pytest.mark.parametrize(("waists", "seems"), [(0, False), (20, True)])
def test_a_set_without_touching_nuclei_but_with_waists_seems_merged(waists, seems):
    images = [discs((30, 30), (30, 90), (90, 30), (90, 90)) for _ in range(60)]
    waist = discs((40, 40), (40, 57), (57, 40), (90, 90))
    images[:waists] = [waist.copy() for _ in range(waists)]
    assert seem_merged(images) == seems
    images[0][:, :60] = 7
    images[0][:, 60:] = 8
    assert not seem_merged(images)  # two that touch are told apart
