"""Flat fields of a run: estimate, read, write, show and describe them."""

from __future__ import annotations

import hashlib
import json
import logging
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.batch.inputs import Input
from nucseg.config import Measuring
from nucseg.errors import InputError, NucsegError
from nucseg.export.tiff import write_tiff
from nucseg.figures.html import paragraph, section
from nucseg.images import Source, read_plane
from nucseg.images.channels import read_channels
from nucseg.images.flat_field import LEAST_IMAGES, FloatImage, estimate_flat_field, flattened
from nucseg.measure import is_grey

FOLDER = "flat_field"
OFF, AUTO = "off", "auto"
# Images per folder from which its illumination is estimated, evenly spaced among all.
MOST_IMAGES = 200
# Longer side in pixels of the picture of a flat field on a page.
_SIDE = 320

Pixels = npt.NDArray[Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FlatField:
    """Illumination of the images of a folder, in one channel.

    Attributes
    ----------
    folder : str
        Folder of the images; empty if it applies to all.
    channel : str
        Name as in `nucseg.images.channels.read_channels`; empty for the channel of the nuclei.
    images : int
        Number of images that it was estimated from; 0 if it was read from a file.
    pixels : ndarray, shape (H, W) or (H, W, C), float32
        Relative illumination, around 1.
    """

    folder: str
    channel: str
    images: int
    pixels: FloatImage


@dataclass(frozen=True)
class FlatFields:
    """All flat fields of a run; without any, images stay unchanged.

    Attributes
    ----------
    each : tuple of FlatField
    """

    each: tuple[FlatField, ...] = field(default=())

    def flat(self, image: Path, channel: str, pixels: Pixels) -> Pixels:
        """Divide the pixels of a channel of an image by the illumination.

        Raises
        ------
        InputError
            No flat field has the shape of the image.
        """
        if not self.each:
            return pixels
        folder = str(image.parent)
        named = [one for one in self.each if one.folder in ("", folder)]
        own = [one for one in named if one.channel == channel or not one.folder]
        for one in own:
            if one.pixels.shape == pixels.shape:
                return flattened(pixels, one.pixels)
        raise InputError(
            f"No flat field for {image} of {' by '.join(map(str, pixels.shape))}: there are those "
            f"of {', '.join('×'.join(map(str, one.pixels.shape)) for one in own) or 'others'}."
        )

    def digest(self) -> str:
        """Return a hash of all flat fields, which identifies results measured with them."""
        found = hashlib.sha256()
        for one in self.each:
            found.update(f"{one.folder}\0{one.channel}\0{one.pixels.shape}".encode())
            found.update(one.pixels.tobytes())
        return found.hexdigest()


def find_flat_fields(
    images: Sequence[Input], source: Callable[[Input], Source], asked: Measuring, project: Any
) -> FlatFields:
    """Estimate the flat fields of a run, or read one from a file.

    Parameters
    ----------
    images : sequence of Input
    source : callable
        Opens an image.
    asked : Measuring
    project : {"none", "max"}
        Projection of the z-slices.

    Raises
    ------
    InputError
        The file is not a flat field, or a folder has fewer than 10 images of one size.
    """
    if asked.flat_field == OFF:
        return FlatFields()
    if asked.flat_field != AUTO:
        return FlatFields((FlatField("", "", 0, _read(Path(asked.flat_field))),))
    groups: dict[tuple[str, tuple[int, ...]], list[Input]] = defaultdict(list)
    for image in images:
        try:
            opened = source(image)
        except NucsegError as error:  # also fails when it is measured, and is reported then
            logger.debug("%s has no part in the flat field: %s", image.path, error)
            continue
        if not opened.missing:
            groups[str(image.path.parent), opened.shape].append(image)
    found = []
    for (folder, shape), group in groups.items():
        if len(group) < LEAST_IMAGES:
            raise InputError(
                f"--flat-field auto needs {LEAST_IMAGES} images of one size in a folder, and "
                f"{folder or '.'} has {len(group)} of {' by '.join(map(str, shape[:2]))} pixels. "
                "Give a file, or leave the option out."
            )
        step = max(len(group) / MOST_IMAGES, 1)
        some = [group[int(number * step)] for number in range(int(len(group) / step))]
        channels = {"": _as_read(some, source)}
        for name in _channels(some[0], asked, project):
            channels[name] = _of_channel(some, name, asked, project)
        for name, pixels in channels.items():
            found.append(FlatField(folder, name, len(some), estimate_flat_field(pixels)))
    return FlatFields(tuple(found))


def describe_flat_fields(folder: Path, fields: FlatFields) -> list[dict[str, Any]]:
    """Describe flat fields for ``run.json``, with their file names in ``flat_field/``.

    Names of existing files, which may have another origin, are not used.
    """
    told: list[dict[str, Any]] = []
    for number, one in enumerate(fields.each, start=1):
        name = "_".join(filter(None, (str(number), Path(one.folder).name, one.channel)))
        name = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in name)
        taken = 1
        while (path := _place(folder, name, taken)).exists():
            taken += 1
        told.append({
            "file": path.relative_to(folder).as_posix(),
            "folder": one.folder,
            "channel": one.channel,
            "images": one.images,
            "least": round(float(one.pixels.min()), 4),
            "greatest": round(float(one.pixels.max()), 4),
        })  # fmt: skip
    return told


