import tracemalloc
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from image_files import GREY, RGB, noise, png_of_16_bits, saved

from nucseg.errors import InputError
from nucseg.images import decode_image, open_image, read_image


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
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
    transparent = decode_image(saved(picture, transparency=0), "t.png")
    assert transparent.tolist() == [[[255, 0, 0, 0], [0, 0, 255, 255]]]


def test_one_bit_becomes_0_and_255():
    picture = PIL.Image.fromarray(np.array([[True, False, True]]))
    pixels = decode_image(saved(picture), "one.png")
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


def test_resolution_of_png_is_no_pixel_size(tmp_path: Path):
    PIL.Image.fromarray(GREY).save(tmp_path / "a.png", dpi=(10_000, 10_000))
    assert read_image(tmp_path / "a.png").pixel_size is None


WHOLE = saved(PIL.Image.fromarray(noise(40, 40)))


def test_a_wrong_bit_that_pillow_does_not_see():
    data = bytearray(WHOLE)
    data[data.index(b"IDAT") - 4 + 8 + int.from_bytes(data[data.index(b"IDAT") - 4 :][:4])] ^= 1
    with pytest.raises(InputError, match=r"^x is damaged .*checksum"):
        decode_image(bytes(data), "x")


def test_no_room_is_made_for_a_part_that_is_longer_than_the_file():
    end = len(WHOLE) - 12
    data = WHOLE[:end] + (2**31).to_bytes(4) + b"tEXt" + WHOLE[end:]
    tracemalloc.start()
    with pytest.raises(InputError, match=r"^x is damaged .*its end is missing"):
        decode_image(data, "x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6


def test_picture_too_large_to_be_true(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(InputError, match=r"^bomb\.png is too large: .*decompression bomb"):
        decode_image(saved(PIL.Image.fromarray(GREY)), "bomb.png")


def test_large_picture_is_read_without_a_warning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 30)
    np.testing.assert_array_equal(decode_image(saved(PIL.Image.fromarray(GREY)), "l.png"), GREY)


def test_deep_png_that_opencv_cannot_decode(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cv2.imdecode", lambda *_: None)
    deep = png_of_16_bits(RGB.astype(np.uint16), 2)
    with pytest.raises(InputError, match=r"a\.png is damaged .*cannot be decoded"):
        decode_image(deep, "a.png")


def test_16_bit_png_of_grey_with_alpha_is_read_with_what_opencv_makes_of_it():
    pixels = noise(5, 7, 2, dtype="u2")
    read = decode_image(png_of_16_bits(pixels, 4), "deep.png")
    np.testing.assert_array_equal(read, pixels[:, :, [0, 0, 0, 1]])


KINDS = {
    "1": PIL.Image.fromarray(GREY > 99),
    "L": PIL.Image.fromarray(GREY),
    "LA": PIL.Image.fromarray(RGB[:, :, :2], "LA"),
    "P": PIL.Image.fromarray(GREY).convert("P"),
    "I;16": PIL.Image.fromarray(GREY.astype(np.uint16) * 200),
    "RGB": PIL.Image.fromarray(RGB),
    "RGBA": PIL.Image.fromarray(np.dstack([RGB, GREY])),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_header_tells_what_the_pixels_are(kind: str, tmp_path: Path):
    KINDS[kind].save(tmp_path / "a.png")
    (source,) = open_image(tmp_path / "a.png")
    pixels = source[:, :]
    assert (source.shape, source.dtype) == (pixels.shape, pixels.dtype)
    assert (source.plane, source.channel, source.lazy) == ("", "all", False)
    expected = np.asarray(KINDS[kind].convert("RGB") if kind == "P" else KINDS[kind])
    np.testing.assert_array_equal(pixels, expected * 255 if kind == "1" else expected)


def test_a_colour_is_chosen_by_name_or_number(tmp_path: Path):
    PIL.Image.fromarray(RGB).save(tmp_path / "a.png")
    for channel, name in (("Blue", "blue"), (2, "blue"), ("2", "blue")):
        (source,) = open_image(tmp_path / "a.png", channel=channel)
        assert (source.shape, source.channel) == ((5, 7), name)
        np.testing.assert_array_equal(source[1:4, 2:], RGB[1:4, 2:, 2])
    with pytest.raises(InputError, match=r"no channel 'DAPI'.* 0 \(red\), 1 \(green\), 2 \(blue"):
        open_image(tmp_path / "a.png", channel="DAPI")
