from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label, regionprops

from nucseg.errors import InputError
from nucseg.inference.loading import load_model
from nucseg.inference.tiling import Stitcher, image_pixels, tiles
from nucseg.training.targets import instance_maps


def ellipses(rng, shape, count, largest):
    """Label image of ellipses, later ones over earlier ones, each piece a nucleus."""
    labels = np.zeros(shape, np.int32)
    for number in range(1, count + 1):
        centre = rng.integers(0, shape[1]), rng.integers(0, shape[0])
        axes = rng.integers(1, largest // 2, 2)
        cv2.ellipse(labels, centre, axes, int(rng.integers(180)), 0, 360, number, cv2.FILLED)
    return label(labels, connectivity=1).astype(np.int32)


def stitched(labels, size, margin):
    """The label image as its windows give it, each of which numbers what it sees by itself."""
    canvas = np.zeros(labels.shape, np.uint32)
    stitcher = Stitcher(canvas, labels.shape)
    new = []
    for tile in tiles(labels.shape, size=size, margin=margin):
        seen = label(labels[tile.window], connectivity=1).astype(np.int32)
        new.append(len(stitcher.add(tile, seen)))
    assert stitcher.count == sum(new)
    regions = regionprops(canvas.astype(int))
    assert stitcher.areas.tolist() == [region.area for region in regions]
    assert stitcher.boxes.tolist() == [list(region.bbox) for region in regions]
    return canvas, stitcher.count


def same_partition(first, second):
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    size=st.sampled_from([96, 128, 256, 512]),
    margin=st.sampled_from([0, 32]),
)
def test_cores_cover_every_pixel_once_with_their_margins(height, width, size, margin):
    covered = np.zeros((height, width), int)
    for tile in tiles((height, width), size=size, margin=margin):
        covered[tile.core] += 1
        whole = np.zeros((height, width), bool)
        whole[tile.window] = True
        window = whole[tile.window]
        assert max(window.shape) <= size
        assert window[tile.core_in_window].shape == covered[tile.core].shape
        for axis, length in enumerate((height, width)):
            core, seen = tile.core[axis], tile.window[axis]
            assert seen.start == max(core.start - margin, 0) or seen == slice(0, length)
            assert seen.stop >= min(core.stop + margin, length)
            assert seen.start % 32 == 0
    assert (covered == 1).all()


def test_a_small_image_is_one_window():
    (tile,) = tiles((100, 256), size=256, margin=64)
    assert tile.window == tile.core == (slice(0, 100), slice(0, 256))


@pytest.mark.parametrize(("size", "margin"), [(100, 32), (128, 20), (128, 64), (128, -32)])
def test_unusable_windows_are_refused(size, margin):
    with pytest.raises(InputError, match="multiples of 32"):
        tiles((500, 500), size=size, margin=margin)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    height=st.integers(40, 420),
    width=st.integers(40, 420),
    size=st.sampled_from([128, 160, 256]),
)
def test_nuclei_are_the_same_in_windows_as_in_the_whole_image(seed, height, width, size):
    rng = np.random.default_rng(seed)
    labels = ellipses(rng, (height, width), int(rng.integers(1, 60)), largest=30)
    canvas, count = stitched(labels, size, margin=32)
    assert count == labels.max()
    assert same_partition(canvas, labels)


def test_nuclei_on_corners_and_along_seams_stay_whole():
    labels = np.zeros((384, 384), np.int32)
    seams = [tile.core[0].start for tile in tiles((384, 384), size=192, margin=32)]
    number = 0
    for row in sorted(set(seams) - {0}):
        for offset in (-16, -1, 0, 1, 15):
            number += 1
            labels[row + offset - 4 : row + offset + 4, 20 * number : 20 * number + 12] = number
    labels[120:136, 120:136] = number + 1
    labels = label(labels, connectivity=1).astype(np.int32)
    canvas, _ = stitched(labels, 192, margin=32)
    assert same_partition(canvas, labels)


