import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.augment import augment, random_crop, separate_copies
from nucseg.config import Augmentation, Crops

STILL = {
    "flips": False, "quarter_turns": False, "rotation": 0, "zoom": (1, 1), "brightness": 0,
    "contrast": 0, "gamma": 0, "blur": 0, "noise": 0, "inversion": 0,
}  # fmt: skip


def disc(height=48, width=48):
    """A bright disc off the centre and its mask."""
    rows, columns = np.mgrid[:height, :width]
    mask = ((rows - 15) ** 2 + (columns - 28) ** 2 < 100).astype(np.float32)
    return np.repeat(mask[..., None] * 0.6 + 0.2, 3, axis=2), mask[..., None]


def test_nothing_asked_changes_nothing():
    image, mask = disc()
    changed, moved = augment(image, mask, np.random.default_rng(0), Augmentation(**STILL))
    np.testing.assert_allclose(changed, image, atol=1e-6)
    np.testing.assert_array_equal(moved, mask)


@pytest.mark.parametrize(
    "change",
    [{"flips": True}, {"quarter_turns": True}, {"rotation": 180}, {"zoom": (0.6, 1.6)}],
)
def test_the_mask_moves_with_the_image(change):
    image, mask = disc()
    moved = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        changed, target = augment(image, mask, rng, Augmentation(**{**STILL, **change}))
        shown = changed[..., 0] > 0.5
        disagreement = np.count_nonzero(shown != (target[..., 0] > 0))
        assert disagreement <= 0.08 * mask.sum()
        moved.add(target.tobytes())
    assert len(moved) > 1


@pytest.mark.parametrize(
    "change",
    [{"brightness": 0.3}, {"contrast": 0.5}, {"gamma": 1}, {"blur": 2}, {"noise": 0.2},
     {"inversion": 1}],
)  # fmt: skip
def test_intensities_change_and_the_mask_does_not(change):
    image, mask = disc()
    differs = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        changed, target = augment(image, mask, rng, Augmentation(**{**STILL, **change}))
        np.testing.assert_array_equal(target, mask)
        differs += not np.allclose(changed, image, atol=1e-4)
    assert differs >= 2


def test_inversion_makes_bright_dark():
    image, mask = disc()
    settings = Augmentation(**{**STILL, "inversion": 1})
    changed, _ = augment(image, mask, np.random.default_rng(0), settings)
    np.testing.assert_allclose(changed, 1 - image, atol=1e-6)


@given(seed=st.integers(0, 2**32), height=st.integers(8, 40), width=st.integers(8, 40))
def test_shapes_ranges_and_masks_stay_what_they_are(seed, height, width):
    image, mask = disc(height, width)
    image_before, mask_before = image.copy(), mask.copy()
    changed, target = augment(image, mask, np.random.default_rng(seed), Augmentation())
    assert changed.shape == image.shape
    assert changed.dtype == target.dtype == np.float32
    assert 0 <= changed.min() <= changed.max() <= 1
    assert set(np.unique(target)) <= {0, 1}
    np.testing.assert_array_equal(image, image_before)
    np.testing.assert_array_equal(mask, mask_before)


def test_the_same_state_gives_the_same_result():
    image, mask = disc()
    first = augment(image, mask, np.random.default_rng(3), Augmentation())
    second = augment(image, mask, np.random.default_rng(3), Augmentation())
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


@given(seed=st.integers(0, 2**32), height=st.integers(8, 90), width=st.integers(8, 90))
def test_a_crop_has_its_size_whatever_the_image(seed, height, width):
    image, mask = disc(height, width)
    pixels, labels = (image * 255).astype(np.uint8), (mask[..., 0] * 700).astype(np.int32)
    pixels_before, labels_before = pixels.copy(), labels.copy()
    settings = Augmentation(zoom=(0.5, 1.8), rotation=45)
    crop, moved = random_crop(pixels, labels, np.random.default_rng(seed), settings, Crops(size=32))
    assert crop.shape == (32, 32, 3)
    assert crop.dtype == np.float32
    assert 0 <= crop.min() <= crop.max() <= 1
    assert set(np.unique(moved)) | {0} == set(range(moved.max() + 1))
    np.testing.assert_array_equal(pixels, pixels_before)
    np.testing.assert_array_equal(labels, labels_before)


def test_upright_crops_are_exact_copies_of_the_pixels():
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (70, 90, 3), np.uint8)
    labels = (pixels[..., 0] > 128).astype(np.int32)
    settings = Augmentation(**{**STILL, "zoom": (0.5, 1.8), "flips": True, "quarter_turns": True})
    crops = Crops(size=32, upright=1, grey=0, colour=0, stain=0, illumination=0)
    seen = set()
    for _ in range(20):
        crop, moved = random_crop(pixels, labels, rng, settings, crops)
        np.testing.assert_array_equal(crop[..., 0] * 255 > 128, moved > 0)
        whole = np.rint(crop * 255).astype(np.uint8)
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (32, 32, 3))[:, :, 0]
        turns = [np.rot90(part, k) for part in (whole, whole[::-1]) for k in range(4)]
        found = [k for k, turn in enumerate(turns) if (windows == turn).all((2, 3, 4)).any()]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) > 4


