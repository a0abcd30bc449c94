"""Draw all figures of an analysis, write them to files, and insert them in its page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from nucseg.analysis.cell_cycle_figure import cycle_data, cycle_figure
from nucseg.analysis.compare import Comparison
from nucseg.analysis.dose_response import DoseResponse
from nucseg.analysis.figures import (
    conditions_in_order,
    dose_figure,
    drawn_nuclei,
    plate_figure,
    save_figure,
    units_figure,
)
from nucseg.analysis.montage import NUCLEI, Montage, montages
from nucseg.analysis.states import SHARES
from nucseg.analysis.summaries import COUNT
from nucseg.errors import InputError
from nucseg.figures.html import counted, paragraph, section
from nucseg.figures.pictures import write_png
from nucseg.files import atomic_write

FOLDER = "figures"
# Number of conditions with crops of nuclei.
MOST_MONTAGES = 24
# In the page, lines are bright if the reader's screen is dark. The files stay black on white.
_DARK = (
    "<style>@media (prefers-color-scheme: dark) {"
    'text{fill:#e8eaec!important}[style*="fill: #ffffff"]{fill:none!important}'
    '[style*="stroke: #000000"]{stroke:#e8eaec!important}'
    "}</style>"
)


@dataclass(frozen=True)
class _Job:
    """A figure to draw: its group on the page, the name of its files, and its content."""

    group: str
    name: str
    caption: str
    draw: Callable[[], Any]
    data: pd.DataFrame


def draw_all(
    folder: Path,
    results: Path,
    found: Comparison,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[str], list[str]]:
    """Write all figures into a folder.

    Parameters
    ----------
    folder : Path
        Folder of the analysis; figures are written to ``figures/`` in it.
    results : Path
        Output folder of ``nucseg segment -o``.
    found : Comparison
    progress : callable, optional
        ``progress(done, total)``.

    Returns
    -------
    sections, files : lists of str
        HTML sections with the figures, and paths relative to the folder.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write to {folder}: {error.strerror or error}.") from error
    shown = drawn_nuclei(found.nuclei, found.images, found.measures)
    jobs = [
        *_of_conditions(found, shown),
        *_of_cycles(found),
        *_of_doses(found),
        *_of_plates(found),
    ]
    pieces: dict[str, list[str]] = {}
    files: list[str] = []
    for done, job in enumerate(jobs, start=1):
        save_figure(job.draw(), folder / FOLDER, job.name, job.data)
        files += [f"{FOLDER}/{job.name}{suffix}" for suffix in (".svg", ".png", ".csv")]
        pieces.setdefault(job.group, []).append(_figure(folder, job))
        if progress is not None:
            progress(done, len(jobs) + 1)
    sections = _sections(pieces)
    conditions = conditions_in_order(found.replicates, found.controls)
    made = montages(
        results, found.assigned.images, found.nuclei, found.measures, conditions[:MOST_MONTAGES]
    )
    files += _write_nuclei(folder, shown, made)
    sections.append(_montage_section(folder, made, len(conditions)))
    if progress is not None:
        progress(len(jobs) + 1, len(jobs) + 1)
    return sections, files


def _of_conditions(found: Comparison, shown: pd.DataFrame) -> list[_Job]:
    names = [
        name for name in ("plate", "well", "replicate", "condition") if name in found.replicates
    ]
    jobs = []
    for measure in found.measures:
        # Points of fractions would all be at 0 and 1.
        single = measure != COUNT and measure in shown and not measure.startswith(SHARES)
        nuclei = shown if single else None
        jobs.append(_Job(
            "conditions", _file_name(f"conditions_{measure}"), f"{measure} of each condition",
            partial(units_figure, found.replicates, found.effects, measure, found.controls, nuclei),
            found.replicates[[*names, measure]],
        ))  # fmt: skip
    return jobs


def _of_cycles(found: Comparison) -> list[_Job]:
    jobs = []
    for each in found.states.cycles:
        if each.fit is None:
            continue
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in each.fit.shares.items())
        caption = (
            f"{each.plate or 'All nuclei'}: {shares.replace('G2M', 'G2/M')}; peaks vary by "
            f"{100 * each.fit.width:.1f} %, distance of the fit {each.fit.distance:.3f}, "
            f"{counted(len(each.content), 'nucleus', 'nuclei')}."
        )
        jobs.append(_Job(
            "cycle", _file_name("_".join(filter(None, ("cell_cycle", each.plate)))),
            " ".join((caption, *each.doubts)), partial(cycle_figure, each, each.fit),
            cycle_data(each, each.fit),
        ))  # fmt: skip
    return jobs


def _of_doses(found: Comparison) -> list[_Job]:
    jobs = []
    for row in found.curves.to_dict("records"):
        fitted = DoseResponse(**{each.name: row[each.name] for each in fields(DoseResponse)})
        treatment, measure = row["treatment"], row["measure"]
        own = found.replicates["treatment"] == treatment
        used = own | found.replicates["condition"].isin(found.controls)
        half = "not reached"
        if fitted.reached:
            ends = f"{fitted.low:.3g} to {fitted.high:.3g}"
            half = f"half at {fitted.half:.3g} {row['unit'] or ''}".rstrip() + f" ({ends})"
        jobs.append(_Job(
            "doses" if fitted.reached else "not reached",
            _file_name(f"dose_{treatment}_{measure}"),
            f"{treatment}, {measure}: {half}; {counted(fitted.n, 'unit')}",
            partial(dose_figure, found.replicates, fitted, treatment, measure, found.controls),
            found.replicates[used][["treatment", "dose", measure]],
        ))  # fmt: skip
    return jobs


