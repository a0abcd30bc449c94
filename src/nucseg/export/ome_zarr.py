"""Write label images as OME-Zarr, which viewers and programs read by chunks."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nucseg.core.segmented import Segmented, Windowed
from nucseg.export.folders import whole_folder
from nucseg.export.format import Format

if TYPE_CHECKING:
    import zarr

_VERSION = "0.4"
_LABELS = "labels/nuclei"
# Side length of a chunk; levels of half the size follow until one fits in a chunk.
_CHUNK = 1024
_COMPRESSION = {"cname": "zstd", "clevel": 3, "shuffle": 1}
# Colours of more nuclei would make the metadata slow to read.
_COLOURED = 2**16
_GOLDEN = 0.618_033_988_749_895


def write_ome_zarr(segmented: Segmented, path: Path, _name: str) -> None:
    """Write a label image as an OME-Zarr 0.4 folder, with resolutions, colours and pixel size.

    The labels are stored in ``labels/nuclei``, where programs look for the labels of an image. The
    metadata of the folder itself refers to the same pixels, so that it opens without an image too.

    Parameters
    ----------
    segmented : Segmented
        Its `labels` and `pixel_size` are written, in windows.
    path : Path
        The folder; the write is atomic.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    import zarr

    labels, pixel_size = segmented.labels, segmented.pixel_size
    shapes = _levels((labels.shape[0], labels.shape[1]))
    colours = _colours(segmented) if segmented.highest <= _COLOURED else []
    with whole_folder(path) as partial:
        root = zarr.open_group(partial, mode="w", zarr_format=2)
        root.attrs.put(_metadata(f"{_LABELS}/", len(shapes), pixel_size, colours))
        root.create_group("labels").attrs.put({"labels": [_LABELS.removeprefix("labels/")]})
        group = root.create_group(_LABELS)
        group.attrs.put(_metadata("", len(shapes), pixel_size, colours))
        source: Any = labels
        for level, shape in enumerate(shapes):
            array = _array(group, level, shape, labels.dtype)
            _fill(array, source, step=1 if level == 0 else 2)
            source = array


def _levels(shape: tuple[int, int]) -> list[tuple[int, int]]:
    shapes = [shape]
    while max(shapes[-1]) > _CHUNK:
        height, width = shapes[-1]
        shapes.append((-(-height // 2), -(-width // 2)))
    return shapes


def _array(group: zarr.Group, level: int, shape: tuple[int, int], dtype: Any) -> zarr.Array[Any]:
    from numcodecs import Blosc

    return group.create_array(
        str(level),
        shape=shape,
        chunks=(min(_CHUNK, shape[0]), min(_CHUNK, shape[1])),
        dtype=dtype,
        compressors=Blosc(**_COMPRESSION),
        fill_value=0,
        chunk_key_encoding={"name": "v2", "separator": "/"},
        # Without any chunk, an image without nuclei would look like a copy that lost its chunks.
        config={"write_empty_chunks": True},
    )


def _fill(array: zarr.Array[Any], source: Windowed, *, step: int) -> None:
    """Write all chunks of a level: every pixel of the source, or every second one."""
    height, width = array.shape
    for top in range(0, height, _CHUNK):
        for left in range(0, width, _CHUNK):
            rows = slice(top, min(top + _CHUNK, height))
            columns = slice(left, min(left + _CHUNK, width))
            window = (
                slice(step * rows.start, step * rows.stop),
                slice(step * columns.start, step * columns.stop),
            )
            array[rows, columns] = source[window][::step, ::step]


def _metadata(
    folder: str,
    levels: int,
    pixel_size: tuple[float, float] | None,
    colours: list[dict[str, Any]],
) -> dict[str, Any]:
    """Describe the levels of a folder, and declare that their values are labels."""
    unit = {} if pixel_size is None else {"unit": "micrometer"}
    down, across = pixel_size or (1.0, 1.0)
    datasets = [
        {
            "path": f"{folder}{level}",
            "coordinateTransformations": [
                {"type": "scale", "scale": [down * 2.0**level, across * 2.0**level]}
            ],
        }
        for level in range(levels)
    ]
    multiscale = {
        "version": _VERSION,
        "name": "nuclei",
        "axes": [{"name": name, "type": "space", **unit} for name in "yx"],
        "datasets": datasets,
        "type": "nearest",
    }
    about: dict[str, Any] = {"version": _VERSION}
    if colours:
        about["colors"] = colours
    return {"multiscales": [multiscale], "image-label": about}


def _colours(segmented: Segmented) -> list[dict[str, Any]]:
    return [{"label-value": label, "rgba": _colour(label)} for label in _numbers(segmented)]


def _numbers(segmented: Segmented) -> Iterator[int]:
    """Yield the labels that exist; a label image of another origin may have gaps."""
    import numpy as np

    for part in segmented.parts():
        yield from np.flatnonzero(np.bincount(part.labels[part.labels > 0])).tolist()


def _colour(label: int) -> list[int]:
    """Return a bright colour, far from those of the previous labels, by the golden ratio."""
    bright = colorsys.hsv_to_rgb(label * _GOLDEN % 1, 0.75, 1)
    return [*(round(255 * each) for each in bright), 255]


OME_ZARR = Format(
    "zarr",
    ".ome.zarr",
    "OME-Zarr label image, in chunks and resolutions",
    write_ome_zarr,
    needs="zarr",
)
