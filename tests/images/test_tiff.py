import re
import struct
import tracemalloc
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import GREY, RGB, noise, saved, smooth, tiff

from nucseg.errors import InputError
from nucseg.images import decode_image, open_image, read_image
from nucseg.images.tiff_pixels import Segments


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


@pytest.mark.parametrize(
    ("kind", "shape"),
    # tifffile turns a column round as it writes it for ImageJ.
    [
        *(("imagej", shape) for shape in [(1, 7), (1, 1)]),
        *((kind, shape) for kind in ("ome", "shaped") for shape in [(1, 7), (5, 1), (1, 1)]),
    ],
)
@pytest.mark.parametrize("axes", ["YX", "CYX", "TZCYX"])
def test_axes_of_length_1(kind: str, shape: tuple[int, int], axes: str):
    pixels = noise(*[1] * (len(axes) - 2), *shape)
    options = {kind: True} if kind != "shaped" else {}
    data = tiff(pixels, metadata={"axes": axes}, photometric="minisblack", **options)
    np.testing.assert_array_equal(decode_image(data, "a.tif"), pixels.reshape(shape))


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


def test_tiff_without_an_image():
    empty = b"II*\0" + struct.pack("<I", 8) + struct.pack("<HI", 0, 0)
    with pytest.raises(InputError, match=r"a\.tif is a TIFF file without an image"):
        decode_image(empty, "a.tif")


def test_palette_and_one_bit_become_colours_and_grey():
    picture = PIL.Image.fromarray(np.array([[0, 1]], np.uint8), "L")
    picture.putpalette([255, 0, 0, 0, 0, 255])
    assert decode_image(saved(picture, "TIFF"), "p.tif").tolist() == [[[255, 0, 0], [0, 0, 255]]]
    bits = decode_image(saved(PIL.Image.fromarray(GREY > 99), "TIFF"), "one.tif")
    np.testing.assert_array_equal(bits, np.where(GREY > 99, 255, 0).astype(np.uint8))


def test_palette_of_several_channels_only_shows_them():
    table = np.zeros((3, 256), np.uint16)
    table[2] = np.arange(256) * 257
    options = {"photometric": "palette", "colormap": table}
    np.testing.assert_array_equal(
        decode_image(tiff(GREY, **options), "blue.tif"), np.dstack([GREY * 0, GREY * 0, GREY])
    )
    two = tiff(np.stack([GREY, 255 - GREY]), metadata={"axes": "CYX"}, ome=True, **options)
    np.testing.assert_array_equal(
        decode_image(two, "two.tif"), np.stack([GREY, 255 - GREY], axis=-1)
    )


LAYOUTS = st.fixed_dictionaries(
    {
        "compression": st.sampled_from([None, "zlib", "lzw", "zstd", "packbits"]),
        "tile": st.sampled_from([None, (16, 16), (32, 48)]),
        "rowsperstrip": st.integers(1, 70),
        "byteorder": st.sampled_from("<>"),
        "bigtiff": st.booleans(),
        "predictor": st.booleans(),
    }
)
WINDOW = st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 60)] * 2)


@settings(max_examples=150)
@given(
    layout=LAYOUTS,
    dtype=st.sampled_from(["u1", "u2", "u4", "i2", "f4", "f8"]),
    colours=st.sampled_from([None, "contig", "separate"]),
    windows=st.lists(WINDOW, min_size=1, max_size=4),
)
def test_any_window_of_any_layout(layout: dict, dtype: str, colours: str | None, windows: list):
    if layout["compression"] is None or layout["compression"] == "packbits":
        layout["predictor"] = False
    layout.pop("rowsperstrip" if layout["tile"] else "tile")
    pixels = noise(61, 67, *((3,) if colours else ()), dtype=dtype)
    options = {"photometric": "rgb", "planarconfig": colours} if colours else {}
    stored = np.moveaxis(pixels, -1, 0) if colours == "separate" else pixels
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.tif")
        tifffile.imwrite(path, stored, metadata=None, **layout, **options)
        (source,) = open_image(path)
        assert (source.shape, source.dtype) == (pixels.shape, np.dtype(dtype))
        np.testing.assert_array_equal(source[:, :], pixels)
        for top, left, height, width in windows:
            part = slice(top, top + height), slice(left, left + width)
            np.testing.assert_array_equal(source[part], pixels[part])


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3)], ids=["grey", "colour"])
def test_pixels_are_those_of_opencv(dtype: str, shape: tuple[int, ...], tmp_path: Path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(*shape, dtype=dtype), compression="lzw", tile=(16, 32))
    expected = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    (source,) = open_image(path)
    np.testing.assert_array_equal(source[:, :], expected[..., ::-1] if len(shape) > 2 else expected)


