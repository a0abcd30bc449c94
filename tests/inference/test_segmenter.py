import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nucseg
from nucseg.config import Watershed
from nucseg.errors import InputError, ModelError
from nucseg.evaluation.metrics import kaggle_map, overlap
from nucseg.images import read_image
from nucseg.images.preprocess import resize_image
from nucseg.inference.loading import load_model, segment
from nucseg.inference.segmenter import Model
from nucseg.models.zoo import read_card, write_card
from nucseg.training.targets import instance_maps


@pytest.fixture(scope="module")
def model(bright_model: Path) -> Model:
    return load_model(bright_model, threads=1)


def two_squares(dtype: str = "uint8") -> np.ndarray:
    image = np.zeros((12, 20), dtype)
    top = np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else 1
    image[2:6, 3:8] = top
    image[7:10, 12:18] = top
    return image


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64", "bool"])
def test_each_bright_square_is_a_nucleus(model: Model, dtype: str):
    image = two_squares(dtype)
    before = image.copy()
    seg = model.segment(image)
    expected = np.zeros((12, 20), int)
    expected[2:6, 3:8], expected[7:10, 12:18] = 1, 2
    np.testing.assert_array_equal(seg.labels, expected)
    np.testing.assert_array_equal(image, before)
    assert (seg.labels.dtype, seg.count) == (np.uint16, 2)
    assert seg.scores == pytest.approx([1, 1], abs=1e-3)
    assert seg.probability.shape == (12, 20)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_colour_and_alpha(model: Model, channels: int):
    image = np.repeat(two_squares()[..., None], channels, axis=-1)
    image.flags.writeable = False
    assert model.segment(image).count == 2


def test_all_black_and_one_pixel_images_have_no_nuclei(model: Model):
    for shape in ((40, 50), (1, 1), (1, 70), (33, 1)):
        seg = model.segment(np.zeros(shape, np.uint8))
        assert (seg.labels.shape, seg.count, seg.labels.max()) == (shape, 0, 0)
        assert all(len(column) == 0 for column in seg.measurements().values())


def test_network_works_at_its_size_and_labels_are_at_the_image_s(bright_model_32: Path):
    model = load_model(bright_model_32, threads=1)
    image = np.zeros((64, 128), np.uint8)
    image[16:32, 32:64] = 255
    assert model.network_probability(image).shape == (32, 32)
    labels = model.segment(image).labels
    assert labels.shape == (64, 128)
    np.testing.assert_array_equal(labels[17:31, 34:62], 1)
    assert not labels[:, 70:].any()


def test_a_small_image_is_enlarged_and_brought_back(bright_model_32: Path):
    image = np.zeros((8, 8), np.uint8)
    image[2:6, 2:6] = 255
    seg = load_model(bright_model_32, threads=1).segment(image)
    np.testing.assert_array_equal(seg.labels, image // 255)


def test_more_than_65535_nuclei_need_32_bits(model: Model):
    image = np.zeros((514, 514), np.uint8)
    image[::2, ::2] = 255
    seg = model.with_postprocessing(min_area=0).segment(image)
    assert (seg.count, seg.labels.max(), seg.labels.dtype) == (257**2, 257**2, np.uint32)
    assert len(seg.measurements()["label"]) == 257**2


def test_nan_is_refused(model: Model):
    image = np.full((4, 4), np.nan, np.float32)
    with pytest.raises(InputError, match="NaN or infinite values"):
        model.segment(image)


@pytest.mark.parametrize("pixel_size", [(0.0, 1.0), (1.0, np.nan), (np.inf, 1.0)])
def test_impossible_pixel_size(model: Model, pixel_size):
    with pytest.raises(InputError, match=r"pixel size of 0.01 to 10 µm, got"):
        model.segment(two_squares(), pixel_size=pixel_size)


def test_settings_can_be_changed(model: Model):
    changed = model.with_postprocessing(min_area=19)
    assert changed.segment(two_squares()).count == 1
    assert model.segment(two_squares()).count == 2


def test_only_nuclei_that_pass_the_filters_are_kept(model: Model):
    image = two_squares()
    assert model.segment(image).measurements()["area"].tolist() == [20, 18]
    small = model.with_postprocessing(max_area=19).segment(image)
    assert (small.count, small.measurements()["area"].tolist()) == (1, [18])
    image[10:, 14] = 255  # down to the edge
    inside = model.with_postprocessing(border_nuclei="drop").segment(image)
    assert (inside.count, inside.measurements()["bbox_row"].tolist()) == (1, [2])
    # Scores are just below 1.
    assert model.with_postprocessing(min_score=1).segment(image).count == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 2.0}, r"setting threshold: .*less than 1, got 2\.0"),
        (
            {"seed_threshold": 0.5},
            r"model bright finds nuclei by connected-components, which has no setting "
            r"seed_threshold\. Change any of border_nuclei, max_area, min_area, min_score, "
            r"threshold\.",
        ),
    ],
)
def test_settings_out_of_bounds(model: Model, changes: dict, message: str):
    with pytest.raises(InputError, match=message):
        model.with_postprocessing(**changes)