def test_the_labels_of_a_crop_move_with_it():
    image, mask = disc(64, 64)
    pixels, labels = (image * 255).astype(np.uint8), mask[..., 0].astype(np.int32)
    settings = Augmentation(**{**STILL, "flips": True, "quarter_turns": True, "rotation": 45})
    crops = Crops(size=64, illumination=0)
    for seed in range(20):
        crop, moved = random_crop(pixels, labels, np.random.default_rng(seed), settings, crops)
        assert np.mean((crop[..., 0] > 0.5) == (moved > 0)) > 0.97
        assert np.count_nonzero(moved) > 150


def test_stained_images_get_other_colours_and_keep_their_structure():
    image, mask = disc(64, 64)
    # A purple disc on white, as a stain gives it.
    purple = (255 * (1 - image * np.array([0.5, 0.9, 0.3], np.float32))).astype(np.uint8)
    labels = mask[..., 0].astype(np.int32)
    settings = Augmentation(**STILL)

    def hues(stain):
        crops = Crops(size=64, grey=0, colour=0, upright=1, stain=stain, illumination=0)
        for seed in range(30):
            crop, moved = random_crop(purple, labels, np.random.default_rng(seed), settings, crops)
            inside, outside = crop[moved > 0].mean(axis=0), crop[moved == 0].mean(axis=0)
            assert outside.mean() > inside.mean() + 0.05
            yield inside - outside

    assert np.ptp(list(hues(0)), axis=0).max() < 0.02
    assert np.ptp(list(hues(1)), axis=0).min() > 0.4


def test_images_on_a_dark_ground_are_not_restained():
    image, mask = disc(64, 64)
    pixels = (255 * image * np.array([0.5, 0.9, 0.3], np.float32)).astype(np.uint8)
    labels = mask[..., 0].astype(np.int32)
    for seed in range(5):
        first, second = (
            random_crop(
                pixels,
                labels,
                np.random.default_rng(seed),
                Augmentation(**STILL),
                Crops(size=64, grey=0, colour=0, upright=1, stain=stain, illumination=0),
            )[0]
            for stain in (0, 1)
        )
        np.testing.assert_allclose(first.mean((0, 1)), second.mean((0, 1)), atol=1e-6)


@pytest.mark.parametrize("ground", [0.2, 0.8])
def test_uneven_light_is_smooth_and_of_all_colours(ground: float):
    pixels = np.full((64, 64, 3), int(255 * ground), np.uint8)
    crops = Crops(size=64, grey=0, colour=0, stain=0, upright=1, illumination=1)
    changes = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        crop, _ = random_crop(pixels, np.zeros((64, 64), int), rng, Augmentation(**STILL), crops)
        np.testing.assert_array_equal(crop[..., 0], crop[..., 2])
        assert np.abs(np.diff(crop[..., 0], axis=0)).max() < 0.1
        changes.append(float((crop - pixels / 255).mean()))
    assert min(np.abs(changes)) > 0.01
    # Haze lies over what is dark alone: a bright ground cannot become brighter.
    assert (max(changes) > 0) == (ground < 0.5)


def test_grey_images_stay_grey_and_colours_change():
    image, mask = disc()
    grey, labels = (image * 255).astype(np.uint8), mask[..., 0].astype(np.int32)
    tinted = grey.copy()
    tinted[..., 0] //= 2
    crops = Crops(size=32, grey=0, colour=0.5, illumination=0)
    settings = Augmentation(**STILL)
    crop, _ = random_crop(grey, labels, np.random.default_rng(0), settings, crops)
    np.testing.assert_array_equal(crop[..., 0], crop[..., 2])
    crop, _ = random_crop(tinted, labels, np.random.default_rng(0), settings, crops)
    assert not np.allclose(crop[..., 0] * 2, crop[..., 2], atol=0.02)
    crops = Crops(size=32, grey=1)
    crop, _ = random_crop(tinted, labels, np.random.default_rng(0), settings, crops)
    np.testing.assert_array_equal(crop[..., 0], crop[..., 2])


def test_mirrored_copies_of_a_nucleus_are_nuclei_of_their_own():
    pixels, labels = np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.int32)
    labels[10:30, 2:12] = 7
    settings = Augmentation(**{**STILL, "zoom": (0.5, 0.5)})
    _, moved = random_crop(pixels, labels, np.random.default_rng(0), settings, Crops(size=64))
    assert moved.max() > 2
    for label in range(1, moved.max() + 1):
        rows, columns = np.nonzero(moved == label)
        assert np.ptp(rows) < 20
        assert np.ptp(columns) < 20


def test_pieces_that_touch_by_a_corner_are_one_nucleus():
    assert separate_copies(np.array([[5, 0, 5], [0, 5, 0], [3, 0, 0]])).max() == 2
