import numpy as np
import pytest
import statsmodels.api as sm

from nucseg.analysis import dose_response
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


def of_four_doses(rng):
    """Six wells at each of four doses and 24 of the control, whose spread grows with the value."""
    doses = np.repeat([0.0, 0.1, 0.5, 2.5, 12.5], [24, 6, 6, 6, 6])
    share = doses**1.2 / (doses**1.2 + 1)
    values = 100 * (1 + share) * rng.normal(1, 0.08, len(doses)) + rng.normal(0, 6, len(doses))
    return doses, values


def test_units_that_vary_more_at_high_doses_widen_the_interval(monkeypatch):
    rng = np.random.default_rng(0)
    plates = [of_four_doses(rng) for _ in range(60)]
    found = [fit_dose_response(*plate) for plate in plates]
    monkeypatch.setattr(dose_response, "_unequal", lambda *_: 1.0)
    equal = [fit_dose_response(*plate) for plate in plates]
    held, held_by_equal = (
        sum(each.low <= 1 <= each.high for each in fits) for fits in (found, equal)
    )
    assert held >= 52
    assert held_by_equal < held
    assert all(a.half == b.half for a, b in zip(found, equal, strict=True))
    assert all(a.low <= b.low and a.high >= b.high for a, b in zip(found, equal, strict=True))


def test_unequal_variances_are_weighed_as_statsmodels_does():
    doses, values = of_four_doses(np.random.default_rng(5))
    fitted = fit_dose_response(doses, values)
    curve = fitted.bottom, fitted.top, float(np.log10(fitted.half)), fitted.slope
    derivatives = dose_response._derivatives(*curve, doses)
    robust = sm.OLS(values - fitted.at(doses), derivatives).fit(cov_type="HC3")
    plain = sm.OLS(values - fitted.at(doses), derivatives).fit()
    ratio = robust.cov_params()[2, 2] / plain.cov_params()[2, 2]
    assert ratio > 1.2
    assert dose_response._unequal(doses, values, curve) == pytest.approx(ratio, rel=0.01)
