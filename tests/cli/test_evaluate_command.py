"""``nucseg evaluate``, from the command line: files, figures on the screen, exit status."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from nucseg.cli.main import app
from nucseg.errors import MissingExtraError


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for kind in ("images", "labels"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for name, corner in (("a", 0), ("b", 10), ("c", 20)):
        labels = np.zeros((40, 40), np.uint16)
        labels[corner : corner + 12, corner : corner + 12] = 1
        tifffile.imwrite(tmp_path / "data" / "labels" / f"{name}.tif", labels)
        cv2.imwrite(
            str(tmp_path / "data" / "images" / f"{name}.png"), labels.astype(np.uint8) * 255
        )
    return tmp_path / "data"


@pytest.fixture
def split(tmp_path: Path) -> Path:
    path = tmp_path / "split.csv"
    path.write_text("image_id,subset\na,train\nb,validation\nc,test\n")
    return path


def test_a_model_is_judged_into_a_folder(data: Path, bright_model_32: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(data, "--model", bright_model_32, "-o", out, "--plots")
    assert result.exit_code == 0, result.output
    assert "bright on 3 images, masks at 32 by 32" in result.stdout
    assert "Kaggle mAP" in result.stdout
    assert "3 found, 3 true" in result.stdout
    assert json.loads((out / "metrics.json").read_text())["mean"]["ap50"] == 1
    for name in ("images.csv", "run.json", "plots/ap.png", "panels/worst_1_a.png"):
        assert (out / name).is_file()


def test_an_instance_model_is_judged(
    data: Path, bright_instance_model: Path, tmp_path: Path
) -> None:
    options = ("-o", tmp_path / "out", "--no-plots", "--json")
    result = run(data, "--model", bright_instance_model, *options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["mean"]["ap50"] == 1


def test_the_bundled_model_is_judged_by_default(data: Path, tmp_path: Path) -> None:
    options = ("--no-plots", "--json", "--diameter", "12")
    result = run(data, "-o", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["judged"] == "nuclei"
    nothing = run(data, "-o", tmp_path / "none", *options, "--min-score", "1")
    assert json.loads(nothing.stdout)["predicted_nuclei"] == 0


def test_an_image_with_nan_fails_alone(data: Path, tmp_path: Path) -> None:
    nan = np.full((40, 40), np.nan, np.float32)
    tifffile.imwrite(data / "images" / "a.tif", nan)
    (data / "images" / "a.png").unlink()
    result = run(data, "--labels", data / "labels", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "a: images/a.tif holds NaN" in result.stderr
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["images"] == 2


def test_results_of_segment_are_not_replaced(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / ".nucseg").mkdir(parents=True)
    result = run(data, "--labels", data / "labels", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "contains results of nucseg segment" in result.stderr
    assert not (tmp_path / "out" / "run.json").exists()


def test_label_images_are_judged_by_subset_and_group(
    data: Path, split: Path, tmp_path: Path
) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text("image_id,modality\nb,histology\n")
    out = tmp_path / "out"
    options = ["--split", split, "--subset", "validation", "--groups", groups, "--no-plots"]
    result = run(data, "--labels", data / "labels", "-o", out, "--json", *options)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["images"] == 1
    assert figures["mean"]["dice"] == 1
    assert list(figures["groups"]) == ["histology"]
    assert not (out / "plots").exists()


def test_groups_have_columns_on_the_screen(data: Path, tmp_path: Path) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text("image_id,modality\na,dark\nb,light\nc,light\n")
    result = run(
        data, "--labels", data / "labels", "-o", tmp_path / "o", "--groups", groups, "--no-plots"
    )
    assert "dark" in result.stdout
    assert "light" in result.stdout


def test_a_bad_image_is_named_and_the_others_are_judged(
    data: Path, bright_model: Path, tmp_path: Path
) -> None:
    (data / "images" / "b.png").write_bytes(b"")
    result = run(data, "--model", bright_model, "-o", tmp_path / "out", "--no-plots")
    assert result.exit_code == 1
    assert "Not evaluated: 1 of 3 images." in result.stderr
    assert "b.png" in result.stderr
    assert "bright on 2 images" in result.stdout


def test_of_many_bad_images_a_few_are_named(data: Path, bright_model: Path, tmp_path: Path) -> None:
    for name in "abcdefg":
        (data / "images" / f"{name}.png").write_bytes(b"")
    result = run(data, "--model", bright_model, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "Not evaluated: 7 of 7 images." in result.stderr
    assert "and 2 more: see images.csv" in result.stderr


def test_mistakes_of_usage_end_with_two_and_a_reason(
    data: Path, bright_model: Path, split: Path, tmp_path: Path
) -> None:
    only_two = tmp_path / "two.csv"
    only_two.write_text("image_id,subset\na,train\nb,validation\n")
    judge = ("--model", bright_model)
    mistakes: list[tuple[tuple[str | Path, ...], str]] = [
        ((data, *judge, "--labels", data), "omit --model"),
        ((data, "--labels", data, "--diameter", "9"), "--labels evaluates existing label images"),
        ((data, "--diameter", "-9"), "Expected a diameter above 0"),
        ((data, "--min-score", "7"), "Unusable setting min_score"),
        ((tmp_path / "nowhere", *judge), "nowhere"),
        ((data, "--model", "zebra"), "Unknown model 'zebra'"),
        ((data, *judge, "--split", split, "--subset", "zebra"), "Unknown subset 'zebra'"),
        ((data, *judge, "--split", only_two), "assigns no image to the subset test"),
        ((data, *judge, "--split", tmp_path / "no.csv"), "no.csv"),
        ((data, *judge, "--groups", split), "columns image_id and modality"),
    ]
    for arguments, message in mistakes:
        result = run(*arguments, "-o", tmp_path / "out")
        assert result.exit_code == 2, arguments
        assert message in " ".join(result.stderr.split())
    assert run(data, *judge).exit_code == 2  # no -o


def test_an_output_that_cannot_be_written_is_told_before_the_work(
    data: Path, bright_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("here")
    result = run(data, "--model", bright_model, "-o", tmp_path / "file" / "out")
    assert result.exit_code == 2
    assert "Cannot write" in result.stderr


def test_plots_asked_for_need_matplotlib_and_otherwise_are_left_out(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(feature: str) -> None:
        raise MissingExtraError(feature, "train")

    monkeypatch.setattr("nucseg.figures.figure.require_matplotlib", missing)
    monkeypatch.setattr("nucseg.cli.evaluate.find_spec", lambda name: None)
    arguments = (data, "--labels", data / "labels", "-o", tmp_path / "out")
    result = run(*arguments, "--plots")
    assert result.exit_code == 2
    assert "nucseg[train]" in result.stderr
    assert not (tmp_path / "out").exists()
    result = run(*arguments)
    assert result.exit_code == 0
    assert "For plots/ap.png" in result.stderr
    assert (tmp_path / "out" / "metrics.json").is_file()