def _of_plates(found: Comparison) -> list[_Job]:
    if "well" not in found.units:
        return []
    jobs = []
    plates = found.units["plate"] if "plate" in found.units else pd.Series("", found.units.index)
    for plate in dict.fromkeys(plates):
        here = found.units[plates == plate]
        for measure in found.measures:
            jobs.append(_Job(
                "plates", _file_name("_".join(filter(None, ("plate", str(plate), measure)))),
                " ".join(filter(None, (str(plate), measure))) + f"; {counted(len(here), 'well')}",
                partial(plate_figure, here, measure, str(plate)),
                here[["well", measure, "dead"]],
            ))  # fmt: skip
    return jobs


def _figure(folder: Path, job: _Job) -> str:
    """Insert a figure in the page, with links to its files."""
    svg = (folder / FOLDER / f"{job.name}.svg").read_text(encoding="utf-8")
    start = svg.index(">", svg.index("<svg")) + 1
    source = b64encode((svg[:start] + _DARK + svg[start:]).encode()).decode("ascii")
    return (
        f'<figure><img loading="lazy" class="drawn" alt="{escape(job.caption)}" '
        f'src="data:image/svg+xml;base64,{source}">'
        f"<figcaption>{escape(job.caption)} {_links(job.name, ('svg', 'png', 'csv'))}</figcaption>"
        "</figure>"
    )


def _links(name: str, suffixes: Sequence[str]) -> str:
    return " ".join(
        f'<a href="{FOLDER}/{escape(name)}.{suffix}">{suffix.upper()}</a>' for suffix in suffixes
    )


def _sections(pieces: dict[str, list[str]]) -> list[str]:
    nuclei = f"{FOLDER}/nuclei.csv"
    texts = {
        "conditions": (
            "Conditions",
            "Each large point is a unit of replication, such as a well; their number is in "
            "brackets. Lines are means over units; * p (Holm) < 0.05. Small grey points are "
            f"nuclei, which are no replicates ({nuclei}).",
        ),
        "cycle": (
            "Cell cycle",
            "DNA content of whole nuclei over that of G1: bars are nuclei, lines the phases of the "
            "mixture fitted to each plate. A distance of the fit above 0.05 is bad.",
        ),
        "doses": (
            "Dose response",
            "Each point is a unit, grey ones controls. Band: 95 % confidence of the curve; orange: "
            "interval of the dose of half the effect.",
        ),
        "plates": ("Plates", "Means over the fields of each well. Crossed out: dead wells."),
    }
    made = []
    for group, (title, text) in texts.items():
        figures = pieces.get(group, [])
        more = pieces.get("not reached", []) if group == "doses" else []
        if not figures and not more:
            continue
        body = [paragraph(text)]
        if figures:
            body += ['<div class="drawings">', *figures, "</div>"]
        if more:
            curves = counted(len(more), "curve")
            body += [
                f'<details class="more"><summary>{curves} without a dose of half the effect'
                '</summary><div class="drawings">',
                *more,
                "</div></details>",
            ]
        made.append(section(group, title, *body))
    return made


def _write_nuclei(folder: Path, shown: pd.DataFrame, made: Sequence[Montage]) -> list[str]:
    """Write the nuclei that are drawn, and the cropped ones with their pictures."""
    tables = {"nuclei": shown}
    files = [f"{FOLDER}/nuclei.csv"]
    for each in made:
        name = _file_name(f"montage_{each.condition}")
        write_png(folder / FOLDER / f"{name}.png", each.picture)
        tables[name] = each.nuclei
        files += [f"{FOLDER}/{name}.png", f"{FOLDER}/{name}.csv"]
    for name, frame in tables.items():
        with atomic_write(folder / FOLDER / f"{name}.csv") as file:
            frame.to_csv(file, index=False, lineterminator="\n")
    return files


def _montage_section(folder: Path, made: Sequence[Montage], conditions: int) -> str:
    if not made:
        text = (
            "No pictures of nuclei: the images or their label images are not where they were when "
            "they were segmented."
        )
        return section("nuclei", "Nuclei", paragraph(text))
    text = (
        f"Of each condition the {NUCLEI} nuclei nearest to its median nucleus (above) and the "
        f"{NUCLEI} farthest from it (below), by the measurements compared, of as many images as "
        "there are. All crops have one scale and one range of intensities."
    )
    if conditions > MOST_MONTAGES:
        text += f" Shown are the first {MOST_MONTAGES} of {conditions} conditions."
    pieces = []
    for each in made:
        name = _file_name(f"montage_{each.condition}")
        data = b64encode((folder / FOLDER / f"{name}.png").read_bytes()).decode("ascii")
        told = f"{each.condition}: typical nuclei above, extreme ones below"
        pieces.append(
            f'<figure><img loading="lazy" class="crops" alt="{escape(told)}" '
            f'src="data:image/png;base64,{data}"><figcaption><strong>{escape(each.condition)}'
            f"</strong> {_links(name, ('png', 'csv'))}</figcaption></figure>"
        )
    return section("nuclei", "Nuclei", paragraph(text), '<div class="drawings">', *pieces, "</div>")


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in text).strip(
        "-"
    )
