import weakref
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from nucseg.errors import InputError
from nucseg.export import save_formats
from nucseg.export.report import thumbnail
from nucseg.images import cached, read_image
from nucseg.inference import large
from nucseg.inference.finding import windows_of
from nucseg.inference.large import FileCanvas, LargeSegmentation, WindowedLabels, segment_large
from nucseg.inference.loading import load_model
from nucseg.inference.planes import segment_plane
from nucseg.inference.segmentation import Segmentation

SHAPE = (900, 1100)
SAME_BYTES = ["rois", "geojson", "coco", "masks", "rle", "zarr"]
# Few nuclei in few pixels: with holes, of several pieces, around each other and in corners.
LABELS = hnp.arrays(
    np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 5)
)


class Lazy:
    """An image that is read by windows, which are counted."""

    def __init__(self, pixels):
        self._pixels, self.read, self.decoded = pixels, 0, 0
        self.shape, self.dtype = pixels.shape, pixels.dtype

    def __getitem__(self, window):
        part = self._pixels[window]
        self.read = max(self.read, part.shape[0] * part.shape[1])
        self.decoded += part.shape[0] * part.shape[1]
        return part


class Tracked(Lazy):
    """One that counts the parts that were read and are still in memory."""

    def __init__(self, pixels):
        super().__init__(pixels)
        self._parts, self.kept = [], 0

    def __getitem__(self, window):
        part = super().__getitem__(window).copy()
        self._parts.append(weakref.ref(part))
        self.kept = max(self.kept, sum(each() is not None for each in self._parts))
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
    monkeypatch.setattr(cached, "_BAND", 256)
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


@pytest.mark.parametrize("memory", [10**9, 1000])
def test_a_plane_is_segmented_in_memory_or_not(model, pixels, tmp_path, memory):
    whole = model.segment(pixels, pixel_size=(0.5, 0.5))
    seen = []
    with segment_plane(
        replace(model, image_pixels=memory),
        Lazy(pixels),
        scratch=tmp_path,
        pixel_size=(0.5, 0.5),
        progress=lambda *step: seen.append(step),
    ) as found:
        assert isinstance(found, LargeSegmentation) == (memory == 1000)
        assert len(list(tmp_path.iterdir())) == (memory == 1000)
        assert found.count == whole.count > 0
        np.testing.assert_array_equal(found.labels[:, :] > 0, whole.labels > 0)
        assert found.pixel_size == (0.5, 0.5)
    assert list(tmp_path.iterdir()) == []
    assert seen[-1] == (len(windows_of(model, pixels.shape)),) * 2


def test_an_interrupted_plane_leaves_nothing(model, pixels, tmp_path):
    def stop(_done, _total):
        raise KeyboardInterrupt

    large_plane = segment_plane(
        replace(model, image_pixels=1000), pixels, scratch=tmp_path, progress=stop
    )
    with pytest.raises(KeyboardInterrupt), large_plane:
        pass
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


