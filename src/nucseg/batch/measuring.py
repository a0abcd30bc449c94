"""What is measured of an image on demand: other channels, rings, cells, texture, spread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.config import Reading
from nucseg.images import Source, channels_of
from nucseg.images.channels import read_channels
from nucseg.inference.segmenter import Model
from nucseg.measure import Columns, is_grey
from nucseg.measure.compartments import find_compartments, measure_compartments
from nucseg.measure.radial import measure_radial
from nucseg.measure.texture import measure_texture

Labels = npt.NDArray[np.integer[Any]]


def why_not_measured(shape: tuple[int, ...], model: Model, reading: Reading) -> str:
    """Say why what is asked for cannot be measured in an image; empty where it can.

    Parameters
    ----------
    shape : tuple of int
        Of the image.
    model : Model
        Larger images than it holds in memory are segmented, but no more is measured in them.
    reading : Reading
    """
    return too_large(shape) if reading.measuring.any and not model.fits_memory(shape) else ""


def too_large(shape: tuple[int, ...]) -> str:
    """Say that an image of this shape is too large to be measured on demand."""
    return (
        f"The image of {shape[0]} by {shape[1]} pixels is too large to be held in memory, which "
        "--measure, --ring, --expand, --texture and --radial need. Raise --max-memory, or leave "
        "these options out."
    )


def measure_more(
    source: Source,
    pixels: npt.NDArray[Any],
    labels: Labels,
    reading: Reading,
) -> tuple[Columns, list[str]]:
    """Measure in the nuclei of an image what is asked for besides what always is.

    Parameters
    ----------
    source : Source
        The plane, whose file may hold other channels.
    pixels : ndarray, shape (H, W) or (H, W, C)
        What was read of it.
    labels : ndarray, shape (H, W), integer
        0 background, nuclei above 0.
    reading : Reading

    Returns
    -------
    columns : dict of str to ndarray, shape (N,)
        See `measure_compartments`, `measure_texture` and `measure_radial` in `nucseg.measure`;
        each name ends in that of the channel.
    doubts : list of str

    Raises
    ------
    InputError
        There is no such channel, or the pixel size is needed and not known.
    """
    asked = reading.measuring
    columns: Columns = {}
    doubts: list[str] = []
    if not asked.any:
        return columns, doubts
    channels = (
        read_channels(source.path, source.plane, asked.measure, reading.project)
        if asked.measure
        else _as_read(source, pixels)
    )
    if asked.measure or asked.ring or asked.expand:
        compartments = find_compartments(
            labels, ring=asked.ring, cell=asked.expand, pixel_size=source.pixel_size
        )
        columns, doubts = measure_compartments(compartments, channels)
    for channel, plane in channels.items():
        found: Columns = {}
        if asked.texture:
            found, more = measure_texture(labels, plane)
            doubts += [f"{channel}: {text}" if channel else text for text in more]
        if asked.radial:
            found |= measure_radial(labels, plane)
        columns |= {f"{name}_{channel}" if channel else name: x for name, x in found.items()}
    return columns, doubts


def _as_read(source: Source, pixels: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Channels of what was read, by name, by number, or by no name where there is one."""
    if pixels.ndim == 2:
        chosen = source.chosen
        return {"" if chosen.number is None or chosen.of == 1 else chosen.name: pixels}
    if is_grey(pixels):
        return {"": pixels[..., 0]}
    count = pixels.shape[2] - (pixels.shape[2] in (2, 4))
    names = _names(source.path, count)
    return {name: pixels[..., number] for number, name in enumerate(names)}


def _names(path: Path, count: int) -> list[str]:
    if count == 1:
        return [""]
    names = channels_of(path)[:count]
    return [
        name if name and names.count(name) == 1 else str(number)
        for number, name in enumerate(names)
    ]
