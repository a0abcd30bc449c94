import numpy as np
import pytest

from nucseg.analysis.dose_response import fit_dose_response
from nucseg.errors import InputError

DOSES = np.repeat([0, 0.01, 0.03, 0.1, 0.3, 1, 3, 10], 4)


def simulated(rng, half=0.3, slope=1.2, bottom=100.0, top=20.0, noise=6.0):
    with np.errstate(divide="ignore"):
        true = bottom + (top - bottom) / (1 + (half / DOSES) ** slope)
    return true + rng.normal(0, noise, len(DOSES))


def test_a_curve_without_noise_is_found_exactly():
    values = simulated(np.random.default_rng(0), noise=0)
    found = fit_dose_response(DOSES, values)
    assert found.half == pytest.approx(0.3, rel=1e-3)
    assert (found.bottom, found.top, found.slope) == pytest.approx((100, 20, 1.2), rel=1e-2)
    assert found.reached
    np.testing.assert_allclose(found.at(DOSES), values, atol=0.1)
    assert (found.n, found.doses) == (32, 7)


def test_the_half_dose_is_within_its_interval_as_often_as_it_says():
    rng = np.random.default_rng(1)
    held = reached = 0
    for _ in range(100):
        half = 10 ** rng.uniform(-1.2, 0.3)
        found = fit_dose_response(DOSES, simulated(rng, half=half, slope=rng.uniform(0.8, 2)))
        held += found.low <= half <= found.high
        reached += found.reached
    assert held >= 90
    assert reached >= 95


def test_a_flat_line_and_a_dose_beyond_reach_are_no_result():
    rng = np.random.default_rng(2)
    flat = [fit_dose_response(DOSES, rng.normal(50, 5, len(DOSES))) for _ in range(20)]
    assert sum(each.reached for each in flat) <= 2
    beyond = fit_dose_response(DOSES, simulated(rng, half=200, noise=3))
    assert not beyond.reached
    assert beyond.high == np.inf


def test_rising_curves_and_other_units_are_the_same():
    values = simulated(np.random.default_rng(3))
    falling = fit_dose_response(DOSES, values)
    rising = fit_dose_response(1000 * DOSES, -values)
    assert rising.half == pytest.approx(1000 * falling.half, rel=1e-2)
    assert rising.low == pytest.approx(1000 * falling.low, rel=2e-2)
    assert rising.top == pytest.approx(-falling.top, rel=1e-2)


def test_too_few_doses_are_explained():
    with pytest.raises(InputError, match="four doses above 0 and six units, not 2 and 6"):
        fit_dose_response(np.repeat([0.0, 1, 2], 2), np.arange(6.0))
