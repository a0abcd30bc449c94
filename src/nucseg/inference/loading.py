"""From the name of a model to one that is ready to segment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from nucseg.config import INSTANCE_MAPS, Filtering, Segmenting, Watershed
from nucseg.errors import InputError, ModelError
from nucseg.inference.devices import Network, load_network
from nucseg.inference.runtimes import LoadedLater, Runtime, check_threads, load_runtime
from nucseg.inference.segmentation import Segmentation
from nucseg.inference.segmenter import Model
from nucseg.inference.tiling import KEEPS_MEMORY_FROM, image_pixels
from nucseg.models.zoo import CARD, DEFAULT_MODEL, ModelCard, find_model, listed_file, read_card


def load_model(
    name: str | Path = DEFAULT_MODEL,
    *,
    threads: int | None = None,
    runtime: str = "onnx",
    device: str = "auto",
    precision: str = "auto",
    max_memory: float = Segmenting().max_memory,
) -> Model:
    """Load a model.

    Parameters
    ----------
    name : str or Path
        Name of a bundled model, or a model folder such as one that ``nucseg train`` wrote.
    threads : int, optional
        Threads to run the network with; by default one for each physical core.
    runtime : {"onnx", "keras"}
        What runs the network; Keras needs the ``train`` extra, and chooses the device itself.
    device : {"auto", "cpu", "cuda", "coreml", "directml", "openvino"}
        What it runs on. ``auto`` takes the fastest that is installed and finds the same nuclei in
        samples as the CPU does in f32; the CPU goes on where it fails. Without OpenVINO and
        without a graphics card that is the CPU. The environment variable ``NUCSEG_DEVICE`` stands
        for ``auto``, if it is set.
    precision : {"auto", "f32", "bf16", "int8"}
        Numbers that the network works with; ``auto`` likewise, or ``NUCSEG_PRECISION``. Labels of
        f32 on the CPU can be repeated exactly; of others a few nuclei differ.
    max_memory : float
        Memory to work in, in gigabytes, 0.6 or more. Labels do not depend on it.

    Raises
    ------
    ModelError
        There is no such model, its files are missing, changed or broken, or its method needs maps
        that its network does not give.
    InputError
        There is no such runtime, device or precision, fewer than one thread was asked for, or too
        little memory.
    DeviceError
        The device that was asked for is not there, fails, or does not work with such numbers.
    MissingExtraError
        The runtime is not installed.
    """
    check_threads(threads)
    if runtime != "onnx" and (device, precision) != ("auto", "auto"):
        raise InputError(
            f"The runtime {runtime} takes no device and no precision. Leave them out, or use the "
            "runtime onnx."
        )
    load = partial(_network, runtime=runtime, threads=threads, device=device, precision=precision)
    folder = find_model(name)
    model = _loaded(folder, load, max_memory)
    if model.card.bright is None:
        return model
    other = listed_file(folder, model.card, f"{model.card.bright}/{CARD}").parent
    bright = _loaded(other, lambda *network: LoadedLater(partial(load, *network)), max_memory)
    _check_pair(model.card, bright.card)
    return replace(model, bright=bright)


def _loaded(
    folder: Path, load: Callable[[Path, ModelCard, bool], Runtime], max_memory: float
) -> Model:
    """Load the model of a folder, without another that may lie in it."""
    card = read_card(folder)
    if isinstance(card.postprocessing, Watershed) and card.outputs != INSTANCE_MAPS:
        raise ModelError(
            f"The model {card.name} separates nuclei by watershed, which needs the maps "
            f"{', '.join(INSTANCE_MAPS)}, but its network gives {', '.join(card.outputs)}. "
            "Train it by the recipe instance, or give it the method connected-components."
        )
    arena = max_memory >= KEEPS_MEMORY_FROM
    return Model(card, load(folder, card, arena), image_pixels=image_pixels(max_memory))


def _network(
    folder: Path,
    card: ModelCard,
    arena: bool,
    *,
    runtime: str,
    threads: int | None,
    device: str,
    precision: str,
) -> Runtime:
    """Load the network of a model."""
    if runtime == "onnx":
        return load_network(Network(folder, card, threads, arena), device, precision)
    return load_runtime(folder, runtime, card=card, threads=threads)


def _check_pair(card: ModelCard, bright: ModelCard) -> None:
    """Raise ModelError unless one can stand in for the other, image by image."""
    filters = set(Filtering.model_fields)
    alike = (
        card.preprocessing == bright.preprocessing
        and card.postprocessing.method == bright.postprocessing.method
        and card.postprocessing.model_dump(include=filters)
        == bright.postprocessing.model_dump(include=filters)
    )
    if not alike or bright.bright is not None:
        raise ModelError(
            f"The model {card.name} has {bright.name} for images with a bright background, which "
            "must have the same preprocessing, the same method and filters of postprocessing, and "
            "no such model of its own. Change its model.json, or take 'bright' out of the other."
        )


def segment(
    image: npt.NDArray[Any],
    model: str | Path | Model = DEFAULT_MODEL,
    *,
    pixel_size: tuple[float, float] | None = None,
) -> Segmentation:
    """Find the nuclei of one image; for many, load a model once and call its `segment`.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
    model : str, Path or Model
        A loaded model, or what `load_model` takes.
    pixel_size : tuple of float, optional
        Micrometres from pixel to pixel along rows and columns, for measurements.

    Returns
    -------
    Segmentation

    Raises
    ------
    InputError, ModelError
        As `load_model` and `Model.segment`.
    """
    loaded = model if isinstance(model, Model) else load_model(model)
    return loaded.segment(image, pixel_size=pixel_size)
