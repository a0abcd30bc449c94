import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucseg.config import ConnectedComponents
from nucseg.inference.instances import connected_components, mean_scores

EVERY_PIXEL = ConnectedComponents(min_area=0)


def test_nuclei_that_touch_by_a_corner_stay_apart():
    probability = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)
    assert connected_components(probability, EVERY_PIXEL).tolist() == [[1, 0], [0, 2]]


def test_small_components_are_dropped_and_the_rest_renumbered():
    probability = np.array([[1, 0, 1, 1, 0, 1], [0, 0, 1, 1, 0, 1]], np.float32)
    labels = connected_components(probability, ConnectedComponents(min_area=2))
    assert labels.tolist() == [[0, 0, 1, 1, 0, 2], [0, 0, 1, 1, 0, 2]]
    assert labels.dtype == np.int32


def test_threshold_itself_counts():
    probability = np.array([[0.5, 0.49]], np.float32)
    assert connected_components(probability, EVERY_PIXEL).tolist() == [[1, 0]]


def test_nothing_above_the_threshold():
    labels = connected_components(np.zeros((3, 4), np.float32), EVERY_PIXEL)
    assert not labels.any()
    assert mean_scores(labels, np.zeros((3, 4), np.float32)).shape == (0,)


def test_score_is_the_mean_inside_the_nucleus():
    labels = np.array([[1, 1, 0, 2]])
    probability = np.array([[0.5, 1.0, 0.2, 0.75]], np.float32)
    assert mean_scores(labels, probability).tolist() == pytest.approx([0.75, 0.75])


@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(0, 1, width=32)
    ),
    st.integers(0, 6),
)
def test_labels_are_consecutive_large_enough_and_above_the_threshold(probability, min_area):
    labels = connected_components(probability, ConnectedComponents(min_area=min_area))
    areas = np.bincount(labels.ravel())[1:]
    assert (areas >= max(min_area, 1)).all()
    assert (probability[labels > 0] >= 0.5).all()
    scores = mean_scores(labels, probability)
    assert len(scores) == labels.max()
    assert ((scores >= 0.5) & (scores <= 1)).all()