def test_lossy_tiles_are_those_of_the_whole(tmp_path: Path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, smooth(150, 170), compression="jpeg", tile=(64, 64), photometric="rgb")
    (source,) = open_image(path)
    expected = tifffile.imread(path)
    np.testing.assert_array_equal(source[:, :], expected)
    np.testing.assert_array_equal(source[60:70, 100:170], expected[60:70, 100:170])


STACK = noise(3, 4, 2, 20, 30, dtype="u2")  # T, Z, C, Y, X


@pytest.mark.parametrize(
    "options",
    [
        {"imagej": True, "metadata": {"axes": "TZCYX"}},
        {"imagej": True, "metadata": {"axes": "TZCYX"}, "byteorder": ">"},
        {"ome": True, "metadata": {"axes": "TZCYX"}},
        {"ome": True, "metadata": {"axes": "TZCYX"}, "compression": "zlib", "tile": (16, 16)},
        {"ome": True, "metadata": {"axes": "TZCYX"}, "tile": (32, 32)},
        {"metadata": {"axes": "TZCYX"}},
        {"metadata": {"axes": "TZCYX"}, "compression": "lzw", "rowsperstrip": 7},
    ],
    ids=["imagej", "big-endian", "ome", "ome-tiles", "plain-tiles", "shaped", "strips"],
)
def test_planes_of_a_hyperstack(options: dict, tmp_path: Path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", **options)
    sources = open_image(path)
    assert [source.plane for source in sources[:5]] == [
        "t000_z000",
        "t000_z001",
        "t000_z002",
        "t000_z003",
        "t001_z000",
    ]
    for source, (t, z) in zip(sources, np.ndindex(3, 4), strict=True):
        assert (source.shape, source.channel) == ((20, 30, 2), "all")
        np.testing.assert_array_equal(source[:, :], np.moveaxis(STACK[t, z], 0, -1))
    one = open_image(path, channel=1, project="max")
    assert [(source.plane, source.channel) for source in one] == [
        ("t000", "1"),
        ("t001", "1"),
        ("t002", "1"),
    ]
    np.testing.assert_array_equal(one[2][4:9, 3:], STACK[2, :, 1, 4:9, 3:].max(axis=0))


def test_axes_in_another_order_give_the_same_planes(tmp_path: Path):
    path = tmp_path / "stack.ome.tif"
    tifffile.imwrite(path, STACK.transpose(2, 1, 0, 3, 4), metadata={"axes": "CZTYX"})
    sources = open_image(path, channel=0)
    assert [source.plane for source in sources[3:5]] == ["t000_z003", "t001_z000"]
    np.testing.assert_array_equal(sources[4][:, :], STACK[1, 0, 0])


def test_a_stack_that_does_not_say_of_what_is_one_of_planes(tmp_path: Path):
    path = tmp_path / "stack.tif"
    for options in ({"photometric": "minisblack"}, {"metadata": None, "photometric": "minisblack"}):
        tifffile.imwrite(path, STACK[0, :, 0], **options)
        sources = open_image(path)
        letter = sources[0].plane[0]
        assert letter in "qi"
        assert [source.plane for source in sources] == [f"{letter}00{n}" for n in range(4)]
        np.testing.assert_array_equal(sources[2][:, :], STACK[0, 2, 0])
        (largest,) = open_image(path, project="max")
        np.testing.assert_array_equal(largest[:, :], STACK[0, :, 0].max(axis=0))
        assert largest.plane == ""


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_channels_behind_the_columns_are_no_stack(compression: str | None, tmp_path: Path):
    pixels = noise(20, 30, 2)
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression=compression)
    (source,) = open_image(tmp_path / "a.tif")
    assert source.lazy == (compression is None)
    np.testing.assert_array_equal(source[3:17, 5:], pixels[3:17, 5:])


def test_channels_in_a_pixel_that_are_no_colours(tmp_path: Path):
    path = tmp_path / "a.ome.tif"
    pixels = noise(20, 30, 5)
    tifffile.imwrite(
        path, pixels, photometric="minisblack", planarconfig="contig", metadata={"axes": "YXS"}
    )
    (source,) = open_image(path, channel=3)
    np.testing.assert_array_equal(source[:, 4:], pixels[:, 4:, 3])
    with pytest.raises(InputError, match="has 5 channels, expected at most 4"):
        open_image(path)


