"""Summarize nuclei by image, well and replicate, and compute effects of conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nucseg.analysis.dose_response import fit_dose_response
from nucseg.analysis.effects import effect, effect_in_blocks, holm
from nucseg.analysis.plate_maps import row_number
from nucseg.analysis.plates import b_score, edge_effect, ssmd, z_prime
from nucseg.analysis.states import IN_CLASS, IN_PHASE, IS_CANDIDATE
from nucseg.errors import InputError

COUNT = "nuclei"
# Measurements that are compared by default, if the tables have them.
MEASURES = ("area_um2", "area", "solidity", "intensity_mean")
# Prefix of class columns: 1 for nuclei of the class and 0 for others, so that means are fractions.
SHARE = IN_CLASS
# A well with less than this fraction of the nuclei of its condition is dead, if the condition has
# at least this many wells, and its median well at least this many nuclei.
DEAD, ENOUGH_TO_JUDGE, ENOUGH_NUCLEI = 0.25, 4, 20
_KEYS = ("plate", "well", "replicate", "condition", "treatment", "dose", "unit", "control")


def chosen_measures(nuclei: pd.DataFrame, wanted: Sequence[str] = ()) -> list[str]:
    """Choose the measurements to compare, after the number of nuclei.

    Parameters
    ----------
    nuclei : DataFrame
        Table of `nucseg.analysis.conditions.Results`.
    wanted : sequence of str
        Columns; by default `MEASURES` with the intensities of all channels, the fractions of
        classes, see `with_shares`, and those of phases and candidates, see
        `nucseg.analysis.states`.

    Raises
    ------
    InputError
        A column does not exist, or is not numeric.
    """
    numeric = [str(name) for name in nuclei.select_dtypes("number") if name != "label"]
    if wanted:
        if unknown := [name for name in wanted if name not in (*numeric, COUNT)]:
            raise InputError(
                f"There is no measurement {unknown[0]!r}. Give any of {COUNT}, "
                f"{', '.join(numeric)}."
            )
        return list(dict.fromkeys((COUNT, *wanted)))
    found = [name for name in numeric if name in MEASURES or name.startswith("intensity_mean_")]
    shares = [name for name in numeric if name.startswith(SHARE)]
    # Of two classes the rarer one, because the other is the rest.
    found += [name for name in numeric if name.startswith((IN_PHASE, IS_CANDIDATE))]
    found += [min(shares, key=lambda name: nuclei[name].mean())] if len(shares) == 2 else shares
    return [COUNT, *(name for name in found if name != "area" or "area_um2" not in found)]


def with_shares(nuclei: pd.DataFrame) -> pd.DataFrame:
    """Add a column for each class of nuclei, such as ``share_large``, if nuclei have classes.

    Parameters
    ----------
    nuclei : DataFrame
        Table of `nucseg.analysis.conditions.Results`, with the column ``class`` of
        ``nucseg segment --classes``.

    Returns
    -------
    DataFrame
        Column values: 1 for nuclei of the class, 0 for others, undefined for nuclei without class.
    """
    if "class" not in nuclei:
        return nuclei
    told = nuclei["class"]
    shares = {
        f"{SHARE}{name}": (told == name).astype(float).where(told.notna())
        for name in sorted(told.dropna().unique())
    }
    return nuclei.assign(**shares)


def per_image(images: pd.DataFrame, nuclei: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Compute a row for each image: its number of nuclei, and the mean of each measurement.

    Failed images and missing planes have no number of nuclei and are excluded.
    """
    keys = ["image", "plane"] if "plane" in images and "plane" in nuclei else ["image"]
    means = nuclei.groupby(keys, dropna=False)[[m for m in measures if m != COUNT]].mean()
    done = images[images["status"].isin(["ok", "empty"])]
    joined = done.drop(columns=[m for m in measures if m in done and m != COUNT])
    joined = joined.merge(means, how="left", left_on=keys, right_index=True)
    return joined.drop_duplicates(keys)


