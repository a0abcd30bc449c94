import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.app import edits
from nucseg.app.edits import (
    Change,
    brush_nucleus,
    draw_nucleus,
    erase_from_nucleus,
    merge_nuclei,
    remove_nucleus,
    split_nucleus,
)
from nucseg.errors import InputError


def applied(labels: np.ndarray, change: Change) -> np.ndarray:
    result = labels.copy()
    assert (result[change.window] == change.before).all()
    result[change.window] = change.after
    return result


def two() -> np.ndarray:
    labels = np.zeros((8, 12), np.int32)
    labels[1:5, 1:7] = 1
    labels[5:8, 4:9] = 2
    return labels


def test_remove_takes_the_nucleus_and_nothing_else():
    labels = two()
    change = remove_nucleus(labels, 1)
    assert (change.removed, change.added) == ([1], [])
    assert (applied(labels, change) == np.where(labels == 1, 0, labels)).all()
    assert (applied(applied(labels, change), change.reversed()) == labels).all()


@pytest.mark.parametrize("number", [0, 3])
def test_remove_what_is_not_there(number):
    with pytest.raises(InputError, match=f"no nucleus {number}"):
        remove_nucleus(two(), number)


def test_drawing_fills_pixels_whose_centre_is_inside():
    labels = np.zeros((6, 6), np.int32)
    change = draw_nucleus(labels, [(0.9, 1.6), (4.4, 1.6), (4.4, 3.4), (0.9, 3.4)], 5)
    expected = labels.copy()
    expected[2:3, 1:4] = 5
    assert (applied(labels, change) == expected).all()


def test_drawing_leaves_other_nuclei_and_keeps_the_largest_piece():
    labels = np.zeros((4, 10), np.int32)
    labels[:, 3] = 1
    after = applied(labels, draw_nucleus(labels, [(0, 0), (10, 0), (10, 4), (0, 4)], 2))
    assert (after[:, 3] == 1).all()
    assert (after[:, :3] == 0).all()
    assert (after[:, 4:] == 2).all()


def test_drawing_beyond_the_image_is_cut_off():
    labels = np.zeros((4, 4), np.int32)
    after = applied(labels, draw_nucleus(labels, [(-5, -5), (2, -5), (2, 2), (-5, 2)], 1))
    assert after.sum() == 4
    assert (after[:2, :2] == 1).all()


@pytest.mark.parametrize(
    ("outline", "message"),
    [
        ([(0, 0), (5, 5)], "three corners or more, got 2"),
        ([(2, 2), (5, 2), (5, 4)], "no free pixel"),
        ([(50, 50), (60, 50), (60, 60)], "no free pixel"),
        ([(0, 0), (float("nan"), 5), (5, 5)], "must be numbers"),
    ],
)
def test_outlines_that_make_no_nucleus(outline, message):
    with pytest.raises(InputError, match=message):
        draw_nucleus(two(), outline, 3)


def test_a_line_divides_a_nucleus_and_no_other():
    labels = two()
    change = split_nucleus(labels, [(3.5, -3), (3.5, 6)], 3)
    assert (change.removed, change.added) == ([1], [3, 4])
    after = applied(labels, change)
    assert ((after == 2) == (labels == 2)).all()
    assert set(np.unique(after[1:5, 1:3])) == {3}
    assert set(np.unique(after[1:5, 4:7])) == {4}


@given(
    st.lists(st.tuples(st.floats(-4, 30), st.floats(-4, 24)), min_size=2, max_size=6),
    st.integers(0, 99),
)
def test_dividing_loses_no_pixel(line, seed):
    rows, columns = np.mgrid[:20, :26]
    labels = ((rows - 10) ** 2 + (columns - 12) ** 2 < 80).astype(np.int32)
    labels[np.random.default_rng(seed).random(labels.shape) < 0.02] = 0
    try:
        change = split_nucleus(labels, line, 2)
    except InputError:
        return
    after = applied(labels, change)
    assert ((after > 0) == (labels > 0)).all()
    assert set(np.unique(after)) == {0, *change.added}
    assert len(change.added) >= 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ([(3, 3)], "two places or more, got 1"),
        ([(10, 0), (11, 3)], "crosses no nucleus"),
        ([(3.5, -1), (3.5, 3)], "does not divide"),
        ([(0.5, 1.2), (8.5, 1.2)], "does not divide"),
    ],
)
def test_lines_that_divide_nothing(line, message):
    with pytest.raises(InputError, match=message):
        split_nucleus(two(), line, 3)


def test_a_line_from_far_away_is_no_long_way():
    assert split_nucleus(two(), [(3.5, -1e9), (3.5, 4.8), (3.5, 5)], 3).added == [3, 4]