def test_samples_beside_channels_are_planes(tmp_path: Path):
    path = tmp_path / "a.ome.tif"
    pixels = noise(2, 20, 30, 2)
    tifffile.imwrite(
        path, pixels, photometric="minisblack", planarconfig="contig", metadata={"axes": "CYXS"}
    )
    sources = open_image(path)
    assert [source.plane for source in sources] == ["s000", "s001"]
    np.testing.assert_array_equal(sources[1][:, :], np.moveaxis(pixels[..., 1], 0, -1))


def test_slices_in_tiles_that_go_down(tmp_path: Path):
    path = tmp_path / "a.tif"
    pixels = noise(20, 40, 50)
    tifffile.imwrite(path, pixels, tile=(16, 16, 32), compression="zlib", volumetric=True)
    sources = open_image(path)
    assert len(sources) == 20
    for z in (0, 15, 16, 19):
        np.testing.assert_array_equal(sources[z][10:33, 20:], pixels[z, 10:33, 20:])


def test_only_the_full_resolution_of_a_pyramid(tmp_path: Path):
    pixels = noise(64, 96)
    options = {"tile": (16, 16), "compression": "zlib"}
    for name, inner in (("a.ome.tif", 2), ("b.tif", 2), ("c.tif", 0)):
        with tifffile.TiffWriter(tmp_path / name) as file:
            file.write(pixels, subifds=inner, **options)
            for step in (2, 4):
                file.write(pixels[::step, ::step], subfiletype=1, **options)
        (source,) = open_image(tmp_path / name)
        assert (source.plane, source.shape) == ("", (64, 96))
        np.testing.assert_array_equal(source[30:60, 10:90], pixels[30:60, 10:90])


def test_images_of_a_file_are_scenes_with_their_own_size_and_channels(tmp_path: Path):
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        about = {"axes": "CYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}
        names = {"Channel": {"Name": ["DAPI", "GFP"]}}
        file.write(noise(2, 20, 30), metadata={**about, **names, "Name": "left: 1"})
        file.write(noise(2, 10, 12), metadata={"axes": "CYX", "Name": "right"})
    left, right = open_image(path)
    assert (left.plane, left.channel, left.pixel_size) == ("left-1", "DAPI", (0.5, 0.25))
    assert (right.plane, right.channel, right.pixel_size) == ("right", "all", None)
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(noise(20, 30), metadata=None)
        file.write(noise(10, 12), metadata=None)
    assert [source.plane for source in open_image(tmp_path / "two.tif")] == ["s0", "s1"]


def test_channel_names_are_the_labels_of_imagej(tmp_path: Path):
    path = tmp_path / "a.tif"
    labels = [f"{name} z{z}" for z in range(3) for name in ("GFP", "DAPI")]
    about = {"axes": "ZCYX", "Labels": labels}
    pixels = noise(3, 2, 20, 30)
    tifffile.imwrite(path, pixels, imagej=True, metadata=about)
    sources = open_image(path)
    assert {source.channel for source in sources} == {"DAPI z0"}
    np.testing.assert_array_equal(sources[1][:, :], pixels[1, 1])
    # In another order of slices, the labels of a channel follow each other.
    about |= {"order": "zct", "Labels": ["GFP z0", "GFP z1", "GFP z2", "DAPI z0", "DAPI", "DAPI"]}
    tifffile.imwrite(path, pixels, imagej=True, metadata=about)
    assert {source.channel for source in open_image(path)} == {"DAPI z0"}
    # One label more than once is the name of the file, and no channel's.
    tifffile.imwrite(path, pixels, imagej=True, metadata={**about, "Labels": ["DAPI.tif"] * 6})
    assert open_image(path)[0].channel == "all"


def test_metadata_of_an_image_without_pixels_are_not_those_of_another(tmp_path: Path):
    path = tmp_path / "a.tif"
    size = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "a.ome.tif", GREY, metadata={"axes": "YX", "Name": "real", **size})
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        xml = file.ome_metadata
    empty = xml[xml.index("<Image ") : xml.index("</Image>")] + "</Image>"
    empty = re.sub("<TiffData.*?(</TiffData>|/>)", "", empty).replace("real", "none")
    xml = xml.replace("<Image ", f"{empty.replace('0.25', '9')}<Image ")
    tifffile.imwrite(path, GREY, description=xml.encode(), metadata=None)
    (source,) = open_image(path)
    assert source.pixel_size == (0.5, 0.25)


