"""A folder of images as they come from microscopes, copies and mishaps: whole ones and bad ones."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from nucseg.datasets.synthetic import synthetic_image

SIDE = 10**5
# Bytes that a path may have on Linux, with the one that ends it.
LONGEST_PATH = 4095
VANISHES = "vanishes during the run"
FORMATS = (".png", ".tif", ".jpg", ".bmp")
NAMES = {
    "name that is not ASCII": "Zellkerne µm 細胞核 é.png",
    "name of 250 bytes": "n" * 246 + ".png",
    "name of 255 bytes": "m" * 251 + ".png",
    "name with quotes and commas": "a \"b\", 'c'; d%s.png",
    "name with a line break": "line\nbreak.png",
    "name of a pattern": "[a-z]*?.png",
    "name like an option": "--help.png",
    "suffix in capitals": "CAPITALS.TIFF",
}


@dataclass(frozen=True)
class Case:
    """A file and what shall come of it.

    Attributes
    ----------
    path : Path
    kind : str
    reason : str
        Pattern for what images.csv says of a bad one; empty for a whole one.
    planes : dict
        Of a whole one: pixels of each plane, as another reader than nucseg's gives them.
    """

    path: Path
    kind: str
    reason: str = ""
    planes: dict[str, np.ndarray] = field(default_factory=dict, repr=False)


def picture(seed: int):
    """Nuclei, in colours or grey, of a size of its own."""
    rng = np.random.default_rng(seed)
    size = tuple(int(side) for side in rng.integers(64, 145, 2))
    tissue = seed % 4 == 3
    pixels, _ = synthetic_image(
        rng, size=size, nuclei=12, modality="histology" if tissue else "fluorescence"
    )
    return pixels if tissue or seed % 3 == 0 else pixels[:, :, 0]


def save(path: Path, pixels, seed: int = 0) -> None:
    """Write an image in the format of its suffix, TIFF in one of several ways."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() not in (".tif", ".tiff"):
        Image.fromarray(pixels).save(path)
        return
    ways = (
        {},
        {"compression": "zlib"},
        {"tile": (32, 32), "compression": "zlib", "bigtiff": True},
        {"rowsperstrip": 16, "byteorder": ">"},
    )
    photometric = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(path, pixels, photometric=photometric, **ways[seed % len(ways)])


def pixels_of(path: Path):
    """Read an image without nucseg, by what it holds."""
    if path.read_bytes()[:2] in (b"II", b"MM"):
        return tifffile.imread(path)
    with Image.open(path) as opened:
        return np.asarray(opened)


def whole(path: Path, kind: str) -> Case:
    return Case(path, kind, planes={"": pixels_of(path)})


