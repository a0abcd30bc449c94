import numpy as np
import pytest

from nucseg.config import INSTANCE_MAPS, RECIPES, Crops, Preprocessing
from nucseg.datasets.reading import open_dataset
from nucseg.errors import InputError
from nucseg.training.crops import (
    Images,
    balanced_chances,
    crop_batches,
    fixed_crops,
    load_images,
)

SMALL = RECIPES["instance"].model_copy(
    update={"crops": Crops(size=32, per_epoch=5, clutter=0), "batch_size": 2}
)


@pytest.fixture(scope="module")
def images(discs):
    dataset = open_dataset(discs)
    return load_images(dataset, dataset.image_ids[:4], Preprocessing(size=None))


def batches(images, epochs, settings=SMALL):
    return list(crop_batches(images, settings, epochs=epochs).as_numpy_iterator())


def test_images_keep_their_size_and_labels(images):
    assert len(images.images) == 4
    for image, labels in zip(images.images, images.labels, strict=True):
        assert image.shape == (48, 48, 3)
        assert image.dtype == np.uint8
        assert image.max() == 255
        assert set(np.unique(labels)) == {0, 1, 2}
    assert images.chances.sum() == pytest.approx(1)


def test_every_epoch_has_its_crops(images):
    seen = batches(images, range(2))
    assert [len(crops) for crops, _ in seen] == [2, 2, 1] * 2
    for crops, maps in seen:
        assert crops.shape[1:] == (32, 32, 3)
        assert maps.shape[1:] == (32, 32, len(INSTANCE_MAPS) + 1)
        assert crops.dtype == maps.dtype == np.float32
        assert min(crops.min(), maps.min()) >= 0
        assert max(crops.max(), maps[..., :-1].max()) <= 1
    assert not np.array_equal(seen[0][0], seen[3][0])


def test_some_crops_are_clutter_without_nuclei(images):
    def empty(clutter):
        drawn = SMALL.crops.model_copy(update={"clutter": clutter, "per_epoch": 20})
        settings = SMALL.model_copy(update={"crops": drawn})
        maps = np.concatenate([maps for _, maps in batches(images, range(1), settings)])
        return np.mean([not nucleus.any() for nucleus in maps[..., 0]])

    assert empty(0) < 0.3
    assert empty(1) == 1


def test_maps_belong_to_their_crops(images):
    still = SMALL.augmentation.model_copy(update={"inversion": 0, "contrast": 0, "noise": 0})
    settings = SMALL.model_copy(update={"augmentation": still})
    agreement = [
        np.mean((crops[..., 0] > 0.5) == (maps[..., 0] > 0.5))
        for crops, maps in batches(images, range(3), settings)
    ]
    assert np.mean(agreement) > 0.95


def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(images):
    whole, resumed = batches(images, range(3)), batches(images, range(2, 3))
    for expected, again in zip(whole[6:], resumed, strict=True):
        np.testing.assert_array_equal(expected[0], again[0])
        np.testing.assert_array_equal(expected[1], again[1])


def test_validation_crops_are_the_middle_of_each_image(images):
    fixed = fixed_crops(images, SMALL)
    assert fixed.images.shape == (4, 32, 32, 3)
    np.testing.assert_allclose(fixed.images[0] * 255, images.images[0][8:40, 8:40], atol=1e-4)
    assert fixed.targets.dtype == np.float32


def test_small_images_are_mirrored_to_the_size_of_crops(images):
    large = SMALL.model_copy(update={"crops": Crops(size=64)})
    fixed = fixed_crops(images, large)
    assert fixed.images.shape == (4, 64, 64, 3)
    np.testing.assert_array_equal(fixed.images[:, 7], fixed.images[:, 9])


def test_rare_kinds_are_drawn_more_often_than_their_number_says():
    pictures = [np.zeros((10, 10))] * 100
    chances = balanced_chances(["common"] * 96 + ["rare"] * 4, pictures)
    assert chances[:96].sum() == pytest.approx(np.sqrt(96) / (np.sqrt(96) + 2))
    assert chances.sum() == pytest.approx(1)


def test_large_images_of_a_kind_are_drawn_more_often():
    chances = balanced_chances(["a", "a"], [np.zeros((10, 10)), np.zeros((20, 20))])
    np.testing.assert_allclose(chances, [1 / 3, 2 / 3])


def test_crops_are_needed(images):
    with pytest.raises(InputError, match="trains on crops"):
        fixed_crops(images, RECIPES["semantic"])
    assert isinstance(images, Images)
