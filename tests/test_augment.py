import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.augment import augment
from nucseg.config import Augmentation

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