def write_whole(folder: Path, count: int) -> Iterator[Case]:
    """Write images that are as they should be, in nested folders."""
    for number in range(count):
        suffix = FORMATS[number % 4]
        path = folder / f"plate {number % 5}" / f"{number // 5 % 4}" / f"field_{number:03}{suffix}"
        save(path, picture(number), number // 4)
        yield whole(path, f"whole {suffix[1:]}")


def write_odd(folder: Path) -> Iterator[Case]:
    """Write images that are odd but whole."""
    place = folder / "odd"
    place.mkdir()
    for seed, (kind, name) in enumerate(NAMES.items()):
        save(place / name, picture(seed))
        yield whole(place / name, kind)
    if os.name == "posix":
        path = place / os.fsdecode(b"bytes \xff\xfe.png")
        save(path, picture(1))
        yield whole(path, "name that is no text")
    for seed, name in enumerate(("same.png", "same.tif", "same.tiff", "SAME.png")):
        save(place / "stem" / name, picture(seed))
        yield whole(place / "stem" / name, "same stem")
    for suffix, other in ((".png", ".tif"), (".tif", ".jpg"), (".jpg", ".bmp"), (".bmp", ".png")):
        path = place / f"{suffix[1:]}_as{other}"
        save(path.with_suffix(suffix), picture(len(other)))
        path.with_suffix(suffix).rename(path)
        yield whole(path, "another image's suffix")
    for name in ("folder.png/inside.png", "result.png", "result.tif/inside.png"):
        save(place / name, picture(5))
    yield whole(place / "folder.png" / "inside.png", "in a folder named as an image")
    yield whole(place / "result.png", "result named as a folder")
    yield whole(place / "result.tif" / "inside.png", "in a folder named as a result")
    (place / "linked.png").symlink_to(place / "folder.png" / "inside.png")
    yield whole(place / "linked.png", "link to an image")
    (place / "up").symlink_to(folder, target_is_directory=True)
    save(place / "dot.png", np.zeros((1, 1), np.uint8))
    yield whole(place / "dot.png", "one pixel")
    yield five_axes(place / "five_axes.ome.tif", channels=2)


def five_axes(path: Path, channels: int) -> Case:
    grey = picture(0)[..., 0]
    stack = np.stack([np.roll(grey, shift, axis=1) for shift in range(4 * channels)])
    stack = stack.reshape(2, 2, channels, *grey.shape)
    tifffile.imwrite(path, stack, photometric="minisblack", metadata={"axes": "TZCYX"})
    if channels > 4:
        return Case(path, "five axes, too many channels", f"has {channels} channels, expected")
    pixels = np.moveaxis(tifffile.imread(path), 2, -1)
    planes = {f"t{t:03}_z{z:03}": pixels[t, z] for t in range(2) for z in range(2)}
    return Case(path, "five axes", planes=planes)


DAMAGED = "is damaged or cut short"
TEXT = b"A note, not an image.\n" * 20


def cut_short(path: Path, share: float, seed: int = 0) -> None:
    save(path, picture(seed), seed)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def damage(path: Path, start: int) -> None:
    """Overwrite some of an image's pixels as they are stored."""
    data = bytearray(path.read_bytes())
    data[start : start + 40] = np.random.default_rng(0).bytes(40)
    path.write_bytes(data)


def damaged_png(path: Path) -> None:
    save(path, picture(1))
    damage(path, path.stat().st_size * 2 // 3)


def damaged_tiff(compression: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        tifffile.imwrite(path, picture(3), compression=compression, photometric="rgb")
        with tifffile.TiffFile(path) as file:
            start = file.pages[0].dataoffsets[0]
        damage(path, start)

    return write


def png_bomb(path: Path) -> None:
    """Write a PNG file of a few bytes that says that it has 10 thousand million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def tiff_bomb(**options) -> Callable[[Path], None]:
    """Write a TIFF file of a few bytes that says the same."""

    def write(path: Path) -> None:
        data = iter([zlib.compress(bytes(99))])
        shape = {"shape": (256, 256), "dtype": "u1", "metadata": None, "compression": "zlib"}
        tifffile.imwrite(path, data, **shape, **options)
        with tifffile.TiffFile(path, mode="r+b") as file:
            tags = file.pages[0].tags
            for name in ("ImageWidth", "ImageLength"):
                tags[name].overwrite(SIDE, dtype="I")
            if "RowsPerStrip" in tags:
                tags["RowsPerStrip"].overwrite(SIDE, dtype="I")

    return write


def tiff_without_rows(path: Path) -> None:
    tifffile.imwrite(path, picture(1), metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["ImageLength"].overwrite(0)


def tiff_of(pixels, **options) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, pixels, photometric="minisblack", **options)


def with_value(value: float):
    pixels = picture(1).astype(np.float32)
    pixels[20, 30] = value
    return pixels


def circle(path: Path) -> None:
    """Write a TIFF file whose second page leads back to its first."""
    tifffile.imwrite(path, np.stack([picture(1)] * 2), metadata=None, photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        first, last = file.pages[0], file.pages[1]
        after = last.offset + 2 + 12 * len(last.tags)
    data = bytearray(path.read_bytes())
    data[after : after + 4] = struct.pack("<I", first.offset)
    path.write_bytes(data)


def zarr_image(path: Path, pixels, axes: str = "yx", *, compressor: str = "zstd") -> None:
    import zarr

    group = zarr.create_group(path)
    configuration = {"blosc": {"clevel": 5}, "zstd": {}}[compressor]
    compressors = {"name": compressor, "configuration": configuration}
    chunks = tuple(min(max(n, 1), 32) for n in pixels.shape)
    group.create_array("0", data=pixels, chunks=chunks, compressors=compressors)
    group.attrs["ome"] = {"multiscales": [{"axes": list(axes), "datasets": [{"path": "0"}]}]}


def zarr_cut_short(compressor: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
        zarr_image(path, noise, compressor=compressor)
        for chunk in (path / "0" / "c").rglob("*"):
            if chunk.is_file():
                chunk.write_bytes(chunk.read_bytes()[:-9])

    return write


def zarr_without_chunks(path: Path) -> None:
    zarr_image(path, picture(1))
    shutil.rmtree(path / "0" / "c")


def zarr_without_channels(path: Path) -> None:
    zarr_image(path, np.zeros((0, 64, 64), np.uint8), "cyx")


def zarr_without_metadata(path: Path) -> None:
    zarr_image(path, picture(1))
    (path / "zarr.json").unlink()


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def link_to_nothing(path: Path) -> None:
    path.symlink_to("nothing")


def unreadable(path: Path) -> None:
    """Write a file that may not be read; root may read any, but not memory that is none."""
    if os.geteuid():
        save(path, picture(1))
        path.chmod(0)
    else:
        path.symlink_to("/proc/self/mem")


def bad_checksum(path: Path) -> None:
    """All that a decoder needs is there, but not all that was written."""
    buffer = io.BytesIO()
    Image.fromarray(picture(1)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[-17] ^= 1
    path.write_bytes(data)


def vanishing(path: Path) -> None:
    save(path, picture(1))


NOT_AN_IMAGE = "is not a PNG, JPEG, BMP or TIFF image"
# Kind, name of the file, what images.csv shall say, how to write it.
BAD: tuple[tuple[str, str, str, Callable[[Path], object]], ...] = (
    ("truncated PNG", "cut.png", DAMAGED, lambda path: cut_short(path, 0.6, 1)),
    ("truncated PNG", "cut_end.png", DAMAGED, lambda path: path.write_bytes(png_without_end())),
    ("truncated JPEG", "cut.jpg", DAMAGED, lambda path: cut_short(path, 0.6)),
    ("truncated BMP", "cut.bmp", DAMAGED, lambda path: cut_short(path, 0.6)),
    ("truncated TIFF", "cut.tif", DAMAGED, lambda path: cut_short(path, 0.6)),
    ("truncated TIFF", "cut_tiles.tif", DAMAGED, lambda path: cut_short(path, 0.6, 2)),
    ("truncated TIFF", "cut_header.tif", DAMAGED, lambda path: cut_short(path, 0.005, 3)),
    ("zero bytes", "nothing.png", "zero bytes", Path.touch),
    ("text", "text.png", "holds text", lambda path: path.write_bytes(TEXT)),
    ("text", "text.tif", "holds text", lambda path: path.write_bytes(TEXT)),
    ("noise", "noise.jpg", NOT_AN_IMAGE, lambda path: path.write_bytes(bytes(range(256)) * 9)),
    ("zeros", "zeros.bmp", NOT_AN_IMAGE, lambda path: path.write_bytes(bytes(5000))),
    ("wrong checksum", "checksum.png", DAMAGED, bad_checksum),
    ("corrupt compressed data", "corrupt.png", DAMAGED, damaged_png),
    ("corrupt compressed data", "deflate.tif", DAMAGED, damaged_tiff("zlib")),
    ("corrupt compressed data", "lzw.tif", DAMAGED, damaged_tiff("lzw")),
    ("corrupt compressed data", "zstd.tif", DAMAGED, damaged_tiff("zstd")),
    ("decompression bomb", "bomb.png", "is too large", png_bomb),
    ("decompression bomb", "bomb_strip.tif", DAMAGED, tiff_bomb(rowsperstrip=256)),
    ("decompression bomb", "bomb_tiles.tif", DAMAGED, tiff_bomb(tile=(256, 256))),
    ("NaN", "nan.tif", "NaN", tiff_of(with_value(np.nan))),
    ("infinity", "infinite.tif", "infinite", tiff_of(with_value(np.inf))),
    ("complex numbers", "complex.tif", "real numbers", tiff_of(picture(1).astype(np.complex64))),
    ("size 0", "no_rows.tif", "has no pixels", tiff_without_rows),
    ("0 channels", "no_channels.zarr", "has no", zarr_without_channels),
    ("too many channels", "channels.tif", "has 7 channels",
     tiff_of(np.zeros((7, 64, 64), np.uint8), metadata={"axes": "CYX"})),
    ("no rows and columns", "axes.tif", "expected rows and columns",
     tiff_of(np.zeros((3, 20, 30), np.uint8), metadata={"axes": "TZC"})),
    ("pages in a circle", "circle.tif", "lead in a circle", circle),
    ("OME-Zarr cut short", "cut.zarr", DAMAGED, zarr_cut_short("zstd")),
    ("OME-Zarr cut short", "cut_blosc.zarr", DAMAGED, zarr_cut_short("blosc")),
    ("OME-Zarr without chunks", "bare.zarr", DAMAGED, zarr_without_chunks),
    ("OME-Zarr without metadata", "plain.zarr", "is no OME-Zarr image", zarr_without_metadata),
    ("link to nothing", "dangling.png", "There is no file", link_to_nothing),
    ("link to itself", "loop.png", "Cannot read", link_to_itself),
    ("unreadable", "unreadable.png", "Cannot read", unreadable),
    ("named pipe", "pipe.png", "is no file", os.mkfifo),
    (VANISHES, "vanishing_1.png", "There is no file", vanishing),
    (VANISHES, "vanishing_2.tif", "There is no file", vanishing),
)  # fmt: skip


def png_without_end() -> bytes:
    """All pixels of an image are there, and yet not the whole file."""
    buffer = io.BytesIO()
    Image.fromarray(picture(1)).save(buffer, "PNG")
    return buffer.getvalue()[:-14]


def long_path(folder: Path) -> Path:
    """Write an image whose path is so long that those of its results are too long."""
    path = folder
    while (room := LONGEST_PATH - len(os.fsencode(path / "x.png"))) > 1:
        path /= "d" * min(room - 1, 250)
    path.mkdir(parents=True)
    save(path / "x.png", picture(1))
    return path / "x.png"


def write_bad(folder: Path) -> Iterator[Case]:
    """Write all kinds of bad files; last, in the order of a run, those that shall vanish."""
    place = folder / "spoilt"
    place.mkdir()
    for kind, name, reason, write in BAD:
        path = folder / "zz" / name if kind == VANISHES else place / name
        path.parent.mkdir(exist_ok=True)
        write(path)
        yield Case(path, kind, reason)
    yield five_axes(place / "five_axes.ome.tif", channels=6)
    yield Case(long_path(place), "path as long as can be", "too long")


def write_folder(folder: Path, images: int) -> list[Case]:
    """Write a folder of so many files or more, of which 40 are bad."""
    folder.mkdir(parents=True)
    cases = [*write_bad(folder), *write_odd(folder)]
    return cases + list(write_whole(folder, max(images - len(cases), 0)))
