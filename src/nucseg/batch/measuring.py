"""Optional measurements of an image: other channels, rings, stains, texture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.batch.flat_fields import FlatFields, one_grey
from nucseg.config import Measuring, Reading
from nucseg.export.tables import EXCEL, Dialect, write_table
from nucseg.images import Source, channels_of
from nucseg.images.channels import read_channels
from nucseg.inference.segmenter import Model
from nucseg.measure import Columns, is_grey, measure
from nucseg.measure.compartments import find_compartments, measure_compartments
from nucseg.measure.dna import measure_dna
from nucseg.measure.granularity import measure_granularity
from nucseg.measure.positive import CLASSES, Positivity, measure_dab, positivity
from nucseg.measure.radial import measure_radial
from nucseg.measure.texture import measure_texture

POSITIVE = "positive.csv"

Labels = npt.NDArray[np.integer[Any]]


def why_not_measured(shape: tuple[int, ...], model: Model, reading: Reading) -> str:
    """Explain why the requested measurements are impossible in an image; empty if possible.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    model : Model
        Images that are too large for its memory limit are segmented without optional
        measurements.
    reading : Reading
    """
    return too_large(shape) if reading.measuring.any and not model.fits_memory(shape) else ""


def too_large(shape: tuple[int, ...]) -> str:
    """Return the message that an image of this shape is too large for optional measurements."""
    return (
        f"The image of {shape[0]} by {shape[1]} pixels is too large to be held in memory, which "
        "--measure, --ring, --expand, --dab, --texture, --radial, --granularity, --dna, "
        "--candidates and --flat-field need. Raise --max-memory, or leave these options out."
    )


def measure_more(
    source: Source,
    pixels: npt.NDArray[Any],
    labels: Labels,
    reading: Reading,
    fields: FlatFields | None = None,
) -> tuple[Columns, list[str]]:
    """Make the optional measurements in the nuclei of an image.

    Parameters
    ----------
    source : Source
        The plane; its file may contain other channels.
    pixels : ndarray, shape (H, W) or (H, W, C)
        Pixels that were read from the plane.
    labels : ndarray, shape (H, W), integer
        0 is background, nuclei are above 0.
    reading : Reading
    fields : FlatFields, optional
        Illumination to divide by before measuring.

    Returns
    -------
    columns : dict of str to ndarray, shape (N,)
        See `measure_compartments`, `measure_dna`, `measure_dab`, `measure_texture`,
        `measure_granularity` and `measure_radial` in `nucseg.measure`. Columns of a channel end in
        its name. With flat fields, the intensities of `nucseg.measure.measure` are included,
        measured again.
    doubts : list of str
        Warnings.

    Raises
    ------
    InputError
        There is no such channel, the pixel size is required but unknown, colours are required but
        the image has none, or its channels differ from those of its flat field.
    """
    asked = reading.measuring
    columns: Columns = {}
    doubts: list[str] = []
    if not asked.any:
        return columns, doubts
    fields, kind = fields or FlatFields(), pixels.dtype
    if fields.each:
        pixels = fields.flat(source.path, "", one_grey(pixels))
        anew = measure(labels, pixels)
        columns |= {name: x for name, x in anew.items() if name.startswith("intensity_")}
    if asked.measure:
        read = read_channels(source.path, source.plane, asked.measure, reading.project)
        channels = {name: fields.flat(source.path, name, each) for name, each in read.items()}
    else:
        channels = _as_read(source, pixels)
    if asked.measure or asked.ring or asked.expand:
        compartments = find_compartments(
            labels, ring=asked.ring, cell=asked.expand, pixel_size=source.pixel_size
        )
        found, doubts = measure_compartments(compartments, channels)
        columns |= found
    if asked.dna or asked.candidates:
        content, more = measure_dna(labels, one_grey(pixels))
        columns |= content
        doubts += more
    if asked.dab:
        stains, others = measure_dab(labels, _as_type(pixels, kind), asked.dab_thresholds)
        columns |= stains
        doubts += others
    for channel, plane in channels.items():
        found, more = _of_channel(labels, plane, kind, asked)
        doubts += [f"{channel}: {text}" if channel else text for text in more]
        columns |= {f"{name}_{channel}" if channel else name: x for name, x in found.items()}
    return columns, doubts


def _of_channel(
    labels: Labels, plane: npt.NDArray[Any], kind: np.dtype[Any], asked: Measuring
) -> tuple[Columns, list[str]]:
    """Measure texture, granularity and radial distribution, if requested."""
    found: Columns = {}
    doubts: list[str] = []
    if asked.texture:
        found, doubts = measure_texture(labels, _as_type(plane, kind))
    if asked.granularity:
        found |= measure_granularity(labels, plane)
    if asked.radial:
        found |= measure_radial(labels, plane)
    return found, doubts


def write_positive(
    folder: Path,
    names: Sequence[str],
    fields: Sequence[npt.NDArray[np.integer[Any]]],
    dialect: Dialect = EXCEL,
    *,
    left_out: Sequence[bool] | None = None,
) -> Positivity:
    """Write ``positive.csv``: one row per image with its classes, and one row for all images.

    Parameters
    ----------
    folder : Path
    names : sequence of str
        Names of the images.
    fields : sequence of ndarray, shape (N,), integer
        Classes of the nuclei of each image, see `nucseg.measure.positive.measure_dab`.
    dialect : Dialect
    left_out : sequence of bool, optional
        Which images are excluded from the total row; by default none.

    Returns
    -------
    Positivity
        Of all images that count.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    out = left_out or [False] * len(fields)
    whole = positivity([field for field, skipped in zip(fields, out, strict=True) if not skipped])
    each = [*(positivity([classes]) for classes in fields), whole]
    table: dict[str, Any] = {"image": [*names, "all"], "nuclei": [one.nuclei for one in each]}
    for number, name in enumerate(CLASSES):
        table[name] = [one.counts[number] for one in each]
    table["positive_share"] = [one.share for one in each]
    table["low"] = [one.low for one in each]
    table["high"] = [one.high for one in each]
    table["h_score"] = [one.h_score for one in each]
    table["in_total"] = [*("no" if skipped else "yes" for skipped in out), ""]
    write_table(folder / POSITIVE, [table], dialect=dialect)
    return whole


