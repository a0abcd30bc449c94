"""``nucseg segment``: images in, label images, overlays and measurements out."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nucseg.cli.analyze import prepared_analysis
from nucseg.cli.common import checked, default, option, progress_bar
from nucseg.cli.dry_run import print_plan
from nucseg.cli.summary import print_summary, summary_of
from nucseg.config import (
    ConnectedComponents,
    Device,
    Filtering,
    Measuring,
    Precision,
    Reading,
    Segmenting,
    Watershed,
)
from nucseg.errors import InputError

if TYPE_CHECKING:
    from nucseg.batch.executors import Executor
    from nucseg.inference.segmenter import Model

SOME_FAILED = 1
INTERRUPTED = 130
RULES, FIELD = "default|FILE", "auto|off|FILE"
OF_MODEL = "the model's own"


def segment(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Images, folders of images, patterns, or a CSV file with a column of paths.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results; made where missing.")
    ],
    model: Annotated[str, option(Segmenting, "model", metavar="NAME|PATH")] = default(
        Segmenting, "model"
    ),
    save: Annotated[list[str] | None, option(Segmenting, "save", metavar="FORMAT")] = None,
    report: Annotated[bool, option(Segmenting, "report", "--report/--no-report")] = default(
        Segmenting, "report"
    ),
    channel: Annotated[str | None, option(Segmenting, "channel", metavar="NAME|NUMBER")] = None,
    project: Annotated[Literal["none", "max"], option(Segmenting, "project")] = default(
        Segmenting, "project"
    ),
    pixel_size: Annotated[
        float | None, option(Segmenting, "pixel_size", metavar="MICROMETRES")
    ] = None,
    exclude: Annotated[list[str] | None, option(Segmenting, "exclude", metavar="PATTERN")] = None,
    measure: Annotated[str | None, option(Measuring, "measure", metavar="all|CHANNELS")] = None,
    ring: Annotated[str | None, option(Measuring, "ring", metavar="LENGTH")] = None,
    expand: Annotated[str | None, option(Measuring, "expand", metavar="LENGTH")] = None,
    texture: Annotated[bool, option(Measuring, "texture", "--texture")] = False,
    radial: Annotated[bool, option(Measuring, "radial", "--radial")] = False,
    granularity: Annotated[bool, option(Measuring, "granularity", "--granularity")] = False,
    dna: Annotated[bool, option(Measuring, "dna", "--dna")] = False,
    candidates: Annotated[str | None, option(Measuring, "candidates", metavar=RULES)] = None,
    flat_field: Annotated[str, option(Measuring, "flat_field", metavar=FIELD)] = "off",
    csv_dialect: Annotated[
        Literal["excel", "excel-eu"], option(Segmenting, "csv_dialect")
    ] = default(Segmenting, "csv_dialect"),
    dab: Annotated[bool, option(Measuring, "dab", "--dab")] = False,
    dab_thresholds: Annotated[
        str | None, option(Measuring, "dab_thresholds", metavar="auto|WEAK,MODERATE,STRONG")
    ] = None,
    resume: Annotated[bool, option(Segmenting, "resume", "--resume")] = False,
    classes: Annotated[str | None, option(Segmenting, "classes", metavar="FILE")] = None,
    tta: Annotated[bool, option(Segmenting, "tta", "--tta")] = False,
    max_memory: Annotated[float, option(Segmenting, "max_memory", metavar="GB")] = default(
        Segmenting, "max_memory"
    ),
    diameter: Annotated[float | None, option(Segmenting, "diameter", metavar="PIXELS")] = None,
    threads: Annotated[int | None, option(Segmenting, "threads")] = None,
    engine: Annotated[Literal["threads", "dask"], option(Segmenting, "engine")] = default(
        Segmenting, "engine"
    ),
    scheduler: Annotated[
        str | None, option(Segmenting, "scheduler", metavar="ADDRESS|FILE")
    ] = None,
    workers: Annotated[int | None, option(Segmenting, "workers")] = None,
    device: Annotated[Device, option(Segmenting, "device")] = "auto",
    precision: Annotated[Precision, option(Segmenting, "precision")] = "auto",
    threshold: Annotated[
        float | None, option(ConnectedComponents, "threshold", show_default=OF_MODEL)
    ] = None,
    relative_threshold: Annotated[
        float | None, option(Watershed, "relative_threshold", show_default=OF_MODEL)
    ] = None,
    seed_threshold: Annotated[
        float | None, option(Watershed, "seed_threshold", show_default=OF_MODEL)
    ] = None,
    join_votes: Annotated[
        float | None, option(Watershed, "join_votes", show_default=OF_MODEL)
    ] = None,
    min_score: Annotated[
        float | None, option(Filtering, "min_score", show_default=OF_MODEL)
    ] = None,
    min_area: Annotated[int | None, option(Filtering, "min_area", show_default=OF_MODEL)] = None,
    max_area: Annotated[int | None, option(Filtering, "max_area", show_default=OF_MODEL)] = None,
    drop_border: Annotated[
        bool,
        typer.Option(
            "--drop-border",
            help="Drop nuclei that touch the edge of the image, of which a part may be missing.",
        ),
    ] = False,
    plate_map: Annotated[
        Path | None,
        typer.Option(
            "--plate-map",
            help="CSV or Excel file that says what is in each well: compare treatments at the end, "
            "as nucseg analyze does.",
        ),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            "--groups",
            metavar="PATTERN",
            help="Compare treatments at the end, by how paths are put together, as "
            "{plate}/{well}_{field}.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Open the images and say what would be done: windows, memory and time of each.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON on standard output.")
    ] = False,
) -> None:
    """Find and measure the nuclei of images.

    Writes labels/ (label images: 0 background, 1 to N nuclei), overlays/ (pictures with
    outlines), measurements.csv (a row per nucleus), images.csv (a row per image), report.html
    (pictures, counts and what looks wrong, for a browser) and run.json (how to repeat the run). A
    folder is searched with all its folders, and results keep its
    structure; results of nucseg, masks beside their images and thumbnails are left out, which is
    said; a file that is named is taken. Results of an earlier run
    in the same folder are replaced, or completed with --resume.

    Exits with 0 when all is done, 1 when some images failed (all others are written), 2 when
    the command or the output is at fault.

    **Examples**

        nucseg segment image.png -o out
        nucseg segment plate1/ plate2/ -o out --resume
        nucseg segment "plates/*/dapi_*.tif" -o out --save labels,rois,geojson
        nucseg segment slides/ -o out --dry-run
        nucseg segment plate.csv -o out --csv-dialect excel-eu
        nucseg segment images/ -o out --exclude "*_raw.tif" --exclude old
        nucseg segment stack.ome.tif -o out --channel DAPI --project max
        nucseg segment images/ -o out --classes classes.json
        nucseg segment plate1/ -o out --plate-map plate.xlsx
        nucseg segment stack.ome.tif -o out --measure all --ring 2um --expand 5um
        nucseg segment ki67/ -o out --dab
        nucseg segment plate1/ -o out --device cpu --precision f32
        nucseg segment plates/ -o out --engine dask --workers 8
        nucseg segment plates/ -o out --scheduler tcp://node1:8786
    """
    from nucseg.inference.loading import load_model

    analysis = prepared_analysis(plate_map, groups)
    executor = _executor(engine, scheduler, workers, threads)
    formats = split_at_commas(save) if save else default(Segmenting, "save")
    loaded = load_model(
        model, threads=threads, device=device, precision=precision, max_memory=max_memory
    )
    changes = {
        "threshold": threshold,
        "relative_threshold": relative_threshold,
        "seed_threshold": seed_threshold,
        "join_votes": join_votes,
        "min_score": min_score,
        "min_area": min_area,
        "max_area": max_area,
        "border_nuclei": "drop" if drop_border else None,
    }
    loaded = loaded.with_postprocessing(**{k: v for k, v in changes.items() if v is not None})
    if classes is not None:
        from nucseg.classes import load as load_classes

        loaded = loaded.with_classes(load_classes(classes))
    if tta:
        loaded = loaded.with_tta()
    if diameter is not None:
        loaded = loaded.with_diameter(diameter)
    given = {"channel": channel, "project": project, "pixel_size": pixel_size}
    measuring = checked_measuring(
        measure=measure,
        ring=ring,
        expand=expand,
        dab=dab,
        dab_thresholds=dab_thresholds,
        texture=texture,
        radial=radial,
        granularity=granularity,
        dna=dna,
        candidates=candidates,
        flat_field=flat_field,
    )
    reading = checked(Reading, {**given, "exclude": tuple(exclude or ()), "measuring": measuring})
    if report:
        formats = (*formats, "report")
    if csv_dialect == "excel-eu":
        formats = (*formats, csv_dialect)
    options = {"formats": formats, "reading": reading}
    if dry_run:
        print_plan(inputs, output, loaded, as_json=as_json, **options)
    else:
        run_and_report(
            inputs,
            output,
            loaded,
            as_json=as_json,
            analysis=analysis,
            resume=resume,
            executor=executor,
            **options,
        )


def _executor(
    engine: str, scheduler: str | None, workers: int | None, threads: int | None
) -> Executor | None:
    """Return where images are processed; None for threads of this process."""
    if engine != "dask" and scheduler is None:
        if workers is not None:
            raise InputError("--workers is for --engine dask. Give --threads instead.")
        return None
    from nucseg.batch.cluster import Dask

    if threads is not None:
        raise InputError("A Dask worker uses one core. Omit --threads, and give --workers instead.")
    return Dask(scheduler, workers)


def checked_measuring(**given: Any) -> Measuring:
    """Make settings of the options on what is measured on demand; None stands for the default."""
    return checked(Measuring, {name: each for name, each in given.items() if each is not None})


def split_at_commas(given: list[str]) -> tuple[str, ...]:
    """Names of formats, where several may be given at once."""
    return tuple(name.strip() for each in given for name in each.split(","))


def run_and_report(
    inputs: list[str],
    output: Path,
    model: Model,
    *,
    as_json: bool = False,
    analysis: Callable[[Path], Path] | None = None,
    **options: Any,
) -> None:
    """Segment files with a progress bar and a closing summary; exit with 1 where some failed."""
    from nucseg.batch.run import segment_files
    from nucseg.errors import NucsegError

    start = time.perf_counter()
    try:
        with progress_bar("Segmenting") as progress:
            outcomes = segment_files(
                inputs, output, model, progress=progress, command=sys.argv, **options
            )
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command with --resume goes on from here.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    summary = summary_of(outcomes, output, time.perf_counter() - start)
    failure: NucsegError | None = None
    if analysis is not None:
        try:
            summary["analysis"] = str(analysis(output))
        except NucsegError as error:  # the results are there all the same
            failure, summary["analysis"] = error, None
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        print_summary(summary)
    if failure is not None:
        typer.secho("The images are segmented, but were not analyzed:", err=True, fg="red")
        raise failure
    if summary["failed"]:
        raise typer.Exit(SOME_FAILED)
