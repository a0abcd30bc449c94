from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from image_files import noise

from nucseg.errors import InputError
from nucseg.images import nuclear_channel
from nucseg.images.planes import Scene, sources

PATH = Path("image")


def scene(axes: str, pixels: np.ndarray, *, samples: int = 1, **about) -> Scene:
    """Scene of an array of these axes, then rows, columns and colours."""
    size = pixels.shape[len(axes) : len(axes) + 2]
    return Scene(
        axes=axes,
        lengths=pixels.shape[: len(axes)],
        size=size,
        samples=samples,
        dtype=pixels.dtype,
        pixel_size=None,
        read=lambda index, rows, columns: pixels[index][rows, columns],
        **about,
    )


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["GFP", "DAPI"], 1),
        (["C1-dapi", "mCherry"], 0),
        (["Phase", "Hoechst 33342", "DAPI"], 1),
        (["H33342", "x"], 0),
        (["h-33258", "x"], 0),
        (["x", "DRAQ5"], 1),
        (["x", "DRAQ-7"], 1),
        (["x", "NucBlue"], 1),
        (["SYTOX Green", "x"], 0),
        (["Actin", "Nuclei"], 1),
        (["cyto", "anti_nuclear_stain"], 1),
        (["PI", "DAPI"], 1),
        (["FITC", "PI"], 1),
        (["FITC", "Propidium Iodide"], 1),
        (["H2B-mCherry", "tubulin"], 0),
        (["nucleolin", "pinhole"], None),
        (["GFP", "RFP"], None),
        (["", ""], None),
        (["my DAPI plate 1", "my DAPI plate 2"], None),
        (["DAPI"], 0),
        ([], None),
    ],
)
def test_channel_that_is_called_after_nuclei(names: list[str], expected: int | None):
    assert nuclear_channel(names) == expected


def test_channels_that_are_not_called_after_nuclei_are_read_together():
    pixels = noise(4, 5, 7)
    (source,) = sources(PATH, [scene("C", pixels, channels=("GFP", "RFP"))])
    assert (source.shape, source.channel) == ((5, 7, 4), "all")
    np.testing.assert_array_equal(source[1:, :], np.moveaxis(pixels, 0, -1)[1:])


@pytest.mark.parametrize(
    ("channel", "expected", "name"),
    [(None, 2, "DAPI"), ("gfp", 0, "GFP"), ("3", 3, "3"), (1, 1, "GFP 2"), ("4", 4, "2")],
)
def test_a_channel_is_chosen_by_name_or_number(channel, expected: int, name: str):
    # A name that is a number goes first.
    names = ("GFP", "GFP 2", "DAPI", "", "2", "", "")
    pixels = noise(7, 5, 8)
    (source,) = sources(PATH, [scene("C", pixels, channels=names)], channel)
    assert (source.shape, source.channel) == ((5, 8), name)
    np.testing.assert_array_equal(source[:, 2:], pixels[expected, :, 2:])
    (source,) = sources(PATH, [scene("C", pixels, channels=names)], "2")
    assert source.channel == "2"
    np.testing.assert_array_equal(source[:, :], pixels[4])


def test_a_channel_whose_name_is_not_its_own_is_told_by_number():
    pixels = noise(3, 5, 7)
    (source,) = sources(PATH, [scene("C", pixels, channels=("GFP", "DAPI", "DAPI"))])
    assert source.channel == "1"


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ("Cy5", r"image has no channel 'Cy5'\. Give --channel one of: 0 \(DAPI\), 1, 2 \(GFP\), 3"),
        (5, r"image has no channel 5\. "),
        ("-1", r"image has no channel '-1'\. "),
        ("GFP", r"image has 2 channels 'GFP'\. "),
    ],
)
def test_no_such_channel(channel, message: str):
    names = ("DAPI", "", "GFP", "gfp", "")
    with pytest.raises(InputError, match=message):
        sources(PATH, [scene("C", noise(5, 4, 4), channels=names)], channel)


def test_more_channels_than_the_network_takes():
    with pytest.raises(InputError, match=r"has 5 channels, expected at most 4 .* 0 \(a\), 1 \(b\)"):
        sources(PATH, [scene("C", noise(5, 4, 4), channels=("a", "b"))])
    with pytest.raises(InputError, match="has 2 channels, expected at most 4"):
        sources(PATH, [scene("C", noise(2, 4, 4, 3), samples=3)])
    (source,) = sources(PATH, [scene("C", noise(2, 4, 4, 3), samples=3)], 1)
    assert source.shape == (4, 4, 3)


