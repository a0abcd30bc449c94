import numpy as np
import pytest
import tifffile
from PIL import Image

from nucseg.config import INSTANCE_MAPS, RECIPES, Crops, Preprocessing
from nucseg.datasets.reading import open_dataset, open_datasets
from nucseg.errors import InputError
from nucseg.training.crops import (
    Images,
    balanced_chances,
    crop_batches,
    cut_crop,
    fixed_crops,
    load_images,
)

SMALL = RECIPES["instance"].model_copy(
    update={"crops": Crops(size=32, per_epoch=5, clutter=0, crowd=0), "batch_size": 2}
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


def write_set(folder, count, facts=""):
    """Write a data set of discs that never touch, some of three discs in one piece."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    rows, columns = np.indices((140, 140))
    for index in range(count):
        labels = np.zeros((140, 140), np.uint16)
        for number in range(9):
            row, column = 25 + 45 * (number // 3), 25 + 45 * (number % 3)
            labels[(rows - row) ** 2 + (columns - column) ** 2 < 81] = number + 1
        for row, column in ((25, 42), (42, 25)):
            labels[(rows - row) ** 2 + (columns - column) ** 2 < 81] = 1
        tifffile.imwrite(folder / "labels" / f"{index}.tif", labels)
        Image.fromarray((40 + 120 * (labels > 0)).astype(np.uint8)).save(
            folder / "images" / f"{index}.png"
        )
    if facts:
        (folder / "dataset.toml").write_text(facts)
    return folder


def loaded(folders, **options):
    dataset = open_datasets(folders)
    return load_images(dataset, dataset.image_ids, Preprocessing(size=None), **options)


def test_borders_of_binary_masks_are_not_learned(tmp_path, caplog):
    guessed = loaded([write_set(tmp_path / "guessed", 25)])
    assert not any(guessed.borders)
    assert 'write touching = "apart"' in caplog.text
    # The three discs of one piece are parted.
    assert {labels.max() for labels in guessed.labels} == {11}
    _, maps = cut_crop(guessed, SMALL, 0, 0)
    assert np.isnan(maps[..., INSTANCE_MAPS.index("border")]).all()
    assert np.isfinite(maps[..., INSTANCE_MAPS.index("nucleus")]).any()
    caplog.clear()
    stated = loaded([write_set(tmp_path / "stated", 25, 'touching = "apart"')])
    assert all(stated.borders)
    assert {labels.max() for labels in stated.labels} == {9}
    assert not caplog.text
    assert not any(loaded([write_set(tmp_path / "m", 2, 'touching = "merged"')]).borders)


def test_too_many_nuclei_for_16_bits_are_an_error(tmp_path):
    folder = tmp_path / "set"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    labels = np.arange(65_536, dtype=np.uint32).reshape(256, 256)
    tifffile.imwrite(folder / "labels" / "a.tif", labels)
    tifffile.imwrite(folder / "images" / "a.tif", np.zeros((256, 256), np.uint8))
    with pytest.raises(InputError, match="a has 65,535 nuclei; .* at most 65,534"):
        loaded([folder])


def test_packed_fields_tell_borders_even_where_masks_are_binary(tmp_path):
    images = loaded([write_set(tmp_path / "set", 2, 'touching = "merged"')])
    packed = SMALL.model_copy(update={"crops": Crops(size=96, crowd=1, clutter=0)})
    borders = np.stack([cut_crop(images, packed, 0, place)[1][..., 1] for place in range(8)])
    assert np.nanmax(borders) == 1
    assert np.isnan(borders).mean() < 0.2


def test_sets_are_drawn_by_their_number_and_as_often_as_asked(tmp_path):
    folders = [write_set(tmp_path / "few", 1, "touching='apart'"), write_set(tmp_path / "many", 9)]
    shares = [
        sum(
            chance
            for image_id, chance in zip(images.image_ids, images.chances, strict=True)
            if image_id.startswith("few/")
        )
        for images in (loaded(folders), loaded(folders, draw={"few": 3}))
    ]
    assert shares == pytest.approx([1 / 4, 3 / 6])
    with pytest.raises(InputError, match="'fwe'; those given are few, many"):
        loaded(folders, draw={"fwe": 3})
