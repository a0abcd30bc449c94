"""Small valid images of all kinds that nucseg reads itself, and ways to damage them."""

from __future__ import annotations

import json
import random
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

SIZE = (40, 56)
INTERESTING = (
    *(0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 10**5, 2**24, 2**30),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1),
)
VALUES = (None, True, -1, 0, 1, 3, 1.5, -0.0, 10**5, 2**31, 2**63, 10**30, 1e308, float("nan"), "",
          "0", "1", "..", "/", "µm", "x" * 5000, [], [1], [[]], {}, {"0": 0})  # fmt: skip
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ABOUT = ("zarr.json", ".zarray", ".zattrs", ".zgroup")
PNG_START = b"\x89PNG\r\n\x1a\n"


def pixels(rng, *shape, dtype="u1"):
    if dtype == "f4":
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def write_rasters(folder: Path, rng) -> None:
    grey, colours = pixels(rng, *SIZE), pixels(rng, *SIZE, 3)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(colours).save(folder / "rgb.png")
    Image.fromarray(colours).quantize(16).save(folder / "palette.png", transparency=3)
    Image.fromarray(grey > 99).save(folder / "bits.png")
    cv2.imwrite(str(folder / "deep.png"), pixels(rng, *SIZE, dtype="u2"))
    cv2.imwrite(str(folder / "deep-rgb.png"), pixels(rng, *SIZE, 3, dtype="u2"))
    Image.fromarray(colours).save(folder / "rgb.jpg")
    Image.fromarray(grey).save(folder / "progressive.jpg", progressive=True)
    Image.fromarray(colours).save(folder / "rgb.bmp")
    Image.fromarray(colours).quantize(16).save(folder / "palette.bmp")


