"""Which channel was taken, and why, is said; names of stains are read as people write them."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from case_images import discs, nucseg, rows_of

from nucseg.images import nuclear_channel, open_image


def channels(path: Path, *names: str) -> Path:
    image = discs()[0]
    stack = np.stack([image[::-1] // 4] * (len(names) - 1) + [image])
    metadata = {"axes": "CYX", "Channel": {"Name": list(names)}}
    tifffile.imwrite(path, stack, metadata=metadata, photometric="minisblack", ome=True)
    return path


def segmented(path: Path, out: Path, *options: object):
    result = nucseg("segment", path, "-o", out, *options)
    assert result.exit_code == 0, result.output
    (row,) = rows_of(out / "images.csv")
    return result, (row["channel"], row["channels"], row["channel_by"])


def test_the_channel_taken_by_its_name_is_said(tmp_path: Path):
    path, out = channels(tmp_path / "a.ome.tif", "Phase", "DNA"), tmp_path / "out"
    result, row = segmented(path, out)
    assert row == ("DNA", "2", "name")
    assert "Channel: DNA (2 of 2, by its name), in 1 image." in result.stdout
    (choice,) = json.loads((out / "run.json").read_text())["channel_choices"]
    assert (choice["name"], choice["number"], choice["of"], choice["by"]) == ("DNA", 1, 2, "name")
    assert "DNA (2 of 2, by its name)" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("names", "by", "said"),
    [
        (["GFP", "no nuclei"], "first", "the first of 2"),
        (["a", "b", "c"], "all", "all 3"),
        (["a", "b", "c", "d"], "first", "the first 3 of 4"),
    ],
)
def test_where_no_name_tells_it_is_said_in_which_nuclei_are_looked_for(
    names: list[str], by: str, said: str, tmp_path: Path
):
    path = channels(tmp_path / "a.ome.tif", *names)
    result, row = segmented(path, tmp_path / "out")
    assert row == ("all", str(len(names)), by)
    expected = (
        f"Channel: {said}, since no name says which shows nuclei; choose one by --channel, in 1"
    )
    assert expected in result.stdout


def test_a_channel_that_was_asked_for(tmp_path: Path):
    path = channels(tmp_path / "a.ome.tif", "DNA", "GFP")
    for number, asked in enumerate(("GFP", 1)):
        result, row = segmented(path, tmp_path / str(number), "--channel", asked)
        assert row == ("GFP", "2", "asked")
        assert "Channel: GFP (2 of 2, as asked for), in 1 image." in result.stdout


def test_nothing_is_said_of_images_of_one_channel(tmp_path: Path):
    PIL.Image.fromarray((discs()[0] // 8).astype(np.uint8)).save(tmp_path / "a.png")
    result, row = segmented(tmp_path / "a.png", tmp_path / "out")
    assert "Channel" not in result.stdout
    assert row == ("all", "1", "only")


def test_colours_are_read_together_without_a_word(tmp_path: Path):
    pixels = np.stack([(discs()[0] // 8).astype(np.uint8)] * 3, -1)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    result, row = segmented(tmp_path / "a.png", tmp_path / "out")
    assert "Channel" not in result.stdout
    assert row == ("all", "3", "colours")
    (red,) = open_image(tmp_path / "a.png", channel="red")
    assert (red.chosen.name, red.chosen.of, red.chosen.by) == ("red", 3, "asked")


@pytest.mark.parametrize(
    "name",
    [
        "DAPI", "dapi_405", "DAPI-1", "Hoechst 33342", "HOECHST", "H33342", "H 33258", "Hst",
        "Draq7", "DRAQ5", "DNA", "DNA1", "DNA 2", "SiR-DNA", "SiR-Hoechst", "SPY650-DNA",
        "TO-PRO-3", "TOPRO3", "NUC", "nuc_1", "Nuclei", "nuclear", "Nucleus", "nuclear stain",
        "NucBlue", "NucSpot 470", "SYTOX Green", "Syto 13", "H2B-GFP", "mCherry_H2B", "PI",
        "Propidium iodide",
        "405", "405nm", "405 nm", "w1_DAPI", "Hematoxylin", "Haematoxylin",
        "wDAPI", "dsDNA", "Hoescht 33342", "Höchst", "Hoe33342", "topro", "NuclearMask Blue",
        "7-AAD", "NLS-GFP", "191Ir-DNA1", "DNA1(Ir191)Di", "ch405", "Nuclei (DAPI)",
        "DAPI (no wash)", "no filter, DAPI",
    ],
)  # fmt: skip
def test_names_of_nuclear_stains(name: str):
    assert nuclear_channel(["GFP", name]) == 1


@pytest.mark.parametrize(
    "name",
    [
        "no nuclei", "non-nuclear", "Non nuclear", "not DNA", "cytoplasm (no DNA)", "without DAPI",
        "minus nuclei", "DNase", "DNAse I", "PIP2", "1405", "4050", "Pi3K", "nucleolin",
        "RNA", "GFP", "actin", "mito", "PIN1", "snuclear", "",
        "Alexa Fluor 405", "AF405", "H2AX", "PI(4,5)P2", "PI 3-kinase", "DNA-PAINT tubulin",
        "DNA damage", "mitochondrial DNA", "mt-DNA", "nuclei excluded", "DNA-free", "w/o DAPI",
        "cytoplasm without the DNA", "nuclear envelope", "BFP", "SYTO RNASelect", "DRAQ9", "193",
    ],
)  # fmt: skip
def test_names_of_other_channels(name: str):
    assert nuclear_channel(["GFP", name]) is None


def test_the_surest_name_is_taken():
    assert nuclear_channel(["405", "nuclei", "DNA", "DAPI"]) == 3
    assert nuclear_channel(["405", "PI", "nuclear"]) == 2
    assert nuclear_channel(["488", "405"]) == 1
