import numpy as np
import pytest

from nucseg.analysis.cell_cycle import dna_content, fit_cell_cycle
from nucseg.errors import InputError


def cycle(seed: int, shares: tuple[float, float, float], width: float, number: int = 2000):
    """DNA content of nuclei whose phases are known, G1 at 1000."""
    rng = np.random.default_rng(seed)
    phase = rng.choice(3, number, p=shares)
    true = np.where(phase == 0, 1.0, np.where(phase == 2, 2.0, rng.uniform(1, 2, number)))
    return 1000 * true * rng.normal(1, width, number), np.array(["G1", "S", "G2M"])[phase]


@pytest.mark.parametrize("width", [0.04, 0.08])
@pytest.mark.parametrize("shares", [(0.6, 0.2, 0.2), (0.35, 0.35, 0.3), (0.8, 0.1, 0.1)])
def test_shares_and_peaks_of_simulated_nuclei(shares: tuple[float, float, float], width: float):
    content, phases = cycle(1, shares, width)
    fit = fit_cell_cycle(content)
    assert fit.g1 == pytest.approx(1000, rel=0.02)
    assert fit.width == pytest.approx(width, abs=0.015)
    for name in ("G1", "S", "G2M"):
        assert fit.shares[name] == pytest.approx(np.mean(phases == name), abs=0.05)
    assert fit.doubts == ()
    assert fit.distance < 0.03
    sure = np.isin(phases, ["G1", "G2M"])
    assert np.mean(fit.phases(content)[sure] == phases[sure]) > 0.85


def test_debris_and_clumps_are_flagged_and_move_nothing():
    content, _ = cycle(2, (0.6, 0.2, 0.2), 0.05)
    with_more = np.concatenate([content, np.full(40, 300.0), np.full(40, 4000.0), [np.nan, -5]])
    fit = fit_cell_cycle(with_more)
    assert fit.g1 == pytest.approx(1000, rel=0.03)
    found = fit.phases(with_more)
    assert set(found[2000:2040]) == {"below_G1"}
    assert set(found[2040:2080]) == {"above_G2M"}
    assert found[-2:].tolist() == ["", "below_G1"]


def test_what_has_no_two_peaks_is_doubtful():
    rng = np.random.default_rng(3)
    assert fit_cell_cycle(rng.normal(1000, 50, 1000)).doubts
    assert fit_cell_cycle(rng.lognormal(5, 1.2, 1000)).doubts


def test_few_nuclei_fail():
    with pytest.raises(InputError, match="at least 200 nuclei to fit the cell cycle, got 2"):
        fit_cell_cycle(np.array([1.0, 2, 0, np.nan]))


def test_content_less_background():
    assert dna_content(np.array([100, 90]), np.array([10, 9]), 4.0).tolist() == [60, 54]
