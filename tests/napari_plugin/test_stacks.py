import numpy as np
import pytest
import zarr

from nucseg.errors import InputError
from nucseg.napari.stacks import Channel, Stack, channels

DATA = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)


def test_an_image_without_further_axes_is_one_plane():
    stack = Stack(DATA[0, 0])
    assert (stack.shape, list(stack.indices), stack.axes) == ((4, 5), [()], (0, 1))
    np.testing.assert_array_equal(stack.plane(()).pixels(), DATA[0, 0])


def test_each_place_along_other_axes_is_a_plane():
    stack = Stack(DATA)
    assert list(stack.indices) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    plane = stack.plane((1, 2))
    assert (plane.shape, plane.dtype) == ((4, 5), DATA.dtype)
    np.testing.assert_array_equal(plane[1:3, 2:], DATA[1, 2, 1:3, 2:])


def test_colours_are_seen_together_or_one_of_them():
    colours = np.moveaxis(DATA, 1, -1)
    together = Stack(colours, rgb=True)
    assert (together.shape, together.plane((1,)).shape) == ((2, 4, 5), (4, 5, 3))
    np.testing.assert_array_equal(together.plane((1,)).pixels(), colours[1])
    green = Stack(colours, rgb=True, channel=Channel(3, 1))
    assert (green.shape, green.plane((1,)).shape) == ((2, 4, 5), (4, 5))
    np.testing.assert_array_equal(green.plane((1,)).pixels(), colours[1, ..., 1])


def test_a_channel_of_an_axis_is_seen_alone_or_all_as_colours():
    second = Stack(DATA, channel=Channel(1, 2))
    assert (second.shape, second.axes) == ((2, 4, 5), (0, 2, 3))
    np.testing.assert_array_equal(second.plane((1,)).pixels(), DATA[1, 2])
    every = Stack(DATA, channel=Channel(1, None))
    assert every.plane((0,)).shape == (4, 5, 3)
    np.testing.assert_array_equal(every.plane((0,)).pixels(), np.moveaxis(DATA[0], 0, -1))
    assert every.plane((0,)).pixels().flags.c_contiguous


def test_zarr_arrays_are_read_by_windows():
    array = zarr.create_array({}, data=DATA, chunks=(1, 1, 2, 2))
    plane = Stack(array, channel=Channel(0, 1)).plane((2,))
    assert plane.dtype == DATA.dtype
    np.testing.assert_array_equal(plane[2:, :3], DATA[1, 2, 2:, :3])


def test_dask_arrays_are_read_by_windows():
    arrays = pytest.importorskip("dask.array")
    plane = Stack(arrays.from_array(DATA, chunks=2)).plane((1, 0))
    np.testing.assert_array_equal(plane[:2, 1:4], DATA[1, 0, :2, 1:4])


def test_channels_are_called_after_their_axis():
    assert channels((3, 99, 9, 9), rgb=False, names=("c", "t", "y", "x")) == {
        "each plane": None,
        "c: 0": Channel(0, 0),
        "c: 1": Channel(0, 1),
        "c: 2": Channel(0, 2),
        "c: all, as colours": Channel(0, None),
    }
    assert channels((9, 9, 4), rgb=True)["blue"] == Channel(2, 2)


@pytest.mark.parametrize(("shape", "rgb"), [((5,), False), ((5, 3), True), ((0, 5, 5), False)])
def test_what_is_no_image_is_refused(shape, rgb):
    with pytest.raises(InputError, match="rows and columns"):
        Stack(np.zeros(shape), rgb)


@pytest.mark.parametrize("channel", [Channel(0, 2), Channel(1, 5), Channel(2, 0), Channel(0, None)])
def test_a_channel_that_is_not_there_is_refused(channel):
    with pytest.raises(InputError, match="Choose the channel anew"):
        Stack(DATA, channel=channel)
