"""Compare conditions: effects, curves and quality of plates from the tables of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from nucseg.analysis import summaries
from nucseg.analysis.conditions import Assignment, Results, assign, negative_controls
from nucseg.analysis.plate_maps import PlateMap
from nucseg.analysis.states import States, candidate_counts, with_candidates, with_phases


@dataclass(frozen=True)
class Comparing:
    """Settings of a comparison.

    Attributes
    ----------
    groups : str, optional
        Pattern of paths, see `nucseg.analysis.conditions.assign`.
    controls : sequence of str
        Treatments or conditions that are negative controls; by default those of the plate map.
    measures : sequence of str
        Columns of ``measurements.csv`` to compare.
    keep_dead : bool
        Include wells with hardly any nuclei, unlike the others of their condition.
    seed : int
        Seed of the resampling.
    cell_cycle : bool, optional
        Assign phases of the cell cycle; by default if the DNA content was measured.
    """

    groups: str | None = None
    controls: Sequence[str] = ()
    measures: Sequence[str] = ()
    keep_dead: bool = False
    seed: int = 0
    cell_cycle: bool | None = None


@dataclass(frozen=True)
class Comparison:
    """Results of a comparison.

    Attributes
    ----------
    assigned : Assignment
        Images that belong to a condition, and those that did not match.
    nuclei : DataFrame
        A row for each nucleus.
    measures : list of str
        Compared measurements.
    controls : list of str
        Conditions that are negative controls.
    images, units, replicates, effects, curves, quality : DataFrame
        Tables of `nucseg.analysis.summaries`: ``per_image``, ``per_unit``, ``per_replicate``,
        ``effects``, ``dose_responses`` and ``plate_quality``. Units have a column ``dead``, see
        `nucseg.analysis.summaries.dead_wells`; dead units are excluded from the tables that follow.
    notes : list of str
        Guesses and exclusions, in sentences.
    states : States
        Phases of the cell cycle, and candidates.
    """

    assigned: Assignment
    nuclei: pd.DataFrame
    measures: list[str]
    controls: list[str]
    images: pd.DataFrame
    units: pd.DataFrame
    replicates: pd.DataFrame
    effects: pd.DataFrame
    curves: pd.DataFrame
    quality: pd.DataFrame
    notes: list[str]
    states: States = field(default_factory=States)


def compare(
    tables: Results, plates: PlateMap | None = None, how: Comparing | None = None
) -> Comparison:
    """Compare conditions in the tables of a run.

    Parameters
    ----------
    tables : Results
    plates : PlateMap, optional
    how : Comparing, optional

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        The pattern or a name cannot be used, no image belongs to a condition, or phases are
        requested but cannot be assigned.
    """
    how = how or Comparing()
    assigned = assign(tables.images, plates, how.groups)
    negative = negative_controls(assigned.images, how.controls)
    nuclei, cycles = with_phases(tables.nuclei, assigned.images, wanted=how.cell_cycle)
    states = States(cycles, candidate_counts(nuclei, assigned.images))
    nuclei = with_candidates(summaries.with_shares(nuclei))
    chosen = summaries.chosen_measures(nuclei, how.measures)
    rows = summaries.per_image(assigned.images, nuclei, chosen)
    units = summaries.per_unit(rows, chosen)
    dead = summaries.dead_wells(units)
    units["dead"] = dead
    living = units if how.keep_dead else units[~dead]
    replicates = summaries.per_replicate(living.drop(columns="dead"), chosen)
    return Comparison(
        assigned=assigned,
        nuclei=nuclei,
        measures=chosen,
        controls=negative,
        images=rows,
        units=units,
        replicates=replicates,
        effects=summaries.effects(replicates, chosen, negative, seed=how.seed),
        curves=summaries.dose_responses(replicates, chosen, negative),
        quality=summaries.plate_quality(living, chosen, negative),
        notes=[
            *(plates.notes if plates else ()),
            *assigned.notes,
            *states.notes(),
            *_told_of_dead(units, how.keep_dead),
        ],
        states=states,
    )


def _told_of_dead(units: pd.DataFrame, kept: bool) -> list[str]:
    """Describe which wells count as dead, and whether they are included."""
    dead = units[units["dead"]]
    if dead.empty:
        return []
    names = [
        " ".join(str(row[name]) for name in ("plate", "well") if pd.notna(row.get(name)))
        + f" ({row['nuclei']:g} nuclei per image; {row['condition']})"
        for row in dead.to_dict("records")
    ]
    what = "count all the same" if kept else "were left out; --keep-dead-wells counts them"
    return [
        f"Wells with less than {summaries.DEAD:.0%} of the nuclei of the other wells of their "
        f"condition {what}: {', '.join(names)}."
    ]
