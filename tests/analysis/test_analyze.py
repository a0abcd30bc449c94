"""The command from tables of a run to a page, with what goes wrong."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from nucseg.analysis.conditions import assign, read_results
from nucseg.analysis.plate_maps import PlateMap
from nucseg.analysis.summaries import effects, per_image, per_replicate, per_unit
from nucseg.cli.main import app
from nucseg.errors import InputError

DOSES = (0.0, 0.1, 0.3, 1.0, 3.0)


def plate_table(seed: int = 0, *, effect: float = 0.5) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Simulate tables of a plate: five doses in six wells, two fields; and its plate map."""
    rng = np.random.default_rng(seed)
    images, nuclei, rows = [], [], ["well,treatment,dose,unit,control"]
    for column, dose in enumerate(DOSES, start=1):
        for row in "ABCDEF":
            well = f"{row}{column:02}"
            name = "DMSO" if dose == 0 else "drug"
            rows.append(f"{well},{name},{dose},uM,{'negative' if dose == 0 else ''}")
            size = 300 * rng.normal(1, 0.05)
            alive = 40 * rng.normal(1, 0.08) * (1 - effect * dose / (dose + 0.5))
            for field in (1, 2):
                path = f"plate1/img_{well}_s{field}.tif"
                count = int(rng.poisson(alive))
                images.append({"path": path, "status": "ok", "nuclei": count, "seconds": 1.0})
                nuclei += [
                    {"image": path, "label": k + 1, "area": rng.normal(size, 60), "solidity": 0.9}
                    for k in range(count)
                ]
    return pd.DataFrame(images), pd.DataFrame(nuclei), "\n".join(rows) + "\n"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    images, nuclei, plate = plate_table()
    folder = tmp_path / "out"
    folder.mkdir()
    images.to_csv(folder / "images.csv", index=False)
    nuclei.to_csv(folder / "measurements.csv", index=False)
    (tmp_path / "plate.csv").write_text(plate)
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["analyze", *map(str, arguments)])


def test_a_plate_map_leads_to_effects_curves_and_a_page(results, tmp_path):
    result = run(results, "--plate-map", tmp_path / "plate.csv")
    assert result.exit_code == 0, result.output
    folder = results / "analysis"
    table = pd.read_csv(folder / "effects.csv")
    count = table[table["measure"] == "nuclei"].set_index("condition")
    assert list(count.index) == ["drug 0.1 uM", "drug 0.3 uM", "drug 1 uM", "drug 3 uM"]
    assert (count["n"] == 6).all()
    assert count.loc["drug 3 uM", "p_holm"] < 0.01
    assert count.loc["drug 3 uM", "percent"] == pytest.approx(-43, abs=8)
    area = table[table["measure"] == "area"]
    assert (area["p_holm"] > 0.05).all()
    wells = pd.read_csv(folder / "wells.csv")
    assert len(wells) == 30
    assert (wells["images"] == 2).all()
    curve = pd.read_csv(folder / "dose_response.csv").set_index("measure").loc["nuclei"]
    assert curve["low"] < 0.5 < curve["high"]
    figures = {path.name for path in (folder / "figures").glob("*.svg")}
    assert figures >= {"conditions_nuclei.svg", "dose_drug_nuclei.svg", "plate_area.svg"}
    record = json.loads((folder / "analysis.json").read_text())
    assert record["controls"] == ["DMSO"]
    assert "img_A01_s1.tif is A01" in record["notes"][0]
    page = (folder / "analysis.html").read_text(encoding="utf-8")
    assert "Holm" in page
    assert "nuclei were not treated as replicates" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_numbers_are_those_of_the_tables_by_hand(results, tmp_path):
    run(results, "--plate-map", tmp_path / "plate.csv", "-o", tmp_path / "made")
    nuclei = pd.read_csv(results / "measurements.csv")
    in_fields = nuclei[nuclei["image"].str.contains("_C03_")].groupby("image")["area"].mean()
    wells = pd.read_csv(tmp_path / "made" / "wells.csv").set_index("well")
    assert wells.loc["C03", "area"] == pytest.approx(in_fields.mean())
    images = pd.read_csv(results / "images.csv")
    counts = images[images["path"].str.contains("_C03_")]["nuclei"]
    assert wells.loc["C03", "nuclei"] == pytest.approx(counts.mean())
    table = pd.read_csv(tmp_path / "made" / "effects.csv").set_index(["condition", "measure"])
    drug = wells[wells["dose"] == 1]["area"].mean()
    control = wells[wells["treatment"] == "DMSO"]["area"].mean()
    assert table.loc[("drug 1 uM", "area"), "difference"] == pytest.approx(drug - control)


