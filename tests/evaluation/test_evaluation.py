"""Judging on data sets of a few small images whose figures are known beforehand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import tifffile

import nucseg
from nucseg.errors import InputError, MissingExtraError, ModelError
from nucseg.evaluation import Evaluation, ImageResult, evaluate, figures, read_groups
from nucseg.evaluation.metrics import KAGGLE_THRESHOLDS, Matching, PixelCounts
from nucseg.evaluation.report import PUBLISHED, ranked

Labels = npt.NDArray[np.uint16]


def squares(*corners: tuple[int, int]) -> Labels:
    labels = np.zeros((64, 64), np.uint16)
    for label, (row, column) in enumerate(corners, start=1):
        labels[row : row + 16, column : column + 16] = label
    return labels


TWO = squares((4, 4), (32, 32))
TRUTH = {"a": TWO, "b": squares((8, 40)), "empty": squares()}


def write_dataset(folder: Path, truth: dict[str, Labels]) -> Path:
    for name, labels in truth.items():
        for kind in ("images", "labels"):
            (folder / kind / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "images" / f"{name}.png"), ((labels > 0) * 255).astype(np.uint8))
        tifffile.imwrite(folder / "labels" / f"{name}.tif", labels)
    return folder


def write_labels(folder: Path, found: dict[str, Labels]) -> Path:
    for name, labels in found.items():
        path = folder / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, labels)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data", TRUTH)


def result(image_id: str, *, ap: int = 1, dice: int = 1, group: str = "") -> ImageResult:
    matching = Matching(ap, 1 - ap, 0, ap)
    pixels = PixelCounts(dice, 1 - dice, 0, 0)
    return ImageResult(image_id, group, pixels=pixels, matchings=(matching,) * 10)


def test_a_perfect_model_scores_one(data: Path, bright_model_32: Path) -> None:
    seen = []
    judged = evaluate(data, model=bright_model_32, progress=lambda *step: seen.append(step))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert judged.mask_size == (32, 32)
    assert [image.image_id for image in judged.images] == ["a", "b", "empty"]
    mean = judged.overall["mean"]
    assert mean["dice"] == mean["pixel_accuracy"] == mean["ap50"] == 1
    assert mean["count_error"] == 0
    assert judged.overall["true_nuclei"] == judged.overall["predicted_nuclei"] == 3
    assert judged.failures == {}
    assert judged.groups == {}


def test_masks_are_judged_at_the_size_of_the_network(
    tmp_path: Path, bright_model: Path, bright_model_32: Path
) -> None:
    data = write_dataset(tmp_path, {"a": TWO})
    small, full = (evaluate(data, model=model) for model in (bright_model_32, bright_model))
    sizes = [sum(vars(each.images[0].pixels).values()) for each in (small, full)]
    assert sizes == [32 * 32, 64 * 64]


def test_label_images_are_judged_by_hand_computed_figures(data: Path, tmp_path: Path) -> None:
    found = {
        "a": squares((4, 4), (0, 48)),  # one right, one missed, one extra
        "sub/b": squares((8, 42)),  # 14 of 18 columns: IoU 14/18 = .78
        "empty": squares(),
    }
    judged = evaluate(data, labels=write_labels(tmp_path / "found", found))
    assert judged.mask_size is None
    first, second, third = (image.scores for image in judged.images)
    assert first["ap50"] == first["ap95"] == 1 / 3
    assert first["dice"] == 1 / 2
    assert second["ap75"] == 1
    assert second["ap80"] == 0
    assert second["kaggle_map"] == 6 / 10
    assert second["pq"] == pytest.approx(14 / 18)
    assert third["kaggle_map"] == third["dice"] == third["aji"] == 1
    assert judged.overall["mean"]["ap50"] == pytest.approx((1 / 3 + 1 + 1) / 3)
    assert judged.overall["pooled"]["ap50"] == 2 / 4
    assert judged.overall["pooled"]["dice"] == 2 * (256 + 224) / (2 * (512 + 256))


def test_count_errors_do_not_cancel_out(data: Path, tmp_path: Path) -> None:
    found = {"a": squares((4, 4)), "b": squares((8, 40), (32, 0)), "empty": squares()}
    mean = evaluate(data, labels=write_labels(tmp_path / "found", found)).overall["mean"]
    assert mean["count_error"] == 0
    assert mean["absolute_count_error"] == pytest.approx(2 / 3)


def test_images_that_cannot_be_judged_are_named_and_in_no_figure(
    data: Path, bright_model: Path
) -> None:
    (data / "images" / "b.png").write_bytes(b"")
    (data / "labels" / "empty.tif").unlink()
    judged = evaluate(data, model=bright_model)
    assert list(judged.failures) == ["b", "empty"]
    assert "b.png" in judged.failures["b"]
    assert "no truth to compare with" in judged.failures["empty"]
    assert judged.overall["images"] == 1
    assert judged.overall["failed"] == 2
    assert judged.overall["true_nuclei"] == 2


def test_without_any_image_judged_there_are_no_figures(
    data: Path, bright_model: Path, tmp_path: Path
) -> None:
    for path in (data / "images").iterdir():
        path.write_bytes(b"no image")
    judged = evaluate(data, model=bright_model)
    assert judged.overall["mean"] == judged.overall["pooled"] == {}
    judged.save(tmp_path / "out")
    assert len(pd.read_csv(tmp_path / "out" / "images.csv")) == 3
    assert not (tmp_path / "out" / "plots").exists()


def test_groups_have_their_own_figures(data: Path, tmp_path: Path) -> None:
    found = {"a": TRUTH["a"], "b": squares(), "empty": squares()}
    labels = write_labels(tmp_path / "found", found)
    judged = evaluate(data, labels=labels, groups={"a": "fluorescence", "b": "histology"})
    assert list(judged.groups) == ["fluorescence", "histology", "unlisted"]
    assert judged.groups["fluorescence"]["mean"]["ap50"] == 1
    assert judged.groups["histology"]["mean"]["ap50"] == 0
    assert judged.groups["unlisted"]["images"] == 1


def test_only_chosen_images_are_judged(data: Path, bright_model: Path) -> None:
    model = nucseg.load_model(bright_model)
    judged = nucseg.evaluate(data, model=model, image_ids=["empty", "a"])
    assert [image.image_id for image in judged.images] == ["a", "empty"]
    with pytest.raises(InputError, match="lacks 1 of the images asked for, such as 'zebra'"):
        evaluate(data, model=model, image_ids=["a", "zebra"])
    with pytest.raises(InputError, match="No image of"):
        evaluate(data, model=model, image_ids=[])


def test_faults_of_the_true_masks_are_told(data: Path, bright_model: Path, tmp_path: Path) -> None:
    tifffile.imwrite(data / "labels" / "a.tif", ((TWO > 0) * 255).astype(np.uint8))
    judged = evaluate(data, model=bright_model)
    assert judged.images[0].problems == ("mask instead of labels",)
    judged.save(tmp_path / "out", plots=False)
    assert pd.read_csv(tmp_path / "out" / "images.csv")["problems"][0] == "mask instead of labels"


def test_the_output_of_nucseg_segment_is_found(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_labels(out / "labels", {"images/a": TWO, "b": TRUTH["b"], "empty": TRUTH["empty"]})
    write_labels(out / "overlays", {"a": TWO})
    for folder in (out, out / "labels"):
        assert evaluate(data, labels=folder).overall["mean"]["ap50"] == 1


def test_unusable_label_images_are_named(data: Path, tmp_path: Path) -> None:
    found = write_labels(tmp_path / "found", {"a": TWO[:32], "b": TRUTH["b"] + 0.5})
    failures = evaluate(data, labels=found).failures
    assert r"expected a label image of integers of shape (64, 64)" in failures["a"]
    assert "b.tif cannot be used: Expected whole numbers, got fractions" in failures["b"]
    assert "Expected one label image for empty, found none in" in failures["empty"]
    write_labels(found / "again", {"a": TWO})
    tifffile.imwrite(found / "empty.tif", np.zeros((64, 64), np.float32))
    judged = evaluate(data, labels=found)
    assert "again/a.tif" in judged.failures["a"].replace("\\", "/")
    assert "empty" not in judged.failures  # whole numbers as floats are read, as in the truth


def test_a_mask_is_judged_by_its_pieces_and_named(data: Path, tmp_path: Path) -> None:
    masks = {name: ((labels > 0) * 255).astype(np.uint8) for name, labels in TRUTH.items()}
    judged = evaluate(data, labels=write_labels(tmp_path / "found", masks))
    assert judged.failures == {}
    assert {image.image_id: image.problems for image in judged.images} == {
        "a": ("prediction: mask instead of labels",),
        "b": (),
        "empty": (),
    }


def test_what_to_judge_must_be_said_once(data: Path, bright_model: Path) -> None:
    with pytest.raises(InputError, match="either a model or a folder"):
        evaluate(data, model=bright_model, labels=data / "labels")


def test_missing_things_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no folder"):
        evaluate(data, labels=tmp_path / "nowhere")
    (tmp_path / "void").mkdir()
    with pytest.raises(InputError, match=r"None of the images .* such as a\.tif"):
        evaluate(data, labels=tmp_path / "void")
    with pytest.raises(ModelError, match="Unknown model 'zebra'"):
        evaluate(data, model="zebra")


def test_saving_writes_figures_tables_and_pictures(
    data: Path, bright_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (data / "images" / "b.png").write_bytes(b"")
    judged = evaluate(data, model=bright_model, groups={"a": "x"})
    judged.save(out)
    written = json.loads((out / "metrics.json").read_text())
    assert written["judged"] == "bright"
    assert written["mean"] == judged.overall["mean"]
    assert list(written["failures"]) == ["b"]
    assert written["versions"]["nucseg"]
    table = pd.read_csv(out / "images.csv", index_col="image_id")
    assert table["status"].to_dict() == {"a": "ok", "b": "failed", "empty": "ok"}
    assert table.loc["a", "kaggle_map"] == 1
    assert table.loc["a", "true_nuclei"] == 2
    assert np.isnan(table.loc["b", "dice"])
    assert "b.png" in str(table.loc["b", "error"])
    assert cv2.imread(str(out / "plots" / "ap.png")) is not None
    pictures = sorted(path.name for path in (out / "panels").iterdir())
    expected = ["worst_1_a", "worst_1_a_errors", "worst_2_empty", "worst_2_empty_errors"]
    assert pictures == [f"{name}.png" for name in expected]


def test_saving_again_leaves_no_old_panels(data: Path, bright_model: Path, tmp_path: Path) -> None:
    for image_id in ("a", "b"):
        evaluate(data, model=bright_model, image_ids=[image_id]).save(tmp_path / "o", plots=False)
    names = {path.name for path in (tmp_path / "o" / "panels").iterdir()}
    assert names == {"worst_1_b.png", "worst_1_b_errors.png"}


def test_an_output_that_cannot_be_written_is_an_error(
    data: Path, bright_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("here")
    judged = evaluate(data, model=bright_model)
    with pytest.raises(InputError, match="Cannot write"):
        judged.save(tmp_path / "file")


def test_saving_without_matplotlib_needs_the_plot_left_out(
    data: Path, bright_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(feature: str) -> None:
        raise MissingExtraError(feature, "train")

    monkeypatch.setattr("nucseg.figures.figure.require_matplotlib", missing)
    judged = evaluate(data, model=bright_model)
    judged.save(tmp_path / "out", plots=False)
    with pytest.raises(MissingExtraError):
        judged.save(tmp_path / "out")
    assert (tmp_path / "out" / "metrics.json").is_file()


def test_the_worst_the_middle_and_the_best_are_picked_once_each() -> None:
    images = [result(f"{rank}{n}", ap=rank > 0, dice=rank > 1) for rank in range(3) for n in "abcd"]
    broken = ImageResult("x", error="no image")
    picked = {
        rank: [i.image_id for i in found] for rank, found in ranked((*images, broken)).items()
    }
    assert picked == {
        "worst": ["0a", "0b", "0c"],
        "best": ["2d", "2c", "2b"],
        "median": ["1b", "1c", "1d"],
    }
    few = {rank: [i.image_id for i in found] for rank, found in ranked(tuple(images[:4])).items()}
    assert few == {"worst": ["0a", "0b", "0c"], "best": ["0d"], "median": []}


def test_figures_of_results_are_means_and_pooled_counts() -> None:
    found = figures([result("a"), result("b", ap=0, dice=0), ImageResult("c", error="broken")])
    assert (found["images"], found["failed"]) == (2, 1)
    assert found["mean"]["ap50"] == found["pooled"]["ap50"] == 1 / 2
    assert "aji" in found["mean"]
    assert "aji" not in found["pooled"]


def test_groups_are_read_from_a_table(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("\ufeffimage_id,modality,fold\na,fluorescence,0\nb,,1\n", encoding="utf-8")
    assert read_groups(path) == {"a": "fluorescence", "b": "unlisted"}
    assert read_groups(path, "fold") == {"a": "0", "b": "1"}


def test_a_table_without_groups_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    with pytest.raises(InputError, match="There is no file"):
        read_groups(path)
    path.write_text("image_id,fold\na,1\n")
    with pytest.raises(InputError, match="has the columns image_id, fold; expected"):
        read_groups(path)
    path.write_bytes(b"image_id,modality\n\xff\xfe,x\n")
    with pytest.raises(InputError, match="Cannot read the groups"):
        read_groups(path)


def test_published_curves_end_at_ninety_and_fall() -> None:
    for curve in PUBLISHED.values():
        assert len(curve) == len(KAGGLE_THRESHOLDS) - 1
        assert list(curve) == sorted(curve, reverse=True)


@pytest.mark.skipif("NUCSEG_TEST_DATA" not in os.environ, reason="needs the real data set")
def test_the_truth_itself_scores_one_on_real_images(tmp_path: Path) -> None:
    from nucseg.datasets.reading import open_dataset

    dataset = open_dataset(Path(os.environ["NUCSEG_TEST_DATA"]) / "dsb2018" / "stardist_test50.zip")
    ids = dataset.image_ids[:5]
    truth = {image_id: dataset.read(image_id).labels.astype(np.uint16) for image_id in ids}
    labels = write_labels(tmp_path, truth)
    judged: Evaluation = evaluate(dataset, labels=labels, image_ids=ids)
    assert judged.failures == {}
    assert judged.overall["mean"]["kaggle_map"] == judged.overall["mean"]["aji"] == 1
