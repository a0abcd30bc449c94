import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucseg.config import OFFSET_RANGE, ConnectedComponents, Watershed
from nucseg.datasets.synthetic import synthetic_image
from nucseg.evaluation.metrics import kaggle_map, overlap
from nucseg.images.preprocess import resize_image
from nucseg.inference.instances import connected_components, label_image, watershed
from nucseg.inference.scores import mean_scores
from nucseg.training.targets import instance_maps

EVERY_PIXEL = ConnectedComponents(min_area=0)
EVERY_SEED = Watershed(min_area=0)


def maps_of(distance, *, nucleus=None, centres=None):
    """Maps without border; pixels vote for columns `centres`, or for where they are."""
    distance = np.array(distance, np.float32)
    nucleus = np.ones_like(distance) if nucleus is None else np.array(nucleus, np.float32)
    columns = np.arange(distance.shape[1])
    away = np.broadcast_to(columns if centres is None else centres, distance.shape) - columns
    nowhere = np.full_like(distance, 0.5)
    offsets = [nowhere, 0.5 + away / (2 * OFFSET_RANGE)]
    return np.stack([nucleus, 0 * distance, distance, *offsets], axis=-1, dtype=np.float32)


def test_nuclei_that_touch_by_a_corner_stay_apart():
    probability = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)
    assert connected_components(probability, EVERY_PIXEL).tolist() == [[1, 0], [0, 2]]


def test_small_components_are_dropped_and_the_rest_renumbered():
    probability = np.array([[1, 0, 1, 1, 0, 1], [0, 0, 1, 1, 0, 1]], np.float32)
    labels = connected_components(probability, ConnectedComponents(min_area=2))
    assert labels.tolist() == [[0, 0, 1, 1, 0, 2], [0, 0, 1, 1, 0, 2]]
    assert labels.dtype == np.int32


def test_threshold_itself_counts():
    probability = np.array([[0.5, 0.49]], np.float32)
    assert connected_components(probability, EVERY_PIXEL).tolist() == [[1, 0]]


def test_nothing_above_the_threshold():
    labels = connected_components(np.zeros((3, 4), np.float32), EVERY_PIXEL)
    assert not labels.any()
    assert mean_scores(labels, np.zeros((3, 4), np.float32)).shape == (0,)


@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(0, 1, width=32)
    ),
    st.integers(0, 6),
)
def test_labels_are_consecutive_large_enough_and_above_the_threshold(probability, min_area):
    labels = connected_components(probability, ConnectedComponents(min_area=min_area))
    areas = np.bincount(labels.ravel())[1:]
    assert (areas >= max(min_area, 1)).all()
    assert (probability[labels > 0] >= 0.5).all()
    scores = mean_scores(labels, probability)
    assert len(scores) == labels.max()
    assert ((scores >= 0.5) & (scores <= 1)).all()


def test_seeds_grow_until_they_meet_on_low_ground():
    maps = maps_of([[0.9, 0.4, 0.3, 0.1, 0.2, 0.4, 0.45, 0.6]])
    assert watershed(maps, EVERY_SEED).tolist() == [[1, 1, 1, 1, 2, 2, 2, 2]]


def test_a_border_splits_what_the_distance_alone_would_not():
    maps = maps_of([[0.9] * 7])
    assert watershed(maps, EVERY_SEED).tolist() == [[1] * 7]
    maps[0, 3, 1] = 1
    assert watershed(maps, EVERY_SEED).max() == 2


TWO_SEEDS = (0.9, 0.6, 0.1, 0.1, 0.6, 0.9)


@pytest.mark.parametrize(
    ("centres", "expected"),
    [
        ((1, 1, 1, 4, 4, 4), [1, 1, 1, 2, 2, 2]),  # each has its own
        ((2, 2, 3, 3, 2, 2), [1, 1, 1, 1, 1, 1]),  # the right one sees its centre in the left
        ((1, 1, 1, 4, 4, 1), [1, 1, 1, 1, 1, 1]),  # a third of its votes are enough
        ((-9, -9, 9, 9, 99, 99), [1, 1, 1, 2, 2, 2]),  # outside the image is in itself
    ],
)
def test_pieces_are_joined_by_the_votes_for_their_centre(centres, expected):
    maps = maps_of([TWO_SEEDS], centres=centres)
    assert watershed(maps, EVERY_SEED).tolist() == [expected]


def test_share_of_votes_that_joins():
    maps = maps_of([TWO_SEEDS], centres=(1, 1, 1, 4, 4, 1))
    for share, count in ((0.3, 1), (0.4, 2)):
        assert watershed(maps, Watershed(min_area=0, join_votes=share)).max() == count


def test_pieces_that_do_not_touch_stay_apart_and_others_keep_their_numbers():
    seeds = [TWO_SEEDS + (0.5,) * 4]
    nucleus = [(1,) * 6 + (0, 1, 0, 1)]
    # The lone nuclei vote for the first pieces, the pieces for each other.
    centres = (5, 5, 5, 0, 0, 0, 0, 0, 0, 0)
    labels = watershed(maps_of(seeds, nucleus=nucleus, centres=centres), EVERY_SEED)
    assert labels.tolist() == [[1] * 6 + [0, 2, 0, 3]]