def test_two_runs_are_the_same_bytes(results, tmp_path):
    for name in ("one", "two"):
        run(results, "--plate-map", tmp_path / "plate.csv", "-o", tmp_path / name)
    one, two = tmp_path / "one", tmp_path / "two"
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(files) > 10
    for file in files:
        assert (one / file).read_bytes() == (two / file).read_bytes(), file


def test_what_an_earlier_analysis_left_goes_and_files_of_others_stay(results, tmp_path):
    run(results, "--plate-map", tmp_path / "plate.csv")
    folder = results / "analysis"
    (folder / "mine.csv").write_text("mine")
    assert (folder / "dose_response.csv").exists()
    wells = [f"{row}0{c},{('DMSO', 'x')[c - 1]}" for row in "ABC" for c in (1, 2)]
    (tmp_path / "two.csv").write_text("\n".join(["well,treatment", *wells]))
    result = run(results, "--plate-map", tmp_path / "two.csv")
    assert result.exit_code == 0, result.output
    assert not (folder / "dose_response.csv").exists()
    assert not list((folder / "figures").glob("dose_*"))
    assert (folder / "figures" / "conditions_nuclei.svg").exists()
    assert (folder / "mine.csv").read_text() == "mine"
    (tmp_path / "outside.csv").write_text("kept")
    record = json.loads((folder / "analysis.json").read_text())
    record["files"] = ["../../outside.csv", str(tmp_path / "outside.csv")]
    (folder / "analysis.json").write_text(json.dumps(record))
    run(results, "--plate-map", tmp_path / "two.csv")
    assert (tmp_path / "outside.csv").read_text() == "kept"


