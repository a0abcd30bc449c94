"""Illumination that was put into images is found again and taken out."""

import numpy as np
import pytest

from nucseg.datasets.synthetic import synthetic_image
from nucseg.errors import InputError
from nucseg.images.flat_field import estimate_flat_field, flattened
from nucseg.measure import measure

SIZE = (160, 200)


def illumination() -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    away = ((rows - 70) / SIZE[0]) ** 2 + ((columns - 120) / SIZE[1]) ** 2
    light = 1 / (1 + 1.5 * away)
    return light / light.mean()


def fields(number: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images of nuclei as bright as each other, on a background of 40, under uneven light."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(number):
        _, labels = synthetic_image(rng, size=SIZE, nuclei=12)
        clean = np.where(labels > 0, 160.0, 40.0) * illumination()
        made.append((rng.poisson(clean).astype(np.uint16), labels))
    return made


def test_illumination_is_found_and_nuclei_are_equal_again():
    made = fields(30)
    field = estimate_flat_field(image for image, _ in made)
    assert field.dtype == np.float32
    assert np.abs(field / illumination() - 1).max() < 0.08
    image, labels = made[0]
    before, after = (
        measure(labels, each)["intensity_mean"] for each in (image, flattened(image, field))
    )
    assert before.std() / before.mean() > 0.05
    assert after.std() / after.mean() < 0.03
    assert after.mean() == pytest.approx(160, rel=0.03)


def test_channels_have_a_field_each():
    images = [np.dstack([image, np.full(SIZE, 50)]) for image, _ in fields(10)]
    field = estimate_flat_field(images)
    assert field.shape == (*SIZE, 2)
    assert np.ptp(field[..., 1]) < 0.2 < np.ptp(field[..., 0])


def test_what_cannot_be_estimated_or_applied_is_explained():
    image = np.ones((20, 30))
    with pytest.raises(InputError, match="10 images or more that are not black, not 3"):
        estimate_flat_field([image] * 3 + [np.zeros((20, 30))] * 20)
    with pytest.raises(InputError, match=r"one shape, not \(20, 30\) and \(20, 20\)"):
        estimate_flat_field([image, image[:, :20]])
    dark = np.zeros((200, 200))
    dark[0, 0] = 1
    with pytest.raises(InputError, match="0 in most places"):
        estimate_flat_field([dark] * 10)
    with pytest.raises(InputError, match="Estimate the flat field from images of the same shape"):
        flattened(image, np.ones((20, 20), np.float32))
    with pytest.raises(InputError, match="above 0 everywhere"):
        flattened(image, np.zeros((20, 30), np.float32))