def test_what_was_read_is_not_kept(model, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr("nucseg.export.overlay._REDUCED_SIDE", 300)
    monkeypatch.setattr("nucseg.export.overlay._BAND", 50)
    monkeypatch.setattr("nucseg.images.sampling.SAMPLED_PIXELS", 1000)
    monkeypatch.setattr(large, "_BAND", 50)
    image, chosen = Tracked(pixels), replace(model, window=640, scale=1.0)
    with segment_large(chosen, image, tmp_path) as found:
        labels = Tracked(found.labels)
        save_formats(replace(found, labels=labels), tmp_path / "out", "a", ["labels", "overlays"])
    assert 1 <= image.kept <= 3
    assert 1 <= labels.kept <= 3


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
        pytest.raises(InputError, match=r"was not kept\. Segment it again, with keep_probability"),
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
            if window[0].start > 200:
                raise InputError("damaged")
            return super().__getitem__(window)

    with pytest.raises(InputError, match="damaged"), segment_large(model, Broken(pixels), tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def files(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@settings(max_examples=60)
@given(labels=LABELS, side=st.integers(1, 10), nuclei=st.integers(1, 3))
def test_nuclei_in_any_parts_give_the_same_files(tmp_path_factory, labels, side, nuclei):
    """Parts of a pixel to the whole image, so that nuclei lie on seams and corners of all kinds."""
    folder = tmp_path_factory.mktemp("a")
    present, numbered = np.unique(np.append(labels, 0), return_inverse=True)
    labels = numbered[:-1].reshape(labels.shape)
    count = len(present) - 1
    image = np.random.default_rng(0).integers(0, 9, labels.shape, np.uint8)
    scores = np.linspace(0.1, 0.9, count, dtype=np.float32)
    probability = np.zeros(labels.shape, np.float32)
    whole = Segmentation(image, labels.astype(np.uint16), scores, probability, (0.5, 0.5))
    canvas = FileCanvas(folder / "labels", labels.shape)
    canvas[:, :] = labels
    boxes = np.array(
        [[each.start for each in box] + [each.stop for each in box]
         for box in ndimage.find_objects(labels)], np.int64,
    ).reshape(-1, 4)  # fmt: skip
    kept = WindowedLabels(canvas, np.arange(count + 1, dtype=np.uint16))
    parts = LargeSegmentation(Lazy(image), kept, scores, boxes, (0.5, 0.5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "_PART", side)
        patch.setattr(large, "_NUCLEI", nuclei)
        save_formats(parts, folder / "parts", "a", SAME_BYTES)
    canvas.close()
    save_formats(whole, folder / "whole", "a", SAME_BYTES)
    assert files(folder / "parts") == files(folder / "whole")


def test_all_formats_of_an_image_in_windows(model, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr(large, "_PART", 320)
    (tmp_path / "scratch").mkdir()
    with segment_large(
        replace(model, window=640),
        Lazy(pixels),
        tmp_path / "scratch",
        pixel_size=(0.5, 0.25),
        keep_probability=True,
    ) as found:
        assert len(list(found.parts())) > 5
        tiff, probability, *_ = save_formats(
            found, tmp_path / "parts", "a", ["labels", "probability", *SAME_BYTES]
        )
        whole = Segmentation(
            pixels, found.labels[:, :], found.scores, found.probability[:, :], found.pixel_size
        )
    assert list((tmp_path / "scratch").iterdir()) == []
    save_formats(whole, tmp_path / "whole", "a", SAME_BYTES)
    for name in SAME_BYTES:
        assert files(tmp_path / "parts" / name) == files(tmp_path / "whole" / name), name
    np.testing.assert_array_equal(tifffile.imread(tiff), whole.labels)
    np.testing.assert_array_equal(tifffile.imread(probability), whole.probability)
    assert ((whole.probability > 0.5) >= (whole.labels > 0)).all()


def test_a_nucleus_larger_than_a_part_comes_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(large, "_PART", 4)
    canvas = FileCanvas(tmp_path / "labels", (20, 30))
    canvas[2:19, 1:30] = 1
    kept = WindowedLabels(canvas, np.arange(2, dtype=np.uint16))
    boxes = np.array([[2, 1, 19, 30]])
    image = np.ones((20, 30), np.uint8)
    found = LargeSegmentation(image, kept, np.ones(1, np.float32), boxes)
    (part,) = found.parts()
    assert (part.origin, part.labels.shape, part.first) == ((2, 1), (17, 29), 0)
    assert found.measurements()["area"].tolist() == [17 * 29]
    (path,) = save_formats(found, tmp_path, "a", ["zarr"])
    np.testing.assert_array_equal(zarr.open(path, mode="r")["labels/nuclei/0"][:], canvas[:, :])
    canvas.close()


def test_a_large_image_is_decoded_once(bright_model, tmp_path):
    image = np.full((3100, 3100, 3), 20, np.uint8)
    image[20::60, 30::70] = 200
    image = cv2.dilate(image, np.ones((9, 9)))
    lazy = Lazy(image)
    model = load_model(bright_model, max_memory=0.6)
    with segment_plane(model, lazy, scratch=tmp_path) as found:
        assert isinstance(found, LargeSegmentation)
        assert len(found.measurements()["label"]) == found.count > 2000
        save_formats(found, tmp_path / "out", "a", ["labels", "overlays"])
        thumbnail(found.image, found.labels)
    assert lazy.decoded == 3100**2
