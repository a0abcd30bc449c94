"""Figures that analyze gives, computed by hand from the CSV files beside them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats
from test_analyze import plate_table

from nucseg.analysis.analyze import analyze
from nucseg.analysis.compare import Comparing
from nucseg.analysis.dose_response import confidence_band, fit_dose_response


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An analysis of a plate with a positive control, and a dead well among the doses."""
    given = tmp_path_factory.mktemp("plate")
    images, nuclei, plate = plate_table(3)
    dead = nuclei["image"].str.contains("_B03_") & (nuclei["label"] > 1)
    nuclei = nuclei[~dead]
    images.loc[images["path"].str.contains("_B03_"), "nuclei"] = 1
    images.to_csv(given / "images.csv", index=False)
    nuclei.to_csv(given / "measurements.csv", index=False)
    plate = plate.replace("drug,3.0,uM,", "drug,3.0,uM,positive")
    (given / "plate.csv").write_text(plate)
    return analyze(given, plate_map=given / "plate.csv", how=Comparing(measures=["area"]))


def logistic(dose, bottom, top, half, slope):
    with np.errstate(divide="ignore"):
        return bottom + (top - bottom) / (1 + (10**half / dose) ** slope)


def test_effects_equal_those_of_statsmodels_on_the_figure_s_data(folder):
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    effects = pd.read_csv(folder / "effects.csv").set_index(["condition", "measure"])
    for measure in ("nuclei", "area"):
        data = pd.read_csv(folder / "figures" / f"conditions_{measure}.csv")
        values = {name: group[measure] for name, group in data.groupby("condition")}
        control = values.pop("DMSO")
        assert len(values) == 4
        for condition, each in values.items():
            row = effects.loc[(condition, measure)]
            compared = weightstats.CompareMeans.from_data(each, control)
            p_values = [compared.ttest_ind(usevar=way)[1] for way in ("pooled", "unequal")]
            assert row["p"] == pytest.approx(max(p_values))
            assert row["difference"] == pytest.approx(each.mean() - control.mean())
            assert row["n"] == len(each)
            assert row["low"] < row["difference"] < row["high"]
    corrected = multitest.multipletests(effects["p"], method="holm")[1]
    np.testing.assert_allclose(effects["p_holm"], corrected)


def test_a_dose_response_equals_scipy_s_fit_of_the_figure_s_data(folder):
    curve = pd.read_csv(folder / "dose_response.csv").set_index("measure").loc["nuclei"]
    data = pd.read_csv(folder / "figures" / "dose_drug_nuclei.csv")
    doses, values = data["dose"].to_numpy(float), data["nuclei"].to_numpy(float)
    first = (40.0, 10.0, -0.3, 1.0)
    found, covariance = optimize.curve_fit(logistic, doses, values, first)
    assert curve["half"] == pytest.approx(10 ** found[2], rel=0.02)
    assert (curve["bottom"], curve["top"]) == pytest.approx(tuple(found[:2]), rel=0.02)
    squares = ((values - logistic(doses, *found)) ** 2).sum()
    flat = ((values - values.mean()) ** 2).sum()
    freedom = len(values) - 4
    assert curve["n"] == len(values)
    p = stats.f.sf((flat - squares) / 3 / (squares / freedom), 3, freedom)
    assert np.log(curve["p"]) == pytest.approx(np.log(p), rel=1e-3)
    # The band, with derivatives by differences.
    fitted = fit_dose_response(doses, values)
    at = np.array([0.2, 0.5, 2.0])
    steps = np.diag(np.full(4, 1e-5))
    slopes = [
        (logistic(at, *(found + step)) - logistic(at, *(found - step))) / 2e-5 for step in steps
    ]
    error = np.sqrt(np.einsum("ia,ij,ja->a", slopes, covariance, slopes))
    band = stats.t.ppf(0.975, freedom) * error
    np.testing.assert_allclose(confidence_band(fitted, doses, at), band, rtol=0.03)


def test_quality_of_a_plate_equals_that_of_the_heat_map_s_data(folder):
    quality = pd.read_csv(folder / "plates.csv").set_index("measure")
    wells = pd.read_csv(folder / "wells.csv").set_index("well")
    for measure in ("nuclei", "area"):
        data = pd.read_csv(folder / "figures" / f"plate_{measure}.csv").set_index("well")
        assert data["dead"].sum() == 1
        positive, negative = (
            data[measure][wells["control"] == kind] for kind in ("positive", "negative")
        )
        assert (len(positive), len(negative)) == (6, 6)
        away = positive.mean() - negative.mean()
        z_prime = 1 - 3 * (positive.std() + negative.std()) / abs(away)
        assert quality.loc[measure, "z_prime"] == pytest.approx(z_prime)
        ssmd = away / np.hypot(positive.std(), negative.std())
        assert quality.loc[measure, "ssmd"] == pytest.approx(ssmd)


def test_a_dead_well_is_told_and_left_out_unless_it_is_to_count(folder):
    wells = pd.read_csv(folder / "wells.csv")
    assert wells["well"][wells["dead"]].tolist() == ["B03"]
    effects = pd.read_csv(folder / "effects.csv").set_index(["condition", "measure"])
    assert effects.loc[("drug 0.3 uM", "nuclei"), "n"] == 5
    page = (folder / "analysis.html").read_text(encoding="utf-8")
    assert "were left out; --keep-dead-wells counts them: B03 (1 nuclei per image" in page
    assert "1 well with less than 25%" in page
    kept = analyze(
        folder.parent,
        folder.parent / "kept",
        plate_map=folder.parent / "plate.csv",
        how=Comparing(measures=["area"], keep_dead=True),
    )
    effects = pd.read_csv(kept / "effects.csv").set_index(["condition", "measure"])
    assert effects.loc[("drug 0.3 uM", "nuclei"), "n"] == 6
    assert "count all the same: B03" in (kept / "analysis.html").read_text(encoding="utf-8")
    assert "1 well with less" not in (kept / "analysis.html").read_text(encoding="utf-8")
