"""From images on disk to an analysis with crops of nuclei, by the commands."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from nucseg.analysis.montage import NUCLEI, chosen_nuclei
from nucseg.cli.main import app


def write_images(folder: Path, places: dict[str, list[str]]) -> None:
    """Write images of bright squares: larger ones where a treatment is called large."""
    rng = np.random.default_rng(0)
    for treatment, names in places.items():
        (folder / treatment).mkdir(parents=True)
        side = 14 if treatment == "large" else 8
        for name in names:
            image = rng.integers(0, 40, (96, 96), np.uint8)
            for row in (16, 44, 72):
                for column in (16, 44, 72):
                    image[row : row + side, column : column + side - row // 40] = 240
            Image.fromarray(image).save(folder / treatment / f"{name}.png")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, bright_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_images(folder / "images", {name: ["1_a", "2_a", "3_a"] for name in ("DMSO", "large")})
    command = ["segment", str(folder / "images"), "-o", str(folder / "out")]
    done = CliRunner().invoke(app, [*command, "--model", str(bright_model), "--no-report"])
    assert done.exit_code == 0, done.output
    return folder / "out"


def analyze(results: Path, *more: object):
    groups = ["--groups", "{treatment}/{replicate}_{field}", "--control", "DMSO"]
    done = CliRunner().invoke(app, ["analyze", str(results), *groups, *map(str, more)])
    assert done.exit_code == 0, done.output
    return results / "analysis"


def test_what_segment_writes_is_analyzed_with_crops_of_nuclei(results):
    folder = analyze(results)
    table = pd.read_csv(folder / "effects.csv").set_index("measure")
    assert table.loc["area", "difference"] > 50
    assert table.loc["nuclei", "n"] == 3
    cut = pd.read_csv(folder / "figures" / "montage_large.csv")
    assert cut["kind"].tolist() == ["typical"] * NUCLEI + ["extreme"] * NUCLEI
    nuclei = pd.read_csv(results / "measurements.csv").set_index(["image", "label"])
    row = cut.iloc[-1]
    assert nuclei.loc[(row["image"], row["label"]), "area"] == row["area"]
    picture = np.asarray(Image.open(folder / "figures" / "montage_large.png"))
    middle = picture[48, 48]
    assert middle.min() > 200
    outlined = (picture == (240, 228, 66)).all(axis=2)
    assert outlined[:96, :96].sum() > 60
    page = (folder / "analysis.html").read_text(encoding="utf-8")
    assert "typical nuclei above, extreme ones below" in page
    assert "(model bright; " in page
    record = json.loads((folder / "analysis.json").read_text())
    assert record["segmentation"]["settings"]["min_area"] is not None
    assert set(record["versions"]) == {"python", "numpy", "pandas", "scipy"}
    assert all((folder / file).exists() for file in record["files"])


def test_without_images_or_labels_there_are_no_crops_which_is_said(results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(results, copy)
    shutil.rmtree(copy / "labels")
    folder = analyze(copy)
    assert not list((folder / "figures").glob("montage*"))
    assert "No pictures of nuclei" in (folder / "analysis.html").read_text(encoding="utf-8")


def test_crops_of_other_labels_than_were_measured_are_left_out(results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(results, copy)
    table = pd.read_csv(copy / "measurements.csv")
    large = table["image"].str.contains("large")
    table.loc[large, "area"] += 1
    table.to_csv(copy / "measurements.csv", index=False)
    folder = analyze(copy)
    assert (folder / "figures" / "montage_DMSO.png").exists()
    assert not (folder / "figures" / "montage_large.png").exists()


def test_typical_nuclei_are_near_the_median_and_of_different_images():
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "image": [f"{number % 10}.tif" for number in range(200)],
            "label": np.arange(200),
            "touches_border": False,
            "area": rng.normal(100, 10, 200),
        }
    )
    table.loc[7, ["area", "touches_border"]] = [900.0, True]
    table.loc[8, "area"] = 500.0
    chosen = chosen_nuclei(table, ["nuclei", "area"])
    typical, extreme = (chosen[chosen["kind"] == kind] for kind in ("typical", "extreme"))
    assert typical["distance"].max() < 0.5
    assert extreme["label"].iloc[0] == 8
    assert typical["image"].nunique() == extreme["image"].nunique() == NUCLEI
    assert 7 not in chosen["label"].to_numpy()
    spread = 1.4826 * (table["area"][~table["touches_border"]] - np.median(
        table["area"][~table["touches_border"]])).abs().median()  # fmt: skip
    median = np.median(table["area"][~table["touches_border"]])
    assert extreme["distance"].iloc[0] == pytest.approx((500 - median) / spread)


def segment_and_analyze(folder: Path, model: Path, *more: object):
    command = ["segment", str(folder / "images"), "-o", str(folder / "out")]
    command += ["--model", str(model), "--no-report"]
    return CliRunner().invoke(app, [*command, *map(str, more)])


def test_segment_analyzes_at_its_end(tmp_path, bright_model):
    wells = {"A01": "DMSO", "A02": "DMSO", "B01": "large", "B02": "large"}
    for well, treatment in wells.items():
        write_images(tmp_path / well, {treatment: [well]})
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / well / treatment / f"{well}.png").rename(tmp_path / "images" / f"{well}.png")
    lines = [f"{well},{treatment}" for well, treatment in wells.items()]
    (tmp_path / "plate.csv").write_text("\n".join(["well,treatment", *lines]))
    done = segment_and_analyze(tmp_path, bright_model, "--plate-map", tmp_path / "plate.csv")
    assert done.exit_code == 0, done.output
    assert "analysis.html (opens in a browser)" in done.output
    table = pd.read_csv(tmp_path / "out" / "analysis" / "effects.csv").set_index("measure")
    assert table.loc["area", "difference"] > 50
    told = segment_and_analyze(
        tmp_path, bright_model, "--plate-map", tmp_path / "plate.csv", "--json"
    )
    summary = json.loads(told.stdout)
    assert summary["analysis"].endswith("analysis.html")


def test_what_is_wrong_with_a_plate_map_is_said_before_segmenting(tmp_path, bright_model):
    write_images(tmp_path / "images", {"DMSO": ["a"]})
    done = segment_and_analyze(tmp_path, bright_model, "--plate-map", tmp_path / "none.csv")
    assert done.exit_code == 2
    assert "Cannot read the plate map" in " ".join(done.output.split())
    done = segment_and_analyze(tmp_path, bright_model, "--groups", "{wel}")
    assert done.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_results_stay_where_they_cannot_be_analyzed(tmp_path, bright_model):
    write_images(tmp_path / "images", {"DMSO": ["a"], "large": ["b"]})
    done = segment_and_analyze(tmp_path, bright_model, "--groups", "{treatment}/{field}")
    assert done.exit_code == 2
    text = " ".join(done.output.split())
    assert "The images are segmented, but were not analyzed" in text
    assert "Name it with --control" in text
    assert (tmp_path / "out" / "measurements.csv").exists()


def test_conditions_come_from_columns_of_the_list_of_inputs(tmp_path, bright_model):
    write_images(tmp_path / "images", {name: ["1", "2", "3"] for name in ("DMSO", "large")})
    lines = [
        f"images/{name}/{number}.png,{name},{number},{'negative' if name == 'DMSO' else ''}"
        for name in ("DMSO", "large")
        for number in (1, 2, 3)
    ]
    table = tmp_path / "list.csv"
    table.write_text("\n".join(["image,treatment,replicate,control", *lines]))
    command = ["segment", str(table), "-o", str(tmp_path / "out"), "--model", str(bright_model)]
    assert CliRunner().invoke(app, [*command, "--no-report"]).exit_code == 0
    done = CliRunner().invoke(app, ["analyze", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    effects = pd.read_csv(tmp_path / "out" / "analysis" / "effects.csv").set_index("measure")
    assert effects.loc["area", "n"] == 3
    assert effects.loc["area", "difference"] > 50
