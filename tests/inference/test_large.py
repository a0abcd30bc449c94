from dataclasses import replace

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from nucseg.errors import InputError
from nucseg.export import save_formats
from nucseg.images import read_image
from nucseg.inference import large
from nucseg.inference.large import FileCanvas, segment_large
from nucseg.inference.segmenter import load_model

SHAPE = (900, 1100)


class Lazy:
    """An image that is read by windows, which are counted."""

    def __init__(self, pixels):
        self._pixels, self.read = pixels, 0
        self.shape, self.dtype = pixels.shape, pixels.dtype

    def __getitem__(self, window):
        part = self._pixels[window]
        self.read = max(self.read, part.shape[0] * part.shape[1])
        return part


@pytest.fixture(scope="module")
def pixels():
    """Bright squares of two sizes, some at the edges, on a dark ground."""
    image = np.full(SHAPE, 20, np.uint8)
    rng = np.random.default_rng(0)
    for row in range(-3, SHAPE[0], 37):
        for column in range(-2, SHAPE[1], 41):
            side = int(rng.integers(5, 24))
            image[max(row, 0) : row + side, max(column, 0) : column + side] = rng.integers(150, 250)
    return image


@pytest.fixture(scope="module")
def model(bright_model):
    return replace(load_model(bright_model), window=448)


@settings(deadline=None)
@given(data=st.data(), height=st.integers(1, 40), width=st.integers(1, 40))
def test_a_canvas_is_an_array_in_a_file(tmp_path_factory, data, height, width):
    path = tmp_path_factory.mktemp("canvas") / "labels"
    canvas, array = FileCanvas(path, (height, width)), np.zeros((height, width), np.int32)
    for number in range(1, 5):
        window = tuple(
            slice(*sorted(data.draw(st.tuples(st.integers(0, side), st.integers(0, side)))))
            for side in (height, width)
        )
        part = np.full(array[window].shape, number * 10**5)
        array[window] = part
        canvas[window] = part
    everything = (slice(0, height), slice(0, width))
    np.testing.assert_array_equal(canvas[everything], array)
    assert canvas[everything].dtype == np.int32
    canvas.close()


@pytest.mark.parametrize(
    "filters", [{}, {"border_nuclei": "drop", "max_area": 300}, {"min_score": 0.9999}]
)
def test_large_images_give_what_small_ones_give(model, pixels, tmp_path, monkeypatch, filters):
    monkeypatch.setattr(large, "_PART", 320)
    monkeypatch.setattr(large, "_BAND", 100)
    chosen = model.with_postprocessing(**filters)
    whole = replace(chosen, window=2048).segment(pixels, pixel_size=(0.5, 0.5))
    lazy = Lazy(pixels)
    with segment_large(chosen, lazy, tmp_path, pixel_size=(0.5, 0.5)) as found:
        assert found.count == whole.count > 0
        labels = found.labels[:, :]
        table = found.measurements()
    assert labels.dtype == whole.labels.dtype
    assert sorted(np.unique(labels)) == list(range(found.count + 1))
    pairs = np.unique(np.stack([labels.ravel(), whole.labels.ravel()]), axis=1)
    assert pairs.shape[1] == found.count + 1
    expected = whole.measurements()
    assert list(table) == list(expected)
    order = pairs[1, 1:] - 1
    for name in expected:
        if name != "label":
            np.testing.assert_allclose(table[name], expected[name][order], rtol=1e-6, err_msg=name)
    assert lazy.read < pixels.size / 1.9
    assert list(tmp_path.iterdir()) == []


def test_windowed_formats_are_written(model, pixels, tmp_path):
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    colour = np.stack([pixels] * 3, axis=-1)
    with segment_large(model, Lazy(colour), scratch, pixel_size=(0.4, 0.6)) as found:
        labels, overlay = save_formats(found, out, "a", ["labels", "overlays"])
        expected = found.labels[:, :]
    read = read_image(labels)
    np.testing.assert_array_equal(read.pixels, expected)
    assert read.pixel_size == pytest.approx((0.4, 0.6), rel=1e-3)
    with tifffile.TiffFile(labels) as tiff:
        assert tiff.pages[0].is_tiled
    assert read_image(overlay).pixels.shape == (*SHAPE, 3)


def test_pictures_of_large_images_are_smaller(model, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr("nucseg.export.overlay._REDUCED_SIDE", 300)
    with segment_large(model, Lazy(pixels), tmp_path) as found:
        (overlay,) = save_formats(found, tmp_path / "out", "a", ["overlays"])
    picture = read_image(overlay).pixels
    assert picture.shape == (225, 275, 3)
    assert (picture.max(axis=2) != picture.min(axis=2)).any()


def test_progress_counts_windows(model, pixels, tmp_path):
    seen = []
    with segment_large(model, pixels, tmp_path, progress=lambda *step: seen.append(step)):
        pass
    assert seen[-1] == (len(seen), len(seen))
    assert len(seen) > 20


def test_an_image_without_nuclei(model, tmp_path):
    with segment_large(model, np.zeros((500, 900), np.uint8), tmp_path) as found:
        assert found.count == 0
        assert found.labels.dtype == np.uint16
        assert not found.labels[:, :].any()
        table = found.measurements()
    assert len(table["label"]) == len(table["nearest_neighbour"]) == 0


def test_a_probability_map_is_not_kept(model, pixels, tmp_path):
    with (
        segment_large(model, pixels, tmp_path) as found,
        pytest.raises(InputError, match=r"not kept\. Allow more memory \(--max-memory\)"),
    ):
        _ = found.probability


def test_models_of_a_fixed_size_are_refused(bright_model_32, pixels, tmp_path):
    with (
        pytest.raises(InputError, match=r"bright sees each image at \(32, 32\)"),
        segment_large(load_model(bright_model_32), pixels, tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_no_file(model, pixels, tmp_path):
    class Broken(Lazy):
        def __getitem__(self, window):
            if window[0].start > 200 and window[0].stop - window[0].start > 400:
                raise InputError("damaged")
            return super().__getitem__(window)

    with pytest.raises(InputError, match="damaged"), segment_large(model, Broken(pixels), tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
