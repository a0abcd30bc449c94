import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from nucseg.config import ConnectedComponents, Filtering, Watershed
from nucseg.core.filters import kept_nuclei

LABELS = np.array(
    [
        [1, 1, 0, 0, 0, 0],
        [1, 0, 0, 2, 2, 0],
        [0, 0, 0, 2, 2, 0],
        [0, 3, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 4],
    ],
    np.int32,
)
SCORES = np.array([0.9, 0.8, 0.3, 0.2], np.float32)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, [1, 2, 3, 4]),
        ({"max_area": 4}, [1, 2, 3, 4]),
        ({"max_area": 3}, [1, 3, 4]),
        ({"max_area": 1}, [3, 4]),
        ({"border_nuclei": "drop"}, [2, 3]),
        ({"min_score": 0.25}, [1, 2, 3]),
        ({"min_score": 0.25, "max_area": 3, "border_nuclei": "drop"}, [3]),
        ({"min_score": 0.95}, []),
    ],
)
def test_kept_by_hand(settings: dict, kept: list[int]):
    labels, scores = kept_nuclei(LABELS, SCORES, Filtering(**settings))
    np.testing.assert_array_equal(scores, SCORES[[number - 1 for number in kept]])
    expected = np.zeros_like(LABELS)
    for number, before in enumerate(kept, start=1):
        expected[before == LABELS] = number
    np.testing.assert_array_equal(labels, expected)
    assert (labels.dtype, scores.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("edge", [(0, 2), (4, 2), (2, 0), (2, 4)])
def test_each_edge_of_the_image_is_a_border(edge: tuple[int, int]):
    labels = np.zeros((5, 5), np.int32)
    labels[edge] = 1
    labels[2, 2] = 2
    kept, _ = kept_nuclei(labels, np.ones(2, np.float32), Filtering(border_nuclei="drop"))
    assert (kept[2, 2], kept.sum()) == (1, 1)


def test_no_nuclei():
    labels, scores = np.zeros((3, 4), np.int32), np.zeros(0, np.float32)
    every = Filtering(min_score=0.5, max_area=1, border_nuclei="drop")
    kept, kept_scores = kept_nuclei(labels, scores, every)
    assert (kept.shape, kept.max(), len(kept_scores)) == ((3, 4), 0, 0)


@given(
    hnp.arrays(
        np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7), elements=st.integers(0, 5)
    ),
    st.integers(1, 6),
    st.sampled_from(["keep", "drop"]),
)
def test_what_is_kept_is_unchanged_and_consecutive(labels, max_area, border_nuclei):
    numbers = np.unique(labels[labels > 0])
    labels = np.searchsorted(np.append(0, numbers), labels).astype(np.int32)
    scores = np.arange(1, len(numbers) + 1, dtype=np.float32) / 10
    settings = Filtering(max_area=max_area, border_nuclei=border_nuclei)
    kept, kept_scores = kept_nuclei(labels, scores, settings)
    assert np.unique(kept[kept > 0]).tolist() == list(range(1, len(kept_scores) + 1))
    for number, score in enumerate(kept_scores, start=1):
        before = labels == round(score * 10)
        np.testing.assert_array_equal(kept == number, before)
        assert before.sum() <= max_area
        assert border_nuclei == "keep" or before[1:-1, 1:-1].sum() == before.sum()
    again, _ = kept_nuclei(kept, kept_scores, settings)
    np.testing.assert_array_equal(again, kept)


@pytest.mark.parametrize("method", [ConnectedComponents, Watershed])
def test_both_methods_have_the_filters_and_keep_all_by_default(method):
    assert method().model_dump().items() >= Filtering().model_dump().items()
    assert kept_nuclei(LABELS, SCORES, method())[0] is LABELS
    assert method(max_area="none").max_area is None
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        method(max_area=0)
    with pytest.raises(ValidationError, match="'keep' or 'drop'"):
        method(border_nuclei="cut")