def test_nuclei_apart_need_no_seed():
    maps = maps_of([[0.9, 0.1, 0.9, 0.1, 0.1]], nucleus=[[1, 0.4, 0.5, 0, 0.6]])
    assert watershed(maps, EVERY_SEED).tolist() == [[1, 0, 2, 0, 3]]


def test_seed_threshold():
    maps = maps_of([[0.9, 0.4, 0.9]])
    counts = [
        watershed(maps, Watershed(min_area=0, seed_threshold=threshold)).max()
        for threshold in (0.4, 0.5, 0.95)
    ]
    assert counts == [1, 2, 1]


def test_pixels_far_below_the_mean_of_their_nucleus_do_not_count():
    nucleus = np.array([[0.35, 0.9, 0.95, 0.3, 0.0, 0.4, 0.4, 0.35]])
    settings = Watershed(min_area=0, threshold=0.2, relative_threshold=0.6)
    maps = maps_of(nucleus, nucleus=nucleus)
    assert watershed(maps, settings).tolist() == [[0, 1, 1, 0, 0, 2, 2, 2]]
    settings = Watershed(min_area=0, threshold=0.2)
    assert watershed(maps, settings).tolist() == [[1, 1, 1, 1, 0, 2, 2, 2]]


def test_of_a_nucleus_that_falls_apart_the_largest_piece_stays():
    nucleus = np.array([[0.9, 0.9, 0.3, 0.9, 0.9, 0.9]])
    settings = Watershed(min_area=0, threshold=0.2, relative_threshold=0.6)
    maps = maps_of(np.ones_like(nucleus), nucleus=nucleus)
    assert watershed(maps, settings).tolist() == [[0, 0, 0, 1, 1, 1]]


def test_holes_inside_a_nucleus_are_filled_unless_large():
    nucleus = np.ones((5, 12))
    nucleus[2, 2] = 0
    nucleus[:, 5] = 0
    nucleus[1:4, 7:11] = 0
    labels = watershed(maps_of(nucleus, nucleus=nucleus), EVERY_SEED)
    assert (labels[:, :5] == 1).all()
    assert (labels[1:4, 7:11] == 0).all()
    assert labels.max() == 2


def test_a_hole_between_two_nuclei_stays():
    nucleus = np.ones((3, 7))
    nucleus[1, 3] = 0
    distance = np.repeat([[0.2, 0.8, 0.4, 0.1, 0.4, 0.8, 0.2]], 3, axis=0)
    labels = watershed(maps_of(distance, nucleus=nucleus), EVERY_SEED)
    assert (labels.max(), labels[1, 3]) == (2, 0)


def test_background_at_the_edge_is_no_hole():
    nucleus = np.ones((5, 5))
    nucleus[0, 2] = nucleus[4, 4] = 0
    labels = watershed(maps_of(nucleus, nucleus=nucleus), EVERY_SEED)
    np.testing.assert_array_equal(labels, nucleus)


def test_no_nuclei_at_all():
    labels = watershed(np.zeros((3, 4, 3), np.float32), EVERY_SEED)
    assert (labels.shape, labels.dtype, labels.max()) == ((3, 4), np.int32, 0)


def test_method_follows_from_the_settings():
    maps = maps_of([[0.9, 0.1, 0.9]])
    assert label_image(maps, EVERY_SEED).max() == 2
    assert label_image(maps, EVERY_PIXEL).max() == 1


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 10), st.integers(1, 10), st.just(5)),
        elements=st.floats(0, 1, width=32),
    ),
    st.integers(0, 6),
    st.floats(0.1, 0.9),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.booleans(),
)
def test_nuclei_are_consecutive_connected_and_large_enough(
    maps, min_area, seed_threshold, share, still
):
    settings = Watershed(min_area=min_area, seed_threshold=seed_threshold, relative_threshold=share)
    if still:
        maps[..., 3:] = 0.5
    else:  # to anywhere within about ten pixels
        maps[..., 3:] = 0.5 + (maps[..., 3:] - 0.5) / 6
    before = maps.copy()
    labels = watershed(maps, settings)
    np.testing.assert_array_equal(maps, before)
    areas = np.bincount(labels.ravel())[1:]
    assert (areas >= max(min_area, 1)).all()
    for label in range(1, labels.max() + 1):
        assert connected_components((labels == label).astype(np.float32), EVERY_PIXEL).max() == 1
    if share > 0:
        return
    if min_area == 0:
        assert (labels[maps[..., 0] >= 0.5] > 0).all()
    # Which nuclei there are does not depend on how the image lies.
    for turned in (maps[::-1], maps[:, ::-1], maps.swapaxes(0, 1)):
        again = watershed(np.ascontiguousarray(turned), settings)
        if min_area == 0 and (maps[..., 3:] == 0.5).all():
            assert again.max() == labels.max()


@pytest.mark.parametrize("modality", ["fluorescence", "histology"])
@pytest.mark.parametrize(("share", "expected"), [(1.0, 0.98), (0.5, 0.93)])
def test_perfect_maps_give_the_nuclei_back(modality, share, expected):
    scores = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        _, labels = synthetic_image(rng, size=(160, 192), nuclei=30, modality=modality)
        maps = resize_image(instance_maps(labels), (int(160 * share), int(192 * share)))
        found = watershed(resize_image(maps, (160, 192)), Watershed(seed_threshold=0.3))
        scores.append(kaggle_map(overlap(labels, found)))
    assert np.mean(scores) > expected