def per_unit(rows: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Compute a row for each unit of replication: the mean over the fields of view of a well.

    Parameters
    ----------
    rows : DataFrame
        Table of `per_image`.
    measures : sequence of str

    Returns
    -------
    DataFrame
        Numbers of nuclei are means per image, so they do not depend on the number of fields of
        view. Without wells, units are given by the column replicate, or else each image is one.
        The column ``images`` is the number of images of a unit.
    """
    keys = [name for name in _KEYS if name in rows]
    if "well" not in rows and "replicate" not in rows:
        keys = [*keys, "image"]
    grouped = rows.groupby(keys, dropna=False, sort=True)
    units = grouped[list(measures)].mean()
    units.insert(0, "images", grouped.size())
    return units.reset_index()


def dead_wells(units: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which wells have hardly any nuclei, unlike the others of the same condition.

    Parameters
    ----------
    units : DataFrame
        Table of `per_unit`.

    Returns
    -------
    ndarray, shape (N,), bool
        True for wells with less than `DEAD` of the median number of nuclei of their condition (and
        plate), if that has at least `ENOUGH_TO_JUDGE` wells and the median well `ENOUGH_NUCLEI`.
        A toxic treatment empties all its wells, so none of them counts as dead.
    """
    dead = np.zeros(len(units), bool)
    if "well" not in units:
        return dead
    number = units[COUNT].to_numpy(float)
    keys = [name for name in ("plate", "condition") if name in units]
    for places in units.groupby(keys, dropna=False).indices.values():
        median = float(np.nanmedian(number[places]))
        seen = median * float(units["images"].to_numpy()[places].mean())
        if len(places) >= ENOUGH_TO_JUDGE and seen >= ENOUGH_NUCLEI:
            dead[places] = number[places] < DEAD * median
    return dead


def per_replicate(units: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Average wells of one replicate, such as a donor, if there is a column of replicates."""
    if "replicate" not in units or units["replicate"].isna().all():
        return units
    keys = [name for name in _KEYS if name in units and name != "well"]
    grouped = units.groupby(keys, dropna=False, sort=True)
    averaged = grouped[list(measures)].mean()
    averaged.insert(0, "wells", grouped.size())
    return averaged.reset_index()


def effects(
    units: pd.DataFrame, measures: Sequence[str], controls: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Compare each condition with the negative controls, in each measurement.

    Parameters
    ----------
    units : DataFrame
        Table of `per_replicate`.
    measures : sequence of str
    controls : sequence of str
        Conditions that are negative controls.
    seed : int
        Seed of the resampling.

    Returns
    -------
    DataFrame
        A row for each condition and measurement: `nucseg.analysis.effects.Effect`, ``p_holm``
        over all rows, and ``note`` if there was nothing to compare. If conditions and controls are
        on several plates, they are compared within plates.
    """
    is_control = units["condition"].isin(controls)
    several = "plate" in units and units["plate"].nunique() > 1
    rows = []
    order = [name for name in ("treatment", "dose") if name in units]
    conditions = units[~is_control].sort_values(order, kind="stable")["condition"]
    for condition in dict.fromkeys(conditions):
        both = units[(units["condition"] == condition) | is_control]
        for measure in measures:
            row: dict[str, Any] = {"condition": condition, "measure": measure, "note": ""}
            try:
                row |= _compared(both, measure, is_control[both.index].to_numpy(), several, seed)
            except InputError as error:
                row["note"] = str(error)
            rows.append(row)
    table = pd.DataFrame(rows)
    if "p" in table:
        place = list(table.columns).index("p") + 1
        table.insert(place, "p_holm", holm(np.asarray(table["p"], np.float64)))
    return table


def _compared(
    both: pd.DataFrame, measure: str, control: npt.NDArray[np.bool_], several: bool, seed: int
) -> dict[str, Any]:
    values = both[measure].to_numpy(float)
    if several:
        found = effect_in_blocks(values, ~control, both["plate"].astype(str).to_numpy())
    else:
        found = effect(values[~control], values[control], seed=seed)
    return asdict(found)


def dose_responses(
    units: pd.DataFrame, measures: Sequence[str], controls: Sequence[str]
) -> pd.DataFrame:
    """Fit a dose-response curve for each treatment with at least four doses.

    Negative controls count as dose 0.

    Returns
    -------
    DataFrame
        A row for each treatment and measurement; empty if there are too few doses.
    """
    if "dose" not in units:
        return pd.DataFrame()
    control = units[units["condition"].isin(controls)]
    rows = []
    for treatment in dict.fromkeys(units["treatment"]):
        own = units[(units["treatment"] == treatment) & (units["dose"] > 0)]
        if own["dose"].nunique() < 4:
            continue
        for measure in measures:
            doses = np.concatenate([own["dose"].to_numpy(float), np.zeros(len(control))])
            values = np.concatenate([own[measure], control[measure]]).astype(float)
            try:
                found = fit_dose_response(doses, values)
            except InputError:
                continue
            unit = own["unit"].iloc[0] if "unit" in own else ""
            rows.append({"treatment": treatment, "measure": measure, "unit": unit, **asdict(found)})
    return pd.DataFrame(rows)


def plate_quality(
    units: pd.DataFrame, measures: Sequence[str], controls: Sequence[str]
) -> pd.DataFrame:
    """Assess the quality of each plate: Z′ and SSMD of the controls, and edge effects.

    Returns
    -------
    DataFrame
        A row for each plate and measurement; empty without wells.
    """
    if "well" not in units:
        return pd.DataFrame()
    rows = []
    plates = units["plate"] if "plate" in units else pd.Series("", units.index)
    for plate in dict.fromkeys(plates):
        here = units[plates == plate]
        positive = here[here.get("control", pd.Series("", here.index)) == "positive"]
        negative = here[here["condition"].isin(controls)]
        for measure in measures:
            values, conditions = as_plate(here, measure), as_plate(here, "condition")
            found = edge_effect(values.astype(float), conditions.astype(str))
            pair = (each[measure].dropna().to_numpy(float) for each in (positive, negative))
            above, below = pair
            rows.append({
                "plate": plate,
                "measure": measure,
                "z_prime": z_prime(above, below),
                "ssmd": ssmd(above, below),
                "edge_percent": found.percent if found else np.nan,
                "edge_p": found.p if found else np.nan,
                "wells": len(here),
            })  # fmt: skip
    return pd.DataFrame(rows)


def as_plate(wells: pd.DataFrame, column: str) -> npt.NDArray[Any]:
    """Arrange a column in the layout of the plate.

    Returns
    -------
    ndarray, shape (rows, columns), object
        From well A01 to the last row and column with a well; NaN without a well.
    """
    rows = [row_number(well.rstrip("0123456789")) for well in wells["well"]]
    columns = [int(well.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")) - 1 for well in wells["well"]]
    plate = np.full((max(rows) + 1, max(columns) + 1), np.nan, object)
    plate[rows, columns] = wells[column].to_numpy()
    return plate


def b_scores(wells: pd.DataFrame, measure: str) -> npt.NDArray[np.float64]:
    """Compute the B-score of each well of one plate, in the order of the rows."""
    scores = b_score(as_plate(wells, measure).astype(float))
    rows = [row_number(well.rstrip("0123456789")) for well in wells["well"]]
    columns = [int(well.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")) - 1 for well in wells["well"]]
    return np.asarray(scores[rows, columns])
