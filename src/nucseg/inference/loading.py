"""Load models by name, and segment with them."""

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
        Name of a bundled model, or a model folder such as one written by ``nucseg train``.
    threads : int, optional
        Number of threads for the network. Default: one per physical core.
    runtime : {"onnx", "keras"}
        Runtime of the network. Keras needs the ``train`` extra and chooses the device itself.
    device : {"auto", "cpu", "cuda", "coreml", "directml", "openvino"}
        Device for the network. ``auto`` uses the fastest installed device that finds the same
        nuclei in sample images as the CPU in f32. If that device fails, the CPU takes over.
        Without OpenVINO and without a graphics card, ``auto`` is the CPU. If the environment
        variable ``NUCSEG_DEVICE`` is set, its value replaces ``auto``.
    precision : {"auto", "f32", "bf16", "int8"}
        Number format of the network. ``auto`` works as for the device, with the variable
        ``NUCSEG_PRECISION``. Labels in f32 on the CPU are exactly reproducible; with other
        devices and precisions, a few nuclei differ.
    max_memory : float
        Memory limit in gigabytes, at least 0.6. Labels do not depend on it.

    Raises
    ------
    ModelError
        The model does not exist, its files are missing, changed or broken, or its postprocessing
        needs maps that its network does not have.
    InputError
        The runtime, device or precision does not exist, the number of threads is below one, or the
        memory limit is too low.
    DeviceError
        The requested device is missing, fails, or does not support the precision.
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
    """Load the model of a folder, without a second model that the folder may contain."""
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
    """Raise ModelError unless the two models are interchangeable, image by image."""
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
    """Segment the nuclei of one image; for many images, load a model once and call its `segment`.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
    model : str, Path or Model
        A loaded model, or a name or folder for `load_model`.
    pixel_size : tuple of float, optional
        Pixel size in µm along rows and columns, used for measurements.

    Returns
    -------
    Segmentation

    Raises
    ------
    InputError, ModelError
        See `load_model` and `Model.segment`.
    """
    loaded = model if isinstance(model, Model) else load_model(model)
    return loaded.segment(image, pixel_size=pixel_size)
