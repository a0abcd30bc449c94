"""The table of shared pixels, and the kinds of error read from it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucseg.core.overlap import find_errors, overlap
from nucseg.errors import InputError


def row(*values: int) -> npt.NDArray[np.int64]:
    return np.array([values])


def errors(truth: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> dict[str, list[int]]:
    named = find_errors(overlap(truth, found))._asdict()
    return {kind: labels.tolist() for kind, labels in named.items() if labels.size}


@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(*[hnp.arrays(np.int64, n, elements=st.integers(0, 4))] * 2)
    ),
    st.sampled_from([1, 1000]),
    st.sampled_from([np.uint16, np.int32, np.uint64]),
)
def test_the_table_holds_each_count(pair, factor, dtype) -> None:  # type: ignore[no-untyped-def]
    truth, found = pair
    table = overlap((truth * factor).astype(dtype), found.astype(dtype))
    assert table.true_labels.tolist() == sorted(set((truth * factor).tolist()) - {0})
    assert table.true_areas.tolist() == [np.sum(truth * factor == t) for t in table.true_labels]
    assert table.predicted_areas.tolist() == [np.sum(found == p) for p in table.predicted_labels]
    dense = np.zeros((table.true_labels.size, table.predicted_labels.size), int)
    dense[table.rows, table.columns] = table.pixels
    expected = [
        [np.sum((truth * factor == t) & (found == p)) for p in table.predicted_labels]
        for t in table.true_labels
    ]
    assert dense.tolist() == expected
    assert (table.pixels > 0).all()


def test_an_image_of_no_pixels_has_an_empty_table() -> None:
    empty = np.zeros((0, 5), np.uint16)
    assert overlap(empty, empty).iou.size == 0


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        (row(1, 1, 0, 2), row(1, 1, 0, 2), {}),
        (row(1, 1, 0, 2), row(1, 1, 0, 0), {"missed": [2]}),
        (row(1, 1, 0, 0), row(1, 1, 0, 5), {"extra": [5]}),
        (row(1, 1, 2, 2), row(7, 7, 7, 7), {"merged": [7]}),
        (row(1, 1, 1, 1), row(7, 7, 8, 8), {"split": [1]}),
        (row(1, 1, 1, 1, 1, 2), row(7, 7, 7, 7, 7, 7), {"merged": [7]}),
        (row(1, 1, 1, 1, 1, 1), row(7, 7, 7, 7, 7, 8), {"split": [1]}),
        (row(1, 1, 1, 1, 0, 0), row(0, 0, 0, 6, 6, 6), {"missed": [1], "extra": [6]}),
        (row(0, 0), row(0, 0), {}),
    ],
    ids=[
        "right",
        "missed",
        "extra",
        "merged",
        "split",
        "merged though one fits",
        "split though one fits",
        "badly outlined",
        "empty",
    ],
)
def test_each_kind_of_error(
    truth: npt.NDArray[np.int64], found: npt.NDArray[np.int64], expected: dict[str, list[int]]
) -> None:
    assert errors(truth, found) == expected


def test_truth_and_prediction_must_be_label_images_of_one_shape() -> None:
    with pytest.raises(InputError, match=r"same shape, not \(1, 2\) and \(1, 3\)"):
        overlap(row(1, 1), row(1, 1, 1))
    with pytest.raises(InputError, match=r"prediction must hold labels .* float64"):
        overlap(row(1), np.array([[0.5]]))
    with pytest.raises(InputError, match="truth holds negative labels"):
        overlap(row(-1), row(1))
