"""Synthetic images: true labels, repeatable, and bright where the labels say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucseg.datasets.reading import open_dataset
from nucseg.datasets.synthetic import (
    SAMPLES,
    sample_image,
    synthetic_image,
    write_synthetic_dataset,
)
from nucseg.errors import InputError


@settings(max_examples=20)
@given(
    st.integers(0, 2**32),
    st.integers(16, 80),
    st.integers(16, 80),
    st.integers(0, 12),
    st.sampled_from(["fluorescence", "histology"]),
)
def test_images_are_whole_and_labels_have_no_gaps(seed, height, width, nuclei, modality):
    image, labels = synthetic_image(
        np.random.default_rng(seed), size=(height, width), nuclei=nuclei, modality=modality
    )
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert labels.dtype == np.int32
    assert labels.max() <= nuclei
    assert np.array_equal(np.unique(labels[labels > 0]), np.arange(1, labels.max() + 1))


def test_nuclei_are_bright_in_fluorescence_and_dark_and_blue_in_tissue():
    image, labels = synthetic_image(np.random.default_rng(1), nuclei=20)
    assert (image[..., 0] == image[..., 2]).all()
    assert image[labels > 0].mean() > 2 * image[labels == 0].mean()
    image, labels = synthetic_image(np.random.default_rng(1), nuclei=20, modality="histology")
    inside, outside = image[labels > 0].mean(axis=0), image[labels == 0].mean(axis=0)
    assert (inside[[0, 2]] < outside[[0, 2]]).all()
    assert inside[2] > inside[0]


def test_some_nuclei_touch():
    labels = synthetic_image(np.random.default_rng(2), nuclei=40)[1]
    across = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
    assert across.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (8, 64)}, "at least 16 pixels"),
        ({"nuclei": -1}, "0 or more"),
        ({"modality": "radar"}, "Unknown modality 'radar'"),
    ],
)
def test_senseless_options_are_errors(options, message):
    with pytest.raises(InputError, match=message):
        synthetic_image(np.random.default_rng(0), **options)


def test_a_data_set_is_read_back_without_problems(tmp_path):
    calls = []
    write_synthetic_dataset(
        tmp_path / "a", images=4, seed=7, size=(48, 64), progress=lambda *call: calls.append(call)
    )
    dataset = open_dataset(tmp_path / "a")
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(dataset.image_ids) == 4
    samples = [dataset.read(image_id) for image_id in dataset.image_ids]
    assert all(sample.problems == () and sample.labels.max() > 0 for sample in samples)
    assert samples[3].pixels[..., 0].std() > 0
    assert (samples[0].pixels[..., 0] == samples[0].pixels[..., 1]).all()
    assert not (samples[3].pixels[..., 0] == samples[3].pixels[..., 1]).all()  # tissue, RGB order
    assert samples[3].pixels[..., 1].mean() < samples[3].pixels[..., 0].mean()


def test_the_same_seed_writes_the_same_and_more_images_change_none(tmp_path):
    write_synthetic_dataset(tmp_path / "a", images=1, seed=3, size=(32, 32))
    write_synthetic_dataset(tmp_path / "b", images=2, seed=3, size=(32, 32))
    write_synthetic_dataset(tmp_path / "c", images=1, seed=4, size=(32, 32))
    content = {
        name: next((tmp_path / name).glob("*0000/images/*.png")).read_bytes() for name in "abc"
    }
    assert content["a"] == content["b"] != content["c"]


def test_a_folder_in_use_and_no_images_are_errors(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        write_synthetic_dataset(tmp_path, images=1)
    with pytest.raises(InputError, match="not an empty folder"):
        write_synthetic_dataset(tmp_path / "note.txt", images=1)
    with pytest.raises(InputError, match="1 or more"):
        write_synthetic_dataset(tmp_path / "new", images=0)


def test_samples_are_the_same_each_time():
    for name in SAMPLES:
        image = sample_image(name)
        assert (image.shape, image.dtype) == ((256, 320, 3), np.uint8)
        np.testing.assert_array_equal(image, sample_image(name))
    with pytest.raises(InputError, match="Give one of tissue, fluorescence"):
        sample_image("plant")
