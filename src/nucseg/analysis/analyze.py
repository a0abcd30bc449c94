"""Analyze the results of ``nucseg segment``: tables, figures and a page on treatments."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from html import escape
from pathlib import Path

import pandas as pd

from nucseg import __version__
from nucseg.analysis import page
from nucseg.analysis.compare import Comparing, Comparison, compare
from nucseg.analysis.conditions import read_results
from nucseg.analysis.drawing import draw_all
from nucseg.analysis.methods import methods_paragraph, segmentation_of, versions
from nucseg.analysis.plate_maps import read_plate_map
from nucseg.errors import InputError
from nucseg.export.report import write_page
from nucseg.figures.html import counted, section
from nucseg.files import atomic_write

logger = logging.getLogger(__name__)

FOLDER, PAGE, RECORD = "analysis", "analysis.html", "analysis.json"


def analyze(
    results: Path,
    output: Path | None = None,
    *,
    plate_map: Path | None = None,
    how: Comparing | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Compare conditions in the results of a run.

    Parameters
    ----------
    results : Path
        Output folder of ``nucseg segment -o``.
    output : Path, optional
        Output folder; by default ``analysis`` in the results.
    plate_map : Path, optional
        See `nucseg.analysis.plate_maps.read_plate_map`.
    how : Comparing, optional
        Groups, controls, measurements.
    progress : callable, optional
        ``progress(done, total)``, in figures.

    Returns
    -------
    Path
        The folder: ``wells.csv`` (or ``units.csv``), ``effects.csv``, ``dose_response.csv``,
        ``plates.csv``, ``cell_cycle.csv``, ``phases.csv``, ``candidates.csv``, figures with their
        data, ``analysis.html`` and ``analysis.json``.

    Raises
    ------
    InputError
        The results, the plate map or a name cannot be used, or the folder cannot be written.
    MissingExtraError
        The extra ``analysis`` is not installed.
    """
    how = how or Comparing()
    tables = read_results(results)
    found = compare(tables, None if plate_map is None else read_plate_map(plate_map), how)
    for note in found.states.notes():
        logger.warning("%s", note)
    folder = results / FOLDER if output is None else output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write to {folder}: {error.strerror or error}.") from error
    before = _files_before(folder)
    files = _write_tables(folder, found)
    figures, drawn = draw_all(folder, results, found, progress)
    files += drawn
    about = segmentation_of(results)
    methods = methods_paragraph(found, about)
    record = {
        "nucseg": __version__,
        "versions": versions(),
        "segmentation": about,
        "results": str(results),
        "plate_map": None if plate_map is None else str(plate_map),
        "groups": how.groups,
        "controls": found.controls,
        "measures": found.measures,
        "keep_dead_wells": how.keep_dead,
        "seed": how.seed,
        "images": len(found.images),
        "unmatched": list(found.assigned.unmatched),
        "wells_without_images": list(found.assigned.unused),
        "notes": found.notes,
        "methods": methods,
        "files": files,
    }
    with atomic_write(folder / RECORD) as partial:
        partial.write_text(
            json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    _write_page(folder, results, found, figures, methods)
    for file in before - set(files):
        (folder / file).unlink(missing_ok=True)
    return folder


def _write_tables(folder: Path, found: Comparison) -> list[str]:
    """Write the tables that have rows; return their names."""
    frames: dict[str, pd.DataFrame] = {
        "wells.csv" if "well" in found.units else "units.csv": found.units,
        "effects.csv": found.effects,
        "dose_response.csv": found.curves,
        "plates.csv": found.quality,
        "cell_cycle.csv": found.states.table(),
        "phases.csv": _phases(found),
        "candidates.csv": found.states.counts,
    }
    files = [file for file, frame in frames.items() if not frame.empty]
    for file in files:
        with atomic_write(folder / file) as partial:
            frames[file].to_csv(partial, index=False, lineterminator="\n")
    return files


def _phases(found: Comparison) -> pd.DataFrame:
    """Return the phase of each nucleus, if phases were assigned."""
    if not found.states.cycles:
        return pd.DataFrame()
    names = ("image", "plane", "label", "dna_content", "phase")
    return found.nuclei[[name for name in names if name in found.nuclei]]


def _write_page(
    folder: Path, results: Path, found: Comparison, figures: list[str], methods: str
) -> None:
    sections = [
        page.told(found.assigned, found.notes, RECORD),
        *figures,
        page.curves_section(found.curves),
        page.plates_section(found.quality),
        page.candidates_section(found.states.counts),
        page.effects_section(found.effects),
        section("methods", "Methods", f"<p>{escape(methods)}</p>"),
    ]
    facts = {
        "Results": str(results),
        "Controls": ", ".join(found.controls),
        "Units": counted(len(found.replicates), "replicate"),
        "Images": f"{len(found.images):,}",
        "nucseg": __version__,
    }
    conditions = found.effects["condition"].nunique() if len(found.effects) else 0
    title = f"Effects of {counted(conditions, 'condition')}"
    write_page(folder / PAGE, title, facts, sections)


def _files_before(folder: Path) -> set[str]:
    """List files of an earlier analysis: those that are not written again have to be removed."""
    try:
        told = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
        names = {str(name) for name in told}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    # Nothing outside the folder, whatever the record contains.
    return {name for name in names if not Path(name).is_absolute() and ".." not in Path(name).parts}
