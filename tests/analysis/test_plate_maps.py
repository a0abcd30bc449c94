from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.analysis.plate_maps import read_plate_map, row_number, well_name
from nucseg.errors import InputError


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


LONG = "Well,Compound,Dose [uM],Rep\nA1,DMSO,0,1\nA02,drug,0.5,1\nB3,drug,2,2\n"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_long_map_is_read_whatever_its_separator(tmp_path, separator, encoding):
    path = written(tmp_path / "map.csv", LONG.replace(",", separator), encoding)
    plate = read_plate_map(path)
    assert [row["well"] for row in plate.rows] == ["A01", "A02", "B03"]
    assert [row["dose"] for row in plate.rows] == [0, 0.5, 2]
    assert {row["unit"] for row in plate.rows} == {"uM"}
    assert [row["control"] for row in plate.rows] == ["negative", "", ""]
    assert [row["replicate"] for row in plate.rows] == ["1", "1", "2"]
    assert any("taken for the treatment" in note for note in plate.notes)
    assert any("negative controls" in note for note in plate.notes)


def test_a_map_in_the_form_of_the_plate(tmp_path):
    text = 'treatment,1,2\nA,DMSO,drug\nB,,drug\n\ndose,1,2\nA,0,"0,5"\nB,,3\n'
    plate = read_plate_map(written(tmp_path / "map.csv", text))
    assert {row["well"]: (row["treatment"], row["dose"]) for row in plate.rows} == {
        "A01": ("DMSO", 0.0),
        "A02": ("drug", 0.5),
        "B02": ("drug", 3.0),
    }


def test_one_grid_without_a_name_holds_treatments(tmp_path):
    plate = read_plate_map(written(tmp_path / "layout.csv", ",1,2,3\nA,x,y,z\n"))
    assert [row["treatment"] for row in plate.rows] == ["x", "y", "z"]
    assert "taken for the treatments" in plate.notes[0]


def test_excel_sheets_are_grids_or_tables(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.title = "treatment"
    for row in (("", 1, 2), ("A", "DMSO", "drug")):
        book.active.append(row)
    sheet = book.create_sheet("dose")
    for row in (("", 1, 2), ("A", 0, 1.5)):
        sheet.append(row)
    book.save(tmp_path / "map.xlsx")
    plate = read_plate_map(tmp_path / "map.xlsx")
    assert [(row["treatment"], row["dose"]) for row in plate.rows] == [("DMSO", 0), ("drug", 1.5)]
    (tmp_path / "broken.xlsx").write_bytes(b"PK no book")
    with pytest.raises(InputError, match="Cannot read the plate map"):
        read_plate_map(tmp_path / "broken.xlsx")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "is no plate map"),
        ("", "is no plate map"),
        ("well,treatment\nA1,x\na01,y\n", "A01 twice"),
        ("well,treatment\n1A,x\n", "'1A' is no well"),
        ("well,dose\nA1,5 uM\n", "'5 uM' is no number"),
        ("well,dose\nA1,-1\n", "not 0 or above"),
    ],
)
def test_wrong_maps_are_explained(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        read_plate_map(written(tmp_path / "map.csv", text))
    with pytest.raises(InputError, match="Cannot read"):
        read_plate_map(tmp_path / "none.csv")


def test_wells_of_several_plates_may_share_a_name(tmp_path):
    text = "plate,well,treatment,control\np1,A1,x,neg\np2,A1,y,pos\n"
    plate = read_plate_map(written(tmp_path / "map.csv", text))
    assert plate.plates == ("p1", "p2")
    assert [row["control"] for row in plate.rows] == ["negative", "positive"]


@given(st.integers(0, 31), st.integers(1, 48))
def test_every_well_of_a_plate_has_one_name(row, column):
    letters = chr(65 + row) if row < 26 else "A" + chr(65 + row - 26)
    name = well_name(f"{letters.lower()}{column:03}"[:5])
    assert row_number(letters) == row
    if len(f"{letters}{column:03}") <= 5:
        assert name == f"{letters}{column:02}"