def test_fluorophore_names_a_channel_without_a_name(tmp_path: Path):
    path = tmp_path / "a.ome.tif"
    about = {"axes": "CYX", "Channel": {"Fluor": ["Alexa 488", "Hoechst 33342"]}}
    tifffile.imwrite(path, noise(2, 20, 30), metadata=about)
    assert open_image(path)[0].channel == "Hoechst 33342"


def test_planes_that_metadata_tell_of_and_the_file_lacks_are_missing(tmp_path: Path):
    path = tmp_path / "a.ome.tif"
    pixels = noise(3, 20, 30)
    for options in ({}, {"compression": "zlib"}):
        tifffile.imwrite(path, pixels, metadata={"axes": "ZYX"}, **options)
        # As where an acquisition was broken off.
        data = path.read_bytes()
        path.write_bytes(data.replace(b'SizeZ="3"', b'SizeZ="5"'))
        sources = open_image(path)
        assert len(sources) == 5
        np.testing.assert_array_equal(sources[2][:, :], pixels[2])
        assert [source.missing for source in sources] == [False] * 3 + [True] * 2


def test_a_file_of_a_set_holds_its_own_planes(tmp_path: Path):
    pixels = noise(2, 20, 30)
    about = {"axes": "ZYX", "PhysicalSizeX": 1, "PhysicalSizeY": 1}
    tifffile.imwrite(tmp_path / "whole.ome.tif", pixels, metadata=about)
    with tifffile.TiffFile(tmp_path / "whole.ome.tif") as file:
        xml = file.ome_metadata.replace('SizeZ="2"', 'SizeZ="4"')
    other = '<TiffData FirstZ="2" IFD="0"><UUID FileName="b.tif">urn:uuid:b</UUID></TiffData>'
    path = tmp_path / "a.tif"
    xml = xml.replace("</Pixels>", f"{other}</Pixels>")
    tifffile.imwrite(path, pixels, description=xml.encode(), metadata=None)
    sources = open_image(path)
    assert [source.plane for source in sources] == ["i000", "i001"]
    assert sources[0].pixel_size == (1, 1)
    np.testing.assert_array_equal(sources[1][:, :], pixels[1])


def test_axes_without_rows_and_columns(tmp_path: Path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(3, 20, 30), metadata={"axes": "TZC"}, photometric="minisblack")
    with pytest.raises(InputError, match=r"has the axes T: 3, Z: 20, C: 30, expected rows and"):
        open_image(path)


def test_tiles_that_are_left_out_are_zero(tmp_path: Path):
    path = tmp_path / "a.tif"
    tile = np.full((16, 16), 7, np.uint8)
    tiles = (b"" if n == 1 else zlib.compress(tile.tobytes()) for n in range(4))
    tifffile.imwrite(
        path, tiles, shape=(32, 32), dtype="u1", tile=(16, 16), compression="zlib", metadata=None
    )
    (source,) = open_image(path)
    expected = np.full((32, 32), 7)
    expected[:16, 16:] = 0
    np.testing.assert_array_equal(source[:, :], expected)


def test_pages_that_lead_in_a_circle_are_damage(tmp_path: Path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(3, 16, 16), metadata=None, photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        first, last = file.pages[0], file.pages[2]
        after = last.offset + 2 + 12 * len(last.tags)
    data = bytearray(path.read_bytes())
    data[after : after + 4] = struct.pack("<I", first.offset)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.tif is damaged .*pages lead in a circle"):
        open_image(path)


@pytest.mark.parametrize("size", ["ImageLength", "SamplesPerPixel"])
def test_a_size_with_a_sign_is_damage(tmp_path: Path, size: str):
    # Of a negative one, tifffile would look for pages for ever.
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY)
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags[size]
    data = bytearray(path.read_bytes())
    struct.pack_into("<HIi", data, tag.offset + 2, 9, 1, -1)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.tif is damaged .*it has a size with a sign"):
        open_image(path)


def test_slices_without_tiles_are_damage(tmp_path: Path):
    path = tmp_path / "a.tif"
    cut = {"tile": (2, 16, 16), "volumetric": True}
    tifffile.imwrite(path, noise(4, 32, 48), photometric="minisblack", **cut)
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags["ImageDepth"]
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, tag.valueoffset, 262148)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.tif is damaged .*it lacks slices of 262148"):
        open_image(path)


