import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from image_files import GREY, RGB, noise, png_of_16_bits, saved, tiff

from nucseg.errors import InputError, MissingExtraError
from nucseg.images import decode_image, files_of, open_image, read_image

WHOLE = {
    "png": saved(PIL.Image.fromarray(noise(40, 40))),
    "png16": png_of_16_bits(noise(40, 120, dtype="u2"), 0),
    "jpg": saved(PIL.Image.fromarray(noise(40, 40)), "JPEG"),
    "tif": tiff(noise(40, 40)),
    "zlib": tiff(noise(40, 40), compression="zlib"),
    "tiles": tiff(noise(40, 40), compression="zlib", tile=(16, 16)),
}


@pytest.mark.parametrize("kind", list(WHOLE))
@pytest.mark.parametrize("share", [0.03, 0.3, 0.7, 0.95])
def test_a_file_cut_short_is_refused_by_name(kind: str, share: float):
    data = WHOLE[kind]
    with pytest.raises(InputError, match=r"^cut is (damaged|not a PNG)"):
        decode_image(data[: int(len(data) * share)], "cut")


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_image(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png is no file but a pipe or a device"):
        read_image(tmp_path / "pipe.png")


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


def test_tiff_too_large_to_read_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nucseg.images._MAX_PIXELS", 10)
    with pytest.raises(InputError, match=r"l\.tif is too large: 5 by 7 pixels"):
        decode_image(tiff(GREY), "l.tif")


def test_no_memory_left(monkeypatch: pytest.MonkeyPatch):
    def fail(*_args):
        raise MemoryError

    monkeypatch.setattr("nucseg.images.raster._decode", fail)
    with pytest.raises(InputError, match=r"a\.png is too large for the memory"):
        decode_image(WHOLE["png"], "a.png")


def test_several_planes_are_refused_where_one_is_expected(tmp_path: Path):
    path = tmp_path / "stack.ome.tif"
    tifffile.imwrite(path, np.zeros((2, 3, 5, 7), np.uint8), metadata={"axes": "TZYX"})
    with pytest.raises(InputError, match=r"more than one plane \(its axes are T: 2, Z: 3\)"):
        read_image(path)
    with tifffile.TiffWriter(path) as file:
        file.write(GREY)
        file.write(RGB)
    with pytest.raises(InputError, match=r"more than one plane \(its axes are scenes: 2\)"):
        read_image(path)


def test_the_channel_of_nuclei_is_read(tmp_path: Path):
    path = tmp_path / "two.ome.tif"
    about = {"axes": "CYX", "Channel": {"Name": ["GFP", "DAPI"]}}
    tifffile.imwrite(path, np.stack([GREY, 255 - GREY]), metadata=about)
    np.testing.assert_array_equal(read_image(path).pixels, 255 - GREY)
    np.testing.assert_array_equal(read_image(path, channel="gfp").pixels, GREY)


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "zlib", "tiles"])
def test_windows_are_parts_of_the_whole(kind: str, tmp_path: Path):
    path = tmp_path / "image"
    path.write_bytes(WHOLE[kind])
    (source,) = open_image(path)
    whole = source[:, :]
    assert source.lazy == (kind in ("tif", "tiles"))
    np.testing.assert_array_equal(source[3:30, 17:], whole[3:30, 17:])
    np.testing.assert_array_equal(source[-5:100, :1], whole[-5:100, :1])
    assert source[7:7, :].shape == (0, 40)
    whole[:] = 0
    assert source[:, :].any()
    source[1:9, 2:8][:] = 0
    assert source[1:9, 2:8].any()
    with pytest.raises(ValueError, match="Expected slices without steps"):
        source[::2, :]


@pytest.mark.parametrize("kind", ["png", "tif", "zlib", "tiles"])
def test_a_file_that_changes_after_it_was_opened(kind: str, tmp_path: Path):
    path = tmp_path / "image"
    path.write_bytes(WHOLE[kind])
    (source,) = open_image(path)
    path.write_bytes(WHOLE[kind][:1000])
    with pytest.raises(InputError, match=r"image is damaged or cut short"):
        source[:, :]
    path.unlink()
    with pytest.raises(InputError, match=r"There is no file .*image\."):
        source[:, :]


def test_another_image_in_place_of_the_one_that_was_opened(tmp_path: Path):
    path = tmp_path / "image.png"
    path.write_bytes(WHOLE["png"])
    (source,) = open_image(path)
    PIL.Image.fromarray(GREY).save(path)
    with pytest.raises(InputError, match=r"damaged .*it has changed since it was opened"):
        source[:, :]


def test_several_threads_read_at_once(tmp_path: Path):
    path = tmp_path / "tiles.tif"
    pixels = noise(300, 300)
    tifffile.imwrite(path, pixels, tile=(64, 64), compression="zlib")
    (source,) = open_image(path)
    windows = [(slice(n, n + 90), slice(210 - n, 280 - n)) for n in range(0, 200, 5)]
    with ThreadPoolExecutor(8) as pool:
        for window, found in zip(windows, pool.map(source.__getitem__, windows), strict=True):
            np.testing.assert_array_equal(found, pixels[window])


def test_files_of_an_image(tmp_path: Path):
    for name in ("a.png", "b.mrxs", "b/Index.dat", "b/Data0000.dat", "c.zarr/0/.zarray"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def names(path: str) -> list[str]:
        return [f.relative_to(tmp_path).as_posix() for f in files_of(tmp_path / path)]

    assert names("a.png") == ["a.png"]
    assert names("b.mrxs") == ["b.mrxs", "b/Data0000.dat", "b/Index.dat"]
    assert names("c.zarr") == ["c.zarr/0/.zarray"]
