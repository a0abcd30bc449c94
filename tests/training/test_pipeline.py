import numpy as np
import pytest

from nucseg.config import Augmentation, Preprocessing
from nucseg.datasets.samples import Problem, Sample
from nucseg.errors import InputError
from nucseg.training.pipeline import Arrays, load_arrays, training_batches, validation_batches


@pytest.fixture
def arrays():
    """Ten images, each of its own brightness, so that it can be told from the others."""
    images = np.stack([np.full((32, 32, 3), index / 10, np.float32) for index in range(10)])
    targets = (images[..., :1] > 0.45).astype(np.float32)
    return Arrays(tuple("abcdefghij"), images, targets)


def order(batches):
    return [[round(float(image[0, 0, 0]) * 10) for image in images] for images, _ in batches]


def epochs(arrays, numbers, seed=0, augmentation=None):
    batches = training_batches(
        arrays, augmentation, batch_size=4, seed=seed, epochs=numbers
    ).as_numpy_iterator()
    return list(batches)


def test_every_epoch_holds_every_image_once(arrays):
    seen = order(epochs(arrays, range(3)))
    assert [len(batch) for batch in seen] == [4, 4, 2] * 3
    flat = [index for batch in seen for index in batch]
    for epoch in range(3):
        assert sorted(flat[10 * epoch : 10 * epoch + 10]) == list(range(10))
    assert flat[:10] != flat[10:20] != list(range(10))


def test_targets_stay_with_their_images(arrays):
    for images, targets in epochs(arrays, range(1)):
        np.testing.assert_array_equal(targets, (images[..., :1] > 0.45).astype(np.float32))


def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(arrays):
    whole = epochs(arrays, range(4), augmentation=Augmentation())
    resumed = epochs(arrays, range(2, 4), augmentation=Augmentation())
    for (image, target), (image_again, target_again) in zip(whole[6:], resumed, strict=True):
        np.testing.assert_array_equal(image, image_again)
        np.testing.assert_array_equal(target, target_again)


def test_another_seed_gives_another_order(arrays):
    assert order(epochs(arrays, range(1))) != order(epochs(arrays, range(1), seed=1))


def test_validation_images_come_in_order_and_unchanged(arrays):
    images = np.concatenate([images for images, _ in validation_batches(arrays, batch_size=4)])
    np.testing.assert_array_equal(images, arrays.images)


class OneImage:
    image_ids = ("a",)

    def read(self, image_id):
        labels = np.zeros((64, 96), np.int32)
        labels[:32] = 5
        pixels = np.repeat((labels * 40).astype(np.uint8)[..., None], 3, axis=2)
        return Sample(image_id, pixels, labels, ())


def test_images_are_resized_and_scaled_into_arrays():
    done = []
    arrays = load_arrays(
        OneImage(),
        ("a",),
        Preprocessing(size=(32, 32)),
        progress=lambda *count: done.append(count),
    )
    assert arrays.images.shape == (1, 32, 32, 3)
    assert arrays.images.max() == 1
    assert arrays.targets[0, :16].all()
    assert not arrays.targets[0, 16:].any()
    assert done == [(1, 1)]


class Unannotated(OneImage):
    def read(self, image_id):
        sample = super().read("a")
        if image_id == "a":
            return sample
        problem = Problem(image_id, "no masks", "Nobody marked nuclei.")
        return Sample(image_id, sample.pixels, sample.labels * 0, (problem,))


def test_images_that_nobody_annotated_are_left_out_and_told(caplog):
    arrays = load_arrays(Unannotated(), ("b", "a", "c"), Preprocessing(size=(32, 32)))
    assert arrays.image_ids == ("a",)
    assert arrays.images.shape == (1, 32, 32, 3)
    assert arrays.targets.any()
    assert "no masks (2)" in caplog.text


def test_data_without_any_annotation_are_refused():
    with pytest.raises(InputError, match="None of the 2 images is annotated"):
        load_arrays(Unannotated(), ("b", "c"), Preprocessing(size=(32, 32)))


def test_a_fixed_size_is_needed():
    with pytest.raises(InputError, match="needs a fixed size"):
        load_arrays(OneImage(), ("a",), Preprocessing(size=None))
