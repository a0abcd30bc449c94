import builtins
import contextlib
import io
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from nucseg.errors import InputError, MissingExtraError
from nucseg.images import decode_image, read_image

GREY = np.arange(35, dtype=np.uint8).reshape(5, 7) * 7
RGB = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)


def png_of_16_bits(pixels: np.ndarray, colour_type: int) -> bytes:
    """Write PNG by its definition, since Pillow cannot write 16-bit colours."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour_type, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def saved(picture: PIL.Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "colour"])
def test_pixels_come_as_they_were_written(kind: str, pixels: np.ndarray, tmp_path: Path):
    path = tmp_path / "image"
    PIL.Image.fromarray(pixels).save(path, kind)
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.pixels.dtype == np.uint8
    assert image.pixel_size is None
    assert image.path == path


def test_jpeg_is_close_and_in_the_order_red_green_blue():
    red = np.full((8, 8, 3), (250, 10, 20), np.uint8)
    pixels = decode_image(saved(PIL.Image.fromarray(red), "JPEG"), "red.jpg")
    assert np.abs(pixels.astype(int) - red).max() < 8


def test_cmyk_jpeg_becomes_rgb():
    picture = PIL.Image.fromarray(RGB).convert("CMYK")
    assert decode_image(saved(picture, "JPEG"), "c.jpg").shape == (5, 7, 3)


def test_alpha_is_kept():
    rgba = np.dstack([RGB, GREY])
    np.testing.assert_array_equal(decode_image(saved(PIL.Image.fromarray(rgba)), "a.png"), rgba)


def test_palette_becomes_colours():
    picture = PIL.Image.fromarray(np.array([[0, 1]], np.uint8), "L")
    picture.putpalette([255, 0, 0, 0, 0, 255])
    expected = [[[255, 0, 0], [0, 0, 255]]]
    assert decode_image(saved(picture), "p.png").tolist() == expected
    assert decode_image(saved(picture, "TIFF"), "p.tif").tolist() == expected
    transparent = decode_image(saved(picture, transparency=0), "t.png")
    assert transparent.tolist() == [[[255, 0, 0, 0], [0, 0, 255, 255]]]


def test_one_bit_becomes_0_and_255():
    picture = PIL.Image.fromarray(np.array([[True, False, True]]))
    for kind in ("PNG", "TIFF"):
        pixels = decode_image(saved(picture, kind), "one")
        assert (pixels.dtype, pixels.tolist()) == (np.uint8, [[255, 0, 255]])


@pytest.mark.parametrize(
    ("shape", "colour_type"),
    [((5, 7), 0), ((5, 7, 3), 2), ((5, 7, 4), 6)],
    ids=["L", "RGB", "RGBA"],
)
def test_16_bit_png_keeps_all_bits(shape: tuple[int, ...], colour_type: int):
    pixels = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    data = png_of_16_bits(pixels, colour_type)
    read = decode_image(data, "deep.png")
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw", "tile": (16, 16)},
    ],
    ids=["plain", "big", "big-endian", "zlib", "lzw"],
)
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_tiff_of_any_layout(options: dict, dtype: str):
    pixels = (RGB.astype(dtype) * 3)[..., 0]
    read = decode_image(tiff(pixels, **options), "a.tif")
    np.testing.assert_array_equal(read, pixels)
    assert read.dtype == np.dtype(dtype)


def test_channels_first_are_moved_last():
    planar = tiff(np.moveaxis(RGB, -1, 0), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(decode_image(planar, "p.tif"), RGB)
    imagej = tiff(np.moveaxis(RGB, -1, 0), imagej=True, metadata={"axes": "CYX"})
    np.testing.assert_array_equal(decode_image(imagej, "i.tif"), RGB)


def test_white_is_zero_is_shown_the_right_way_round():
    pixels = decode_image(tiff(GREY, photometric="miniswhite"), "w.tif")
    np.testing.assert_array_equal(pixels, 255 - GREY)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"imagej": True, "resolution": (4, 2), "metadata": {"unit": "um"}}, (0.5, 0.25)),
        ({"imagej": True, "resolution": (4, 2), "metadata": {"unit": "\\u00B5m"}}, (0.5, 0.25)),
        ({"imagej": True, "resolution": (4, 2), "metadata": {"unit": "pixel"}}, None),
        ({"resolution": (40_000, 20_000), "resolutionunit": "CENTIMETER"}, (0.5, 0.25)),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (96, 96), "resolutionunit": "NONE"}, None),
        ({}, None),
    ],
    ids=["imagej", "imagej-micro", "imagej-pixel", "tags", "printer", "no-unit", "nothing"],
)
def test_pixel_size_of_tiff(options: dict, expected: tuple[float, float] | None, tmp_path: Path):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(GREY, **options))
    assert read_image(path).pixel_size == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"PhysicalSizeX": 0.25, "PhysicalSizeY": 500, "PhysicalSizeYUnit": "nm"}, (0.5, 0.25)),
        ({"PhysicalSizeX": 0.25}, None),
        ({"PhysicalSizeX": 1, "PhysicalSizeY": 1, "PhysicalSizeYUnit": "pixel"}, None),
    ],
)
def test_pixel_size_of_ome_tiff(metadata: dict, expected, tmp_path: Path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, GREY, metadata={"axes": "YX", **metadata})
    assert read_image(path).pixel_size == pytest.approx(expected)


def test_resolution_of_png_is_no_pixel_size(tmp_path: Path):
    PIL.Image.fromarray(GREY).save(tmp_path / "a.png", dpi=(10_000, 10_000))
    assert read_image(tmp_path / "a.png").pixel_size is None


WHOLE = {
    "png": saved(
        PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8))
    ),
    "png16": png_of_16_bits(np.random.default_rng(0).integers(0, 65535, (40, 120)), 0),
    "jpg": saved(
        PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)), "JPEG"
    ),
    "tif": tiff(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)),
    "zlib": tiff(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8), compression="zlib"),
}


@pytest.mark.parametrize("kind", list(WHOLE))
@pytest.mark.parametrize("share", [0.03, 0.3, 0.7, 0.95])
def test_a_file_cut_short_is_refused_by_name(kind: str, share: float):
    data = WHOLE[kind]
    with pytest.raises(InputError, match=r"^cut is (damaged|not a PNG)"):
        decode_image(data[: int(len(data) * share)], "cut")


def test_a_wrong_bit_that_pillow_does_not_see():
    data = bytearray(WHOLE["png"])
    data[data.index(b"IDAT") - 4 + 8 + int.from_bytes(data[data.index(b"IDAT") - 4 :][:4])] ^= 1
    with pytest.raises(InputError, match=r"^x is damaged .*checksum"):
        decode_image(bytes(data), "x")


@pytest.mark.parametrize("start", range(0, 300, 13))
def test_damage_in_a_tiff_never_ends_in_another_error(start: int):
    data = bytearray(WHOLE["zlib"])
    data[start : start + 4] = b"\xff\x80\xff\xfe"
    with contextlib.suppress(InputError, MissingExtraError):
        decode_image(bytes(data), "damaged.tif")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"image.png is empty: it has zero bytes"),
        ("Hellö".encode() * 200, r"image.png is not a PNG.* It holds text\. "),
        (bytes(range(256)), r"image.png is not a PNG, JPEG, BMP or TIFF image"),
    ],
    ids=["empty", "text", "bytes"],
)
def test_what_is_no_image(content: bytes, message: str, tmp_path: Path):
    path = tmp_path / "image.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_image(path)


def test_missing_file_and_folder(tmp_path: Path):
    with pytest.raises(InputError, match=r"There is no file .*none\.png"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="is a folder, not an image"):
        read_image(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "secret.png"
    path.write_bytes(WHOLE["png"])

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    # Root may read anything, so that taking the permission away would show nothing there.
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"Cannot read .*secret\.png: Permission denied"):
        read_image(path)


@pytest.mark.parametrize(
    ("axes", "shape"), [("ZYX", (2, 5, 7)), ("TYX", (2, 5, 7)), ("ZCYX", (2, 2, 5, 7))]
)
def test_several_planes_are_refused(axes: str, shape: tuple[int, ...], tmp_path: Path):
    path = tmp_path / "stack.ome.tif"
    tifffile.imwrite(path, np.zeros(shape, np.uint8), metadata={"axes": axes})
    with pytest.raises(InputError, match=rf"more than one plane .*{axes[0]}: 2"):
        read_image(path)


def test_more_than_four_channels_are_refused(tmp_path: Path):
    path = tmp_path / "many.ome.tif"
    tifffile.imwrite(path, np.zeros((5, 5, 7), np.uint8), metadata={"axes": "CYX"})
    with pytest.raises(InputError, match="has 5 channels, expected at most 4"):
        read_image(path)


def test_picture_too_large_to_be_true(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(InputError, match=r"^bomb\.png is too large: .*decompression bomb"):
        decode_image(saved(PIL.Image.fromarray(GREY)), "bomb.png")


def test_large_picture_is_read_without_a_warning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 30)
    np.testing.assert_array_equal(decode_image(saved(PIL.Image.fromarray(GREY)), "l.png"), GREY)


def test_tiff_too_large_to_read_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nucseg.images._MAX_TIFF_PIXELS", 10)
    with pytest.raises(InputError, match=r"l\.tif is too large: 5 by 7 pixels"):
        decode_image(tiff(GREY), "l.tif")


def test_no_memory_left(monkeypatch: pytest.MonkeyPatch):
    def fail(*_args):
        raise MemoryError

    monkeypatch.setattr("nucseg.images._read_picture", fail)
    with pytest.raises(InputError, match=r"a\.png is too large for the memory"):
        decode_image(WHOLE["png"], "a.png")


def test_picture_without_pixels(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nucseg.images._read_picture", lambda *_: np.zeros((0, 4)))
    with pytest.raises(InputError, match=r"a\.png has no pixels"):
        decode_image(WHOLE["png"], "a.png")


def test_deep_png_that_opencv_cannot_decode(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cv2.imdecode", lambda *_: None)
    deep = png_of_16_bits(RGB.astype(np.uint16), 2)
    with pytest.raises(InputError, match=r"a\.png is damaged .*cannot be decoded"):
        decode_image(deep, "a.png")


def test_tiff_without_an_image():
    empty = b"II*\0" + struct.pack("<I", 8) + struct.pack("<HI", 0, 0)
    with pytest.raises(InputError, match=r"a\.tif is a TIFF file without an image"):
        decode_image(empty, "a.tif")


@pytest.fixture
def no_imagecodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make tifffile as it is where imagecodecs is not installed."""
    real = builtins.__import__

    def importing(name: str, *args, **options):
        if name == "imagecodecs" or name.startswith("imagecodecs."):
            raise ImportError(name)
        return real(name, *args, **options)

    kept = {name: module for name, module in sys.modules.items() if "tifffile" in name}
    for name in [*kept, *(name for name in sys.modules if name.startswith("imagecodecs"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", importing)
    import nucseg.images

    assert nucseg.images


LZW = {
    "grey": tiff(GREY, compression="lzw"),
    "tiles": tiff(GREY, compression="lzw", tile=(16, 16), predictor=True),
    "deep": tiff(GREY.astype(np.uint16) * 257, compression="lzw"),
    "colour": tiff(RGB, compression="lzw", photometric="rgb"),
    "deep-colour": tiff(RGB.astype(np.uint16) * 257, compression="lzw", photometric="rgb"),
    "float": tiff(GREY.astype(np.float32), compression="lzw"),
    "zstd": tiff(GREY, compression="zstd"),
}


@pytest.mark.usefixtures("no_imagecodecs")
@pytest.mark.parametrize("kind", list(LZW))
def test_compressed_tiff_in_the_base_install(kind: str):
    expected = RGB if "colour" in kind else GREY
    scale = 257 if "deep" in kind else 1
    read = decode_image(LZW[kind], "a.tif")
    np.testing.assert_array_equal(read, expected.astype(read.dtype) * scale)


@pytest.mark.usefixtures("no_imagecodecs")
def test_stack_of_compressed_channels_in_the_base_install():
    np.testing.assert_array_equal(decode_image(STACK, "a.tif"), RGB)


STACK = tiff(np.moveaxis(RGB, -1, 0), compression="lzw", metadata={"axes": "CYX"}, ome=True)
DEEP_ZSTD = tiff(RGB.astype(np.uint16), compression="zstd", photometric="rgb")
ODD = tiff(GREY, compression="jpegxl")


@pytest.mark.usefixtures("no_imagecodecs")
@pytest.mark.parametrize(("data", "name"), [(DEEP_ZSTD, "ZSTD"), (ODD, "JPEGXL")])
def test_compression_that_needs_the_extra(data: bytes, name: str):
    with pytest.raises(MissingExtraError, match=rf"a\.tif is a TIFF file compressed as {name}.*"):
        decode_image(data, "a.tif")
