"""Effects: equal to SciPy's by hand, with intervals that hold what they promise."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nucseg.analysis.effects import cautious_p, effect, effect_in_blocks, holm, welch_p
from nucseg.errors import InputError


def test_few_replicates_give_welch_s_interval():
    values, control = [5.0, 6.0, 7.5], [4.0, 4.5, 3.0, 4.2]
    found = effect(values, control)
    theirs = stats.ttest_ind(values, control, equal_var=False)
    student = stats.ttest_ind(values, control)
    assert found.p == pytest.approx(max(theirs.pvalue, student.pvalue))
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval()))
    assert found.difference == pytest.approx(np.mean(values) - np.mean(control))
    assert found.percent == pytest.approx(100 * found.difference / np.mean(control))
    assert (found.n, found.control_n, found.method) == (3, 4, "Welch's t")


def test_hedges_g_by_hand():
    found = effect([2.0, 4.0], [1.0, 3.0])
    # Pooled deviation is the root of 2; of 2 degrees of freedom the correction is 1 - 3/7.
    assert found.hedges_g == pytest.approx((1 - 3 / 7) / np.sqrt(2))


def test_a_known_effect_is_within_its_interval_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(300):
        values = rng.gamma(4, 5, 6) + 10
        control = rng.gamma(4, 5, 12)
        found = effect(values, control, seed=seed)
        assert found.method.startswith("studentized")
        held += found.low <= 10 <= found.high
    assert held / 300 > 0.92


def test_counting_nuclei_as_replicates_finds_effects_where_there_are_none():
    rng = np.random.default_rng(1)
    wells = nuclei = 0
    for seed in range(200):
        drawn = [rng.normal(0, 1, (6, 1)) + rng.normal(0, 2, (6, 50)) for _ in range(2)]
        wells += effect(*(each.mean(axis=1) for each in drawn), seed=seed).p < 0.05
        nuclei += effect(*(each.ravel() for each in drawn), seed=seed).p < 0.05
    assert wells / 200 < 0.09
    assert nuclei / 200 > 0.3


def test_p_values_far_out_are_not_too_small():
    rng = np.random.default_rng(4)
    welch = cautious = wide = 0
    for _ in range(20_000):
        values, control = rng.normal(0, 1, 6), rng.normal(0, 1, 24)
        welch += welch_p(values, control) < 0.001
        cautious += cautious_p(values, control) < 0.001
        # A condition that varies more than its control, of which Student's p knows nothing.
        wide += cautious_p(3 * values, control) < 0.05
    assert welch > 40
    assert cautious < 30
    assert wide / 20_000 < 0.065
    values, control = rng.normal(0, 1, 6), rng.normal(0, 1, 24)
    student = stats.ttest_ind(values, control).pvalue
    welch_s = stats.ttest_ind(values, control, equal_var=False).pvalue
    assert cautious_p(values, control) == pytest.approx(max(student, welch_s))


def test_one_pair_a_block_is_the_paired_t_test():
    rng = np.random.default_rng(2)
    control = rng.normal(0, 5, 6)
    treated = control + rng.normal(1, 0.5, 6)
    values = np.concatenate([treated, control])
    is_treated = np.repeat([True, False], 6)
    blocks = np.tile([f"plate {k}" for k in range(6)], 2)
    found = effect_in_blocks(values, is_treated, blocks)
    theirs = stats.ttest_rel(treated, control)
    assert found.p == pytest.approx(theirs.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval()))
    # Plates that hold one kind alone say nothing.
    more = effect_in_blocks(
        np.append(values, 99), np.append(is_treated, True), np.append(blocks, "alone")
    )
    assert more.difference == pytest.approx(found.difference)


def test_blocks_equal_a_linear_model_of_statsmodels():
    api = pytest.importorskip("statsmodels.formula.api")
    import pandas as pd

    rng = np.random.default_rng(3)
    blocks = np.repeat(["a", "b", "c"], 8)
    is_treated = np.tile([True, True, True, False, False, False, False, False], 3)
    values = rng.normal(0, 1, 24) + 3 * (blocks == "b") + 1.5 * is_treated
    found = effect_in_blocks(values, is_treated, blocks)
    frame = pd.DataFrame({"y": values, "treated": is_treated.astype(float), "plate": blocks})
    theirs = api.ols("y ~ treated + C(plate)", frame).fit()
    assert found.difference == pytest.approx(theirs.params["treated"])
    assert found.p == pytest.approx(theirs.pvalues["treated"])
    assert (found.low, found.high) == pytest.approx(tuple(theirs.conf_int().loc["treated"]))


def test_too_few_replicates_are_explained():
    with pytest.raises(InputError, match="two or more replicates on both sides, not 1 and 3"):
        effect([1.0, np.nan], [1.0, 2.0, 3.0])
    flags, blocks = np.array([True, False]), np.array(["a", "b"])
    with pytest.raises(InputError, match="No block holds both"):
        effect_in_blocks(np.array([1.0, 2.0]), flags, blocks)
    with pytest.raises(InputError, match="too few"):
        effect_in_blocks(np.array([1.0, 2.0]), flags, np.array(["a", "a"]))


def test_values_without_variation_have_no_interval():
    found = effect([2.0, 2.0], [1.0, 1.0])
    assert (found.low, found.high, found.p) == (1, 1, 0)
    assert np.isnan(found.hedges_g)
    assert effect([1.0, 1.0], [1.0, 1.0]).p == 1


@pytest.fixture(scope="module")
def multipletests():
    """Of statsmodels, which takes long to import, within an example too long for Hypothesis."""
    return pytest.importorskip("statsmodels.stats.multitest").multipletests


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_equals_that_of_statsmodels(multipletests, p_values):
    # It collects garbage each time, which takes a second where TensorFlow is loaded.
    with mock.patch("gc.collect"):
        theirs = multipletests(p_values, method="holm")[1]
    np.testing.assert_allclose(holm(p_values), theirs)
    with_unknown = holm([np.nan, *p_values])
    assert np.isnan(with_unknown[0])
    np.testing.assert_allclose(with_unknown[1:], theirs)


def test_intervals_of_few_units_are_no_narrower_than_those_of_welch():
    rng = np.random.default_rng(0)
    for seed in range(20):
        treated, control = rng.normal(1, 1, 6), rng.normal(0, 1, 12)
        found = effect(treated, control, seed=seed)
        expected = stats.ttest_ind(treated, control, equal_var=False).confidence_interval()
        assert found.low <= expected.low + 1e-12
        assert found.high >= expected.high - 1e-12
        assert found.low < found.difference < found.high