def test_setting_of_watershed(bright_instance_model: Path):
    model = load_model(bright_instance_model).with_postprocessing(seed_threshold=0.25)
    assert model.card.postprocessing == Watershed(min_area=4, seed_threshold=0.25)
    with pytest.raises(InputError, match=r"setting seed_threshold: .*greater than 0, got 0"):
        model.with_postprocessing(seed_threshold=0)


def test_each_bright_square_is_a_nucleus_of_an_instance_model_too(bright_instance_model: Path):
    model = load_model(bright_instance_model, threads=1)
    assert model.network_maps(two_squares()).shape == (12, 20, 5)
    assert model.network_probability(two_squares()).shape == (12, 20)
    seg = model.segment(two_squares())
    assert (seg.count, seg.probability.shape) == (2, (12, 20))
    np.testing.assert_array_equal(seg.labels > 0, two_squares() > 0)


@pytest.mark.parametrize("size", [(24, 64), (48, 128)])
def test_touching_nuclei_are_separated_by_their_maps(bright_instance_model: Path, size):
    truth = np.zeros((48, 128), int)
    truth[8:40, 20:62], truth[8:40, 62:100] = 1, 2
    maps = resize_image(instance_maps(truth), size)
    seg = load_model(bright_instance_model, threads=1).nuclei(truth > 0, maps)
    assert seg.count == 2
    assert kaggle_map(overlap(truth, seg.labels)) > 0.9
    assert seg.scores == pytest.approx([1, 1], abs=0.05)


def test_watershed_on_a_network_without_its_maps(bright_model: Path, tmp_path: Path):
    folder = shutil.copytree(bright_model, tmp_path / "model")
    write_card(folder, read_card(folder).model_copy(update={"postprocessing": Watershed()}))
    with pytest.raises(
        ModelError,
        match="maps nucleus, border, distance, row_offset, column_offset, but .* nucleus",
    ):
        load_model(folder)


def test_network_that_gives_other_maps_than_described(model: Model):
    wrong = Model(model.card, lambda batch: np.zeros((1, 2, 2, 3), np.float32))
    with pytest.raises(
        ModelError, match=r"maps of shape \(1, 2, 2, 3\), expected \(1, 32, 32, 1\)"
    ):
        wrong.segment(two_squares())


def test_unknown_model():
    with pytest.raises(ModelError, match=r"Unknown model 'classik-128': there is no folder"):
        load_model("classik-128")


def test_from_the_top_of_the_package(bright_model: Path, model: Model):
    by_path = nucseg.segment(two_squares(), bright_model)
    np.testing.assert_array_equal(by_path.labels, segment(two_squares(), model).labels)
    assert isinstance(by_path, nucseg.Segmentation)


def test_save_writes_what_the_command_writes(model: Model, tmp_path: Path):
    seg = model.segment(two_squares(), pixel_size=(0.5, 0.25))
    written = seg.save(tmp_path / "out", name="squares")
    names = ["labels/squares.tif", "overlays/squares.png", "measurements.csv"]
    assert written == [tmp_path / "out" / name for name in names]
    labels = read_image(written[0])
    np.testing.assert_array_equal(labels.pixels, seg.labels)
    assert labels.pixel_size == pytest.approx((0.5, 0.25))
    lines = written[2].read_text().splitlines()
    assert lines[0].startswith("image,label,score,")
    assert [line.split(",")[:2] for line in lines[1:]] == [["squares", "1"], ["squares", "2"]]


def test_save_in_an_unknown_format(model: Model, tmp_path: Path):
    with pytest.raises(InputError, match=r"Unknown format 'gif'\. Give any of labels, overlays"):
        model.segment(two_squares()).save(tmp_path, formats=["gif"])


def test_same_image_same_labels(bright_model: Path):
    image = np.random.default_rng(0).integers(0, 256, (70, 90), np.uint8)
    one, two = (load_model(bright_model, threads=threads).segment(image) for threads in (1, 2))
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_array_equal(one.probability, two.probability)


@pytest.mark.parametrize("bundled", [False, True])
def test_progress_counts_windows_and_can_end_the_work(model: Model, bundled: bool):
    chosen = replace(load_model(threads=1) if bundled else model, window=448)
    image = np.zeros((500, 448), np.uint8)
    seen = []
    chosen.segment(image, progress=lambda *step: seen.append(step))
    assert seen == [(done, len(seen)) for done in range(1, len(seen) + 1)]
    assert len(seen) > 1

    def stop(done: int, _total: int) -> None:
        raise TimeoutError(f"after {done}")

    with pytest.raises(TimeoutError, match="after 1"):
        chosen.segment(image, progress=stop)


def test_one_window_reports_no_progress(model: Model):
    seen = []
    model.segment(two_squares(), progress=lambda *step: seen.append(step))
    assert seen == []


def test_what_is_printed_is_a_line(bright_model: Path) -> None:
    model = load_model(bright_model)
    assert repr(model) == "<Model bright: Calls bright pixels nuclei.>"
    image = np.zeros((40, 50), np.uint8)
    assert repr(model.segment(image)) == "<Segmentation: 0 nuclei in 40 × 50 pixels>"
    image[5:15, 5:15] = 255
    found = model.segment(image, pixel_size=(0.5, 0.5))
    assert str(found) == "<Segmentation: 1 nucleus in 40 × 50 pixels, 0.5 µm a pixel>"
