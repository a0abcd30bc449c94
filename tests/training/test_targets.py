import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucseg.config import INSTANCE_MAPS, OFFSET_RANGE
from nucseg.training.targets import (
    centre_offsets,
    foreground,
    instance_maps,
    inverse_radius,
    training_targets,
)

LABELS = hnp.arrays(
    np.int32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.sampled_from([0, 0, 1, 2, 900]),
)


def maps_of(labels):
    return np.moveaxis(instance_maps(np.array(labels)), -1, 0)[:3]


def test_every_nucleus_is_foreground():
    mask = foreground(np.array([[0, 1], [300, 0]]))
    assert mask.dtype == np.float32
    assert mask[..., 0].tolist() == [[0, 1], [1, 0]]


def test_distance_of_one_nucleus_rises_from_its_outline_to_1():
    labels = np.zeros((7, 7), int)
    labels[1:6, 1:6] = 4
    nucleus, border, distance = maps_of(labels)
    np.testing.assert_array_equal(nucleus, labels > 0)
    assert not border.any()
    assert distance[3].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0])
    assert distance[1, 1:6].tolist() == pytest.approx([1 / 3] * 5)


def test_touching_nuclei_each_have_their_own_distance_and_a_border_between():
    labels = np.repeat([[1] * 8 + [2] * 8], 3, axis=0)
    _, border, distance = maps_of(labels)
    # The edge of the image is no outline, so each rises away from the other alone.
    assert distance[1].tolist() == pytest.approx([k / 8 for k in (*range(8, 0, -1), *range(1, 9))])
    assert border[1].tolist() == [0] * 6 + [1] * 4 + [0] * 6


@pytest.mark.parametrize(("gap", "expected"), [(2, [0, 0, 0, 1, 1, 0, 0, 0]), (4, [0] * 10)])
def test_border_lies_in_narrow_gaps_alone(gap, expected):
    border = maps_of([[1] * 3 + [0] * gap + [2] * 3])[1]
    assert border[0].tolist() == expected


def test_tiny_nuclei_keep_their_cores_out_of_the_border():
    labels = np.zeros((5, 8), int)
    labels[1:4, 1:4], labels[1:4, 4:7] = 1, 2
    border = maps_of(labels)[1]
    assert border[2].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("labels", [np.zeros((3, 4), int), np.ones((3, 4), np.uint16)])
def test_nothing_and_a_nucleus_that_fills_the_image(labels):
    nucleus, border, distance = maps_of(labels)
    np.testing.assert_array_equal(nucleus, labels)
    np.testing.assert_array_equal(distance, labels)
    assert not border.any()


@given(LABELS)
def test_distance_reaches_1_in_each_nucleus_and_no_further(labels):
    maps = instance_maps(labels)
    nucleus, border, distance, *_ = np.moveaxis(maps, -1, 0)
    assert (maps.dtype, maps.shape) == (np.float32, (*labels.shape, 5))
    assert ((distance > 0) == (labels > 0)).all()
    assert all(distance[labels == label].max() == 1 for label in np.unique(labels[labels > 0]))
    assert (border[distance > 0.5] == 0).all()
    assert ((nucleus > 0) == (labels > 0)).all()


@given(LABELS, st.integers(0, 3), st.booleans())
def test_maps_turn_with_the_labels(labels, turns, flip):
    def turn(array):
        turned = np.rot90(array, turns)
        return turned[::-1] if flip else turned

    np.testing.assert_array_equal(maps_of(turn(labels)), [turn(each) for each in maps_of(labels)])


@given(LABELS)
def test_every_pixel_of_a_nucleus_points_at_its_centroid(labels):
    offsets = (centre_offsets(labels) - 0.5) * 2 * OFFSET_RANGE
    assert (offsets[labels == 0] == 0).all()
    places = np.moveaxis(np.indices(labels.shape), 0, -1) + offsets
    for label in np.unique(labels[labels > 0]):
        centroid = np.argwhere(labels == label).mean(axis=0)
        np.testing.assert_allclose(
            places[labels == label], np.broadcast_to(centroid, (np.sum(labels == label), 2)),
            atol=1e-4,
        )  # fmt: skip


def test_offsets_beyond_their_range_are_cut_off():
    offsets = centre_offsets(np.ones((1, 4 * OFFSET_RANGE), int))
    assert offsets[0, 0].tolist() == [0.5, 1]
    assert offsets[0, -1].tolist() == [0.5, 0]


def test_inverse_radius_of_discs():
    row, column = np.ogrid[-30:31, -30:31]
    labels = (row**2 + column**2 <= 20**2).astype(int) * 5
    inverse = inverse_radius(labels)[..., 0]
    assert 1 / inverse[30, 30] == pytest.approx(20, rel=0.01)
    assert (inverse[labels == 0] == 0).all()


def test_training_targets_come_in_the_order_of_their_names():
    labels = np.repeat([[0, 1, 1, 2, 2, 0]], 3, axis=0)
    maps = instance_maps(labels)
    targets = training_targets(labels, ("row_offset", "nucleus"))
    expected = [maps[..., INSTANCE_MAPS.index("row_offset")], maps[..., 0]]
    np.testing.assert_array_equal(np.moveaxis(targets, -1, 0)[:2], expected)
    np.testing.assert_array_equal(targets[..., 2:], inverse_radius(labels))
