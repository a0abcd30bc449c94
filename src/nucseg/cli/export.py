"""``nucseg export``: a trained network in the format of another program."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nucseg.models.zoo import ModelCard


class Format(StrEnum):
    """Formats that a network can be written in."""

    ONNX = "onnx"
    KERAS = "keras"
    SAVED_MODEL = "saved-model"
    LITERT = "litert"
    OPENVINO = "openvino"
    BIOIMAGEIO = "bioimageio"


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name of a bundled model, or a model folder.")
    ],
    format: Annotated[Format, typer.Option("--format", help="What to write.")],  # noqa: A002
    output: Annotated[Path, typer.Option("--output", "-o", help="File or folder to write.")],
    author: Annotated[
        str | None,
        typer.Option(help="Author of the model, for bioimageio; required for your own models."),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="SPDX",
            help="Licence of the model, such as CC-BY-4.0, for bioimageio; required if its "
            "model.json has none.",
        ),
    ] = None,
) -> None:
    """Export the network of a model for other programs.

    onnx and keras are the files of the model folder; the ONNX file has a description of input and
    output in its metadata. saved-model (a folder, for TensorFlow Serving) and litert (TensorFlow
    Lite) need the train extra. openvino (a folder with model.xml and model.bin) needs the openvino
    extra. bioimageio is a zip file for programs that read bioimage.io models. Pre- and
    postprocessing are not part of the network: model.json describes them.

    **Examples**

        nucseg export classic-128 --format onnx -o classic.onnx
        nucseg export run --format saved-model -o served
        nucseg export nuclei --format openvino -o nuclei_openvino
        nucseg export nuclei --format bioimageio -o nuclei.zip
    """
    from nucseg.errors import InputError
    from nucseg.models.zoo import find_model, read_card

    folder = find_model(model)
    card = read_card(folder)
    if output.exists():
        raise InputError(f"{output} already exists. Choose another output.")
    if format is Format.BIOIMAGEIO:
        _write_package(folder, card, output, author, licence)
    elif format in (Format.SAVED_MODEL, Format.LITERT):
        _write_by_tensorflow(folder, card, output, format)
    else:
        _write_plain(folder, card, output, format)
    typer.echo(f"Wrote {output}")
    if card.bright is not None:
        typer.echo(
            "This is the network for images with a dark background. For stained tissue and "
            f"brightfield, also export {model}/{card.bright}."
        )


def _write_plain(folder: Path, card: ModelCard, output: Path, form: Format) -> None:
    """Write a file of the model folder, or convert its ONNX file."""
    import shutil

    from nucseg.files import atomic_write
    from nucseg.models.zoo import KERAS, ONNX, listed_file

    source = listed_file(folder, card, KERAS if form is Format.KERAS else ONNX)
    if form is Format.OPENVINO:
        from nucseg.export.folders import whole_folder
        from nucseg.inference.openvino_runtime import write_openvino

        with whole_folder(output) as partial:
            write_openvino(source, partial)
        return
    with atomic_write(output) as partial:
        if form is Format.KERAS:
            shutil.copyfile(source, partial)
        else:
            from nucseg.models.usage import with_usage

            partial.write_bytes(with_usage(source.read_bytes(), card))


def _write_by_tensorflow(folder: Path, card: ModelCard, output: Path, form: Format) -> None:
    """Convert the Keras file, without the messages of TensorFlow."""
    from nucseg.export.folders import whole_folder
    from nucseg.files import atomic_write
    from nucseg.models.zoo import KERAS, listed_file
    from nucseg.quiet import import_tensorflow, without_native_notes

    source = listed_file(folder, card, KERAS)
    import_tensorflow(f"Writing {form}")
    from nucseg.inference.keras_runtime import load_keras
    from nucseg.models.saved_model import write_litert, write_saved_model

    with without_native_notes():
        network = load_keras(source)
        if form is Format.LITERT:
            with atomic_write(output) as partial:
                write_litert(network, partial)
        else:
            with whole_folder(output) as partial:
                write_saved_model(network, partial)


def _write_package(
    folder: Path, card: ModelCard, output: Path, author: str | None, licence: str | None
) -> None:
    """Write a bioimage.io package with a synthetic test image."""
    import numpy as np

    from nucseg.datasets.synthetic import synthetic_image
    from nucseg.errors import InputError
    from nucseg.files import atomic_write
    from nucseg.inference.runtimes import load_runtime
    from nucseg.models.bioimageio import Credits, write_bioimageio
    from nucseg.models.zoo import BUNDLED

    if BUNDLED in folder.parents:
        author = author or "The nucseg developers"
    licence = licence or card.licence.split(";")[0].strip()
    if not author or not licence:
        missing = " and ".join(
            name for name, value in (("--author", author), ("--licence", licence)) if not value
        )
        raise InputError(f"A bioimage.io package needs an author and a licence. Set {missing}.")
    image, _ = synthetic_image(np.random.default_rng(0), size=(256, 256), nuclei=20)
    with atomic_write(output) as partial:
        write_bioimageio(
            folder,
            card,
            partial,
            image.astype(np.float32),
            load_runtime(folder, card=card),
            Credits(author, licence),
        )
