"""The figures against cases computed by hand, against their properties, and against StarDist."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucseg.errors import InputError
from nucseg.evaluation import metrics
from nucseg.evaluation.metrics import (
    Matching,
    PixelCounts,
    aggregated_jaccard,
    kaggle_map,
    match,
    overlap,
)

LABELS = hnp.arrays(
    np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(0, 6)
)
PAIRS = hnp.array_shapes(min_dims=2, max_dims=2, max_side=8).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.int32, shape, elements=st.integers(0, 5)),
        hnp.arrays(np.int32, shape, elements=st.integers(0, 5)),
    )
)


def row(*values: int) -> npt.NDArray[np.int64]:
    return np.array([values])


def test_two_masks_by_hand() -> None:
    counts = metrics.pixel_counts(row(1, 1, 1, 0, 0), row(0, 7, 7, 7, 0))
    assert counts == PixelCounts(2, 1, 1, 1)
    assert counts.iou == 2 / 4
    assert counts.dice == 4 / 6
    assert counts.accuracy == 3 / 5
    assert counts.precision == counts.recall == 2 / 3


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        (row(0, 0), row(0, 0), (1, 1, 1, 1, 1)),
        (row(1, 1), row(0, 0), (0, 0, 0, 0, 0)),
        (row(0, 0), row(1, 1), (0, 0, 0, 0, 0)),
        (row(0, 1), row(0, 1), (1, 1, 1, 1, 1)),
    ],
    ids=["both empty", "nothing found", "nothing there", "perfect"],
)
def test_masks_at_the_edges(
    truth: npt.NDArray[np.int64], prediction: npt.NDArray[np.int64], expected: tuple[float, ...]
) -> None:
    counts = metrics.pixel_counts(truth, prediction)
    figures = counts.dice, counts.iou, counts.accuracy, counts.precision, counts.recall
    assert figures == expected


def test_boolean_masks_count_like_integers() -> None:
    truth = row(0, 3, 3)
    assert metrics.pixel_counts(truth > 0, truth > 0) == metrics.pixel_counts(truth, truth)


def test_three_nuclei_by_hand() -> None:
    #              IoU 3/4           IoU 1/2     missed    extra
    truth = row(1, 1, 1, 1, 0, 2, 2, 0, 3, 3, 0, 0)
    found = row(8, 8, 8, 0, 0, 9, 0, 0, 0, 0, 0, 4)
    table = overlap(truth, found)
    assert table.iou.tolist() == [3 / 4, 1 / 2]
    assert table.count_error == 0
    matching = match(table, 0.5)
    assert matching == Matching(1, 2, 2, 0.75)
    assert matching.average_precision == 1 / 5
    assert matching.f1 == matching.precision == matching.recall == 1 / 3
    assert matching.panoptic_quality == 0.75 / 3
    # AP is 1/5 below .75, and 0 from there on, where the IoU of 3/4 is no longer greater.
    assert kaggle_map(table) == pytest.approx(5 * (1 / 5) / 10)
    # Shared 3 + 1; united 4 + 2, and the missed nucleus of 2 and the extra one of 1.
    assert aggregated_jaccard(table) == 4 / 9


def test_an_iou_equal_to_the_threshold_is_no_match() -> None:
    for shared, threshold in ((10, 0.5), (11, 0.55), (12, 0.6), (14, 0.7), (17, 0.85), (19, 0.95)):
        truth = row(*[1] * 20)
        found = row(*[1] * shared, *[0] * (20 - shared))
        table = overlap(truth, found)
        assert match(table, threshold).true_positives == 0
        assert match(table, float(np.nextafter(threshold, 0))).true_positives == 1


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.95])
def test_an_image_without_nuclei_scores_one_where_none_are_found(threshold: float) -> None:
    empty = np.zeros((3, 3), np.uint16)
    matching = match(overlap(empty, empty), threshold)
    assert matching == Matching(0, 0, 0, 0)
    assert matching.average_precision == matching.f1 == matching.panoptic_quality == 1
    assert kaggle_map(overlap(empty, empty)) == aggregated_jaccard(overlap(empty, empty)) == 1
    one = np.ones((3, 3), np.uint16)
    for table in (overlap(one, empty), overlap(empty, one)):
        assert match(table, threshold).average_precision == 0
        assert match(table, threshold).panoptic_quality == 0
        assert kaggle_map(table) == aggregated_jaccard(table) == 0


def test_below_one_half_the_most_pairs_are_matched() -> None:
    # Nucleus 1 overlaps both found ones, nucleus 2 only the first, which 1 fits better: taking the
    # best pair first would leave 2 alone.
    truth = row(1, 1, 1, 1, 1, 2, 2)
    found = row(6, 6, 5, 5, 5, 5, 5)
    table = overlap(truth, found)
    assert table.iou.tolist() == pytest.approx([3 / 7, 2 / 5, 2 / 5])
    assert match(table, 0.3) == Matching(2, 0, 0, pytest.approx(4 / 5))
    assert match(table, 0.41) == Matching(1, 1, 1, pytest.approx(3 / 7))


def test_of_equally_many_pairs_those_of_greatest_iou_are_matched() -> None:
    truth = row(1, 1, 1, 1, 2, 2, 2, 2)
    found = row(5, 5, 5, 6, 6, 6, 5, 6)
    table = overlap(truth, found)
    assert match(table, 0.1) == Matching(2, 0, 0, pytest.approx(3 / 5 + 3 / 5))


def test_aji_lets_one_found_nucleus_serve_two_true_ones() -> None:
    # Both true nuclei take the one that covers them: shared 2 + 2, united 4 + 4.
    assert aggregated_jaccard(overlap(row(1, 1, 2, 2), row(3, 3, 3, 3))) == 4 / 8


def test_pooled_figures_weigh_nuclei_and_not_images() -> None:
    pooled = metrics.pool([Matching(9, 0, 0, 9.0), Matching(0, 1, 0, 0.0)])
    assert pooled == Matching(9, 1, 0, 9.0)
    assert pooled.average_precision == 0.9
    masks = metrics.pool([PixelCounts(1, 2, 3, 4), PixelCounts(1, 0, 0, 0)])
    assert masks == PixelCounts(2, 2, 3, 4)


def test_pooling_nothing_is_an_error() -> None:
    with pytest.raises(InputError, match="at least one image"):
        metrics.pool(iter(list[Matching]()))


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_a_threshold_out_of_range_is_an_error(threshold: float) -> None:
    with pytest.raises(InputError, match="from 0 to below 1"):
        match(overlap(row(1), row(1)), threshold)


@given(LABELS)
def test_a_perfect_prediction_scores_one(labels: npt.NDArray[np.int32]) -> None:
    table = overlap(labels, labels)
    assert kaggle_map(table) == aggregated_jaccard(table) == 1
    for threshold in (0.0, 0.25, 0.5, 0.99):
        matching = match(table, threshold)
        assert matching.average_precision == matching.f1 == matching.panoptic_quality == 1
    assert metrics.pixel_counts(labels, labels).dice == 1


@given(PAIRS, st.randoms(use_true_random=False), st.sampled_from([0.0, 0.2, 0.45, 0.5, 0.75]))
def test_names_of_the_labels_do_not_matter(pair, random, threshold) -> None:  # type: ignore[no-untyped-def]
    truth, found = pair
    names = np.array([0, *random.sample(range(1, 10**6), 5)])
    before, after = overlap(truth, found), overlap(names[truth], names[found[:, ::-1]][:, ::-1])
    first, second = match(before, threshold), match(after, threshold)
    assert first.true_positives == second.true_positives
    assert first.iou_sum == pytest.approx(second.iou_sum)
    assert kaggle_map(before) == kaggle_map(after)


@given(PAIRS, st.sampled_from([0.0, 0.2, 0.45, 0.5, 0.75]))
def test_swapping_truth_and_prediction_swaps_the_mistakes(pair, threshold) -> None:  # type: ignore[no-untyped-def]
    truth, found = pair
    there, back = match(overlap(truth, found), threshold), match(overlap(found, truth), threshold)
    assert there.true_positives == back.true_positives
    assert there.false_positives == back.false_negatives
    assert there.iou_sum == pytest.approx(back.iou_sum)
    assert there.average_precision == back.average_precision


@given(PAIRS)
def test_a_higher_threshold_never_matches_more(pair) -> None:  # type: ignore[no-untyped-def]
    table = overlap(*pair)
    found = [match(table, t).true_positives for t in (0.0, 0.1, 0.3, 0.49, 0.5, 0.7, 0.9)]
    assert found == sorted(found, reverse=True)


def random_pair(rng: np.random.Generator) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Random rectangles, and the same ones moved, resized, some dropped and some new."""
    size = 64
    truth, found = np.zeros((size, size), np.int32), np.zeros((size, size), np.int32)
    for label in range(1, rng.integers(2, 30)):
        row, column = rng.integers(0, size - 8, 2)
        height, width = rng.integers(3, 14, 2)
        if label == 1 or rng.random() < 0.9:
            truth[row : row + height, column : column + width] = label
        if rng.random() < 0.9:
            row, column = np.maximum(0, np.array([row, column]) + rng.integers(-2, 3, 2))
            height, width = np.maximum(1, np.array([height, width]) + rng.integers(-2, 3, 2))
            found[row : row + height, column : column + width] = rng.integers(1, 40)
    return truth, found


