import builtins
import io
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from image_files import GREY, RGB, saved, tiff

from nucseg.errors import MissingExtraError
from nucseg.images import decode_image, open_image


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


@pytest.mark.usefixtures("no_imagecodecs")
@pytest.mark.parametrize("dtype", ["i2", "u4", "i4", "f4"])
def test_data_type_is_that_of_the_file(dtype: str):
    assert decode_image(TYPES[dtype], "a.tif").dtype == np.dtype(dtype)
    assert decode_image(TYPES[dtype], "a.tif").min() == (0 if dtype[0] == "u" else -5)


TYPES = {
    dtype: tiff(GREY.astype(dtype) - (0 if dtype[0] == "u" else 5), compression="lzw")
    for dtype in ("i2", "u4", "i4", "f4")
}
DOUBLE = tiff(GREY.astype("f8") / 3, compression="lzw")


def twelve_bits() -> bytes:
    """Write numbers of 12 bits, compressed, which tifffile can read but does not write."""
    bits = (GREY[:, :, None].astype("u2") >> np.arange(11, -1, -1)) & 1
    rows = np.packbits(bits.reshape(len(GREY), -1).astype(bool), axis=1)
    strip = iter([zlib.compress(rows.tobytes())])
    buffer = io.BytesIO(tiff(strip, shape=GREY.shape, dtype="u2", compression="zlib"))
    with tifffile.TiffFile(buffer, mode="r+") as file:
        file.pages[0].tags["BitsPerSample"].overwrite(12)
    return buffer.getvalue()


TWELVE = twelve_bits()


@pytest.mark.usefixtures("no_imagecodecs")
def test_numbers_that_pillow_would_round_need_the_extra():
    with pytest.raises(MissingExtraError, match=r"a\.tif is a TIFF file compressed as LZW"):
        decode_image(DOUBLE, "a.tif")


@pytest.mark.usefixtures("no_imagecodecs")
def test_numbers_of_odd_lengths_need_the_extra():
    with pytest.raises(MissingExtraError, match=r"a\.tif, for its compression, needs packages"):
        decode_image(TWELVE, "a.tif")


def test_numbers_of_odd_lengths():
    np.testing.assert_array_equal(decode_image(TWELVE, "a.tif"), GREY)


LACKING = tiff(
    np.stack([GREY, 255 - GREY]), compression="lzw", metadata={"axes": "ZYX"}, ome=True
).replace(b'SizeZ="2"', b'SizeZ="3"')


@pytest.mark.usefixtures("no_imagecodecs")
def test_planes_of_a_compressed_stack_in_the_base_install(tmp_path: Path):
    (tmp_path / "a.tif").write_bytes(LACKING)
    first, second, third = open_image(tmp_path / "a.tif")
    assert not first.lazy
    np.testing.assert_array_equal(second[1:, 3:], 255 - GREY[1:, 3:])
    assert third.missing


PALETTE = PIL.Image.fromarray(np.array([[0, 1]], np.uint8), "L")
PALETTE.putpalette([255, 0, 0, 0, 0, 255])
COLOURS = saved(PALETTE, "TIFF", compression="tiff_lzw")
WHITE = tiff(GREY, photometric="miniswhite", compression="lzw")
BITS = saved(PIL.Image.fromarray(GREY > 99), "TIFF", compression="group4")


@pytest.mark.usefixtures("no_imagecodecs")
def test_palette_white_and_bits_in_the_base_install():
    assert decode_image(COLOURS, "a.tif").tolist() == [[[255, 0, 0], [0, 0, 255]]]
    np.testing.assert_array_equal(decode_image(WHITE, "a.tif"), 255 - GREY)
    np.testing.assert_array_equal(decode_image(BITS, "a.tif"), np.where(GREY > 99, 255, 0))
