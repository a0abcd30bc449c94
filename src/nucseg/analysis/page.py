"""Sections of the page of an analysis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from nucseg.analysis.conditions import Assignment
from nucseg.figures.html import number, paragraph, section, table

# Number of names that are listed.
_LISTED = 20
_NOT_REACHED = ("not reached", None, None)


def told(assigned: Assignment, notes: Sequence[str], record: str) -> str:
    """Make the section on guesses and on images and wells that did not match."""
    pieces = [paragraph(note) for note in notes]
    for what, names in (
        ("Images without a condition", assigned.unmatched),
        ("Wells of the plate map without an image", assigned.unused),
    ):
        if names:
            listed = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
            pieces.append(paragraph(f"{what} ({len(names):,}): {listed}. All are in {record}."))
    return section("notes", "To be known", *pieces) if pieces else ""


def effects_section(compared: pd.DataFrame) -> str:
    """Make the table of effects from `nucseg.analysis.summaries.effects`."""
    if compared.empty:
        return section("effects", "Effects", paragraph("There is no condition but the controls."))
    columns = {
        "Condition": False, "Measurement": False, "n": True, "n (control)": True, "Mean": True,
        "Control": True, "Difference": True, "95 % from": True, "to": True, "%": True,
        "Hedges' g": True, "p": True, "p (Holm)": True,
    }  # fmt: skip
    keys: tuple[str, ...] = (
        "measure", "n", "control_n", "mean", "control_mean", "difference", "low", "high", "percent",
        "hedges_g", "p", "p_holm",
    )  # fmt: skip
    if compared["note"].any():
        columns["Note"], keys = False, (*keys, "note")
    rows = [
        ("", "", [row["condition"], *(_shown(row.get(key)) for key in keys)])
        for row in compared.to_dict("records")
    ]
    return section("effects", "Effects", table("Effects of each condition", columns, rows))


def curves_section(curves: pd.DataFrame) -> str:
    """Make the table of `nucseg.analysis.summaries.dose_responses`; empty without curves."""
    if curves.empty:
        return ""
    columns = {
        "Treatment": False, "Measurement": False, "Half at": True, "95 % from": True, "to": True,
        "Unit": False, "Slope": True, "Without": True, "At most": True, "p": True, "n": True,
    }  # fmt: skip
    rows = []
    for row in curves.to_dict("records"):
        half = [row["half"], row["low"], row["high"]] if row["reached"] else list(_NOT_REACHED)
        ends = [row["slope"], row["bottom"], row["top"]] if row["reached"] else [None] * 3
        rest = [*ends, row["p"], row["n"]]
        cells = [row["treatment"], row["measure"], *half, row["unit"], *rest]
        rows.append(("", "", [_shown(cell) for cell in cells]))
    return section("curves", "Dose of half the effect", table("Curves", columns, rows))


def plates_section(quality: pd.DataFrame) -> str:
    """Make the table of `nucseg.analysis.summaries.plate_quality`; empty without plates."""
    if quality.empty:
        return ""
    columns = {
        "Plate": False, "Measurement": False, "Wells": True, "Z′": True, "SSMD": True,
        "Edge (%)": True, "p of the edge": True,
    }  # fmt: skip
    keys = ("measure", "wells", "z_prime", "ssmd", "edge_percent", "edge_p")
    rows = [
        ("", "", [str(row["plate"]), *(_shown(row[key]) for key in keys)])
        for row in quality.to_dict("records")
    ]
    text = paragraph(
        "Z′ above 0.5 is an excellent assay. Wells at the edge are compared with those inside, "
        "within conditions that lie in both."
    )
    return section("quality", "Quality of plates", text, table("Quality", columns, rows))


def candidates_section(counts: pd.DataFrame) -> str:
    """Make the table of `nucseg.analysis.states.candidate_counts`; empty without candidates."""
    if counts.empty:
        return ""
    columns = {"Condition": False, "Name": False, "Column": False, "Nuclei": True, "Of": True,
               "%": True}  # fmt: skip
    keys = ("name", "column", "count", "nuclei", "percent")
    rows = [
        ("", "", [str(row["condition"]), *(_shown(row[key]) for key in keys)])
        for row in counts.to_dict("records")
    ]
    text = paragraph(
        "Named by rules on shape and intensity, to be looked at. Shares of candidates are compared "
        "among the measurements, with wells as units. What is flagged is counted all the same."
    )
    return section("candidates", "Candidates", text, table("Candidates", columns, rows))


def _shown(value: Any) -> str | int | float | None:
    """Convert a value to one that a cell of the page can contain."""
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return None
    if isinstance(value, str):
        return value
    if float(value).is_integer() and abs(value) < 1e6:
        return int(value)
    return number(float(value))
