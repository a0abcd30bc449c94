"""What the plugin takes from layers, and what its manifest names, without napari."""

import re
from importlib import import_module
from importlib.resources import files
from types import SimpleNamespace

import numpy as np
import pytest

from nucseg.napari.layers import Job, channels_of, numeric, placement, relative, stack_of
from nucseg.napari.stacks import Channel

MANIFEST = (files("nucseg.napari") / "napari.yaml").read_text(encoding="utf-8")


def layer(data, /, **changes):
    ndim = data.ndim - bool(changes.get("rgb"))
    about = {
        "data": data,
        "rgb": False,
        "multiscale": False,
        "ndim": ndim,
        "scale": np.arange(1, ndim + 1) / 2,
        "translate": np.arange(ndim) * 10,
        "units": ("micrometer",) * ndim,
        "axis_labels": tuple(f"axis {axis - ndim}" for axis in range(ndim)),
        "rotate": "r",
        "shear": "s",
        "affine": "a",
    }
    return SimpleNamespace(**{**about, **changes})


def test_the_finest_of_several_resolutions_is_segmented():
    fine, coarse = np.zeros((2, 8, 8)), np.zeros((2, 4, 4))
    pyramid = layer(fine, data=[fine, coarse], multiscale=True)
    assert stack_of(pyramid).data is fine
    assert list(channels_of(pyramid)) == ["each plane", "axis 0: 0", "axis 0: 1"]


def test_axes_go_by_their_names():
    named = layer(np.zeros((2, 8, 8)), axis_labels=("c", "y", "x"))
    assert channels_of(named)["c: 1"] == Channel(0, 1)


def test_labels_lie_where_their_image_does():
    image = layer(np.zeros((2, 5, 8, 8)))
    assert placement(image, (0, 1, 2, 3))["affine"] == "a"
    of_channel = placement(image, (1, 2, 3))
    assert of_channel["scale"] == [1.0, 1.5, 2.0]
    assert of_channel["translate"] == [10, 20, 30]
    assert "affine" not in of_channel
    assert len(of_channel["units"]) == len(of_channel["axis_labels"]) == 3


def test_a_job_does_what_the_model_does(bright_model):
    image = np.zeros((30, 40), np.uint8)
    image[4:9, 4:9] = 255
    seen = []
    shown = layer(image)
    job = Job(shown, stack_of(shown), str(bright_model), 1.0, 20.0, {"min_area": 5})
    found = job.run(lambda *step: seen.append(step))
    assert found.labels.max() == 1
    assert found.pixel_size == (0.5, 1.0)
    assert found.min_area == 5
    assert seen[-1] == (1, 1)


def test_colours_go_from_the_smallest_to_the_largest():
    assert relative(np.array([5, 10, np.nan, 7.5])).tolist()[:2] == [0, 1]
    assert relative(np.array([5, 10, np.nan]))[2] == 0
    assert relative(np.array([3, 3])).tolist() == [0, 0]
    assert relative(np.array([np.nan])).tolist() == [0]
    assert numeric({"index": np.ones(2), "area": np.ones(2)}) == ["area"]
    assert numeric({"index": np.ones(0), "area": np.ones(0)}) == []


@pytest.mark.parametrize("place", re.findall(r"python_name: (\S+)", MANIFEST))
def test_what_the_manifest_names_is_there(place):
    module, name = place.split(":")
    if module == "nucseg.napari.widget":
        pytest.importorskip("napari.layers")
    assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize("name", ["tissue", "fluorescence", "stack"])
def test_samples_are_images(name):
    from nucseg.napari import samples

    ((pixels, about, kind),) = getattr(samples, name)()
    assert kind == "image"
    assert pixels.dtype == np.uint8
    assert len(about.get("scale", pixels.shape)) == pixels.ndim
