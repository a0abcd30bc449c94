"""Classes of a file in what the command line writes, and what it makes of them."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from typer.testing import CliRunner

from nucseg import classes
from nucseg.analysis.conditions import read_results
from nucseg.analysis.summaries import chosen_measures, per_image, with_shares
from nucseg.classes import Classifier
from nucseg.cli.main import app
from nucseg.export import save_formats
from nucseg.export.overlay import CLASS_COLOURS, draw_overlay
from nucseg.inference.loading import load_model
from nucseg.inference.planes import segment_plane

LARGE, SMALL = 8, 4


def squares(seed: int = 0, side: int = 96) -> np.ndarray:
    """Bright squares of two sizes on a dark background, twelve of either."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (side, side), np.uint8)
    sizes = rng.permutation([LARGE, SMALL] * 12)
    for place, size in enumerate(sizes):
        row, column = 4 + 18 * (place // 5), 4 + 18 * (place % 5)
        image[row : row + size, column : column + size + 1] = rng.integers(200, 255)
    return image


@pytest.fixture(scope="module")
def classifier(bright_model: Path) -> Classifier:
    table = load_model(bright_model).segment(squares()).measurements()
    told = ["large" if area > 40 else "small" for area in table["area"]]
    return classes.fit([table], [told[:12] + [""] * 12], classes=("small", "large"))


@pytest.fixture
def file(classifier: Classifier, tmp_path: Path) -> Path:
    path = tmp_path / "classes.json"
    classes.save(classifier, path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in (1, 2):
        PIL.Image.fromarray(squares(seed)).save(folder / f"dose{seed}_1.png")
    return folder


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_nucleus_of_a_batch_gets_its_class(images, file, bright_model, tmp_path):
    out = tmp_path / "out"
    result = run("segment", images, "-o", out, "--model", bright_model, "--classes", file)
    assert result.exit_code == 0, result.output
    assert "Classes: small 24, large 24." in result.stdout
    for row in rows(out / "measurements.csv"):
        assert row["class"] == ("large" if float(row["area"]) > 40 else "small")
        assert 0.5 < float(row["class_probability"]) <= 1
    for row in rows(out / "images.csv"):
        assert (row["nuclei"], row["class_small"], row["class_large"]) == ("24", "12", "12")
    record = json.loads((out / "run.json").read_text())
    assert [each["name"] for each in record["classes"]["classes"]] == ["small", "large"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "small (light blue): 24 nuclei; large (orange): 24 nuclei" in page
    assert "12 of 12 marked nuclei right" in page
    overlay = np.array(PIL.Image.open(out / "overlays" / "dose1_1.png"))
    for colour in CLASS_COLOURS[:2]:
        assert (overlay == colour).all(axis=-1).any()
    assert not (overlay == CLASS_COLOURS[2]).all(axis=-1).any()


def test_the_summary_as_json_counts_classes(images, file, bright_model, tmp_path):
    command = ["segment", images, "-o", tmp_path / "out", "--model", bright_model, "--json"]
    assert json.loads(run(*command, "--classes", file).stdout)["classes"] == {
        "small": 24,
        "large": 24,
    }
    assert json.loads(run(*command).stdout)["classes"] == {}
    assert "class" not in rows(tmp_path / "out" / "measurements.csv")[0]


def test_other_classes_do_the_work_again(images, file, classifier, bright_model, tmp_path):
    command = ["segment", images, "-o", tmp_path / "out", "--model", bright_model, "--json"]
    run(*command, "--classes", file)
    assert json.loads(run(*command, "--classes", file, "--resume").stdout)["kept"] == 2
    other = tuple(
        each.model_copy(update={"name": name})
        for each, name in zip(classifier.classes, ("b", "a"), strict=True)
    )
    classes.save(classifier.model_copy(update={"classes": other}), file)
    again = json.loads(run(*command, "--classes", file, "--resume").stdout)
    assert (again["kept"], again["classes"]) == (0, {"b": 24, "a": 24})


def test_an_image_with_other_channels_fails_alone(images, file, bright_model, tmp_path):
    colour = np.stack([squares(), squares() // 2, squares() // 3 * 4], axis=-1)
    PIL.Image.fromarray(colour).save(images / "colour.png")
    result = run(
        "segment", images, "-o", tmp_path / "out", "--model", bright_model, "--classes", file
    )
    assert result.exit_code == 1
    assert "trained on images with 1 channel, and of this image 3 channels" in result.output
    told = {Path(row["path"]).name: row for row in rows(tmp_path / "out" / "images.csv")}
    assert told["colour.png"]["status"] == "failed"
    assert told["colour.png"]["class_large"] == ""
    assert told["dose1_1.png"]["class_large"] == "12"
    assert not (tmp_path / "out" / "labels" / "colour.tif").exists()


def test_images_unlike_the_training_are_a_warning(images, file, bright_model, tmp_path):
    large = squares(3).repeat(4, axis=0).repeat(4, axis=1)
    PIL.Image.fromarray(large).save(images / "enlarged.png")
    run("segment", images, "-o", tmp_path / "out", "--model", bright_model, "--classes", file)
    told = {Path(row["path"]).name: row for row in rows(tmp_path / "out" / "images.csv")}
    assert "Classes: " in told["enlarged.png"]["warnings"]
    assert "far from where the classes were trained" in told["enlarged.png"]["warnings"]
    assert "Classes: " not in told["dose1_1.png"]["warnings"]


@pytest.mark.parametrize("content", [None, "{}"])
def test_a_file_that_is_none_is_wrong_usage(content, images, bright_model, tmp_path):
    path = tmp_path / "no.json"
    if content is not None:
        path.write_text(content)
    out = tmp_path / "out"
    result = run("segment", images, "-o", out, "--model", bright_model, "--classes", path)
    assert result.exit_code == 2
    assert "classes" in result.output
    assert not out.exists()


def test_an_image_that_is_not_in_memory_has_the_same_classes(classifier, bright_model, tmp_path):
    image = squares(4, side=128)
    model = load_model(bright_model).with_classes(classifier)
    expected = model.segment(image).measurements()
    with segment_plane(replace(model, image_pixels=1), image, scratch=tmp_path) as found:
        assert type(found).__name__ == "LargeSegmentation"
        table = found.measurements()
        order = np.argsort(table["centroid_row"] * 1000 + table["centroid_column"])
        theirs = np.argsort(expected["centroid_row"] * 1000 + expected["centroid_column"])
        assert (table["class"][order] == expected["class"][theirs]).all()
        assert found.class_numbers is not None
        assert len(found.class_numbers) == found.count
        save_formats(found, tmp_path, "a", ["overlays"])
    with segment_plane(load_model(bright_model), image) as plain:
        assert plain.class_numbers is None
        assert "class" not in plain.measurements()


def test_qupath_knows_the_classes_too(classifier, bright_model, tmp_path):
    found = load_model(bright_model).with_classes(classifier).segment(squares(5))
    (path,) = save_formats(found, tmp_path, "a", ["geojson"])
    table = found.measurements()
    features = json.loads(path.read_text())["features"]
    told = [each["properties"]["classification"] for each in features]
    assert [each["name"] for each in told] == table["class"].tolist()
    assert {tuple(each["color"]) for each in told} == set(CLASS_COLOURS[:2])
    assert "class_probability" in features[0]["properties"]["measurements"]
    assert "class" not in features[0]["properties"]["measurements"]


def test_parquet_and_decimal_commas_hold_classes(images, file, bright_model, tmp_path):
    pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    command = ["segment", images, "-o", out, "--model", bright_model, "--classes", file]
    assert run(*command, "--save", "labels,parquet", "--csv-dialect", "excel-eu").exit_code == 0
    columns = pd.read_parquet(out / "measurements.parquet")
    assert columns["class"].value_counts().to_dict() == {"small": 24, "large": 24}
    european = read_results(out).nuclei
    assert european["class"].tolist() == columns["class"].tolist()
    assert european["class_probability"].between(0.5, 1).all()


def test_outlines_have_the_colour_of_the_class():
    labels = np.zeros((12, 12), np.uint16)
    labels[1:5, 1:5], labels[1:5, 6:10] = 1, 2
    picture = draw_overlay(np.zeros((12, 12), np.uint8), labels, classes=np.array([3, 9]))
    assert tuple(picture[1, 1]) == CLASS_COLOURS[3]
    assert tuple(picture[1, 6]) == CLASS_COLOURS[1]


def test_shares_of_classes_are_analyzed(images, file, bright_model, tmp_path):
    out = tmp_path / "out"
    run("segment", images, "-o", out, "--model", bright_model, "--classes", file)
    results = read_results(out)
    nuclei = with_shares(results.nuclei)
    # Of two classes the rarer one; here both are as frequent.
    (share,) = (name for name in chosen_measures(nuclei) if name.startswith("share_"))
    told = per_image(results.images.rename(columns={"path": "image"}), nuclei, ["nuclei", share])
    assert told[share].tolist() == [0.5, 0.5]
    assert chosen_measures(nuclei, ["share_small"]) == ["nuclei", "share_small"]


def test_three_classes_have_three_shares_and_one_of_two_is_the_rest():
    nuclei = pd.DataFrame({"class": ["a", "b", "b", "c", None], "area": [1.0, 2, 3, 4, 5]})
    table = with_shares(nuclei)
    assert chosen_measures(table)[-3:] == ["share_a", "share_b", "share_c"]
    assert table["share_b"].tolist()[:4] == [0, 1, 1, 0]
    assert np.isnan(table["share_b"].iloc[4])
    assert "share_a" not in with_shares(nuclei.drop(columns="class"))
    two = with_shares(nuclei[nuclei["class"].isin(["a", "b"])])
    assert chosen_measures(two)[-1] == "share_a"


def test_the_command_compares_shares(tmp_path):
    rng = np.random.default_rng(0)
    images, nuclei = [], []
    for treatment, share in (("DMSO", 0.2), ("drug", 0.6)):
        for replicate in range(5):
            path = f"{treatment}/{replicate}_1.tif"
            told = np.where(rng.random(50) < share, "mitotic", "other")
            images.append({"path": path, "status": "ok", "nuclei": 50, "seconds": 1.0})
            nuclei += [
                {"image": path, "label": k, "area": 50.0, "class": told[k]} for k in range(50)
            ]
    pd.DataFrame(images).rename(columns={"path": "image"}).to_csv(tmp_path / "images.csv")
    pd.DataFrame(nuclei).to_csv(tmp_path / "measurements.csv", index=False)
    groups = ["--groups", "{treatment}/{replicate}_{field}", "--control", "DMSO"]
    result = run("analyze", tmp_path, *groups)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "analysis" / "effects.csv").set_index("measure")
    found = table.loc["share_mitotic"]
    assert found["low"] < 0.4 < found["high"]
    assert "share_other" not in table.index