def describe_positive(whole: Positivity, images: int) -> str:
    """Describe in a sentence how many nuclei are positive, and what the interval refers to."""
    unit = f"{images} images as units" if images > 1 else "one image, Wilson"
    return (
        f"Positive nuclei: {whole.share:.1%} of {whole.nuclei:,} (95 % interval {whole.low:.1%} to "
        f"{whole.high:.1%}; {unit}). H-score: {whole.h_score:.0f} of 300."
    )


def _as_read(source: Source, pixels: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Return the channels of the pixels by name or number; a single channel has no name."""
    if pixels.ndim == 2:
        chosen = source.chosen
        return {"" if chosen.number is None or chosen.of == 1 else chosen.name: pixels}
    if is_grey(pixels):
        return {"": pixels[..., 0]}
    count = pixels.shape[2] - (pixels.shape[2] in (2, 4))
    names = _names(source.path, count)
    return {name: pixels[..., number] for number, name in enumerate(names)}


def _as_type(pixels: npt.NDArray[Any], kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """Convert pixels without illumination back to their dtype, whose range has a meaning."""
    if kind.kind not in "iu" or pixels.dtype == kind:
        return pixels
    limits = np.iinfo(kind)
    return np.asarray(np.clip(np.rint(pixels), limits.min, limits.max), kind)


def _names(path: Path, count: int) -> list[str]:
    if count == 1:
        return [""]
    names = channels_of(path)[:count]
    return [
        name if name and names.count(name) == 1 else str(number)
        for number, name in enumerate(names)
    ]
