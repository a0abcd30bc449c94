import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import separate_stains

from nucseg.config import Augmentation, Crops
from nucseg.core.labelling import UNKNOWN
from nucseg.training.augment import augment, crowded_field, random_crop, separate_copies
from nucseg.training.augment.crowds import without_nuclei
from nucseg.training.augment.optics import vary_nuclei
from nucseg.training.augment.stains import (
    DAB,
    EOSIN,
    HAEMATOXYLIN,
    immunostain,
    light,
    stain_fluorescence,
    stain_matrix,
    unmix,
)

STILL = {
    "flips": False, "quarter_turns": False, "rotation": 0, "zoom": (1, 1), "brightness": 0,
    "contrast": 0, "gamma": 0, "blur": 0, "noise": 0, "inversion": 0,
}  # fmt: skip
# Crops of which nothing but the place is left to chance.
PLAIN = {
    name: 0
    for name, field in Crops.model_fields.items()
    if field.annotation is float and name != "upright"
}


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
    crops = Crops(size=32, **PLAIN, upright=1)
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
    crops = Crops(size=64, **PLAIN)
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
        crops = Crops(size=64, upright=1, **{**PLAIN, "stain": stain})
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
                Crops(size=64, upright=1, **{**PLAIN, "stain": stain}),
            )[0]
            for stain in (0, 1)
        )
        np.testing.assert_allclose(first.mean((0, 1)), second.mean((0, 1)), atol=1e-6)


@pytest.mark.parametrize("ground", [0.2, 0.8])
def test_uneven_light_is_smooth_and_of_all_colours(ground: float):
    pixels = np.full((64, 64, 3), int(255 * ground), np.uint8)
    crops = Crops(size=64, upright=1, **{**PLAIN, "illumination": 1})
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
    crops = Crops(size=32, **{**PLAIN, "colour": 0.5})
    settings = Augmentation(**STILL)
    crop, _ = random_crop(grey, labels, np.random.default_rng(0), settings, crops)
    np.testing.assert_array_equal(crop[..., 0], crop[..., 2])
    crop, _ = random_crop(tinted, labels, np.random.default_rng(0), settings, crops)
    assert not np.allclose(crop[..., 0] * 2, crop[..., 2], atol=0.02)
    crops = Crops(size=32, **{**PLAIN, "grey": 1})
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


@pytest.mark.parametrize("change", ["elastic", "jpeg", "defocus", "coarse", "vary", "thickness"])
def test_each_change_of_a_crop_can_be_asked_for_alone(change):
    image, mask = disc(64, 64)
    dark = (image * 255).astype(np.uint8)
    tinted = (255 * (1 - image * np.array([0.5, 0.9, 0.3], np.float32))).astype(np.uint8)
    pixels = tinted if change == "thickness" else dark
    labels = mask[..., 0].astype(np.int32)
    given = {"size": 64, "upright": 0}
    plain = Crops(**given, **PLAIN)
    changed = Crops(**given, **{**PLAIN, change: 1})
    before, _ = random_crop(pixels, labels, np.random.default_rng(3), Augmentation(**STILL), plain)
    crop, moved = random_crop(
        pixels, labels, np.random.default_rng(3), Augmentation(**STILL), changed
    )
    assert not np.allclose(before, crop, atol=1e-3)
    # A nucleus stays one, of about its size, and another brightness than its ground.
    assert moved.max() == 1
    assert 0.5 < np.count_nonzero(moved) / np.count_nonzero(labels) < 1.6
    assert abs(crop[moved > 0].mean() - crop[moved == 0].mean()) > 0.05


def test_what_is_not_known_moves_with_a_crop_and_stays_not_known():
    pixels, labels = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.int32)
    labels[10:20, 10:20], labels[30:50, 30:50] = 5, UNKNOWN
    settings = Augmentation(**{**STILL, "quarter_turns": True})
    _, moved = random_crop(
        pixels, labels, np.random.default_rng(1), settings, Crops(size=64, **PLAIN)
    )
    assert sorted(np.unique(moved)) == [UNKNOWN, 0, 1]
    assert np.count_nonzero(moved == UNKNOWN) == 400
    assert np.count_nonzero(moved == 1) == 100


