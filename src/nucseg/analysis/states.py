"""States of nuclei in an analysis: phases of the cell cycle, and candidates by rules."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from nucseg.analysis.cell_cycle import FEWEST, PHASES, CellCycle, fit_cell_cycle
from nucseg.errors import InputError

CONTENT = "dna_content"
# Prefixes of columns that are 1 for nuclei in a phase, candidates or nuclei of a class, and 0 for
# others: means are fractions.
IN_PHASE, IS_CANDIDATE, IN_CLASS = SHARES = "phase_", "candidate_", "share_"
# Objects that are not single nuclei are not counted.
_NO_NUCLEI = ("debris", "clump")


@dataclass(frozen=True)
class PlateCycle:
    """The cell cycle of a plate.

    Attributes
    ----------
    plate : str
        Name of the plate; empty if there is only one, or it has no name.
    fit : CellCycle or None
        Fitted mixture; None if there are too few nuclei.
    content : ndarray, shape (N,), float64
        DNA content that the mixture was fitted to.
    """

    plate: str
    fit: CellCycle | None
    content: npt.NDArray[np.float64]

    @property
    def doubts(self) -> tuple[str, ...]:
        """Reasons why its phases are unreliable; empty without any."""
        if self.fit is None:
            return (f"{len(self.content)} whole nuclei are too few, of {FEWEST} needed.",)
        return self.fit.doubts


@dataclass(frozen=True)
class States:
    """States of the nuclei of an analysis.

    Attributes
    ----------
    cycles : tuple of PlateCycle
        Empty if phases were not requested.
    counts : DataFrame
        Result of `candidate_counts`; empty if no candidates were determined.
    """

    cycles: tuple[PlateCycle, ...] = ()
    counts: pd.DataFrame = field(default_factory=pd.DataFrame)

    def notes(self) -> list[str]:
        """Describe unreliable phases in sentences."""
        return [
            f"Phases of the cell cycle{f' of {each.plate}' if each.plate else ''} are doubtful. "
            + " ".join(each.doubts)
            for each in self.cycles
            if each.doubts
        ]

    def table(self) -> pd.DataFrame:
        """Return the fits of all plates, one row each; empty without fits."""
        rows = []
        for each in self.cycles:
            row: dict[str, object] = {"plate": each.plate, "nuclei": len(each.content)}
            if each.fit is not None:
                row |= {"g1": each.fit.g1, "width": each.fit.width, "distance": each.fit.distance}
                row |= {f"share_{name}": each.fit.shares[name] for name in PHASES}
            rows.append({**row, "doubts": " ".join(each.doubts)})
        return pd.DataFrame(rows)


def with_phases(
    nuclei: pd.DataFrame, images: pd.DataFrame, *, wanted: bool | None = None
) -> tuple[pd.DataFrame, tuple[PlateCycle, ...]]:
    """Assign each nucleus its phase of the cell cycle, by a mixture fitted to each plate.

    Parameters
    ----------
    nuclei : DataFrame
        Table of `nucseg.analysis.conditions.Results`, with the column ``dna_content`` of ``--dna``.
    images : DataFrame
        Table of `nucseg.analysis.conditions.Assignment`.
    wanted : bool, optional
        Whether to assign phases; by default if there is a DNA content.

    Returns
    -------
    nuclei : DataFrame
        With ``phase`` (see `CellCycle.phases`; empty if unknown) and for each of G1, S and G2M a
        column such as ``phase_S``: 1 for nuclei in the phase, 0 for those in another one, undefined
        for nuclei outside the cycle or cut by the border, and for objects that are not single
        nuclei.
    cycles : tuple of PlateCycle

    Raises
    ------
    InputError
        Phases are requested, but there is no DNA content or no plate with 200 nuclei.
    """
    if wanted is False or (wanted is None and CONTENT not in nuclei):
        return nuclei, ()
    if CONTENT not in nuclei:
        raise InputError(
            "Phases of the cell cycle need the DNA content of the nuclei, which measurements.csv "
            "does not hold. Segment or measure with --dna."
        )
    plates = _plates_of(nuclei, images)
    content = nuclei[CONTENT].to_numpy(float)
    usable = np.isfinite(content) & plates.notna().to_numpy() & _single(nuclei)
    phase = np.full(len(nuclei), "", "<U9")
    cycles = []
    for plate in sorted(plates.dropna().unique()):
        here = (plates == plate).to_numpy() & usable
        enough = np.count_nonzero(content[here] > 0) >= FEWEST
        fit = fit_cell_cycle(content[here]) if enough else None
        if fit is not None:
            phase[here] = fit.phases(content[here])
        cycles.append(PlateCycle(str(plate), fit, content[here]))
    if wanted and all(each.fit is None for each in cycles):
        raise InputError(
            f"Phases of the cell cycle need {FEWEST} whole nuclei on a plate; the most are "
            f"{max((len(each.content) for each in cycles), default=0)}."
        )
    known = np.isin(phase, PHASES)
    columns = {
        f"{IN_PHASE}{name}": np.where(known, (phase == name).astype(float), np.nan)
        for name in PHASES
    }
    return nuclei.assign(phase=phase, **(columns if known.any() else {})), tuple(cycles)


def with_candidates(nuclei: pd.DataFrame) -> pd.DataFrame:
    """Add a column for each kind of candidate, such as ``candidate_mitotic``, if there are any.

    Parameters
    ----------
    nuclei : DataFrame
        Table of `nucseg.analysis.conditions.Results`, with the columns of ``--candidates``.

    Returns
    -------
    DataFrame
        Column values: 1 for candidates, 0 for other nuclei, undefined for nuclei cut by the border
        and for debris and clumps.
    """
    if "candidate" not in nuclei:
        return nuclei
    told = nuclei["candidate"].fillna("")
    single = _single(nuclei)
    columns = {
        f"{IS_CANDIDATE}{name}": (told == name).astype(float).where(single)
        for name in sorted(set(told) - {""})
    }
    return nuclei.assign(**columns)


def candidate_counts(nuclei: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Count candidates and flagged nuclei in each condition.

    Returns
    -------
    DataFrame
        A row for each condition and name: ``column`` (candidate or flag), ``count``, ``nuclei``
        (all of the condition) and ``percent``. Counts are not replicates: effects are computed
        from fractions.
    """
    if "candidate" not in nuclei:
        return pd.DataFrame()
    keys = _keys(nuclei, images)
    told = nuclei.merge(images[[*keys, "condition"]].drop_duplicates(keys), on=keys)
    rows = []
    for column in ("candidate", "flag"):
        if column not in told:
            continue
        for name in sorted(set(told[column].dropna()) - {""}):
            for condition, group in told.groupby("condition", sort=False):
                count = int((group[column] == name).sum())
                rows.append({
                    "condition": condition, "name": name, "column": column, "count": count,
                    "nuclei": len(group), "percent": 100 * count / len(group),
                })  # fmt: skip
    return pd.DataFrame(rows)


def _keys(nuclei: pd.DataFrame, images: pd.DataFrame) -> list[str]:
    return ["image", "plane"] if "plane" in images and "plane" in nuclei else ["image"]


def _plates_of(nuclei: pd.DataFrame, images: pd.DataFrame) -> pd.Series[str]:
    """Return the plate of each nucleus, empty without names; undefined without a condition."""
    keys = _keys(nuclei, images)
    known = images[keys].drop_duplicates()
    known = known.assign(
        of_plate=images.loc[known.index, "plate"].fillna("").astype(str)
        if "plate" in images
        else ""
    )
    return nuclei[keys].merge(known, how="left", on=keys)["of_plate"].set_axis(nuclei.index)


def _single(nuclei: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which nuclei are complete and single: not cut, no clumps, no debris."""
    single = np.ones(len(nuclei), bool)
    if "touches_border" in nuclei:
        single &= nuclei["touches_border"].fillna(0).to_numpy() == 0
    if "flag" in nuclei:
        single &= ~nuclei["flag"].isin(_NO_NUCLEI).to_numpy()
    return single