def test_one_channel_is_told_by_its_name_if_that_says_nuclei_and_has_number_0():
    pixels = noise(5, 7)
    (source,) = sources(PATH, [scene("", pixels, channels=("DAPI",))])
    assert (source.shape, source.channel) == ((5, 7), "DAPI")
    (source,) = sources(PATH, [scene("", pixels)])
    assert source.channel == "all"
    (source,) = sources(PATH, [scene("", pixels)], 0)
    assert (source.shape, source.channel) == ((5, 7), "0")
    with pytest.raises(InputError, match=r"no channel 'DAPI'\. Give --channel one of: 0\."):
        sources(PATH, [scene("", pixels)], "DAPI")


def test_planes_go_by_time_other_axes_and_slices():
    pixels = noise(2, 3, 1, 2, 4, 5)
    found = sources(PATH, [scene("ZTCA", pixels)])
    assert [source.plane for source in found[:5]] == [
        "t000_a000_z000",
        "t000_a000_z001",
        "t000_a001_z000",
        "t000_a001_z001",
        "t001_a000_z000",
    ]
    np.testing.assert_array_equal(found[3][:, :], pixels[1, 0, 0, 1])


def test_names_sort_as_numbers_do():
    found = sources(PATH, [scene("Z", noise(1001, 1, 1))])
    assert (found[7].plane, found[1000].plane) == ("z0007", "z1000")
    names = [source.plane for source in found]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("axes", "axis", "planes"),
    [
        ("TZ", 1, ["t000", "t001"]),
        ("ZT", 0, ["t000", "t001", "t002"]),
        ("QT", 0, ["t000", "t001", "t002"]),
        ("ZQ", 0, ["q000", "q001", "q002"]),
    ],
)
def test_slices_become_their_largest_values(axes: str, axis: int, planes: list[str]):
    pixels = noise(2, 3, 6, 8)
    found = sources(PATH, [scene(axes, pixels)], project="max")
    assert [source.plane for source in found] == planes
    expected = pixels.max(axis=axis)
    for source, each in zip(found, expected, strict=True):
        np.testing.assert_array_equal(source[2:5, :], each[2:5])


def test_colours_become_their_largest_values_each():
    pixels = noise(4, 6, 8, 3)
    (source,) = sources(PATH, [scene("Z", pixels, samples=3)], project="max")
    np.testing.assert_array_equal(source[:, 3:], pixels[:, :, 3:].max(axis=0))


def test_scenes_have_their_names_where_these_tell_them_apart():
    def planes(*names: str) -> list[str]:
        scenes = [scene("Z", noise(2, 4, 4), name=name) for name in names]
        return [source.plane for source in sources(PATH, scenes)][::2]

    assert planes("only") == ["z000"]
    assert planes("left eye", "a/b:c") == ["left-eye_z000", "a-b-c_z000"]
    assert planes("A1", "a1") == planes("", "x") == ["s0_z000", "s1_z000"]
    assert planes(*["x"] * 11)[3] == "s03_z000"


@pytest.mark.parametrize("shape", [(0, 2, 4, 4), (1, 2, 0, 4), (1, 2, 4, 0)])
def test_no_pixels(shape: tuple[int, ...]):
    with pytest.raises(InputError, match=r"image has no pixels: its sizes are \("):
        sources(PATH, [scene("TZ", noise(*shape))])


@pytest.mark.parametrize("size", [(4.5, 4), (4, -4), (float("nan"), 4)])
def test_sizes_that_are_none(size: tuple[float, float]):
    odd = replace(scene("TZ", noise(1, 2, 4, 4)), size=size)
    with pytest.raises(InputError, match=r"image is damaged .*its sizes are \(1, 2, "):
        sources(PATH, [odd])


def test_more_planes_than_any_file_has():
    # As a damaged OME-Zarr image had, of which the list of planes took 300 MB; and far more.
    for lengths in ((100_000, 3), (10**9, 3)):
        huge = replace(scene("TZ", noise(1, 1, 4, 4)), lengths=lengths)
        with pytest.raises(InputError, match=rf"damaged .*it tells of {lengths[0] * 3} planes"):
            sources(PATH, [huge])
