from dataclasses import replace

import numpy as np
import pytest

import nucseg
from nucseg.config import Filtering
from nucseg.datasets.synthetic import sample_image
from nucseg.inference import large
from nucseg.inference.loading import load_model
from nucseg.inference.segmenter import Model
from nucseg.napari.finding import Found, find_nuclei, kept_nuclei
from nucseg.napari.samples import stack as sample_stack
from nucseg.napari.stacks import Channel, Stack

FILTERS = [
    {},
    {"min_score": 0.85},
    {"border_nuclei": "drop"},
    {"max_area": 400},
    {"min_score": 0.5, "min_area": 100, "max_area": 900, "border_nuclei": "drop"},
]


@pytest.fixture(scope="module")
def model():
    return nucseg.load_model(threads=1)


@pytest.fixture(scope="module")
def squares():
    """Bright squares, some at the edges, on a dark ground."""
    image = np.full((900, 1100), 20, np.uint8)
    rng = np.random.default_rng(0)
    for row in range(-3, 900, 37):
        for column in range(-2, 1100, 41):
            side = int(rng.integers(5, 24))
            image[max(row, 0) : row + side, max(column, 0) : column + side] = 200
    return image


def with_filters(found, model, **filters):
    own = model.with_postprocessing(**filters).card.postprocessing
    return kept_nuclei(
        found, Filtering(**{name: getattr(own, name) for name in Filtering.model_fields})
    )


def assert_same(kept, segmentation):
    np.testing.assert_array_equal(kept.labels, segmentation.labels)
    assert kept.labels.dtype == segmentation.labels.dtype
    expected = segmentation.measurements()
    assert list(kept.features) == ["index", *list(expected)[1:]]
    for name, values in expected.items():
        np.testing.assert_array_equal(kept.features["index" if name == "label" else name], values)


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("name", ["tissue", "fluorescence"])
def test_nuclei_are_those_of_the_model_itself(model, name, filters):
    image = sample_image(name)
    chosen = model.with_postprocessing(**filters)
    found = find_nuclei(chosen, Stack(image, rgb=True), pixel_size=(0.5, 0.25))
    expected = chosen.segment(image, pixel_size=(0.5, 0.25))
    assert expected.count > 5
    assert_same(with_filters(found, model, **filters), expected)


@pytest.mark.parametrize("filters", FILTERS[:4])
def test_filters_act_on_what_was_found_without_the_network(model, filters):
    image = sample_image("tissue")
    found = find_nuclei(model, Stack(image, rgb=True))
    expected = model.with_postprocessing(**filters).segment(image)
    assert_same(with_filters(found, model, **filters), expected)


def test_planes_of_a_stack_are_segmented_each_and_numbered_on(model):
    ((pixels, _, _),) = sample_stack()
    found = find_nuclei(model, Stack(pixels))
    kept = with_filters(found, model)
    before = 0
    for place, plane in enumerate(pixels):
        expected = model.segment(plane)
        shown = kept.labels[place]
        np.testing.assert_array_equal(np.where(shown > 0, shown - before, 0), expected.labels)
        mine = kept.features["plane_0"] == place
        np.testing.assert_array_equal(kept.features["score"][mine], expected.scores)
        before += expected.count
    assert kept.features["index"].tolist() == list(range(1, before + 1))


def test_a_channel_is_segmented_alone(bright_model, squares):
    model = load_model(bright_model, threads=1)
    both = np.stack([np.zeros_like(squares), squares])
    found = find_nuclei(model, Stack(both, channel=Channel(0, 1)))
    assert_same(with_filters(found, model), model.segment(squares))


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(Model, "fits_memory", lambda _self, _shape: False)
    monkeypatch.setattr(large, "_PART", 320)
    monkeypatch.setattr(large, "_BAND", 100)


def test_planes_that_do_not_fit_the_memory_are_read_by_windows(
    bright_model, squares, little_memory, monkeypatch
):
    monkeypatch.setattr("nucseg.images.cached._BAND", 256)
    model = replace(load_model(bright_model, threads=1), window=640)
    read = []

    class Lazy:
        shape, dtype = (1, *squares.shape), squares.dtype

        def __getitem__(self, key):
            part = squares[None][key]
            read.append(part.size)
            return part

    found = find_nuclei(model, Stack(Lazy()), pixel_size=(1, 1))
    kept = with_filters(found, model)
    whole = replace(model, window=2048).segment(squares, pixel_size=(1, 1))
    assert max(read) < squares.size / 1.9
    assert len(kept.features["index"]) == whole.count
    pairs = np.unique(np.stack([kept.labels[0].ravel(), whole.labels.ravel()]), axis=1)
    assert pairs.shape[1] == whole.count + 1


def test_an_image_without_nuclei_has_an_empty_table(bright_model):
    model = load_model(bright_model, threads=1)
    kept = with_filters(find_nuclei(model, Stack(np.zeros((2, 40, 50), np.uint8))), model)
    assert kept.labels.max() == 0
    assert all(len(column) == 0 for column in kept.features.values())
    assert {"index", "plane_0", "area", "nearest_neighbour"} <= set(kept.features)


class StopNowError(Exception):
    pass


@pytest.mark.parametrize("in_memory", [True, False])
def test_progress_counts_planes_and_windows_and_can_stop_between_them(
    bright_model, squares, in_memory, request
):
    if not in_memory:
        request.getfixturevalue("little_memory")
    model = replace(load_model(bright_model, threads=1), window=640)
    stack, seen = Stack(np.stack([squares] * 2)), []
    find_nuclei(model, stack, progress=lambda done, total: seen.append((done, total)))
    done = [each for each, _ in seen]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 2)
    assert {total for _, total in seen} == {2}
    assert len(seen) > 8

    stopped = []

    def stop(done, _total):
        stopped.append(done)
        if len(stopped) == 4:
            raise StopNowError

    with pytest.raises(StopNowError):
        find_nuclei(model, stack, progress=stop)
    assert stopped == done[:4]


def test_labels_have_32_bits_where_there_are_many_nuclei():
    count = 70_000
    centres = np.stack(np.divmod(np.arange(count), 300)).astype(float)
    table = {
        "label": np.arange(1, count + 1),
        "score": np.ones(count, np.float32),
        "area": np.ones(count, int),
        "touches_border": np.zeros(count, bool),
        "centroid_row": centres[0],
        "centroid_column": centres[1],
    }
    labels = np.zeros((1, 300, 300), np.uint32)
    labels.ravel()[:count] = table["label"]
    kept = kept_nuclei(Found(labels, (table,), None, 0), Filtering(min_area=1))
    assert kept.labels.dtype == np.uint32
    np.testing.assert_array_equal(kept.labels, labels)
    none = kept_nuclei(Found(labels, (table,), None, 0), Filtering(min_area=2))
    assert (none.labels.dtype, none.labels.max()) == (np.uint16, 0)
