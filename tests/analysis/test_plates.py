import numpy as np
import pytest

from nucseg.analysis.plates import b_score, edge_effect, ssmd, z_prime


def test_z_prime_and_ssmd_by_hand():
    positive, negative = np.array([90.0, 100, 110]), np.array([8.0, 10, 12])
    assert z_prime(positive, negative) == pytest.approx(1 - 3 * (10 + 2) / 90)
    assert ssmd(positive, negative) == pytest.approx(90 / np.sqrt(104))
    assert np.isnan(z_prime(positive[:1], negative))
    assert np.isnan(z_prime(negative, negative))
    assert np.isnan(ssmd(np.ones(3), np.ones(3)))


def test_b_score_takes_rows_and_columns_out_and_keeps_hits():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:8, :12]
    plate = 100 + 5 * rows + 3.0 * columns + rng.normal(0, 1, (8, 12))
    plate[3, 4] += 15
    plate[0, 0] = np.nan
    scores = b_score(plate)
    assert scores[3, 4] > 8
    others = np.delete(scores.ravel(), [0, 3 * 12 + 4])
    assert np.abs(others).max() < 6
    assert abs(np.corrcoef(others, np.delete(rows.ravel(), [0, 40]))[0, 1]) < 0.1
    assert np.isnan(scores[0, 0])
    assert np.isnan(b_score(np.full((3, 4), np.nan))).all()


def test_an_edge_effect_is_found_within_conditions():
    rng = np.random.default_rng(1)
    conditions = rng.permutation(np.repeat(["a", "b"], 48)).reshape(8, 12)
    at_edge = np.ones((8, 12), bool)
    at_edge[1:-1, 1:-1] = False
    plate = np.where(conditions == "a", 100.0, 200.0) * np.where(at_edge, 0.8, 1)
    plate = plate * rng.normal(1, 0.05, plate.shape)
    plate[5, 5] = np.nan
    found = edge_effect(plate, conditions)
    assert found.percent == pytest.approx(-20, abs=3)
    assert found.p < 1e-6
    assert (found.edge, found.inside) == (36, 59)
    assert edge_effect(plate[:2, :2], conditions[:2, :2]) is None