def test_a_nucleus_larger_than_any_window_comes_as_one():
    labels = np.zeros((600, 500), np.int32)
    labels[20:590, 30:400] = 1
    labels[5:15, 5:15] = 2
    canvas, count = stitched(labels, 160, margin=32)
    assert count == 2
    assert same_partition(canvas, labels)


def test_new_nuclei_are_named_by_the_labels_of_their_window():
    labels = np.zeros((64, 200), np.int32)
    labels[10:20, 10:20], labels[10:20, 90:100], labels[10:20, 180:190] = 1, 2, 3
    stitcher = Stitcher(np.zeros(labels.shape, np.uint32), labels.shape)
    first, second = tiles(labels.shape, size=160, margin=32)
    assert first.core[1].stop == 96 + 32
    new = stitcher.add(first, labels[first.window])
    assert new.tolist() == [1, 2]
    seen = label(labels[second.window]).astype(np.int32)
    assert seen.max() == 2
    assert stitcher.add(second, seen).tolist() == [2]


def test_where_windows_disagree_no_pixel_changes_hands():
    stitcher = Stitcher(canvas := np.zeros((64, 192), np.uint32), (64, 192))
    first, second = tiles((64, 192), size=160, margin=32)
    labels = np.zeros((64, 128), np.int32)
    labels[10:20, 80:100] = 1
    stitcher.add(first, labels)
    before = canvas.copy()
    assert (before > 0).sum() == 200
    other = np.zeros((64, 192 - second.window[1].start), np.int32)
    # Mostly beside what is taken: another nucleus, of which the free pixels are written.
    other[10:20, 95 - second.window[1].start : 120 - second.window[1].start] = 1
    assert stitcher.add(second, other).tolist() == [1]
    np.testing.assert_array_equal(canvas[before > 0], 1)
    assert (canvas == 2).sum() == 200


def network_of_painted_maps(batch):
    """Maps of nucleus, border and distance are the colours of the image, votes stay in place."""
    votes = np.full((*batch.shape[:3], 2), 0.5, np.float32)
    return np.concatenate([batch, votes], axis=-1)


@pytest.fixture(scope="module")
def painted(bright_instance_model):
    model = load_model(bright_instance_model).with_postprocessing(seed_threshold=0.5)
    return replace(model, runtime=network_of_painted_maps)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32),
    height=st.integers(60, 900),
    width=st.integers(60, 900),
    window=st.sampled_from([416, 448, 640]),
)
def test_segmented_in_windows_as_whole(painted, seed, height, width, window):
    rng = np.random.default_rng(seed)
    labels = ellipses(rng, (height, width), int(rng.integers(1, 150)), largest=40)
    image = instance_maps(labels)[..., :3].astype(np.float32)
    whole = replace(painted, window=1024).segment(image)
    tiled = replace(painted, window=window).segment(image)
    assert tiled.count == whole.count
    assert same_partition(tiled.labels, whole.labels)
    np.testing.assert_array_equal(tiled.probability, whole.probability)
    # Numbers differ, scores go with their nuclei.
    inside = tiled.labels > 0
    np.testing.assert_allclose(
        np.append(0, tiled.scores)[tiled.labels[inside]],
        np.append(0, whole.scores)[whole.labels[inside]],
        atol=1e-6,
    )


def test_filters_see_the_whole_image(painted):
    labels = np.zeros((400, 700), np.int32)
    labels[100:120, 2:650], labels[200:220, 680:700], labels[300:310, 300:310] = 1, 2, 3
    image = instance_maps(labels)[..., :3].astype(np.float32)
    model = replace(painted, window=416).with_postprocessing(seed_threshold=0.1)
    assert model.segment(image).count == 3
    assert model.with_postprocessing(border_nuclei="drop").segment(image).count == 2
    assert model.with_postprocessing(max_area=1000).segment(image).count == 2


def test_images_in_memory_follow_the_memory():
    assert image_pixels(0.6) < image_pixels(1) < image_pixels(8)
    for little in (0.4, 0, -1, float("nan")):
        with pytest.raises(InputError, match=r"GB of memory are too little.*0.6 or more"):
            image_pixels(little)
