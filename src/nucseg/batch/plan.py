"""Plan a run without running it: windows, memory and time of each image."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nucseg.batch.inputs import Input, search_inputs
from nucseg.batch.measuring import why_not_measured
from nucseg.batch.records import MISSING, InputFiles
from nucseg.config import Reading
from nucseg.errors import InputError, MissingExtraError
from nucseg.export import check_formats, split_formats
from nucseg.export.probability import PROBABILITY_TIFF
from nucseg.inference.finding import windows_of
from nucseg.inference.segmenter import Model
from nucseg.inference.tiling import (
    BASE_BYTES,
    KEEPS_MEMORY_FROM,
    LEAN_SHARE,
    image_pixels,
)

logger = logging.getLogger(__name__)

# Side length of the image on which the network is timed.
_TRIAL = 512
# Time of all steps relative to the network alone: nuclei, measurements, reading, writing.
_ALL_STEPS = 1.5
# Memory of an image in addition to the windows: its pixels, label image, probability map, and
# the temporary arrays of measuring and writing.
_IMAGE_BYTES = 60
# Bytes per pixel of a label image or a probability map in a file.
_FILE_BYTES = 4


@dataclass(frozen=True)
class Planned:
    """Estimates for one image.

    Attributes
    ----------
    path : str
        The image, as the user gave it.
    plane : str
        Which of its planes, if it has several.
    shape : tuple of int
        Height and width in pixels; empty if it cannot be opened.
    windows : int
        Number of windows.
    memory : float
        Approximate peak memory, in gigabytes.
    disk : float
        Maximum size of its temporary file, in gigabytes.
    seconds : float
        Approximate time with all threads, in seconds.
    error : str
        Why it would fail, else empty.
    missing : bool
        Whether it is a missing plane, which is no failure.
    """

    path: str
    plane: str
    shape: tuple[int, ...]
    windows: int
    memory: float
    disk: float
    seconds: float
    error: str
    missing: bool = False


def plan_files(
    inputs: Sequence[str | Path],
    output: str | Path,
    model: Model,
    *,
    formats: Sequence[str],
    reading: Reading | None = None,
) -> list[Planned]:
    """Estimate what `segment_files` would do. Images are opened, not read; nothing is written.

    Parameters
    ----------
    inputs : sequence of str or Path
        As for `segment_files`.
    output : str or Path
    model : Model
        Its network is timed on noise to estimate the time.
    formats : sequence of str
    reading : Reading, optional

    Returns
    -------
    list of Planned
        One per image, in the order of the inputs.

    Raises
    ------
    InputError
        There are no images, or a format is unknown.
    ModelError
        The network does not run.
    """
    of_each, _ = split_formats(formats)
    in_files = 1 + (PROBABILITY_TIFF in check_formats(of_each))
    reading = reading or Reading()
    found = search_inputs(inputs, Path(output), reading)
    images = found.images
    if left_out := found.told():
        logger.info("%s", left_out)
    files, rate = InputFiles(reading), seconds_per_pixel(model)
    return [_planned(image, model, in_files, files, rate) for image in images]


def _planned(image: Input, model: Model, in_files: int, files: InputFiles, rate: float) -> Planned:
    """Plan one image; if it is large, `in_files` of its maps are stored in files."""
    path, plane = str(image.path), image.plane
    try:
        source = files.source(image)
    except (InputError, MissingExtraError) as error:
        return Planned(path, plane, (), 0, 0, 0, 0, str(error))
    height, width = source.shape[:2]
    if source.missing:
        return Planned(path, plane, (height, width), 0, 0, 0, 0, MISSING, missing=True)
    in_memory = model.fits_memory(source.shape)
    lean = model.image_pixels < image_pixels(KEEPS_MEMORY_FROM)
    sized = model.card.preprocessing.size
    windows = [] if sized is not None else windows_of(model, (height, width))
    seen = sum(
        (rows.stop - rows.start) * (columns.stop - columns.start)
        for rows, columns in (tile.window for tile in windows)
    ) or (height * width if sized is None else sized[0] * sized[1])
    at_once = min(seen, model.window**2)
    image_bytes = _IMAGE_BYTES * height * width if in_memory else 0
    per_pixel = model.card.interface.bytes_per_pixel * (LEAN_SHARE if lean else 1)
    obstacle = why_not_measured(source.shape, model, files.reading)
    if not in_memory and sized is not None:
        obstacle = f"too large for the memory with a model that sees images at {sized}"
    return Planned(
        path,
        plane,
        (height, width),
        max(len(windows), 1),
        round((BASE_BYTES + per_pixel * at_once + image_bytes) / 10**9, 2),
        0 if in_memory else round(in_files * _FILE_BYTES * height * width / 10**9, 2),
        round(rate * seen * _ALL_STEPS, 6),
        obstacle,
    )


def seconds_per_pixel(model: Model) -> float:
    """Measure the time of the network per pixel on noise, the better of two runs."""
    size = model.card.preprocessing.size or (_TRIAL, _TRIAL)
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    taken = []
    for _ in range(3):  # the first one is a warm-up
        start = time.perf_counter()
        model.network_maps(noise)
        taken.append(time.perf_counter() - start)
    return min(taken[1:]) / (size[0] * size[1])
