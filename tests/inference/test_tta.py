import numpy as np
import pytest

from nucseg.config import INSTANCE_MAPS
from nucseg.inference.loading import load_model
from nucseg.inference.tta import average_over_orientations
from nucseg.training.targets import centre_offsets, instance_maps


def scene():
    labels = np.zeros((20, 32), int)
    labels[2:9, 3:15], labels[9:18, 12:17], labels[4:7, 20:31] = 1, 2, 3
    return labels


def test_maps_that_turn_with_the_image_are_their_own_mean():
    labels = scene()
    image = np.repeat(labels[..., None], 3, axis=2).astype(np.float32)
    seen = []

    def network(turned):
        seen.append(turned[..., 0])
        return instance_maps(turned[..., 0].astype(int))

    maps = average_over_orientations(network, image, INSTANCE_MAPS)
    assert len({view.tobytes() + bytes(view.shape) for view in seen}) == 8
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, instance_maps(labels), atol=1e-6)


def test_offsets_alone_and_maps_without_offsets():
    image = np.repeat(scene()[..., None], 3, axis=2).astype(np.float32)
    offsets = average_over_orientations(
        lambda turned: centre_offsets(turned[..., 0].astype(int)), image, INSTANCE_MAPS[3:]
    )
    np.testing.assert_allclose(offsets, centre_offsets(scene()), atol=1e-6)
    first = average_over_orientations(lambda turned: turned[..., :1], image, ("nucleus",))
    np.testing.assert_array_equal(first, image[..., :1])


def test_what_depends_on_how_the_image_lies_is_averaged():
    image = np.zeros((8, 8, 3), np.float32)

    def first_row(turned):
        maps = np.zeros((*turned.shape[:2], 1), np.float32)
        maps[0] = 1
        return maps

    maps = average_over_orientations(first_row, image, ("nucleus",))[..., 0]
    assert maps[0, 3] == maps[7, 3] == maps[3, 0] == pytest.approx(1 / 4)
    assert maps[0, 0] == pytest.approx(1 / 2)
    assert maps[3, 3] == 0


def test_a_model_may_average(bright_instance_model):
    plain = load_model(bright_instance_model)
    image = np.zeros((12, 20), np.uint8)
    image[2:7, 3:8] = 250
    averaging = plain.with_tta()
    assert averaging.card.tta
    assert not plain.card.tta
    np.testing.assert_array_equal(averaging.segment(image).labels, plain.segment(image).labels)
    assert averaging.network_maps(image).shape == (12, 20, 5)
