"""Planes of a file from its axes: choice of channels and slices, and names of planes."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from nucseg.core.segmented import Place
from nucseg.errors import InputError
from nucseg.images.faults import damaged
from nucseg.images.source import Chosen, Pixels, Reason, Source
from nucseg.images.stains import nuclear_channel
from nucseg.images.units import PixelSize, implausible_warning, plausible

Opener = Callable[[], BinaryIO]
Channel = str | int | None
Projection = Literal["none", "max"]

# Maximum number of channels: colours with alpha, or as many channels.
MAX_CHANNELS = 4
# Maximum number of planes; a damaged header may declare any number, at a kilobyte each.
_MAX_PLANES = 2**17
COLOURS = ("red", "green", "blue", "alpha")
# Axes without a declared meaning; they are often z-slices.
_UNKNOWN = "IQ"


@dataclass(frozen=True)
class Scene:
    """An image in a file, as described by a reader: its axes, and how to read them.

    Attributes
    ----------
    axes : str
        One letter for each axis except rows, columns and colours; ``C`` is channels.
    lengths : tuple of int
        Lengths of these axes.
    size : tuple of int
        Height and width.
    samples : int
        Number of colours in each pixel; 1 without colours.
    dtype : dtype
    pixel_size : tuple of float or None
    read : callable
        ``read(index, rows, columns)``, with an index of one number per axis, returns pixels of
        shape (h, w), or (h, w, samples) if there is more than one sample.
    channels : tuple of str
        Names of the channels, empty if unknown. A file without an axis ``C`` may name its only
        channel.
    lazy : bool
        See `Source`.
    name : str
        Name of the scene in the file.
    holds : callable
        ``holds(index)``, with an index as for `read`, returns whether the file contains the pixels.
    """

    axes: str
    lengths: tuple[int, ...]
    size: tuple[int, int]
    samples: int
    dtype: np.dtype[Any]
    pixel_size: PixelSize | None
    read: Callable[[tuple[int, ...], slice, slice], Pixels]
    channels: tuple[str, ...] = ()
    lazy: bool = True
    name: str = ""
    holds: Callable[[tuple[int, ...]], bool] = lambda _index: True

    @property
    def count(self) -> int:
        """Number of channels, without colours."""
        return math.prod(n for axis, n in zip(self.axes, self.lengths, strict=True) if axis == "C")


def kept(pixels: Pixels) -> Pixels:
    """Make pixels read-only that a reader caches for the next window."""
    pixels.setflags(write=False)
    return pixels


def check_planes(lengths: Sequence[int], name: str) -> None:
    """Reject a file that declares more planes and channels than any microscope records."""
    if math.prod(lengths) > _MAX_PLANES:
        raise damaged(name, f"it tells of {math.prod(lengths)} planes")


def sources(
    path: Path, scenes: Sequence[Scene], channel: Channel = None, project: Projection = "none"
) -> list[Source]:
    """List the planes of a file.

    Parameters
    ----------
    path : Path
    scenes : sequence of Scene
    channel : str, int or None
        Name or number (from 0) of a channel. Default: that of `nuclear_channel`, otherwise all.
    project : {"none", "max"}
        Whether to project slices to one plane, their maximum. Slices are along axis Z or, without
        it, along unnamed axes.

    Returns
    -------
    list of Source
        Planes, sorted by scene, time, other axes, and slice.

    Raises
    ------
    InputError
        The channel does not exist, there are more than 4 channels without the name of a nuclear
        stain, there are no pixels, or their data type is not numeric.

    Notes
    -----
    Planes are named by scenes and axes that are longer than 1: ``s1_t003_z012``.
    """
    found = []
    names = _scene_names(scenes)
    for scene, name in zip(scenes, names, strict=True):
        sizes = (*scene.lengths, *scene.size, scene.samples)
        if not all(isinstance(n, Integral) and n >= 0 for n in sizes):
            raise damaged(str(path), f"its sizes are {sizes}")
        if 0 in sizes:
            raise InputError(f"{path} has no pixels: its sizes are {sizes}.")
        check_planes(scene.lengths, str(path))
        chosen = _choose(scene, channel, str(path))
        for plane, indices in _indices(scene, project):
            found.append(_source(path, scene, chosen, "_".join([*name, *plane]), indices))
    return found


def describe(scenes: Sequence[Scene]) -> str:
    """Describe the axes that give a file more than one plane, such as ``T: 2, Z: 5``."""
    if len(scenes) > 1:
        return f"scenes: {len(scenes)}"
    return ", ".join(
        f"{axis}: {n}" for axis, n in zip(scenes[0].axes, scenes[0].lengths, strict=True)
    )


def _scene_names(scenes: Sequence[Scene]) -> list[list[str]]:
    """Return the part of the names of planes that identifies the scene; empty for one scene."""
    if len(scenes) == 1:
        return [[]]
    names = [re.sub(r"[^\w-]+", "-", scene.name) for scene in scenes]
    if all(names) and len({name.casefold() for name in names}) == len(names):
        return [[name] for name in names]
    digits = len(str(len(scenes) - 1))
    return [[f"s{number:0{digits}}"] for number in range(len(scenes))]


@dataclass(frozen=True)
class _Choice:
    """Channels to read, or the one colour to keep, and their description."""

    channels: tuple[int, ...]
    colour: int | None
    chosen: Chosen


def channel_names(scene: Scene) -> list[str]:
    """List the names of channels or colours; empty strings for channels without a name.

    Parameters
    ----------
    scene : Scene
    """
    colours = _is_colour(scene)
    names = list(COLOURS[: scene.samples]) if colours else list(scene.channels[: scene.count])
    if colours and scene.samples == 2:
        names = ["grey", "alpha"]
    return names + [""] * ((scene.samples if colours else scene.count) - len(names))


def _is_colour(scene: Scene) -> bool:
    return scene.count == 1 and scene.samples > 1


def _choose(scene: Scene, channel: Channel, path: str) -> _Choice:
    count, colours = scene.count, _is_colour(scene)
    names = channel_names(scene)
    of = len(names)
    number = None if colours else nuclear_channel(names)
    by: Reason = "name" if of > 1 else "only"
    if channel is not None:
        number, by = _named(names, channel, path), "asked"
    if number is None:
        if count > 1 and (count > MAX_CHANNELS or scene.samples > 1):
            raise InputError(
                f"{path} has {count} channels, expected at most {MAX_CHANNELS} or one that is "
                f"called after a nuclear stain. Choose one by --channel: {_listing(names)}."
            )
        if of > 1:
            by = "colours" if colours else "all" if of == 3 else "first"
        return _Choice(tuple(range(count)), None, Chosen("all", None, of, by))
    label = names[number] if names.count(names[number]) == 1 and names[number] else str(number)
    chosen = Chosen(label, number, of, by)
    return _Choice((0,), number, chosen) if colours else _Choice((number,), None, chosen)


def _named(names: Sequence[str], channel: str | int, path: str) -> int:
    """Find a channel by its name or number."""
    fits = [i for i, name in enumerate(names) if name.casefold() == str(channel).casefold()]
    if not fits and str(channel).isdecimal():
        fits = [int(channel)] if int(channel) < len(names) else []
    if len(fits) != 1:
        several = f"{len(fits)} channels" if fits else "no channel"
        raise InputError(
            f"{path} has {several} {channel!r}. Give --channel one of: {_listing(names)}."
        )
    return fits[0]


def _listing(names: Sequence[str]) -> str:
    return ", ".join(f"{i} ({name})" if name else str(i) for i, name in enumerate(names))


# Index of a plane along each axis: one number, or all numbers to project.
_Index = list[range]


def _indices(scene: Scene, project: Projection) -> Iterator[tuple[list[str], _Index]]:
    """Iterate over names and indices of the planes of a scene."""
    axes = list(enumerate(zip(scene.axes, scene.lengths, strict=True)))
    slices = "Z" if "Z" in scene.axes else _UNKNOWN
    projected = {i for i, (axis, _) in axes if project == "max" and axis in slices}
    # Time first and slices last, independent of the order in the file.
    order = sorted(
        (i for i, (axis, _) in axes if axis != "C" and i not in projected),
        key=lambda i: (scene.axes[i] == "Z", scene.axes[i] != "T"),
    )
    for numbers in np.ndindex(*(scene.lengths[i] for i in order)):
        index = [range(n) if i in projected else range(1) for i, (_, n) in axes]
        name = []
        for i, number in zip(order, numbers, strict=True):
            index[i] = range(number, number + 1)
            if scene.lengths[i] > 1:
                digits = max(3, len(str(scene.lengths[i] - 1)))
                name.append(f"{scene.axes[i].lower()}{number:0{digits}}")
        yield name, index


def _source(path: Path, scene: Scene, chosen: _Choice, plane: str, index: _Index) -> Source:
    count = len(chosen.channels) if chosen.colour is None else 1
    samples = scene.samples if chosen.colour is None else 1
    channels = max(count, samples)

    slices = math.prod(map(len, index))

    def places(channel: int) -> list[tuple[int, ...]]:
        """List the indices over the projected axes whose pixels the file contains."""
        spans = [
            range(channel, channel + 1) if axis == "C" else span
            for axis, span in zip(scene.axes, index, strict=True)
        ]
        found = itertools.product(*spans)
        return [place for place in found if scene.holds(place)]

    def one_channel(channel: int, rows: slice, columns: slice) -> Pixels:
        """Compute the maximum over the projected axes."""
        result: Pixels | None = None
        for place in places(channel):
            pixels = scene.read(place, rows, columns)
            if chosen.colour is not None:
                pixels = pixels[..., chosen.colour]
            result = pixels if result is None else np.maximum(result, pixels)
        return np.asarray(result)

    def read(rows: slice, columns: slice) -> Pixels:
        parts = [one_channel(channel, rows, columns) for channel in chosen.channels]
        return parts[0] if len(parts) == 1 else np.stack(parts, axis=-1)

    held = min(len(places(channel)) for channel in chosen.channels)
    return Source(
        path=path,
        plane=plane,
        shape=(*scene.size, channels) if channels > 1 else scene.size,
        dtype=scene.dtype,
        pixel_size=plausible(scene.pixel_size),
        chosen=chosen.chosen,
        lazy=scene.lazy,
        read=read,
        warnings=(*_doubts(scene), *_lacking(slices, held)),
        place=_place(scene, chosen.chosen, index),
        missing=not held,
    )


def _lacking(slices: int, held: int) -> list[str]:
    """Warn if a projection has fewer slices than the file declares."""
    if held in (0, slices):
        return []
    return [
        f"Slices missing: the file does not hold {slices - held} of {slices}, and the projection "
        "is of the others."
    ]


def _place(scene: Scene, chosen: Chosen, index: _Index) -> Place | None:
    """Return the position of a plane in its file."""
    spans = list(zip(scene.axes, scene.lengths, index, strict=True))
    # Unnamed axes are counted as time points.
    kinds = {"Z": "Z", "T": "T"} if {"Z", "T"} & {*scene.axes} else {"T": _UNKNOWN}
    along = {
        kind: [(n, span) for axis, n, span in spans if axis in letters and n > 1]
        for kind, letters in kinds.items()
    }
    found = {
        kind: int(np.ravel_multi_index([span[0] for _, span in axes], [n for n, _ in axes]))
        for kind, axes in along.items()
        if axes and all(len(span) == 1 for _, span in axes)
    }
    if not found:
        return None
    channel = chosen.number if scene.count > 1 else None
    several = sum(bool(axes) for axes in along.values()) + (scene.count > 1)
    return Place(channel, found.get("Z"), found.get("T"), single=several == 1)


def _doubts(scene: Scene) -> tuple[str, ...]:
    if scene.pixel_size is None or plausible(scene.pixel_size) is not None:
        return ()
    return (implausible_warning(scene.pixel_size),)
