"""Methods paragraph of an analysis for a paper, with versions and settings."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from nucseg import __version__
from nucseg.analysis.compare import Comparison
from nucseg.analysis.effects import IN_BLOCKS, RESAMPLES
from nucseg.analysis.summaries import COUNT, DEAD
from nucseg.figures.html import counted

_SETTINGS = ("method", "threshold", "seed_threshold", "min_score", "min_area")


def versions() -> dict[str, str]:
    """Return the versions of the packages that compute an analysis."""
    packages = ("numpy", "pandas", "scipy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def segmentation_of(results: Path) -> dict[str, Any]:
    """Read from ``run.json`` how nuclei were segmented.

    Parameters
    ----------
    results : Path
        Output folder of ``nucseg segment -o``.

    Returns
    -------
    dict
        ``model``, ``nucseg`` and ``settings`` of the run; empty without this record.
    """
    try:
        run = json.loads((results / "run.json").read_text(encoding="utf-8"))
        settings = run["model"]["postprocessing"]
        light = run.get("flat_field") or []
        return {
            **({"flat_field": max(each["images"] for each in light)} if light else {}),
            "model": str(run["model"]["name"]),
            "nucseg": str(run["versions"]["nucseg"]),
            "settings": {name: settings[name] for name in _SETTINGS if name in settings},
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def methods_paragraph(found: Comparison, segmentation: dict[str, Any]) -> str:
    """Write the methods paragraph of an analysis.

    Parameters
    ----------
    found : Comparison
    segmentation : dict
        Result of `segmentation_of`.

    Returns
    -------
    str
    """
    return " ".join(
        sentence
        for sentence in (
            _of_segmentation(segmentation),
            _of_units(found),
            _of_effects(found),
            _of_curves(found.curves),
            _of_cycles(found),
            _of_versions(),
        )
        if sentence
    )


def _of_segmentation(about: dict[str, Any]) -> str:
    if not about:
        return f"Nuclei were segmented and measured with nucseg {__version__}."
    settings = ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in about["settings"].items()
    )
    text = (
        f"Nuclei were segmented and measured with nucseg {about['nucseg']} "
        f"(model {about['model']}; {settings})."
    )
    if "flat_field" in about:
        origin = f"of {about['flat_field']} images" if about["flat_field"] else "of a file"
        text += (
            f" Before intensities were measured, images were divided by the flat field {origin}."
        )
    return text


def _of_units(found: Comparison) -> str:
    names = ", ".join(name for name in found.measures if name != COUNT)
    fields = sorted({int(number) for number in found.units["images"]})
    each = f"{fields[0]}" if len(fields) == 1 else f"{fields[0]} to {fields[-1]}"
    of_what = "wells" if "well" in found.units else "units"
    text = (
        f"The number of nuclei per image{' and the means of ' + names if names else ''} were "
        f"averaged over the fields of each of {len(found.units)} {of_what} ({each} each)"
    )
    if len(found.replicates) < len(found.units) and "wells" in found.replicates:
        text += f", and these over {counted(len(found.replicates), 'replicate')}"
    text += "; nuclei were not treated as replicates."
    dead = int(found.units["dead"].sum())
    if dead and len(found.replicates) and "left out" in " ".join(found.notes):
        text += (
            f" {counted(dead, 'well')} with less than {DEAD:.0%} of the median number of nuclei of "
            f"the same condition {'was' if dead == 1 else 'were'} left out."
        )
    return text


def _of_effects(found: Comparison) -> str:
    controls = ", ".join(found.controls)
    ways = sorted(set(found.effects.get("method", pd.Series(dtype=str)).dropna()))
    if not ways:
        return f"Conditions were compared with {controls}."
    tests = "that model" if ways == [IN_BLOCKS] else "Student's and Welch's t tests, the larger one"
    return (
        f"Conditions were compared with {controls} (95 % confidence intervals: {'; '.join(ways)}"
        + (f", {RESAMPLES:,} resamples" if any("bootstrap" in way for way in ways) else "")
        + f"); p values are those of {tests}, corrected by Holm's method over all conditions and "
        "measurements."
    )


def _of_curves(curves: pd.DataFrame) -> str:
    if curves.empty:
        return ""
    return (
        "Dose-response curves are four-parameter logistic functions fitted by least squares, with "
        "controls at dose 0; intervals of the dose of half the effect are those of the profile "
        "likelihood, bands of the curves those of the delta method."
    )


def _of_cycles(found: Comparison) -> str:
    fits = [each.fit for each in found.states.cycles if each.fit is not None]
    if not fits:
        return ""
    worst = max(fit.distance for fit in fits)
    return (
        "Phases of the cell cycle were told by the DNA content (integrated intensity above the "
        "background) of whole nuclei: on each plate a mixture of G1, S and G2/M (Dean and Jett "
        f"1974) was fitted; its largest Kolmogorov-Smirnov distance was {worst:.3f}."
    )


def _of_versions() -> str:
    used = versions()
    return (
        f"The analysis was computed with Python {used['python']}, NumPy {used['numpy']}, SciPy "
        f"{used['scipy']} and pandas {used['pandas']}."
    )