THRESHOLDS = [t + 1e-5 for t in (0.0, 0.1, 0.3, 0.45, *metrics.KAGGLE_THRESHOLDS)]


def test_the_figures_equal_those_of_stardist() -> None:
    # StarDist counts an IoU that equals the threshold, nucseg does not: no fraction of areas this
    # small lies within 1e-5 above one of these thresholds without equalling it. Images without any
    # nucleus are left out: StarDist gives them 0, nucseg 1.
    stardist = pytest.importorskip("stardist.matching")
    rng = np.random.default_rng(0)
    pairs = [random_pair(rng) for _ in range(200)]
    pairs.append((np.zeros((4, 4), np.int32), np.ones((4, 4), np.int32)))
    ours = [[match(overlap(*pair), t) for t in THRESHOLDS] for pair in pairs]
    for pair, matchings in zip(pairs, ours, strict=True):
        for mine, theirs in zip(
            matchings, stardist.matching(*pair, thresh=THRESHOLDS), strict=True
        ):
            assert mine.true_positives == theirs.tp
            assert mine.false_positives == theirs.fp
            assert mine.false_negatives == theirs.fn
            assert mine.average_precision == pytest.approx(theirs.accuracy, abs=1e-6)
            assert mine.precision == pytest.approx(theirs.precision, abs=1e-6)
            assert mine.recall == pytest.approx(theirs.recall, abs=1e-6)
            assert mine.f1 == pytest.approx(theirs.f1, abs=1e-6)
            if theirs.thresh > 0.5:  # below, they let pairs that do not match break ties
                expected = theirs.panoptic_quality
                assert mine.panoptic_quality == pytest.approx(expected, abs=1e-6)
    dataset = stardist.matching_dataset(*zip(*pairs, strict=True), THRESHOLDS, show_progress=False)
    for matchings, theirs in zip(zip(*ours, strict=True), dataset, strict=True):
        pooled = metrics.pool(matchings)
        assert pooled.true_positives == theirs.tp
        assert pooled.average_precision == pytest.approx(theirs.accuracy, abs=1e-6)
        assert pooled.f1 == pytest.approx(theirs.f1, abs=1e-6)
        if theirs.thresh > 0.5:
            assert pooled.panoptic_quality == pytest.approx(theirs.panoptic_quality, abs=1e-6)


@settings(max_examples=5)
@given(st.integers(0, 100))
def test_ten_thousand_nuclei_take_no_table_of_all_pairs(seed: int) -> None:
    # 10,000 by 10,000 pairs of float64 would be 800 MB.
    labels = np.arange(1, 10_001, dtype=np.int32).reshape(100, 100).repeat(3, 0).repeat(3, 1)
    moved = np.roll(labels, 1 + seed % 2, axis=seed % 2)
    table = overlap(labels, moved)
    assert table.pixels.size < 30_000
    assert match(table, 0.1).true_positives > 9_000


def test_the_former_place_still_works_with_a_warning() -> None:
    from nucseg import metrics as former

    with pytest.warns(DeprecationWarning, match="import match from nucseg.evaluation.metrics"):
        assert former.match is match
    with pytest.raises(AttributeError, match="nothing"):
        _ = former.nothing
