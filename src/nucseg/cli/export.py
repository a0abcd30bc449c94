"""``nucseg export``: a trained network in the format of another program."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """Formats that a network can be written in."""

    ONNX = "onnx"
    KERAS = "keras"
    SAVED_MODEL = "saved-model"


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name of a bundled model, or a model folder.")
    ],
    format: Annotated[Format, typer.Option("--format", help="What to write.")],  # noqa: A002
    output: Annotated[Path, typer.Option("--output", "-o", help="File or folder to write.")],
) -> None:
    """Write the network of a model for use in another program.

    onnx and keras give the files of the model folder; saved-model converts for TensorFlow Serving
    and needs the train extra. Preprocessing is not part of the network: model.json describes it.

    **Examples**

        nucseg export classic-128 --format onnx -o classic.onnx
        nucseg export run --format saved-model -o served
    """
    import shutil

    from nucseg.errors import InputError
    from nucseg.files import whole_file
    from nucseg.models.zoo import KERAS, ONNX, find_model, listed_file, read_card

    folder = find_model(model)
    card = read_card(folder)
    if output.exists():
        raise InputError(f"{output} is there already. Give another place.")
    if format is Format.SAVED_MODEL:
        from nucseg.export.folders import whole_folder
        from nucseg.inference.runtimes import load_keras
        from nucseg.models.saved_model import write_saved_model
        from nucseg.quiet import import_tensorflow, without_native_notes

        source = listed_file(folder, card, KERAS)
        import_tensorflow("Writing a SavedModel")
        with without_native_notes(), whole_folder(output) as partial_folder:
            write_saved_model(load_keras(source), partial_folder)
    else:
        source = listed_file(folder, card, ONNX if format is Format.ONNX else KERAS)
        with whole_file(output) as partial:
            shutil.copyfile(source, partial)
    typer.echo(f"Wrote {output}")
    if card.bright is not None:
        typer.echo(
            f"It is the network for images with a dark background. For stained tissue and "
            f"brightfield export {model}/{card.bright} too."
        )
