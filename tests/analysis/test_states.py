"""Phases of the cell cycle and candidates, from tables to the page."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from nucseg.analysis.states import candidate_counts, with_candidates, with_phases
from nucseg.cli.main import app
from nucseg.errors import InputError

SHARES = {"DMSO": (0.6, 0.2, 0.2), "arrest": (0.25, 0.15, 0.6)}


def tables(plates: int = 1, fields: int = 2, each: int = 60):
    """Simulate wells of a control and of a drug that arrests cells in G2 and in mitosis."""
    rng = np.random.default_rng(0)
    images, nuclei = [], []
    for plate in range(plates):
        for row in "ABCDEF":
            for column, name in enumerate(SHARES, start=1):
                for number in range(fields):
                    path = f"p{plate}/img_{row}0{column}_s{number}.tif"
                    images.append({"path": path, "status": "ok", "nuclei": each})
                    phase = rng.choice(3, each, p=SHARES[name])
                    true = np.choose(phase, [1.0, rng.uniform(1, 2, each), 2.0])
                    content = (1000 + 400 * plate) * true * rng.normal(1, 0.06, each)
                    mitotic = (phase == 2) & (rng.random(each) < 0.3)
                    flag = np.where(rng.random(each) < 0.05, "debris", "")
                    content[flag == "debris"] = 100
                    nuclei.append(pd.DataFrame({
                        "image": path, "label": range(1, each + 1), "area": 300.0,
                        "dna_content": content, "touches_border": 0,
                        "candidate": np.where(mitotic & (flag == ""), "mitotic", ""),
                        "flag": flag, "truth": np.array(["G1", "S", "G2M"])[phase],
                    }))  # fmt: skip
    return pd.DataFrame(images), pd.concat(nuclei, ignore_index=True)


def write(folder: Path, images: pd.DataFrame, nuclei: pd.DataFrame) -> Path:
    (folder / "out").mkdir()
    images.to_csv(folder / "out" / "images.csv", index=False)
    nuclei.drop(columns="truth", errors="ignore").to_csv(
        folder / "out" / "measurements.csv", index=False
    )
    wells = [f"{row}0{c},{name}" for row in "ABCDEF" for c, name in enumerate(SHARES, start=1)]
    (folder / "plate.csv").write_text("\n".join(["well,treatment", *wells]))
    return folder / "out"


def run(*arguments: object):
    return CliRunner().invoke(app, ["analyze", *map(str, arguments)])


def test_phases_and_candidates_lead_to_effects_figures_and_the_page(tmp_path: Path):
    out = write(tmp_path, *tables())
    result = run(out, "--plate-map", tmp_path / "plate.csv")
    assert result.exit_code == 0, result.output
    folder = out / "analysis"
    effects = pd.read_csv(folder / "effects.csv").set_index("measure")
    assert effects.loc["phase_G2M", "difference"] == pytest.approx(0.4, abs=0.06)
    assert effects.loc["phase_G2M", "p_holm"] < 0.01
    assert effects.loc["phase_S", "p_holm"] > 0.01
    assert effects.loc["candidate_mitotic", "difference"] == pytest.approx(0.12, abs=0.04)
    fit = pd.read_csv(folder / "cell_cycle.csv").iloc[0]
    assert fit["g1"] == pytest.approx(1000, rel=0.02)
    assert fit["distance"] < 0.05
    assert pd.isna(fit["doubts"])
    phases = pd.read_csv(folder / "phases.csv")["phase"]
    assert set(phases.dropna()) >= {"G1", "S", "G2M"}
    counts = pd.read_csv(folder / "candidates.csv").set_index(["condition", "name"])
    assert counts.loc[("arrest", "mitotic"), "nuclei"] == 6 * 2 * 60
    assert counts.loc[("DMSO", "debris"), "count"] > 10
    data = pd.read_csv(folder / "figures" / "cell_cycle.csv")
    inside = data["dna_over_g1"].between(0.7, 2.4)
    fitted = data.loc[inside, ["G1", "S", "G2M"]].sum(axis=1).sum()
    assert fitted == pytest.approx(data.loc[inside, "nuclei"].sum(), rel=0.03)
    page = (folder / "analysis.html").read_text(encoding="utf-8")
    for text in ("Cell cycle", "Candidates", "distance of the fit", "Dean and Jett"):
        assert text in page


def test_each_plate_has_its_own_fit():
    images, nuclei = tables(plates=2)
    about = images.rename(columns={"path": "image"})
    about["plate"] = about["image"].str[:2]
    told, cycles = with_phases(nuclei, about)
    assert [cycle.plate for cycle in cycles] == ["p0", "p1"]
    assert [cycle.fit.g1 for cycle in cycles] == pytest.approx([1000, 1400], rel=0.03)
    sure = (nuclei["flag"] == "") & nuclei["truth"].isin(["G1", "G2M"])
    assert (told["phase"] == nuclei["truth"])[sure].mean() > 0.85
    assert (told["phase"][nuclei["flag"] == "debris"] == "").all()
    assert with_phases(nuclei, about, wanted=False)[1] == ()


def test_bad_fits_warn(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    images, nuclei = tables()
    nuclei["dna_content"] = np.random.default_rng(1).lognormal(5, 1.2, len(nuclei))
    out = write(tmp_path, images, nuclei)
    assert run(out, "--plate-map", tmp_path / "plate.csv").exit_code == 0
    assert "Phases of the cell cycle are doubtful." in caplog.text
    record = json.loads((out / "analysis" / "analysis.json").read_text())
    assert any("doubtful" in note for note in record["notes"])
    assert "doubtful" in (out / "analysis" / "analysis.html").read_text(encoding="utf-8")


def test_too_few_nuclei_and_no_dna_content(tmp_path: Path):
    images, nuclei = tables(fields=1, each=10)
    out = write(tmp_path, images, nuclei)
    plate = ("--plate-map", tmp_path / "plate.csv")
    result = run(out, *plate, "--cell-cycle")
    assert result.exit_code == 2
    assert "need 200 whole nuclei on a plate; the most are" in result.stderr
    assert run(out, *plate).exit_code == 0
    assert "are too few, of 200 needed" in (out / "analysis" / "cell_cycle.csv").read_text()
    nuclei.drop(columns=["dna_content", "truth"]).to_csv(out / "measurements.csv", index=False)
    result = run(out, *plate, "--cell-cycle")
    assert result.exit_code == 2
    assert "Segment or measure with --dna." in result.stderr
    assert run(out, *plate).exit_code == 0
    assert not (out / "analysis" / "cell_cycle.csv").exists()


def test_cut_nuclei_and_debris_count_in_no_share():
    nuclei = pd.DataFrame({
        "image": "a", "candidate": ["mitotic", None, "", "", None],
        "flag": ["", "debris", "clump", "outlier", ""], "touches_border": [0, 0, 0, 0, 1],
    })  # fmt: skip
    shares = with_candidates(nuclei)["candidate_mitotic"]
    assert shares.fillna(-1).tolist() == [1, -1, -1, 0, -1]
    images = pd.DataFrame({"image": ["a"], "condition": ["x"]})
    counts = candidate_counts(nuclei, images).set_index("name")
    assert counts["count"].to_dict() == {"mitotic": 1, "clump": 1, "debris": 1, "outlier": 1}
    bare = nuclei[["image"]]
    assert with_candidates(bare) is bare
    assert candidate_counts(bare, images).empty
    with pytest.raises(InputError, match="need the DNA content"):
        with_phases(bare, images, wanted=True)


def test_methods_name_the_flat_field(tmp_path: Path):
    out = write(tmp_path, *tables(fields=1, each=30))
    model = {"name": "nuclei", "postprocessing": {"method": "watershed"}}
    run_json = {"model": model, "versions": {"nucseg": "1"}, "flat_field": [{"images": 12}]}
    (out / "run.json").write_text(json.dumps(run_json))
    assert run(out, "--plate-map", tmp_path / "plate.csv").exit_code == 0
    methods = json.loads((out / "analysis" / "analysis.json").read_text())["methods"]
    assert "divided by the flat field of 12 images" in methods