def test_conditions_come_from_paths_without_a_plate_map(tmp_path):
    rows = [
        (f"{treatment}/{donor}_{field}.tif", 30 + 10 * (treatment == "drug") + donor)
        for treatment in ("control", "drug")
        for donor in range(3)
        for field in (1, 2)
    ]
    folder = tmp_path / "out"
    folder.mkdir()
    images = pd.DataFrame(rows, columns=["image", "nuclei"]).assign(status="ok")
    told = images.rename(columns={"image": "path"})
    told.to_csv(folder / "images.csv", index=False, sep=";", decimal=",")
    nuclei = pd.DataFrame({"image": images["image"], "label": 1, "area": 5.5})
    nuclei.to_csv(folder / "measurements.csv", index=False, sep=";", decimal=",")
    result = run(folder, "--groups", "{treatment}/{replicate}_{field}", "--control", "control")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(folder / "analysis" / "effects.csv").set_index("measure")
    assert table.loc["nuclei", "n"] == 3
    assert table.loc["nuclei", "difference"] == pytest.approx(10)
    assert table.loc["area", "mean"] == 5.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "No image belongs to a treatment"),
        (["--groups", "{wel}"], "Wrong value of --groups"),
        (["--groups", "well"], "Wrong value of --groups"),
        (["--plate-map", "nothing.csv"], "Cannot read the plate map"),
        (["--control", "water"], "--control names water; the conditions are"),
        (["--measure", "colour"], "no measurement 'colour'"),
    ],
)
def test_wrong_options_are_explained(results, tmp_path, arguments, said):
    if said.startswith(("--control", "no measurement")):
        arguments = [*arguments, "--plate-map", tmp_path / "plate.csv"]
    result = run(results, *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert not (results / "analysis").exists()


def test_a_folder_without_results_is_explained(tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "images.csv is missing" in " ".join(result.output.split())


def test_images_and_wells_that_do_not_match_are_listed(results):
    tables = read_results(results)
    plate = PlateMap(
        (
            {"well": "A01", "treatment": "DMSO", "control": "negative"},
            {"well": "H12", "treatment": "drug", "control": ""},
        )
    )
    assigned = assign(tables.images, plate)
    assert len(assigned.images) == 2
    assert len(assigned.unmatched) == 58
    assert assigned.unused == ("H12",)
    with pytest.raises(InputError, match="None of the 60 images matches the plate map"):
        assign(tables.images, PlateMap(({"well": "H12", "treatment": "x", "control": ""},)))


def test_failed_images_do_not_count_as_empty(results):
    tables = read_results(results)
    tables.images.loc[0, "status"] = "failed"
    tables.images.loc[0, "nuclei"] = 0
    images = tables.images.assign(treatment="x", condition="x", well="A01")
    rows = per_image(images, tables.nuclei, ["nuclei", "area"])
    assert len(rows) == 59


def test_a_replicate_of_several_wells_is_one_unit():
    units = pd.DataFrame(
        {
            "well": ["A01", "A02", "A03", "B01", "B02", "B03"],
            "replicate": [1, 1, 2, 1, 1, 2],
            "treatment": ["x"] * 3 + ["DMSO"] * 3,
            "condition": ["x"] * 3 + ["DMSO"] * 3,
            "nuclei": [10.0, 20, 30, 1, 3, 5],
        }
    )
    averaged = per_replicate(units, ["nuclei"])
    assert averaged.set_index(["condition", "replicate"])["nuclei"].to_dict() == {
        ("DMSO", 1): 2, ("DMSO", 2): 5, ("x", 1): 15, ("x", 2): 30,
    }  # fmt: skip
    table = effects(averaged, ["nuclei"], ["DMSO"])
    assert table["n"].tolist() == [2]


def test_plates_are_blocks():
    rng = np.random.default_rng(0)
    rows = []
    for number, plate in enumerate(("p1", "p2", "p3")):
        for well in range(8):
            condition = "drug" if well % 2 else "DMSO"
            value = 100 * (number + 1) + 5 * (condition == "drug") + rng.normal(0, 1)
            rows.append((plate, f"A{well + 1:02}", condition, condition, value))
    units = pd.DataFrame(rows, columns=["plate", "well", "treatment", "condition", "nuclei"])
    table = effects(units, ["nuclei"], ["DMSO"])
    assert table["method"].tolist() == ["linear model with blocks"]
    assert table["difference"].tolist() == pytest.approx([5], abs=1)
    assert table["p_holm"].iloc[0] < 1e-6


def test_known_effects_are_found_and_none_is_made_up():
    covered = found = false = 0
    for seed in range(40):
        for effect in (0.5, 0.0):
            images, nuclei, _ = plate_table(seed, effect=effect)
            wells = pd.Series([path[11:14] for path in images["path"]])
            dose = wells.map(lambda well: DOSES[int(well[1:]) - 1])
            images = images.rename(columns={"path": "image"})
            told = images.assign(well=wells, treatment="drug", dose=dose, condition=dose.map(str))
            rows = per_image(told, nuclei, ["nuclei", "area"])
            table = effects(per_unit(rows, ["nuclei", "area"]), ["nuclei", "area"], ["0.0"])
            count = table[table["measure"] == "nuclei"].set_index("condition").loc["3.0"]
            if effect:
                true = -40 * effect * 3 / 3.5
                covered += count["low"] <= true <= count["high"]
                found += count["p_holm"] < 0.05
            else:
                false += bool((table["p_holm"] < 0.05).any())
    assert covered >= 36
    assert found == 40
    assert false <= 4