def write_tiffs(folder: Path, rng) -> None:
    grey, colours = pixels(rng, *SIZE), pixels(rng, *SIZE, 3)
    deep = pixels(rng, *SIZE, dtype="u2")
    plain = {"metadata": None, "rowsperstrip": 8}
    kinds = {
        "strips": (grey, plain),
        "whole": (grey, {"metadata": None}),
        "lzw": (deep, {**plain, "compression": "lzw", "predictor": True}),
        "packbits": (grey // 64, {**plain, "compression": "packbits"}),
        "deflate": (deep, {**plain, "compression": "zlib", "byteorder": ">"}),
        "zstd": (grey, {**plain, "compression": "zstd"}),
        "jpeg": (colours, {**plain, "compression": "jpeg", "photometric": "rgb"}),
        "tiles": (grey, {"metadata": None, "tile": (16, 16)}),
        "tiles-deflate": (colours, {"compression": "zlib", "tile": (16, 16), "photometric": "rgb"}),
        "bits": (grey > 99, {"metadata": None}),
        "float": (
            pixels(rng, *SIZE, dtype="f4"),
            {"compression": "zlib", "predictor": True, "tile": (32, 32)},
        ),
        "separate": (
            np.moveaxis(colours, -1, 0),
            {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib"},
        ),
        "palette": (
            grey,
            {"photometric": "palette", "colormap": pixels(rng, 3, 256, dtype="u2")},
        ),
        "white": (grey, {**plain, "photometric": "miniswhite"}),
        "pages": (pixels(rng, 4, *SIZE), {"photometric": "minisblack", "compression": "zlib"}),
        "volume": (
            pixels(rng, 4, 32, 48),
            {"photometric": "minisblack", "volumetric": True, "tile": (2, 16, 16)},
        ),
        "big": (deep, {"bigtiff": True, "tile": (16, 16), "compression": "zlib"}),
        "big-strips": (deep, {"bigtiff": True, "byteorder": ">", **plain}),
    }
    for name, (array, options) in kinds.items():
        tifffile.imwrite(folder / f"{name}.tif", array, **options)
    stack = pixels(rng, 2, 2, 3, *SIZE, dtype="u2")
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeXUnit": "µm"}
    about = {"axes": "TCZYX", "Channel": {"Name": ["GFP", "DAPI"]}, **size}
    tifffile.imwrite(folder / "ome.ome.tif", stack, metadata=about, compression="zlib")
    tifffile.imwrite(
        folder / "imagej.tif",
        np.moveaxis(stack, 2, 1),
        imagej=True,
        resolution=(2, 2),
        metadata={"axes": "TZCYX", "unit": "um", "Labels": list("abcdefghijkl")},
    )
    write_pyramid(folder / "pyramid.ome.tif", pixels(rng, 96, 128, 3))


def write_pyramid(path: Path, image) -> None:
    options = {"photometric": "rgb", "tile": (32, 32), "compression": "jpeg"}
    with tifffile.TiffWriter(path) as file:
        file.write(image, subifds=1, metadata={"axes": "YXS"}, **options)
        file.write(image[::2, ::2], subfiletype=1, **options)


def write_zarrs(folder: Path, rng) -> None:
    for version in (2, 3):
        array = pixels(rng, 2, 3, *SIZE, dtype="u2")
        write_zarr(folder / f"image-{version}.zarr", array, version, chunks=(1, 1, 16, 16))
    shards = {"chunks": (1, 1, 8, 8), "shards": (1, 1, 40, 56)}
    write_zarr(folder / "shards.zarr", pixels(rng, 2, 3, *SIZE), 3, **shards)


def write_zarr(path: Path, array, version: int, **options) -> None:
    """Write an image of axes (c, z, y, x) as OME-Zarr 0.4 or 0.5."""
    import zarr

    group = zarr.create_group(path, zarr_format=version, overwrite=True)
    group.create_array("0", data=array, **options)
    kinds = {"c": "channel", "z": "space", "y": "space", "x": "space"}
    axes = [
        {"name": name, "type": kind} | ({"unit": "micrometer"} if kind == "space" else {})
        for name, kind in kinds.items()
    ]
    scale = [{"type": "scale", "scale": [1.0, 2.0, 0.5, 0.25]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    about = {
        "multiscales": [{"axes": axes, "datasets": datasets, "name": "image"}],
        "omero": {"channels": [{"label": "GFP"}, {"label": "DAPI"}]},
    }
    group.attrs.update({"ome": {"version": "0.5", **about}} if version == 3 else about)


def write_seeds(folder: Path) -> list[Path]:
    """Write all valid images, the same ones each time; folders are OME-Zarr."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for write in (write_rasters, write_tiffs, write_zarrs):
        write(folder, rng)
    return sorted(folder.iterdir())


Change = Callable[[random.Random, bytearray], None]


def place(rng: random.Random, data: bytearray, width: int = 1) -> int:
    """Position of a change: half of them where headers are."""
    last = max(len(data) - width, 0)
    header = min(last, 300)
    if rng.random() < 0.5:
        return rng.choice([rng.randint(0, header), max(last - rng.randint(0, header), 0)])
    return rng.randint(0, last)


def flip_bit(rng: random.Random, data: bytearray) -> None:
    data[place(rng, data)] ^= 1 << rng.randrange(8)


def set_byte(rng: random.Random, data: bytearray) -> None:
    data[place(rng, data)] = rng.randrange(256)


def set_number(rng: random.Random, data: bytearray) -> None:
    """Put in a number at which programs often fail."""
    width, order = rng.choice([2, 4, 4, 8]), rng.choice(["little", "big"])
    at = place(rng, data, width)
    number = (rng.choice(INTERESTING) + rng.choice([-1, 0, 0, 1])) % 256**width
    data[at : at + width] = number.to_bytes(width, order)


def set_digits(rng: random.Random, data: bytearray) -> None:
    """Change a number that is written in text, such as in OME-XML, without moving the rest."""
    found = list(re.finditer(rb"\d+", data))
    if found:
        start, end = rng.choice(found).span()
        digits = rng.choice([b"0", b"9", b"1", b"-", b".", b"e"]) * (end - start)
        data[start:end] = digits


def cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randint(0, len(data)) :]


def leave_out(rng: random.Random, data: bytearray) -> None:
    start = place(rng, data)
    del data[start : start + rng.randint(1, 64)]


def put_in(rng: random.Random, data: bytearray) -> None:
    start = place(rng, data)
    data[start:start] = rng.choice([rng.randbytes(rng.randint(1, 64)), bytes(rng.randint(1, 64))])


def copy_within(rng: random.Random, data: bytearray) -> None:
    start, to, length = place(rng, data), place(rng, data), rng.randint(1, 128)
    data[to : to + length] = data[start : start + length]


def change_tag(rng: random.Random, data: bytearray) -> None:
    """Change code, type, count or value of a tag of a TIFF file."""
    entries = tiff_entries(bytes(data))
    if not entries:
        return set_number(rng, data)
    order, big, at = rng.choice(entries)
    fields = [(0, 2), (2, 2), (4, 8), (12, 8)] if big else [(0, 2), (2, 2), (4, 4), (8, 4)]
    # Mostly the value.
    offset, width = rng.choice([*fields, fields[3], fields[3], fields[3]])
    number = rng.randint(0, 20) if offset == 2 else rng.choice(INTERESTING)
    data[at + offset : at + offset + width] = (number % 256**width).to_bytes(width, order)
    return None


def tiff_entries(data: bytes) -> list[tuple[str, bool, int]]:
    """Byte order, whether of BigTIFF, and place of each tag, as far as they can be followed."""
    if data[:4] not in TIFF_STARTS:
        return []
    order, big = ("little" if data[:1] == b"I" else "big"), b"+" in data[:4]
    width, counted, size = (8, 8, 20) if big else (4, 2, 12)
    found, seen, start = [], set(), 8 if big else 4
    while True:
        offset = int.from_bytes(data[start : start + width], order)
        if not offset or offset in seen or offset + counted > len(data):
            return found
        seen.add(offset)
        count = min(int.from_bytes(data[offset : offset + counted], order), 50)
        found += [(order, big, offset + counted + size * number) for number in range(count)]
        start = offset + counted + size * count


def with_checksums(data: bytearray) -> None:
    """Make the checksums of a PNG file right, so that decoders look at what they cover."""
    start = len(PNG_START)
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if end > len(data):
            return
        data[end - 4 : end] = struct.pack(">I", zlib.crc32(data[start + 4 : end - 4]))
        start = end


BYTES = (flip_bit, set_byte, set_number, set_number, set_digits, cut, leave_out, put_in,
         copy_within, change_tag, change_tag, change_tag)  # fmt: skip


def mutated_bytes(rng: random.Random, original: bytes) -> bytes:
    data = bytearray(original)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
        rng.choice(BYTES)(rng, data)
        data = data or bytearray(1)
    if data.startswith(PNG_START) and rng.random() < 0.8:
        with_checksums(data)
    return bytes(data)


def places_in(tree, before=()):
    """Every place in a tree of JSON, as keys."""
    if isinstance(tree, (dict, list)):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield (*before, key)
            yield from places_in(value, (*before, key))


def mutated_json(rng: random.Random, text: bytes) -> bytes:
    """Change or take out a value, at any depth."""
    tree = json.loads(text)
    places = list(places_in(tree))
    if not places:
        return json.dumps(rng.choice(VALUES)).encode()
    *path, last = rng.choice(places)
    parent = tree
    for key in path:
        parent = parent[key]
    if rng.random() < 0.25:
        del parent[last]
    elif isinstance(parent[last], int) and rng.random() < 0.5:
        parent[last] = rng.choice(INTERESTING)
    else:
        parent[last] = rng.choice(VALUES)
    return json.dumps(tree).encode()


def mutate_folder(rng: random.Random, folder: Path) -> None:
    """Damage files of an OME-Zarr image: what they hold, or that they are there at all."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        about = [
            path for path in files if path.name in ("zarr.json", ".zarray", ".zattrs", ".zgroup")
        ]
        path = rng.choice(about if about and rng.random() < 0.7 else files)
        chance = rng.random()
        if chance < 0.05:
            path.unlink()
            if rng.random() < 0.5:
                path.mkdir()
        elif path in about and chance < 0.8:
            try:
                path.write_bytes(mutated_json(rng, path.read_bytes()))
            except (ValueError, RecursionError):
                path.write_bytes(mutated_bytes(rng, path.read_bytes()))
        else:
            path.write_bytes(mutated_bytes(rng, path.read_bytes()))


def write_case(seeds: list[Path], seed: int, number: int, folder: Path) -> Path:
    """Write a damaged image: always the same one for the same numbers."""
    rng = random.Random(f"{seed}-{number}")
    original = rng.choice(seeds)
    path = folder / f"{seed}-{number}-{original.name}"
    if original.is_dir():
        shutil.copytree(original, path)
        mutate_folder(rng, path)
    else:
        path.write_bytes(mutated_bytes(rng, original.read_bytes()))
    return path
