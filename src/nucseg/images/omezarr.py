"""Reader for OME-Zarr 0.4 and 0.5 (and older versions with the same metadata), with zarr."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nucseg.errors import InputError, MissingExtraError
from nucseg.images.planes import Scene
from nucseg.images.source import Pixels
from nucseg.images.units import PixelSize, micrometres, pixel_size

if TYPE_CHECKING:
    import zarr

# Metadata files of an array.
_ABOUT = frozenset({"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"})
# Axes of versions without axis names.
_OLD_AXES = ("t", "c", "z", "y", "x")
# Maximum length of an axis; with longer ones in damaged files, zarr would not terminate.
_LONGEST = 2**31


def is_zarr(path: Path) -> bool:
    """Return whether the name of a folder ends in ``.zarr``."""
    return path.suffix.lower() == ".zarr"


def open_zarr(path: Path) -> list[Scene]:
    """Read the structure of an OME-Zarr folder. Pixels are read later, chunk by chunk.

    Parameters
    ----------
    path : Path
        Folder of an image, of several images written by bioformats2raw, or of a plate, whose
        fields of view are named by well and number.

    Returns
    -------
    list of Scene
        One scene per image, at full resolution.

    Raises
    ------
    InputError
        The folder is not an OME-Zarr image.
    MissingExtraError
        zarr is not installed.
    """
    try:
        import zarr
    except ImportError as error:
        raise MissingExtraError(f"{path} is an OME-Zarr image. Reading it", "formats") from error
    try:
        # Consolidated metadata is not used: some writers do not update it.
        root = zarr.open_group(path, mode="r", use_consolidated=False)
    except (FileNotFoundError, zarr.errors.ContainsArrayError) as error:
        raise _not_an_image(path) from error
    scenes = [_scene(group, name, path) for name, group in _images(root)]
    if not scenes:
        raise _not_an_image(path)
    return scenes


def _not_an_image(path: Path) -> InputError:
    return InputError(
        f"{path} is no OME-Zarr image: it does not tell its axes and resolutions (multiscales). "
        "Give the folder that was written as an image, not one in it or around it."
    )


def _metadata(group: Any) -> Mapping[str, Any]:
    """Return the OME-Zarr attributes of a group, which since 0.5 are under their own key."""
    attributes: Mapping[str, Any] = group.attrs.asdict()
    found = attributes.get("ome", attributes)
    return found if isinstance(found, Mapping) else {}


def _images(root: Any) -> Iterator[tuple[str, Any]]:
    """Iterate over the groups that are images, with their names."""
    about = _metadata(root)
    if "multiscales" in about:
        yield "", root
    elif "plate" in about:
        for well in about["plate"]["wells"]:
            group = root[well["path"]]
            for image in _metadata(group)["well"]["images"]:
                yield f"{well['path'].replace('/', '')}_{image['path']}", group[image["path"]]
    elif "bioformats2raw.layout" in about:
        for name in sorted((key for key in root.group_keys() if key.isdecimal()), key=int):
            yield "", root[name]


def _scene(group: Any, name: str, path: Path) -> Scene:
    about = _metadata(group)
    if "multiscales" not in about:
        raise _not_an_image(path)
    scales = about["multiscales"][0]
    largest = scales["datasets"][0]
    array = group[largest["path"]]
    folder = path / array.path
    _check_chunks(folder)
    axes = [
        axis if isinstance(axis, dict) else {"name": axis}
        for axis in scales.get("axes", _OLD_AXES[-array.ndim :])
    ]
    names = [str(axis["name"]).lower() for axis in axes]
    if names[-2:] != ["y", "x"] or len(names) != array.ndim:
        raise InputError(
            f"{path} has the axes {', '.join(names)}, expected rows and columns (y and x) last, "
            f"and {array.ndim} of them. Write it again with these."
        )
    if max(array.shape) > _LONGEST:
        raise ValueError(f"it has the shape {array.shape}")
    others = [i for i in range(array.ndim - 2) if array.shape[i] != 1]
    channels = about.get("omero", {}).get("channels", [])
    return Scene(
        axes="".join(_letter(names[i]) for i in others),
        lengths=tuple(array.shape[i] for i in others),
        size=array.shape[-2:],
        samples=1,
        dtype=array.dtype.newbyteorder("="),
        pixel_size=_pixel_size(axes, [largest, scales]),
        read=_reader(array, folder, others),
        channels=tuple(str(channel.get("label", "")) for channel in channels),
        lazy=array.chunks[-2:] != array.shape[-2:],
        name=name or str(scales.get("name", "")),
    )


def _letter(name: str) -> str:
    return re.sub(r"\W", "", name)[:1].upper() or "Q"


def _check_chunks(folder: Path) -> None:
    """Reject an array that has metadata but no chunks; it would be read as all black."""
    files = (file for file in folder.rglob("*") if file.is_file())
    if all(file.name in _ABOUT for file in files):
        raise EOFError("it has no chunks of pixels")


def _reader(
    array: zarr.Array[Any], folder: Path, others: Sequence[int]
) -> Callable[[tuple[int, ...], slice, slice], Pixels]:
    # zarr checks the lengths of chunks in shards.
    blosc = array.shards is None and any(
        "Blosc" in type(each).__name__ for each in array.compressors
    )

    def read(index: tuple[int, ...], rows: slice, columns: slice) -> Pixels:
        place: list[int | slice] = [0] * (array.ndim - 2)
        for axis, number in zip(others, index, strict=True):
            place[axis] = number
        window = (*place, rows, columns)
        if blosc:
            for key in _chunk_keys(array, window):
                _check_blosc(folder / key)
        pixels = np.asarray(array[window])
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)

    return read


def _chunk_keys(array: zarr.Array[Any], window: Sequence[int | slice]) -> Iterator[str]:
    """Iterate over the names of the chunks that a window overlaps."""
    spans = []
    for each, length in zip(window, array.chunks, strict=True):
        start, stop = (each.start, each.stop) if isinstance(each, slice) else (each, each + 1)
        spans.append(range(start // length, -(-stop // length)))
    for place in itertools.product(*spans):
        yield array.metadata.encode_chunk_key(place)


def _check_blosc(chunk: Path) -> None:
    """Reject a chunk shorter than its declared size; Blosc would read beyond its end."""
    try:
        with chunk.open("rb") as file:
            header, size = file.read(16), file.seek(0, io.SEEK_END)
    except FileNotFoundError:
        return  # The chunk is empty.
    if size < max(16, int.from_bytes(header[12:16], "little")):
        raise EOFError("a chunk of it ends before its pixels do")


def _pixel_size(
    axes: Sequence[Mapping[str, Any]], places: Sequence[Mapping[str, Any]]
) -> PixelSize | None:
    """Compute the pixel size from the unit of the axes and all scale transformations."""
    sizes = []
    for axis in (-2, -1):
        size = micrometres(axes[axis].get("unit"))
        scales = [
            each["scale"]
            for place in places
            for each in place.get("coordinateTransformations", [])
            if each.get("type") == "scale"
        ]
        if size is None or not scales:
            return None
        for scale in scales:
            size *= scale[axis]
        sizes.append(size)
    return pixel_size(*sizes)