def _place(folder: Path, name: str, taken: int) -> Path:
    return folder / FOLDER / f"{name}{f'_{taken}' if taken > 1 else ''}.tif"


def write_flat_fields(folder: Path, fields: FlatFields, told: Sequence[dict[str, Any]]) -> None:
    """Write flat fields as TIFF.

    Parameters
    ----------
    folder : Path
    fields : FlatFields
    told : sequence of dict
        Return value of `describe_flat_fields`. ``run.json`` lists the files before they exist, so
        that files of a killed run can be distinguished from others.

    Raises
    ------
    InputError
        The flat fields cannot be written.
    """
    for one, about in zip(fields.each, told, strict=True):
        write_tiff(folder / about["file"], one.pixels, None)


def remove_flat_fields(record: Path, asked: Measuring) -> None:
    """Remove the flat fields that an earlier run wrote, except one that is requested now.

    Parameters
    ----------
    record : Path
        The ``run.json`` of that run, which lists them; without it nothing is removed.
    asked : Measuring
    """
    try:
        names = [each["file"] for each in json.loads(record.read_bytes())["flat_field"]]
    except (OSError, ValueError, LookupError, TypeError):
        return
    for name in names:
        path = record.parent / name
        own = path.parent == record.parent / FOLDER and path.suffix == ".tif"
        if own and path.absolute() != Path(asked.flat_field).absolute():
            path.unlink(missing_ok=True)


def flat_field_section(fields: FlatFields) -> str:
    """Make the section of a page that shows the flat fields; empty without any."""
    if not fields.each:
        return ""
    text = paragraph(
        "Intensities were divided by these before they were measured; nuclei were found in the "
        "images as they are. Black is the least light, white the most."
    )
    items = [_picture(one) for one in fields.each]
    return section("illumination", "Illumination", text, '<ul class="pictures">', *items, "</ul>")


def _picture(one: FlatField) -> str:
    grey = one.pixels if one.pixels.ndim == 2 else one.pixels.mean(axis=2)
    low, high = float(grey.min()), float(grey.max())
    shown = np.asarray(255 * (grey - low) / max(high - low, 1e-6) + 0.5, np.uint8)
    factor = _SIDE / max(shown.shape)
    size = (max(round(shown.shape[1] * factor), 1), max(round(shown.shape[0] * factor), 1))
    small = cv2.resize(shown, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    data = b64encode(cv2.imencode(".png", small)[1].tobytes()).decode("ascii")
    what = one.channel or "the channel of nuclei"
    origin = f"from {one.images} images in {one.folder or '.'}" if one.images else "from a file"
    return (
        f'<li><figure><img alt="Illumination of {escape(what)}" '
        f'src="data:image/png;base64,{data}"><figcaption><strong>{low:.2f} to {high:.2f} of the '
        f"mean</strong>{escape(what)}, {escape(origin)}</figcaption></figure></li>"
    )


def _read(path: Path) -> FloatImage:
    import tifffile

    try:
        pixels = np.asarray(tifffile.imread(path), np.float32)
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise InputError(
            f"Cannot read the flat field {path}: {error}. Give a TIFF file, auto or off."
        ) from error
    if pixels.ndim not in (2, 3) or not np.isfinite(pixels).all() or not pixels.min() > 0:
        raise InputError(
            f"{path} is no flat field: expected an image with numbers above 0, got "
            f"{pixels.shape} from {pixels.min():g}."
        )
    return np.asarray(pixels / pixels.mean(axis=(0, 1), keepdims=True), np.float32)


def _as_read(images: Sequence[Input], source: Callable[[Input], Source]) -> Iterator[Pixels]:
    for image in images:
        try:
            yield one_grey(read_plane(source(image)).pixels)
        except NucsegError as error:
            logger.debug("%s has no part in the flat field: %s", image.path, error)


def one_grey(pixels: Pixels) -> Pixels:
    """Convert grey that was saved as colour to one channel."""
    return pixels[..., 0] if is_grey(pixels) else pixels


def _channels(image: Input, asked: Measuring, project: Any) -> Mapping[str, Pixels]:
    return read_channels(image.path, image.plane, asked.measure, project) if asked.measure else {}


def _of_channel(
    images: Sequence[Input], name: str, asked: Measuring, project: Any
) -> Iterator[Pixels]:
    for image in images:
        try:
            found = _channels(image, asked, project)
        except NucsegError as error:
            logger.debug("%s has no part in the flat field: %s", image.path, error)
            continue
        if name in found:
            yield found[name]
