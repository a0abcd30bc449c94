"""The dock widget, in a viewer without window."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

import nucseg
from nucseg.datasets.synthetic import sample_image
from nucseg.inference.segmenter import Model

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip("napari.layers")
qtpy = pytest.importorskip("qtpy.QtWidgets", exc_type=Exception)
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def app():
    return qtpy.QApplication.instance() or qtpy.QApplication([])


@pytest.fixture
def viewer(app):
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture
def widget(viewer, app):
    from nucseg.napari.widget import SegmentWidget

    made = SegmentWidget(viewer)
    for event in ("inserted", "removed"):  # as docking does
        getattr(viewer.layers.events, event).connect(made.reset_choices)
    yield made
    wait(lambda: made._worker is None, app)
    made.close()


def wait(until, app, seconds=60):
    start = time.monotonic()
    while not until():
        app.processEvents()
        time.sleep(0.005)
        assert time.monotonic() - start < seconds


def run(widget, app):
    widget.run.native.click()
    wait(lambda: widget._worker is None, app)


def test_labels_and_features_are_those_of_the_model(widget, viewer, app):
    image = sample_image("tissue")
    viewer.add_image(image, rgb=True, name="tissue", scale=(0.5, 0.5), translate=(3, 4))
    run(widget, app)
    expected = nucseg.load_model().segment(image, pixel_size=(0.5, 0.5))
    labels = viewer.layers["tissue nuclei"]
    np.testing.assert_array_equal(labels.data, expected.labels)
    assert labels.data.dtype == expected.labels.dtype
    for name, values in expected.measurements().items():
        column = labels.features["index" if name == "label" else name]
        np.testing.assert_array_equal(column, values)
    assert labels.scale.tolist() == [0.5, 0.5]
    assert labels.translate.tolist() == [3, 4]
    assert f"{expected.count} of" in widget.work.status.value
    assert widget.save.enabled


def test_filters_act_without_the_network(widget, viewer, app, monkeypatch):
    image = sample_image("tissue")
    viewer.add_image(image, rgb=True, name="tissue")
    run(widget, app)
    labels = viewer.layers["tissue nuclei"]
    expected = nucseg.load_model().with_postprocessing(min_score=0.85, border_nuclei="drop")
    expected = expected.segment(image).labels
    monkeypatch.setattr(Model, "segment", None)
    widget.min_score.value = 0.85
    widget.drop_border.value = True
    np.testing.assert_array_equal(labels.data, expected)
    assert len(labels.features) == expected.max()
    widget.max_area.value = 1
    assert labels.data.max() == 0
    widget.max_area.value = 0
    np.testing.assert_array_equal(labels.data, expected)
    assert len(viewer.layers) == 2
    widget.min_area.value = 3
    assert "come with the next run" in widget.work.status.value


def test_a_model_brings_its_own_filters(widget, bright_model):
    assert widget.min_score.value == nucseg.load_model().card.postprocessing.min_score
    widget.model.value = "a folder …"
    widget.model_folder.value = bright_model
    assert (widget.min_area.value, widget.min_score.value) == (4, 0)
    assert widget.work.status.value == "Calls bright pixels nuclei."
    widget.model_folder.value = bright_model.parent / "nowhere"
    assert "Unknown model" in widget.work.status.value


def squares() -> np.ndarray:
    image = np.zeros((3, 200, 200), np.uint8)
    image[:, 20:40, 20:40] = 255
    image[1:, 100:120, 100:140] = 255
    return image


@pytest.fixture
def bright(widget, bright_model):
    """The widget with a model that is fast and gives what one expects."""
    widget.model.value = "a folder …"
    widget.model_folder.value = bright_model
    return widget


def test_stacks_are_done_plane_by_plane(bright, viewer, app):
    viewer.add_image(squares(), name="stack", scale=(2, 0.5, 0.5))
    axis = [f"axis 0: {each}" for each in (0, 1, 2, "all, as colours")]
    assert bright.channel.choices == ("each plane", *axis)
    run(bright, app)
    labels = viewer.layers["stack nuclei"]
    assert [sorted(set(plane[plane > 0])) for plane in labels.data] == [[1], [2, 3], [4, 5]]
    assert labels.features["plane_0"].tolist() == [0, 1, 1, 2, 2]
    bright.channel.value = "axis 0: 1"
    run(bright, app)
    assert viewer.layers[-1].data.shape == (200, 200)
    assert viewer.layers[-1].scale.tolist() == [0.5, 0.5]


def test_cancel_stops_between_planes_and_changes_nothing(bright, viewer, app, monkeypatch):
    looked_at = []
    segment = Model.segment

    def slow(self, image, **options):
        looked_at.append(1)
        time.sleep(0.05)
        return segment(self, image, **options)

    monkeypatch.setattr(Model, "segment", slow)
    viewer.add_image(np.repeat(squares(), 30, axis=0), name="long")
    bright.run.native.click()
    assert not bright.run.enabled
    wait(lambda: bright.work.progress.value > 0, app)
    bright.cancel.native.click()
    wait(lambda: bright._worker is None, app)
    assert 0 < len(looked_at) < 60
    assert [each.name for each in viewer.layers] == ["long"]
    assert "Cancelled" in bright.work.status.value
    assert (bright.run.enabled, bright.cancel.enabled) == (True, False)


def test_closing_the_widget_ends_the_work(viewer, app, bright_model, monkeypatch):
    import shiboken6

    from nucseg.napari.widget import SegmentWidget

    looked_at, segment = [], Model.segment

    def slow(self, image, **options):
        looked_at.append(1)
        time.sleep(0.05)
        return segment(self, image, **options)

    monkeypatch.setattr(Model, "segment", slow)
    viewer.add_image(np.repeat(squares(), 30, axis=0), name="long")
    widget = SegmentWidget(viewer)
    widget.model.value = "a folder …"
    widget.model_folder.value = bright_model
    widget.run.native.click()
    wait(lambda: widget.work.progress.value > 0, app)
    worker = widget._worker
    shiboken6.delete(widget.native)
    wait(lambda: not worker.is_running, app)
    app.processEvents()
    viewer.layers.clear()
    assert 0 < len(looked_at) < 60


def test_a_second_run_takes_the_place_of_the_first(bright, viewer, app):
    viewer.add_image(squares()[1], name="a")
    run(bright, app)
    run(bright, app)
    assert len(viewer.layers) == 2


def test_labels_changed_by_hand_are_kept_and_saved(bright, viewer, app, tmp_path: Path):
    viewer.add_image(squares()[1], name="a")
    run(bright, app)
    first = viewer.layers[-1]
    first.fill((30, 30), 0)
    bright.formats.value = ["labels"]
    bright.save_to(tmp_path)
    wait(lambda: bright._worker is None, app)
    assert "2 files" in bright.work.status.value
    assert len((tmp_path / "measurements.csv").read_text().splitlines()) == 2
    bright.min_area.value = 5
    assert len(viewer.layers) == 3
    assert first.data[30, 30] == 0
    assert viewer.layers[-1].data[30, 30] == 1


def test_a_layer_that_is_taken_away_stays_away(bright, viewer, app):
    viewer.add_image(squares()[1], name="a")
    run(bright, app)
    del viewer.layers["a nuclei"]
    bright.min_area.value = 5
    assert len(viewer.layers) == 1
    assert not bright.save.enabled


def test_nuclei_are_coloured_by_a_measurement(bright, viewer, app):
    viewer.add_image(squares()[1], name="a")
    run(bright, app)
    labels = viewer.layers[-1]
    own = labels.colormap
    assert "area" in bright.colour_by.choices
    bright.colour_by.value = "area"
    small, large = labels.colormap.color_dict[1], labels.colormap.color_dict[2]
    assert small[2] > small[1]  # viridis begins violet
    assert large[1] > large[2]  # and ends yellow
    bright.colour_by.value = "each its own"
    assert labels.colormap == own


def test_errors_are_told_and_the_widget_goes_on(widget, viewer, app):
    widget.run.native.click()
    assert "Open an image first" in widget.work.status.value
    viewer.add_image(np.full((40, 40), np.nan, np.float32), name="bad", contrast_limits=(0, 1))
    run(widget, app)
    assert "NaN" in widget.work.status.value
    assert widget.run.enabled
    assert len(viewer.layers) == 1


def test_faults_are_told_too(bright, viewer, app, monkeypatch):
    def broken(*_args, **_options):
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(Model, "segment", broken)
    viewer.add_image(squares()[0], name="a")
    run(bright, app)
    assert bright.work.status.value == "Failed: a fault"
    assert bright.run.enabled


def test_the_manifest_is_valid():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution("nucseg")
    manifest.validate_imports()
    assert [each.display_name for each in manifest.contributions.widgets] == ["Find nuclei"]