def apart(gap: int) -> np.ndarray:
    """Two nuclei beside each other, with a gap between."""
    labels = np.zeros((8, 20), np.int32)
    labels[2:6, 1:6] = 1
    labels[2:6, 6 + gap : 11 + gap] = 2
    return labels


@pytest.mark.parametrize("gap", [0, 1, 2])
def test_a_line_joins_the_nuclei_that_it_crosses(gap: int):
    labels = apart(gap)
    change = merge_nuclei(labels, [(2, 4), (12, 4)], 3)
    after = applied(labels, change)
    assert (change.removed, change.added) == ([1, 2], [3])
    assert (after[2:6, 1 : 11 + gap] == 3).all()
    assert np.count_nonzero(after) == 4 * (10 + gap)


def test_joining_takes_nothing_from_a_third_nucleus():
    labels = apart(2)
    labels[3, 6] = 4
    after = applied(labels, merge_nuclei(labels, [(2, 2.5), (12, 2.5)], 5))
    assert after[3, 6] == 4


@pytest.mark.parametrize(
    ("gap", "line", "message"),
    [
        (0, [(2, 4), (4, 4)], "crosses 1 nuclei"),
        (0, [(2, 0), (9, 0)], "crosses 0 nuclei"),
        (5, [(2, 4), (15, 4)], "lie apart"),
        (0, [(2, 4)], "two places or more"),
    ],
)
def test_lines_that_join_nothing(gap, line, message):
    with pytest.raises(InputError, match=message):
        merge_nuclei(apart(gap), line, 3)


def test_a_brush_adds_to_a_nucleus_and_leaves_the_others():
    labels = apart(2)
    change = brush_nucleus(labels, [(4, 4), (9, 4)], 2, 1, 3)
    after = applied(labels, change)
    assert (change.removed, change.added) == ([1], [3])
    assert (after[2:6, 6:8] == 3).all()
    assert ((after == 2) == (labels == 2)).all()
    assert ((after == 3) >= (labels == 1)).all()


def test_a_brush_adds_only_what_hangs_together():
    labels = apart(9)
    with pytest.raises(InputError, match="adds nothing"):
        brush_nucleus(labels, [(11, 4), (12, 4)], 1, 1, 3)


def test_an_eraser_takes_from_a_nucleus_and_no_other():
    labels = apart(0)
    after = applied(labels, erase_from_nucleus(labels, [(5.5, 0), (5.5, 8)], 0.5, 1, 3))
    assert np.count_nonzero(after == 3) == 16
    assert ((after == 2) == (labels == 2)).all()


def test_an_eraser_keeps_the_largest_piece_or_nothing():
    labels = apart(5)
    change = erase_from_nucleus(labels, [(2.5, 0), (2.5, 8)], 0.5, 1, 3)
    assert np.count_nonzero(applied(labels, change) == 3) == 12
    gone = erase_from_nucleus(labels, [(1, 4), (6, 4)], 9, 1, 3)
    assert (gone.removed, gone.added) == ([1], [])


@given(
    st.lists(st.tuples(st.floats(-9, 40), st.floats(-9, 30)), min_size=1, max_size=5),
    st.floats(0, 12),
)
def test_a_stroke_reaches_as_far_as_its_radius(stroke, radius):
    rows, columns = np.mgrid[:24, :32]
    labels = ((rows - 12) ** 2 + (columns - 14) ** 2 < 40).astype(np.int32)
    labels[2:5, 25:30] = 2
    places = np.stack([rows, columns], axis=-1).reshape(-1, 2)
    passed = np.stack(edits._line_pixels([*stroke, stroke[-1]], labels.shape), axis=-1)
    away = np.linalg.norm(places[:, None] - passed[None], axis=-1).min(axis=1, initial=np.inf)
    brushed = (away <= radius).reshape(labels.shape)
    try:
        after = applied(labels, brush_nucleus(labels, stroke, radius, 1, 3))
        assert ((after == 3) <= ((labels == 1) | brushed)).all()
        assert ((after == 2) == (labels == 2)).all()
        assert ((labels == 1) <= (after == 3)).all()
    except InputError:
        pass
    try:
        after = applied(labels, erase_from_nucleus(labels, stroke, radius, 1, 3))
    except InputError:
        assert not (brushed & (labels == 1)).any()
        return
    assert not (brushed & (after == 3)).any()
    assert ((after == 2) == (labels == 2)).all()


@pytest.mark.parametrize("change", [brush_nucleus, erase_from_nucleus])
@pytest.mark.parametrize("number", [0, 7])
def test_painting_needs_a_nucleus(change, number: int):
    with pytest.raises(InputError, match="Select the nucleus"):
        change(apart(0), [(4, 4)], 2, number, 3)
    with pytest.raises(InputError, match="nothing"):
        change(apart(9), [(-50, 4)], 2, 1, 3)