def cells(dark=True, count=6):
    """An image of separate discs with some grain, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.zeros((200, 200), np.int32)
    rows, columns = np.indices(labels.shape)
    for number in range(count):
        centre = 30 + 60 * (number // 3), 30 + 60 * (number % 3)
        labels[(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < 150] = number + 1
    grain = rng.normal(0, 4, (200, 200, 1))
    if dark:
        image = 30 + 120 * (labels > 0)[..., None] + grain + np.zeros(3)
    else:
        image = 230 - (labels > 0)[..., None] * np.array([110, 150, 60]) + grain
    return np.clip(image, 0, 255).astype(np.uint8), labels


def touching_share(labels):
    met = set()
    for one, other in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        pairs = (one != other) & (one > 0) & (other > 0)
        met |= set(one[pairs]) | set(other[pairs])
    return len(met) / len(set(np.unique(labels)) - {0, UNKNOWN})


@pytest.mark.parametrize("dark", [True, False])
def test_packed_nuclei_touch_the_more_the_nearer_they_are(dark):
    image, labels = cells(dark)
    image_before = image.copy()
    shares = []
    for spacing in (1.6, 0.7):
        drawn = []
        for seed in range(6):
            rng = np.random.default_rng(seed)
            field, numbers = crowded_field(image, labels, rng, 160, spacing=spacing)
            assert field.shape == (160, 160, 3)
            assert field.dtype == np.uint8
            assert numbers.min() >= UNKNOWN
            assert numbers.max() > 4
            inside = field[numbers > 0].mean()
            outside = field[numbers == 0].mean()
            assert (inside > outside) == dark
            drawn.append(touching_share(numbers))
        shares.append(np.mean(drawn))
    assert shares[0] < 0.5 < shares[1] - 0.2
    np.testing.assert_array_equal(image, image_before)


def test_the_same_state_gives_the_same_field():
    image, labels = cells()
    first, second = (crowded_field(image, labels, np.random.default_rng(4), 96) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_too_few_nuclei_give_no_field():
    image, labels = cells(count=2)
    assert crowded_field(image, labels, np.random.default_rng(0), 96) is None


def test_background_goes_through_nuclei_that_are_taken_out():
    image, labels = cells()
    filled = without_nuclei(image.astype(np.float32), labels > 0)
    assert filled.shape == image.shape
    assert abs(filled - 30).max() < 12


def test_stains_are_unmixed_as_they_were_mixed():
    vectors = stain_matrix(HAEMATOXYLIN, EOSIN, DAB)
    amounts = np.random.default_rng(0).uniform(0, 1, (20, 20, 3)).astype(np.float32)
    found = unmix(light(amounts @ vectors.astype(np.float32)), vectors)
    np.testing.assert_allclose(found, amounts, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    third = stain_matrix(HAEMATOXYLIN, EOSIN)[2]
    np.testing.assert_allclose(vectors[:2] @ third, 0, atol=1e-12)


def test_stains_are_unmixed_as_scikit_image_does():
    image = np.random.default_rng(1).uniform(0.1, 1, (8, 8, 3)).astype(np.float32)
    vectors = stain_matrix(HAEMATOXYLIN, EOSIN, DAB)
    theirs = separate_stains(image, np.linalg.inv(vectors))
    ours = np.maximum(unmix(image, vectors), 0)
    # scikit-image divides densities by that of its darkest value, of one in a million.
    np.testing.assert_allclose(ours, theirs * -np.log(1e-6), rtol=1e-4, atol=1e-4)


def test_immunostained_nuclei_are_brown_or_blue():
    image, labels = cells(dark=False)
    scaled = image.astype(np.float32) / 255
    brown = []
    for seed in range(40):
        made = immunostain(scaled, labels, np.random.default_rng(seed))
        assert 0 <= made.min() <= made.max() <= 1
        for number in range(1, 7):
            red, _, blue = made[labels == number].mean(axis=0)
            brown.append(red > blue)
        assert made[labels == 0].mean() > made[labels > 0].mean()
    assert 0.25 < np.mean(brown) < 0.75


def test_stained_fluorescence_is_dark_and_blue_where_it_shone():
    image, labels = cells()
    for seed in range(10):
        made = stain_fluorescence(image.astype(np.float32) / 255, np.random.default_rng(seed))
        assert made[labels > 0].mean() < made[labels == 0].mean()
        assert made[labels > 0].mean(axis=0)[0] < made[labels == 0].mean(axis=0)[0]


def test_nuclei_get_a_brightness_of_their_own():
    image, labels = cells()
    ratios = []
    for seed in range(10):
        made = vary_nuclei(image.astype(np.float32) / 255, labels, np.random.default_rng(seed))
        means = np.array([made[labels == number].mean() for number in range(1, 7)])
        ratios.append(means.max() / means.min())
    assert np.median(ratios) > 1.3
    empty = np.zeros((40, 40), np.int32)
    grey = np.full((40, 40, 3), 0.3, np.float32)
    np.testing.assert_array_equal(vary_nuclei(grey, empty, np.random.default_rng(0)), grey)
