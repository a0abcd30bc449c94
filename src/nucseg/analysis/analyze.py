"""From the results of ``nucseg segment`` to what a treatment did: tables, figures, a page."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from nucseg import __version__
from nucseg.analysis import page, summaries
from nucseg.analysis.conditions import assign, negative_controls, read_results
from nucseg.analysis.dose_response import DoseResponse
from nucseg.analysis.effects import RESAMPLES
from nucseg.analysis.figures import dose_figure, plate_figure, save_figure, units_figure
from nucseg.analysis.plate_maps import read_plate_map
from nucseg.errors import InputError
from nucseg.export.report import write_page
from nucseg.figures.html import counted, paragraph, section
from nucseg.files import whole_file

FOLDER, FIGURES, PAGE, RECORD = "analysis", "figures", "analysis.html", "analysis.json"


def analyze(
    results: Path,
    output: Path | None = None,
    *,
    plate_map: Path | None = None,
    groups: str | None = None,
    controls: Sequence[str] = (),
    measures: Sequence[str] = (),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Compare conditions in the results of a run.

    Parameters
    ----------
    results : Path
        What ``nucseg segment -o`` wrote.
    output : Path, optional
        Folder to write; by default ``analysis`` in the results.
    plate_map : Path, optional
        See `nucseg.analysis.plate_maps.read_plate_map`.
    groups : str, optional
        How paths are put together, see `nucseg.analysis.conditions.assign`.
    controls : sequence of str
        Treatments or conditions that are negative controls; by default what the plate map says.
    measures : sequence of str
        Columns of ``measurements.csv`` to compare.
    seed : int
        Of the resampling.
    progress : callable, optional
        ``progress(done, total)``, of the figures.

    Returns
    -------
    Path
        The folder: ``wells.csv`` (or ``units.csv``), ``effects.csv``, ``dose_response.csv``,
        ``plates.csv``, figures with their data, ``analysis.html`` and ``analysis.json``.

    Raises
    ------
    InputError
        The results, the plate map or a name cannot be used, or the folder cannot be written.
    MissingExtraError
        The extra ``analysis`` is not installed.
    """
    tables = read_results(results)
    plates = None if plate_map is None else read_plate_map(plate_map)
    assigned = assign(tables.images, plates, groups)
    negative = negative_controls(assigned.images, controls)
    nuclei = summaries.with_shares(tables.nuclei)
    chosen = summaries.chosen_measures(nuclei, measures)
    rows = summaries.per_image(assigned.images, nuclei, chosen)
    units = summaries.per_unit(rows, chosen)
    replicates = summaries.per_replicate(units, chosen)
    compared = summaries.effects(replicates, chosen, negative, seed=seed)
    curves = summaries.dose_responses(replicates, chosen, negative)
    quality = summaries.plate_quality(units, chosen, negative)
    folder = results / FOLDER if output is None else output
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write to {folder}: {error.strerror or error}.") from error
    before = _files_before(folder)
    frames = {
        "wells.csv" if "well" in units else "units.csv": units,
        "effects.csv": compared,
        "dose_response.csv": curves,
        "plates.csv": quality,
    }
    files = [file for file, frame in frames.items() if not frame.empty]
    for file in files:
        with whole_file(folder / file) as partial:
            frames[file].to_csv(partial, index=False, lineterminator="\n")
    notes = [*(plates.notes if plates else ()), *assigned.notes]
    figures, drawn = _figures(
        folder, units, replicates, compared, curves, chosen, negative, progress
    )
    files += drawn
    methods = methods_paragraph(replicates, compared, curves, negative)
    record = {
        "nucseg": __version__,
        "pandas": version("pandas"),
        "scipy": version("scipy"),
        "results": str(results),
        "plate_map": None if plate_map is None else str(plate_map),
        "groups": groups,
        "controls": negative,
        "measures": chosen,
        "seed": seed,
        "images": len(rows),
        "unmatched": list(assigned.unmatched),
        "wells_without_images": list(assigned.unused),
        "notes": notes,
        "methods": methods,
        "files": files,
    }
    with whole_file(folder / RECORD) as partial:
        partial.write_text(
            json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    sections = [
        page.told(assigned, notes, RECORD),
        page.effects_section(compared),
        *figures,
        page.curves_section(curves),
        page.plates_section(quality),
        section("methods", "Methods", f"<p>{escape(methods)}</p>"),
    ]
    facts = {
        "Results": str(results),
        "Controls": ", ".join(negative),
        "Units": counted(len(replicates), "replicate"),
        "Images": f"{len(rows):,}",
        "nucseg": __version__,
    }
    conditions = compared["condition"].nunique() if len(compared) else 0
    title = f"Effects of {counted(conditions, 'condition')}"
    write_page(folder / PAGE, title, facts, sections)
    for file in before - set(files):
        (folder / file).unlink(missing_ok=True)
    return folder


def _files_before(folder: Path) -> set[str]:
    """Files that an earlier analysis has written: what is not written again must not stay."""
    try:
        told = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
        names = {str(name) for name in told}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    # Nothing outside the folder, whatever the record says.
    return {name for name in names if not Path(name).is_absolute() and ".." not in Path(name).parts}


def methods_paragraph(
    units: pd.DataFrame, compared: pd.DataFrame, curves: pd.DataFrame, controls: Sequence[str]
) -> str:
    """Describe the analysis as a paper would."""
    ways = sorted(set(compared.get("method", pd.Series(dtype=str)).dropna()))
    text = (
        f"Nuclei were segmented and measured with nucseg {__version__}. Values are means over the "
        f"fields of each unit ({counted(len(units), 'unit')}); nuclei were not treated as "
        f"replicates. Conditions were compared with {', '.join(controls)}"
    )
    if ways:
        text += f" (95 % confidence intervals: {'; '.join(ways)}"
        if any("bootstrap" in way for way in ways):
            text += f", {RESAMPLES:,} resamples"
        text += (
            "), and p values were corrected by Holm's method over all conditions and measurements."
        )
    else:
        text += "."
    if not curves.empty:
        text += (
            " Dose-response curves are four-parameter logistic functions fitted by least squares; "
            "intervals of the dose of half the effect are those of the profile likelihood."
        )
    return text


def _figures(
    folder: Path,
    units: pd.DataFrame,
    replicates: pd.DataFrame,
    compared: pd.DataFrame,
    curves: pd.DataFrame,
    measures: Sequence[str],
    controls: Sequence[str],
    progress: Callable[[int, int], None] | None,
) -> tuple[list[str], list[str]]:
    """Write all figures; give sections of the page that show them, and the files."""
    jobs: list[tuple[str, str, Callable[[], Any], pd.DataFrame]] = []
    for measure in measures:
        jobs.append((
            "conditions", f"conditions_{measure}",
            partial(units_figure, replicates, compared, measure, controls),
            replicates[[name for name in ("plate", "well", "replicate", "condition", measure)
                        if name in replicates]],
        ))  # fmt: skip
    for row in curves.to_dict("records"):
        fitted = DoseResponse(**{each.name: row[each.name] for each in fields(DoseResponse)})
        jobs.append((
            "doses", _file_name(f"dose_{row['treatment']}_{row['measure']}"),
            partial(dose_figure, replicates, fitted, row["treatment"], row["measure"], controls),
            replicates[replicates["treatment"] == row["treatment"]][["dose", row["measure"]]],
        ))  # fmt: skip
    if "well" in units:
        plates = units["plate"] if "plate" in units else pd.Series("", units.index)
        for plate in dict.fromkeys(plates):
            here = units[plates == plate]
            for measure in measures:
                jobs.append((
                    "plates", _file_name("_".join(filter(None, ("plate", str(plate), measure)))),
                    partial(plate_figure, here, measure, str(plate)),
                    here[["well", measure]],
                ))  # fmt: skip
    pictures: dict[str, list[str]] = {}
    files: list[str] = []
    for done, (group, name, draw, data) in enumerate(jobs, start=1):
        save_figure(draw(), folder / FIGURES, name, data)
        files += [f"{FIGURES}/{name}{suffix}" for suffix in (".svg", ".png", ".csv")]
        svg = (folder / FIGURES / f"{name}.svg").read_bytes()
        source = f"data:image/svg+xml;base64,{b64encode(svg).decode('ascii')}"
        label = name.replace("_", " ")
        pictures.setdefault(group, []).append(
            f'<figure><img loading="lazy" style="width: 100%; background: white" '
            f'alt="{escape(label)}" src="{source}">'
            f"<figcaption>{escape(label)}</figcaption></figure>"
        )
        if progress is not None:
            progress(done, len(jobs))
    titles = {
        "conditions": ("Conditions", "Each point is a unit; lines are means; * p (Holm) < 0.05."),
        "doses": (
            "Dose response",
            "Grey: controls. Orange: interval of the dose of half the effect.",
        ),
        "plates": ("Plates", "Means over the fields of each well."),
    }
    shown = [
        section(
            group, title, paragraph(text), '<div class="histograms">', *pictures[group], "</div>"
        )
        for group, (title, text) in titles.items()
        if group in pictures
    ]
    return shown, files


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in text).strip(
        "-"
    )
