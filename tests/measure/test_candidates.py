"""Candidates by rules, on nuclei made by hand."""

import numpy as np
import pytest

from nucseg.errors import InputError
from nucseg.measure import measure
from nucseg.measure.candidates import (
    CANDIDATE,
    FLAG,
    find_candidates,
    measures,
    median_nucleus,
    read_rules,
)
from nucseg.measure.dna import measure_dna

GROUND, USUAL = 20, 120  # 100 above the background
SIDE = 60


def drawn(extra: dict[str, list[tuple[float, float, float, int]]]):
    """Draw usual nuclei of a radius of 10 in a grid, and in other squares of it discs of one's own.

    Each is a list of discs: row, column, radius, intensity, with the middle of the square as 0, 0.
    """
    squares = [None] * 12 + list(extra)
    image = np.full((SIDE * 4, SIDE * 6), GROUND, np.uint16)
    labels = np.zeros(image.shape, int)
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    owner = {}
    for place, name in enumerate(squares):
        top, left = SIDE * (place // 6) + SIDE / 2, SIDE * (place % 6) + SIDE / 2
        for down, across, radius, bright in extra.get(name, [(0, 0, 10, USUAL)]):
            disc = (rows - top - down) ** 2 + (columns - left - across) ** 2 <= radius**2
            labels[disc] = len(owner) + 1
            image[disc] = bright
            owner[len(owner) + 1] = name
    table = measure(labels, image) | measure_dna(labels, image)[0]
    return table, [owner[number] for number in table["label"]]


SHAPES = {
    "condensed": [(0, 0, 8, 420)],  # .64 of the area with 2.6 times the DNA
    "pyknotic": [(0, 0, 5, 320)],  # a quarter of the area, .75 of the DNA
    "fragments": [(0, 0, 4, 300), (9, 0, 3, 300), (-7, 6, 3.5, 300), (0, -10, 3, 280)],
    "satellite": [(0, 0, 10, USUAL), (0, 14, 2.5, 130)],
    "speck": [(0, 0, 2.5, 130)],
    "ghost": [(0, 0, 10, GROUND + 5)],
    "clump": [(0, -9, 10, USUAL), (0, 9, 10, USUAL)],
}


@pytest.fixture(scope="module")
def named():
    table, owners = drawn(SHAPES)
    # Both halves of the clump lie in one outline.
    found = find_candidates(table, read_rules(), median_nucleus([table]))
    return table, owners, found


def of(named, owner, column):
    _, owners, found = named
    return [str(name) for name, each in zip(found[column], owners, strict=True) if each == owner]


def test_usual_nuclei_have_no_name(named):
    assert set(of(named, None, CANDIDATE)) == {""}
    assert set(of(named, None, FLAG)) == {""}


def test_condensed_nuclei_with_more_dna_may_be_mitotic(named):
    assert of(named, "condensed", CANDIDATE) == ["mitotic"]


def test_small_condensed_nuclei_may_be_apoptotic_and_pieces_fragmented(named):
    assert of(named, "pyknotic", CANDIDATE) == ["apoptotic"]
    assert of(named, "fragments", CANDIDATE) == ["fragmented"] * 4


def test_a_small_one_beside_a_large_one_may_be_a_micronucleus_alone_it_is_debris(named):
    assert of(named, "satellite", CANDIDATE) == ["", "micronucleus"]
    assert of(named, "satellite", FLAG)[0] == ""
    assert of(named, "speck", CANDIDATE) == [""]
    assert of(named, "speck", FLAG) == ["debris"]
    assert of(named, "ghost", FLAG) == ["debris"]


def test_clumps_and_outliers_are_flagged():
    table, _ = drawn({})
    table["area"] = table["area"].astype(float)
    for place, (area, dna, solidity) in enumerate([(2.2, 2.2, 0.8), (9, 9, 0.99)]):
        table["area"][place] *= area
        table["dna_content"][place] *= dna
        table["solidity"][place] = solidity
    found = find_candidates(table, read_rules(), median_nucleus([table]))
    assert found[FLAG][:3].tolist() == ["clump", "outlier", ""]


def test_nothing_changes_with_exposure_magnification_and_other_nuclei_of_the_folder(named):
    table, _, found = named
    brighter = {**table, "dna_content": table["dna_content"] * 7}
    larger = {**table, "area": table["area"] * 4, "dna_content": table["dna_content"] * 4}
    for name in ("centroid_row", "centroid_column"):
        larger[name] = table[name] * 2
    for other in (brighter, larger):
        again = find_candidates(other, read_rules(), median_nucleus([other]))
        for column in (CANDIDATE, FLAG):
            assert again[column].tolist() == found[column].tolist()


def test_cut_nuclei_have_no_name_and_few_have_no_median(named):
    table, _, _ = named
    cut = {**table, "touches_border": np.ones(len(table["area"]), bool)}
    assert median_nucleus([cut]) is None
    found = find_candidates(table, read_rules(), None)
    assert set(found[CANDIDATE]) | set(found[FLAG]) == {""}
    found = find_candidates(cut, read_rules(), median_nucleus([table]))
    assert set(found[CANDIDATE]) == {""}
    dark = {**table, "dna_content": -table["dna_content"]}
    assert median_nucleus([dark]) is None
    none = {name: values[:0] for name, values in table.items()}
    assert find_candidates(none, read_rules(), None)[CANDIDATE].shape == (0,)


def test_distance_of_the_only_usual_nucleus_is_infinite():
    table, _ = drawn({})
    median = median_nucleus([table])
    one = {name: values[:1] for name, values in table.items()}
    assert measures(one, median)["distance"].tolist() == [np.inf]


def test_every_rule_has_a_source_and_a_file_of_ones_own_is_read(tmp_path):
    assert all(rule.source for rule in read_rules().rule)
    path = tmp_path / "mine.toml"
    path.write_text(
        'relative_to = "run"\n[[rule]]\nname = "big"\ncolumn = "flag"\nsource = "mine"\n'
        "area = [1.5, inf]\n"
    )
    rules = read_rules(path)
    assert rules.names(FLAG) == ["big"]
    assert rules.rule[0].limits == {"area": (1.5, np.inf)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rule = 3", "Wrong rule of candidates in .*: rule:"),
        ("[[rule]", "is no TOML file"),
        ('[[rule]]\nname="a"\ncolumn="flag"\nsource="s"\naera=[0, 1]', "'aera' is none of area"),
        ('[[rule]]\nname="a"\ncolumn="flag"\nsource="s"\narea=[2, 1]', "must rise, not 2 to 1"),
        ('[[rule]]\nname="a"\ncolumn="flag"\narea=[0, 1]', "rule 0 source: Field required"),
        ('relative_to="plate"\nrule=[]', "relative_to"),
    ],
)
def test_wrong_files_say_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_rules(path)


def test_missing_files_are_said(tmp_path):
    with pytest.raises(InputError, match="Cannot read the rules of candidates"):
        read_rules(tmp_path / "none.toml")


def test_dna_content_by_hand_and_of_colours():
    labels = np.array([[0, 0, 1, 1, 0, 3]])
    table, doubts = measure_dna(labels, np.array([[2, 2, 9, 7, 2, 5]]))
    assert table["dna_content"].tolist() == [12, 3]
    assert table["dna_background"].tolist() == [2, 2]
    assert doubts == []
    dark = measure_dna(labels, np.array([[9, 9, 1, 1, 9, 9]]))[1]
    assert "no brighter than the background" in dark[0]
    assert measure_dna(labels * 0, labels)[0]["dna_content"].shape == (0,)
    with pytest.raises(InputError, match="DNA content needs one value in each pixel"):
        measure_dna(labels, np.zeros((1, 6, 3)))
