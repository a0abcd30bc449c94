"""``nucseg measure``: measurements of existing label images."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer

from nucseg.cli.common import checked, default, option, progress_bar
from nucseg.cli.segment import FIELD, RULES, SOME_FAILED, checked_measuring
from nucseg.config import Measuring, Reading, Segmenting


def measure(
    labels: Annotated[
        str,
        typer.Argument(
            metavar="LABELS", help="A label image, a folder of them, or a glob pattern."
        ),
    ],
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE",
            help="Their image, or a folder, glob pattern or CSV list of images.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results; made where missing.")
    ],
    channels: Annotated[
        str | None, option(Measuring, "measure", "--measure", metavar="all|CHANNELS")
    ] = None,
    ring: Annotated[str | None, option(Measuring, "ring", metavar="LENGTH")] = None,
    expand: Annotated[str | None, option(Measuring, "expand", metavar="LENGTH")] = None,
    dab: Annotated[bool, option(Measuring, "dab", "--dab")] = False,
    dab_thresholds: Annotated[
        str | None, option(Measuring, "dab_thresholds", metavar="auto|WEAK,MODERATE,STRONG")
    ] = None,
    texture: Annotated[bool, option(Measuring, "texture", "--texture")] = False,
    radial: Annotated[bool, option(Measuring, "radial", "--radial")] = False,
    granularity: Annotated[bool, option(Measuring, "granularity", "--granularity")] = False,
    dna: Annotated[bool, option(Measuring, "dna", "--dna")] = False,
    candidates: Annotated[str | None, option(Measuring, "candidates", metavar=RULES)] = None,
    flat_field: Annotated[str, option(Measuring, "flat_field", metavar=FIELD)] = "off",
    channel: Annotated[str | None, option(Reading, "channel", metavar="NAME|NUMBER")] = None,
    project: Annotated[Literal["none", "max"], option(Reading, "project")] = default(
        Reading, "project"
    ),
    pixel_size: Annotated[float | None, option(Reading, "pixel_size", metavar="MICROMETRES")] = (
        None
    ),
    exclude: Annotated[list[str] | None, option(Reading, "exclude", metavar="PATTERN")] = None,
    csv_dialect: Annotated[
        Literal["excel", "excel-eu"], option(Segmenting, "csv_dialect")
    ] = default(Segmenting, "csv_dialect"),
) -> None:
    """Measure the nuclei of label images of any program, with rings and cells around them.

    A label image belongs to the image of the same name; suffixes such as _masks or _cp_masks are
    ignored. With one label image and one image, the names do not matter. Writes measurements.csv
    (one row per nucleus), images.csv (one row per image) and run.json, as nucseg segment does.
    Whole images are read into memory, up to 1,073 megapixels: whole-slide images at full resolution
    are not supported here.

    The exit status is 0 if all images are done, 1 if some failed (all others are written), and 2 if
    the command or the output is invalid.

    **Examples**

        nucseg measure out/labels my_images -o measured
        nucseg measure nuclei.tif two_channels.ome.tif -o measured --measure all --ring 2um
        nucseg measure out/labels ki67 -o measured --dab
        nucseg measure "cellpose/*_cp_masks.png" my_images -o measured --expand 20
        nucseg measure out/labels my_images -o measured --texture --radial
        nucseg measure out/labels plate1 -o measured --candidates default --flat-field auto
    """
    from nucseg.batch.label_files import measure_files
    from nucseg.batch.measuring import describe_positive
    from nucseg.export.tables import EXCEL, EXCEL_EU
    from nucseg.measure.positive import DAB_CLASS, positivity

    measuring = checked_measuring(
        measure=channels,
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
    given = {"channel": channel, "project": project, "pixel_size": pixel_size}
    reading = checked(Reading, {**given, "exclude": tuple(exclude or ()), "measuring": measuring})
    with progress_bar("Measuring") as progress:
        done = measure_files(
            [labels],
            [image],
            output,
            reading=reading,
            dialect=EXCEL_EU if csv_dialect == EXCEL_EU.name else EXCEL,
            progress=progress,
            command=sys.argv,
        )
    failed = [each for each in done if each.error]
    nuclei = sum(each.nuclei for each in done)
    typer.echo(f"Images measured: {len(done) - len(failed)}, with {nuclei:,} nuclei.")
    classes = [each.columns[DAB_CLASS] for each in done if DAB_CLASS in each.columns]
    if classes:
        typer.echo(describe_positive(positivity(classes), len(classes)))
    named = Counter(name for each in done for name in each.names if name)
    if candidates:
        told = ", ".join(f"{name} {count:,}" for name, count in named.items())
        typer.echo(f"Candidates: {told or 'none'}.")
    for each in failed:
        about = "" if str(each.image.path) in each.error else f"{each.image.path}: "
        typer.secho(f"Failed: {about}{each.error}", err=True, fg="red")
    for each in done:
        for text in each.warnings:
            typer.secho(f"{each.image.path}: {text}", err=True, fg="yellow")
    typer.echo(f"Results: {output}")
    if failed:
        raise typer.Exit(SOME_FAILED)
