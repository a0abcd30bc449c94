import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from nucseg.core import outlines as module
from nucseg.core.outlines import Polygon, outlines
from nucseg.errors import InputError

# Few labels in few pixels, so that there are holes, pieces and pixels that meet in a corner.
LABELS = hnp.arrays(
    st.sampled_from([np.uint8, np.uint16, np.uint32, np.int32, np.int64]),
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.integers(0, 3),
)


def traced(labels: np.ndarray) -> dict[int, list[list[list[list[int]]]]]:
    return {
        number: [[ring.tolist() for ring in rings] for rings in polygons]
        for number, polygons in outlines(labels)
    }


def geometry(polygons: list[Polygon]) -> shapely.MultiPolygon:
    return shapely.MultiPolygon([(rings[0], rings[1:]) for rings in polygons])


def drawn(polygons: list[Polygon], shape: tuple[int, ...]) -> np.ndarray:
    """Pixels whose centres lie in the polygons, as another program finds them."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    return shapely.contains_xy(geometry(polygons), x, y)


@settings(max_examples=300)
@given(LABELS, st.sampled_from([1, 2, 512]))
def test_polygons_give_back_the_same_pixels(labels: np.ndarray, band: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BAND", band)
        found = list(outlines(labels))
    assert [number for number, _ in found] == sorted(set(labels[labels > 0].tolist()))
    for number, polygons in found:
        np.testing.assert_array_equal(drawn(polygons, labels.shape), labels == number)


@settings(max_examples=300)
@given(LABELS)
def test_polygons_are_valid_pieces_that_turn_at_every_corner(labels: np.ndarray):
    for number, polygons in outlines(labels):
        assert shapely.is_valid_reason(geometry(polygons)) == "Valid Geometry"
        assert len(polygons) == ndimage.label(labels == number)[1]
        for rings in polygons:
            turns = [shapely.LinearRing(ring).is_ccw for ring in rings]
            # Counterclockwise as the numbers are, clockwise on a screen, where y points down.
            assert turns == [True] + [False] * (len(rings) - 1)
            for ring in rings:
                steps = np.roll(ring, -1, axis=0) - ring
                across = steps[:, 0] != 0
                np.testing.assert_array_equal(across, steps[:, 1] == 0)
                np.testing.assert_array_equal(across, ~np.roll(across, 1))


def test_a_pixel_is_the_square_from_its_column_and_row():
    assert traced(np.array([[0, 0], [0, 5]])) == {5: [[[[1, 1], [2, 1], [2, 2], [1, 2]]]]}


def test_a_hole_goes_round_the_other_way():
    ring = np.ones((3, 3), int)
    ring[1, 1] = 0
    outer = [[0, 0], [3, 0], [3, 3], [0, 3]]
    ((exterior, hole),) = traced(ring)[1]
    assert exterior == outer
    assert sorted(hole) == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_pixels_that_meet_in_a_corner_are_pieces():
    first, second = [[0, 0], [1, 0], [1, 1], [0, 1]], [[1, 1], [2, 1], [2, 2], [1, 2]]
    assert traced(np.eye(2, dtype=int)) == {1: [[first], [second]]}


def test_an_outline_that_comes_back_to_a_corner_leaves_a_hole():
    labels = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]])
    (((exterior, hole),),) = traced(labels).values()
    assert exterior == [[0, 0], [3, 0], [3, 2], [2, 2], [2, 3], [0, 3]]
    assert sorted(hole) == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_holes_are_those_of_their_piece():
    frame = np.ones((7, 7), int)
    frame[1:6, 1:6] = 0
    frame[2:5, 2:5] = 1
    frame[3, 3] = 0
    outer, inner = traced(frame)[1]
    assert [len(outer), len(inner)] == [2, 2]
    assert outer[0] == [[0, 0], [7, 0], [7, 7], [0, 7]]
    assert inner[0] == [[2, 2], [5, 2], [5, 5], [2, 5]]


def test_touching_nuclei_share_an_edge():
    found = traced(np.array([[1, 1, 2]]))
    assert found[1] == [[[[0, 0], [2, 0], [2, 1], [0, 1]]]]
    assert found[2] == [[[[2, 0], [3, 0], [3, 1], [2, 1]]]]


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (0, 4), (4, 0)])
def test_an_image_without_nuclei_has_no_outlines(shape: tuple[int, int]):
    assert traced(np.zeros(shape, np.uint16)) == {}


def test_large_labels_and_negative_ones():
    assert list(traced(np.array([[-4, 2**40, 70_000]]))) == [70_000, 2**40]


@pytest.mark.parametrize("labels", [np.zeros(3, int), np.zeros((2, 2, 3), int), np.zeros((2, 2))])
def test_what_is_no_label_image(labels: np.ndarray):
    with pytest.raises(InputError, match="Expected a label image of whole numbers"):
        list(outlines(labels))
