"""Export networks as packages of the BioImage Model Zoo (bioimage.io)."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nucseg.errors import InputError
from nucseg.images.preprocess import FloatImage, resize_image, stretch
from nucseg.models.onnx_export import OPSET
from nucseg.models.usage import usage, with_usage
from nucseg.models.zoo import CARD, ONNX, ModelCard, listed_file

FORMAT_VERSION = "0.5.4"
RDF, README, COVER, NETWORK = "rdf.yaml", "README.md", "cover.png", "network.onnx"
TEST_INPUT, TEST_OUTPUT = "test_input.npy", "test_output.npy"
_SPACE = ("y", "x")
_U_NET = {
    "text": "Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image "
    "Segmentation. MICCAI 2015.",
    "doi": "10.1007/978-3-319-24574-4_28",
}


@dataclass(frozen=True)
class Credits:
    """Author and licence of a model.

    Attributes
    ----------
    author : str
    licence : str
        SPDX identifier, for example ``CC-BY-4.0``.
    """

    author: str
    licence: str


def write_bioimageio(
    folder: Path,
    card: ModelCard,
    path: Path,
    image: FloatImage,
    run: Callable[[FloatImage], FloatImage],
    credit: Credits,
) -> None:
    """Write a package: a zip file of network, description, test arrays and cover.

    Parameters
    ----------
    folder : Path
        A model folder.
    card : ModelCard
        Its description.
    path : Path
        The file to write.
    image : ndarray, shape (H, W, 3), float32
        Test image of the package, also drawn on its cover. If the network takes any size, height
        and width must be multiples of 32.
    run : callable
        Runs the network: from a batch of images to their maps, as a runtime does.
    credit : Credits

    Raises
    ------
    InputError
        The network was not trained by nucseg, or its input is not normalized by percentiles.
    """
    if card.network is None or card.preprocessing.percentiles is None:
        raise InputError(
            f"The model {card.name} cannot be a package of bioimage.io: expected a network that "
            "nucseg trained, with images scaled by percentiles. Export it as onnx."
        )
    if card.preprocessing.size is not None:
        image = resize_image(image, card.preprocessing.size)
    network = with_usage(listed_file(folder, card, ONNX).read_bytes(), card)
    maps = run(stretch(image, card.preprocessing.percentiles)[np.newaxis])
    files = {
        NETWORK: network,
        TEST_INPUT: _npy(image[np.newaxis]),
        TEST_OUTPUT: _npy(maps),
        COVER: _cover(image, maps[0, ..., 0]),
        README: _readme(card).encode(),
        CARD: (folder / CARD).read_bytes(),
    }
    rdf = _description(card, image.shape, files, credit)
    # JSON is YAML too.
    files[RDF] = json.dumps(rdf, indent=2).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def _npy(array: FloatImage) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _cover(image: FloatImage, nuclei: FloatImage) -> bytes:
    """Draw the test image next to the nucleus map."""
    grey = np.repeat(nuclei[..., np.newaxis], 3, axis=2)
    picture = np.hstack([stretch(image, (1, 99.8)), np.clip(grey, 0, 1)])
    buffer = io.BytesIO()
    Image.fromarray((255 * picture + 0.5).astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def _readme(card: ModelCard) -> str:
    texts = "\n\n".join(f"## {name.capitalize()}\n\n{text}" for name, text in usage(card).items())
    return (
        f"# {card.name}\n\nMade by nucseg, which segments cell nuclei. The network gives maps; "
        f"{CARD}, beside this file, has the settings that turn them into nuclei.\n\n{texts}\n\n"
        "## Validation\n\nThe card's figures, in "
        f"{CARD} under `figures`, say how well the model did on images that it was not trained "
        "on. Judge it on some of your own images before you rely on it.\n"
    )


def _description(
    card: ModelCard, shape: tuple[int, ...], files: dict[str, bytes], credit: Credits
) -> dict[str, Any]:
    """Return the model description of format version 0.5."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}

    def file(name: str) -> dict[str, str]:
        return {"source": name, "sha256": hashes[name]}

    low, high = card.preprocessing.percentiles or (0, 100)
    fixed = card.preprocessing.size is not None
    sizes = dict(zip(_SPACE, shape[:2], strict=True))
    step = card.interface.stride
    size_in = {axis: side if fixed else {"min": 2 * step, "step": step} for axis, side in
               sizes.items()}  # fmt: skip
    size_out = {axis: side if fixed else {"tensor_id": "image", "axis_id": axis} for axis, side in
                sizes.items()}  # fmt: skip
    scale = {"axes": ["channel", *_SPACE], "min_percentile": low, "max_percentile": high}
    return {
        "type": "model",
        "format_version": FORMAT_VERSION,
        "name": f"nucseg {card.name}".replace("/", " "),
        "description": card.description[:1000] or "Nuclei in microscope images.",
        "version": "0.1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "authors": [{"name": credit.author}],
        "license": credit.licence,
        "cite": [_U_NET],
        "tags": ["nuclei", "segmentation", "unet", "2d", "fluorescence-light-microscopy"],
        "covers": [COVER],
        "documentation": README,
        "attachments": [file(CARD)],
        "inputs": [
            {
                "id": "image",
                "description": "Red, green and blue; a grey image three times.",
                "axes": _axes(size_in, ["red", "green", "blue"]),
                "data": {"type": "float32"},
                "test_tensor": file(TEST_INPUT),
                "preprocessing": [
                    {"id": "scale_range", "kwargs": scale},
                    {"id": "clip", "kwargs": {"min": 0.0, "max": 1.0}},
                ],
            }
        ],
        "outputs": [
            {
                "id": "maps",
                "description": f"Maps: {', '.join(card.channels)}.",
                "axes": _axes(size_out, list(card.channels)),
                "data": {"type": "float32", "range": [0.0, 1.0]},
                "test_tensor": file(TEST_OUTPUT),
            }
        ],
        "weights": {"onnx": {**file(NETWORK), "opset_version": OPSET}},
    }


def _axes(sizes: dict[str, Any], channels: list[str]) -> list[dict[str, Any]]:
    space = [{"type": "space", "id": axis, "size": size} for axis, size in sizes.items()]
    return [{"type": "batch"}, *space, {"type": "channel", "channel_names": channels}]