def test_a_page_behind_the_end_of_the_file_is_none(tmp_path: Path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, metadata=None)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        after = page.offset + 2 + 12 * len(page.tags)
    data = bytearray(path.read_bytes())
    data[after : after + 4] = struct.pack("<I", len(data) + 100)
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path).pixels, GREY)


def test_a_tile_of_too_few_pixels_is_damage(tmp_path: Path):
    path = tmp_path / "a.tif"
    tiles = iter([zlib.compress(bytes(10))])
    options = {"tile": (16, 16), "compression": "zlib", "metadata": None}
    tifffile.imwrite(path, tiles, shape=(16, 16), dtype="u1", **options)
    (source,) = open_image(path)
    with pytest.raises(InputError, match=r"a\.tif is damaged .*cannot be reshaped"):
        source[:, :]


@pytest.mark.parametrize("cut", [False, True])
def test_a_page_shorter_than_its_tags_say(cut: bool, tmp_path: Path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(32, 32), compression="zlib", tile=(16, 16) if cut else None)
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    with pytest.raises(InputError, match=r"damaged .*\(it should have \d+ bytes, has \d+"):
        open_image(path)


def overwrite(path: Path, **values: int) -> None:
    with tifffile.TiffFile(path, mode="r+b") as file:
        for name, value in values.items():
            file.pages[0].tags[name].overwrite(value, dtype="I")


@pytest.mark.parametrize("tiled", [False, True])
def test_more_pixels_than_a_file_of_this_size_can_hold(tiled: bool, tmp_path: Path):
    path, side = tmp_path / "a.tif", 100_000
    options = {"tile": (256, 256)} if tiled else {"rowsperstrip": 256}
    tifffile.imwrite(path, noise(256, 256) * 0, compression="zlib", metadata=None, **options)
    overwrite(path, ImageWidth=side, ImageLength=side, **({} if tiled else {"RowsPerStrip": side}))
    with pytest.raises(InputError, match=r"damaged .*it has \d+ bytes for 100000 by 100000 pixels"):
        open_image(path)


def test_a_tile_much_larger_than_the_image_is_damage(tmp_path: Path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(20, 30), tile=(32, 32), compression="zlib", metadata=None)
    overwrite(path, TileWidth=2**30)
    tracemalloc.start()
    with pytest.raises(
        InputError, match=r"tiles of \(1, 32, 1073741824\) pixels for an image of 20"
    ):
        open_image(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6


def test_a_strip_too_large_to_be_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nucseg.images.tiff_pixels._MAX_PART", 500)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(20, 30), compression="zlib", rowsperstrip=20)
    with pytest.raises(InputError, match=r"its pixels lie in parts of 600, at most 500 can"):
        open_image(path)
    tifffile.imwrite(path, noise(20, 30), compression="zlib", rowsperstrip=10)
    assert open_image(path)[0].shape == (20, 30)
    # What is not compressed is read row by row.
    pages = noise(2, 20, 30)
    with tifffile.TiffWriter(path) as file:
        for page in pages:
            file.write(page, contiguous=False, metadata=None)
    np.testing.assert_array_equal(open_image(path)[1][:, :], pages[1])


READ_PART = "nucseg.images.tiff_pixels.Segments._read_part"


def test_a_window_decodes_no_more_tiles_than_it_needs_and_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "a.tif"
    pixels = noise(160, 160)
    tifffile.imwrite(path, pixels, compression="zlib", tile=(16, 16))
    read, decoded = Segments._read_part, []

    def count(self: Segments, page: int, number: int):
        decoded.append(number)
        return read(self, page, number)

    monkeypatch.setattr(READ_PART, count)
    (source,) = open_image(path)
    assert source[16:32, 20:40].shape == (16, 20)
    assert decoded == [11, 12]
    np.testing.assert_array_equal(source[20:40, 30:34], pixels[20:40, 30:34])
    assert decoded == [11, 12, 21, 22]


def test_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nucseg.images.tiff_pixels._KEPT_BYTES", 2 * 16 * 16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(160, 160), compression="zlib", tile=(16, 16))
    (source,) = open_image(path)
    tracemalloc.start()
    source[:, :1]
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 10_000


@pytest.mark.parametrize("options", [{"tile": (256, 256), "compression": "zlib"}, {}])
def test_a_window_of_a_large_image_takes_little_memory(options: dict, tmp_path: Path):
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, np.zeros((8000, 8000), np.uint8), **options)
    tracemalloc.start()
    (source,) = open_image(path)
    window = source[4000:4100, 5000:5100]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert source.lazy
    assert window.shape == (100, 100)
    assert peak < 4e6
