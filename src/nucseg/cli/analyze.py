"""``nucseg analyze``: effects of treatments, from the results of ``nucseg segment``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from nucseg.cli.common import progress_bar


def analyze(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="Results folder of nucseg segment.")
    ],
    plate_map: Annotated[
        Path | None,
        typer.Option(
            "--plate-map",
            help="CSV or Excel file: one row per well, or grids in the form of the plate.",
        ),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            "--groups",
            metavar="PATTERN",
            help="Pattern of the image paths, such as {plate}/{well}_{field} or "
            "{treatment}/{replicate}_{field}.",
        ),
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(
            "--control", help="Treatment or condition of the negative controls. Repeatable."
        ),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option("--measure", help="Column of measurements.csv to compare. Repeatable."),
    ] = None,
    keep_dead_wells: Annotated[
        bool,
        typer.Option(
            "--keep-dead-wells",
            help="Include wells with far fewer nuclei than the other wells of their condition.",
        ),
    ] = False,
    cell_cycle: Annotated[
        bool | None,
        typer.Option(
            "--cell-cycle/--no-cell-cycle",
            help="Determine cell cycle phases from the DNA content (--dna of nucseg segment); by "
            "default if it was measured.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write.", show_default="RESULTS/analysis"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the resampling.")] = 0,
) -> None:
    """Compare treatments: effects with intervals, dose response, plate quality, figures.

    The unit is the well, or the replicate in the plate map, never the nucleus. Treatments come
    from a plate map, from the image paths, or from columns of the list of inputs.

    **Examples**

        nucseg analyze out --plate-map plate.xlsx
        nucseg analyze out --plate-map plate.csv --groups "{plate}/{well}_s{field}"
        nucseg analyze out --groups "{treatment}/{replicate}_{field}" --control DMSO
        nucseg analyze out --plate-map plate.csv --cell-cycle
    """
    from nucseg.errors import MissingExtraError

    try:
        from nucseg.analysis.analyze import PAGE
        from nucseg.analysis.analyze import analyze as run
        from nucseg.analysis.compare import Comparing
    except ImportError as error:
        raise MissingExtraError("Analyzing conditions", "analysis") from error
    with progress_bar("Drawing") as progress:
        folder = run(
            results,
            output,
            plate_map=plate_map,
            how=Comparing(groups, control or (), measure or (), keep_dead_wells, seed, cell_cycle),
            progress=progress,
        )
    typer.echo(f"Wrote {folder}\nOpen {folder / PAGE}")


def prepared_analysis(plate_map: Path | None, groups: str | None) -> Callable[[Path], Path] | None:
    """Prepare an analysis of results that do not exist yet; check the arguments now.

    Parameters
    ----------
    plate_map : Path or None
    groups : str or None
        As for ``nucseg analyze``.

    Returns
    -------
    callable or None
        Takes the results folder, returns the page. None if neither is given.

    Raises
    ------
    InputError
        The plate map cannot be read, or the pattern is wrong.
    MissingExtraError
        The extra ``analysis`` is not installed.
    """
    if plate_map is None and groups is None:
        return None
    from nucseg.errors import MissingExtraError

    try:
        from nucseg.analysis.analyze import PAGE
        from nucseg.analysis.analyze import analyze as run
        from nucseg.analysis.compare import Comparing
        from nucseg.analysis.conditions import names_in
        from nucseg.analysis.plate_maps import read_plate_map
    except ImportError as error:
        raise MissingExtraError("Analyzing conditions", "analysis") from error
    if plate_map is not None:
        read_plate_map(plate_map)
    if groups is not None:
        names_in(groups)

    def analysis(results: Path) -> Path:
        with progress_bar("Drawing") as progress:
            how = Comparing(groups=groups)
            return run(results, plate_map=plate_map, how=how, progress=progress) / PAGE

    return analysis
