"""Readers for formats of microscope vendors: Zeiss CZI, Nikon ND2 and Leica LIF."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nucseg.errors import InputError, MissingExtraError
from nucseg.images.blocks import read_block
from nucseg.images.faults import damaged
from nucseg.images.planes import Scene, check_planes, kept
from nucseg.images.source import Pixels
from nucseg.images.stains import nuclear_channel
from nucseg.images.units import PixelSize, pixel_size

if TYPE_CHECKING:
    import liffile
    import nd2.structures
    from pylibCZIrw import czi

# First bytes of the files of each format.
_STARTS: dict[bytes, str] = {
    b"ZISRAWFILE": "czi",
    b"\xda\xce\xbe\x0a": "nd2",
    b"\x70\x00\x00\x00": "lif",
}
VENDOR_SUFFIXES = frozenset({".czi", ".nd2", ".lif"})

# Tiles of a mosaic are decoded as a whole, and the next window needs them again.
_KEPT_BYTES = 2**26
_METRE = 1e6  # in micrometres
# Pixel types of libCZI, with their data type and number of colours.
_CZI_PIXELS = {
    "Gray8": ("u1", 1),
    "Gray16": ("u2", 1),
    "Gray32Float": ("f4", 1),
    "Bgr24": ("u1", 3),
    "Bgr48": ("u2", 3),
    "Bgr96Float": ("f4", 3),
}


def vendor_reader(start: bytes) -> Callable[[Path], list[Scene]] | None:
    """Find the reader of a vendor format.

    Parameters
    ----------
    start : bytes
        First bytes of a file.

    Returns
    -------
    callable or None
        ``reader(path)`` lists the images of the file. It raises `InputError` if nucseg does not
        support their kind, `MissingExtraError` if the package that reads them is not installed, and
        any exception of that package on damaged files.
    """
    readers = {"czi": open_czi, "nd2": open_nd2, "lif": open_lif}
    found = (readers[kind] for magic, kind in _STARTS.items() if start.startswith(magic))
    return next(found, None)


def _stain(name: str, dye: str) -> str:
    """Return the name of a channel, or that of its dye if only the dye indicates nuclei."""
    return dye if nuclear_channel([name]) is None and nuclear_channel([dye]) is not None else name


def open_czi(path: Path) -> list[Scene]:
    """Read the structure of a Zeiss CZI file, scene by scene, with mosaics stitched."""
    try:
        from pylibCZIrw import czi
    except ImportError as error:
        raise MissingExtraError(f"{path} is a CZI file. Reading it", "formats") from error

    @lru_cache(maxsize=1)
    def opened() -> czi.CziReader:
        cache = czi.CacheOptions(max_memory_usage=_KEPT_BYTES, max_sub_block_count=2**16)
        return czi.CziReader(str(path), cache_options=cache)

    file = opened()
    spans = {axis: span for axis, span in file.total_bounding_box.items() if axis not in "XY"}
    # Before libCZI visits every channel that a damaged file declares.
    check_planes([stop - start for start, stop in spans.values()], str(path))
    kinds = set(file.pixel_types.values())
    if len(kinds) != 1 or not kinds <= _CZI_PIXELS.keys():
        raise InputError(
            f"{path} has pixels of the kinds {', '.join(sorted(kinds))}, expected one of "
            f"{', '.join(_CZI_PIXELS)}. Export it as OME-TIFF."
        )
    dtype, samples = _CZI_PIXELS[kinds.pop()]
    # Axes of length 1 are not listed, but still need an index when reading.
    axes = [axis for axis, (start, stop) in spans.items() if stop - start != 1]
    about = file.metadata["ImageDocument"]["Metadata"]
    scenes = dict(file.scenes_bounding_rectangle_no_pyramid)
    if not scenes:
        scenes = {None: file.total_bounding_rectangle_no_pyramid}

    def read(scene: int | None, index: tuple[int, ...], rows: slice, columns: slice) -> Pixels:
        place = {axis: start for axis, (start, _) in spans.items()}
        for axis, number in zip(axes, index, strict=True):
            place[axis] += number
        corner = scenes[scene]
        region = (
            corner.x + columns.start,
            corner.y + rows.start,
            columns.stop - columns.start,
            rows.stop - rows.start,
        )
        pixels = np.asarray(opened().read(roi=region, plane=place, scene=scene))
        # Blue, green, red.
        return pixels[:, :, 0] if samples == 1 else pixels[:, :, ::-1]

    return [
        Scene(
            axes="".join(axes),
            lengths=tuple(spans[axis][1] - spans[axis][0] for axis in axes),
            size=(corner.h, corner.w),
            samples=samples,
            dtype=np.dtype(dtype),
            pixel_size=_czi_pixel_size(about),
            read=partial(read, scene),
            channels=_czi_channels(about),
        )
        for scene, corner in scenes.items()
    ]


def _within(about: Any, *names: str) -> list[Mapping[str, Any]]:
    """Return the elements at a path in XML; empty if the path does not exist."""
    for name in names:
        about = (about or {}).get(name)
    if about is None:
        return []
    return about if isinstance(about, list) else [about]


def _czi_pixel_size(about: Mapping[str, Any]) -> PixelSize | None:
    items = _within(about, "Scaling", "Items", "Distance")
    metres = {each.get("@Id"): float(each.get("Value") or "nan") for each in items}
    down, across = (metres.get(axis, math.nan) * _METRE for axis in "YX")
    return pixel_size(down, across)


def _czi_channels(about: Mapping[str, Any]) -> tuple[str, ...]:
    channels = _within(about, "Information", "Image", "Dimensions", "Channels", "Channel")
    return tuple(
        _stain(str(each.get("@Name") or ""), str(each.get("Fluor") or "")) for each in channels
    )


def open_nd2(path: Path) -> list[Scene]:
    """Read the structure of a Nikon ND2 file."""
    try:
        import nd2
    except ImportError as error:
        raise MissingExtraError(f"{path} is an ND2 file. Reading it", "formats") from error
    with nd2.ND2File(path) as file:
        sizes = dict(file.sizes)
        size = (sizes.pop("Y"), sizes.pop("X"))
        samples, count = sizes.pop("S", 1), sizes.pop("C", 1)
        channels = (file.metadata.channels if file.metadata else None) or []
        size_um = _nd2_pixel_size(channels[0].volume) if channels else None
        lazy = file.attributes.compressionType is None
        dtype = file.dtype
    loops = tuple(sizes.values())

    def frame(number: int, rows: slice, columns: slice) -> Pixels:
        """Return all channels, shape (channels, h, w, samples)."""
        with nd2.ND2File(path) as file:
            pixels = file.read_frame(number).reshape(count, *size, samples)
            return pixels[:, rows, columns].copy()

    @lru_cache(maxsize=1)
    def whole(number: int) -> Pixels:
        return kept(frame(number, slice(0, size[0]), slice(0, size[1])))

    def read(index: tuple[int, ...], rows: slice, columns: slice) -> Pixels:
        # Frames contain all channels and are in the order of the loops.
        number = int(np.ravel_multi_index(index[: len(loops)], loops)) if loops else 0
        pixels = frame(number, rows, columns) if lazy else whole(number)[:, rows, columns]
        part: Pixels = pixels[index[-1] if count > 1 else 0]
        return part[:, :, 0] if samples == 1 else part

    return [
        Scene(
            axes="".join(sizes) + ("C" if count > 1 else ""),
            lengths=(*loops, count) if count > 1 else loops,
            size=size,
            samples=samples,
            dtype=dtype,
            pixel_size=size_um,
            read=read,
            channels=tuple(str(each.channel.name) for each in channels),
            lazy=lazy,
        )
    ]


def _nd2_pixel_size(volume: nd2.structures.Volume) -> PixelSize | None:
    across, down = volume.axesCalibration[:2]
    return pixel_size(down, across) if all(volume.axesCalibrated[:2]) else None


def open_lif(path: Path) -> list[Scene]:
    """Read the structure of a Leica LIF file, image by image."""
    try:
        import liffile
    except ImportError as error:
        raise MissingExtraError(f"{path} is a LIF file. Reading it", "formats") from error
    with liffile.LifFile(path) as file:
        # Only rows and columns: no single points or curves over time.
        scenes = [_lif_scene(image, path) for image in file.images if {"Y", "X"} <= {*image.dims}]
    if not scenes:
        raise InputError(f"{path} is a LIF file without an image. Export one from LAS X.")
    return scenes


def _lif_scene(image: liffile.liffile.LifImageABC, path: Path) -> Scene:
    names, lengths = "".join(axis[0] for axis in image.dims), image.shape
    samples = lengths[-1] if names.endswith("YXS") else 1
    rows_axis = len(names) - (2 if samples == 1 else 3)
    if names[rows_axis : rows_axis + 2] != "YX" or samples > 3:
        raise InputError(
            f"{path} has an image, {image.name}, with the axes {names}, expected rows and columns "
            "(Y and X) last. Export the images that you need as TIFF."
        )
    size = (lengths[rows_axis], lengths[rows_axis + 1])
    before, dtype = lengths[:rows_axis], image.dtype
    block = image.memory_block
    if block.offset + block.size > path.stat().st_size:
        raise damaged(str(path), "it ends before its pixels do")
    lazy = block.size == image.nbytes and samples == 1
    start, step = block.offset, size[0] * size[1] * dtype.itemsize

    @lru_cache(maxsize=1)
    def whole() -> Pixels:
        # Colours may be in another order, and rows may be padded.
        import liffile

        with liffile.LifFile(path) as file:
            found = next(each for each in file.images if each.uuid == image.uuid)
            return kept(np.asarray(found.asarray()).reshape(-1, *lengths[rows_axis:]))

    def read(index: tuple[int, ...], rows: slice, columns: slice) -> Pixels:
        number = int(np.ravel_multi_index(index, before)) if before else 0
        if not lazy:
            return whole()[number, rows, columns]
        with path.open("rb") as file:
            window = (rows, columns)
            return read_block(file, start + number * step, dtype, (*size, 1), window)[:, :, 0]

    return Scene(
        axes=names[:rows_axis],
        lengths=before,
        size=size,
        samples=samples,
        dtype=dtype.newbyteorder("="),
        pixel_size=_lif_pixel_size(image),
        read=read,
        channels=_lif_channels(image),
        lazy=lazy,
        name=image.name,
    )


def _lif_pixel_size(image: liffile.liffile.LifImageABC) -> PixelSize | None:
    """Compute the pixel size from the positions of the first and last row and column, in metres."""
    steps = []
    for axis in "YX":
        places = image.coords.get(axis)
        if places is None:
            return None
        steps.append(float(abs(places[-1] - places[0])) / (len(places) - 1) * _METRE)
    return pixel_size(*steps)


def _lif_channels(image: liffile.liffile.LifImageABC) -> tuple[str, ...]:
    """Return the dyes of the channels, or the colours in which they are displayed."""
    found = image.xml_element.findall("./Data/Image/ImageDescription/Channels/ChannelDescription")
    names = []
    for channel in sorted(found, key=lambda each: int(each.attrib["BytesInc"])):
        properties = {
            each.findtext("Key"): each.findtext("Value")
            for each in channel.findall("./ChannelProperty")
        }
        names.append(properties.get("DyeName") or channel.attrib.get("LUTName", ""))
    return tuple(names)
