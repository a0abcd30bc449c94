"""``nucseg convert``: label images of any program to other formats."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nucseg.cli.common import progress_bar
from nucseg.cli.segment import SOME_FAILED, split_at_commas
from nucseg.errors import InputError, NucsegError

if TYPE_CHECKING:
    from nucseg.batch.inputs import Input
    from nucseg.export import LabelImage


def convert(
    labels: Annotated[
        list[str],
        typer.Argument(metavar="LABELS", help="Label images, folders of them, or glob patterns."),
    ],
    to: Annotated[
        list[str],
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="Output formats: labels, rois (ImageJ), geojson (QuPath), coco, masks and rle "
            "(Kaggle) or zarr (OME-Zarr); separate several with commas.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results; made where missing.")
    ],
) -> None:
    """Convert label images of any program to other formats.

    A label image is a TIFF or PNG file of integers: 0 is background, each other number a nucleus.
    Numbers are kept. If all nuclei have the same number, each connected component becomes a
    nucleus. Grey levels (JPEG, resized or smoothed masks), classes, colours and inverted masks are
    rejected. Each format has its own output folder, as with nucseg segment. Files of the same name
    are replaced.

    The exit status is 0 if all files are converted, 1 if some could not be read (all others are
    written), and 2 if the command or the output is invalid.

    **Examples**

        nucseg convert out/labels --to rois,geojson -o out
        nucseg convert "cellpose/*_cp_masks.png" --to coco -o annotations
        nucseg convert nuclei.tif --to masks --to rle -o kaggle
    """
    from nucseg.export import save_formats

    formats = split_at_commas(to)
    _check_enough(formats)
    files = _find(labels, output, formats)
    failed: dict[Input, str] = {}
    nuclei = 0
    with progress_bar("Converting") as progress:
        for done, file in enumerate(files):
            progress(done, len(files))
            try:
                label_image = _read(file)
            except NucsegError as error:
                failed[file] = str(error)
                continue
            save_formats(label_image, output, file.name, formats)
            nuclei += label_image.count
        progress(len(files), len(files))
    done = len(files) - len(failed)
    typer.echo(f"Label images converted: {done}, with {nuclei} nuclei.")
    for file, reason in failed.items():
        about = "" if str(file.path) in reason else f"{file.path}: "
        typer.secho(f"Failed: {about}{reason}", err=True, fg="red")
    typer.echo(f"Results: {output}")
    if failed:
        raise typer.Exit(SOME_FAILED)


def _check_enough(formats: tuple[str, ...]) -> None:
    """Reject formats that need more than labels, before anything is read."""
    from nucseg.export import FORMATS, check_formats

    for each in check_formats(formats):
        if not each.from_labels:
            able = ", ".join(name for name, known in FORMATS.items() if known.from_labels)
            raise InputError(
                f"The format {each.name} needs more than label images. Give any of {able}, or "
                f"segment the images with --save {each.name}."
            )


def _find(labels: list[str], output: Path, formats: tuple[str, ...]) -> list[Input]:
    """List the files. They may be results of nucseg, but not in the folders to write to."""
    from nucseg.batch.inputs import search_inputs

    # Without an output, since label images in it are what is often converted.
    files = search_inputs(labels, Path(os.devnull), annotations=True).images
    places = {os.path.realpath(output / name) for name in formats}
    for file in files:
        if places.intersection(map(str, Path(os.path.realpath(file.path)).parents)):
            raise InputError(
                f"{file.path} is in a folder of the results and would be replaced. Choose another "
                "output folder."
            )
    return files


def _read(file: Input) -> LabelImage:
    """Read a label image, and print what had to be guessed."""
    from nucseg.core.labelling import read_labels
    from nucseg.export import to_label_image
    from nucseg.images import open_image, read_plane

    planes = {source.plane: source for source in open_image(file.path, as_labels=True)}
    image = read_plane(planes[file.plane])
    labels, doubts = read_labels(image.pixels, str(file.path))
    for doubt in doubts:
        typer.echo(f"{file.path} {doubt.message}", err=True)
    label_image = to_label_image(labels, image.pixel_size)
    return replace(label_image, place=planes[file.plane].place)
