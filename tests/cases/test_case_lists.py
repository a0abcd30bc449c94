"""Lists as spreadsheets write them, and tables as they read them."""

from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from case_images import nucseg, rows_of

from nucseg.batch.inputs import search_inputs
from nucseg.batch.lists import read_list
from nucseg.config import Reading


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    image = np.full((24, 40), 20, np.uint8)
    image[4:12, 4:12] = image[14:20, 20:30] = 250
    for name in ("a.png", "b, c.png"):
        PIL.Image.fromarray(image).save(tmp_path / name)
    return tmp_path


def columns(path: Path) -> list[dict[str, str]]:
    return [dict(image.columns) for image in search_inputs([path], Path("out"), Reading()).images]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("path\twell\na.png\tA1\n", "utf-16"),
        ("path\twell\r\na.png\tA1\r\n", "utf-16-le"),
        ("path;well\na.png;A1\n", "utf-16-be"),
        ("path;well\na.png;A1\n", "utf-8"),
        ("path;well\r\na.png;A1\r\n", "utf-8-sig"),
        ("sep=;\npath;well\na.png;A1\n", "utf-8"),
        ("well,path\nA1,a.png\n", "utf-8"),
        ('well,path\n"A1","a.png"\n\n', "utf-8-sig"),
    ],
)
def test_encodings_and_delimiters(text: str, encoding: str, folder: Path):
    (folder / "list.csv").write_bytes(text.encode(encoding))
    ((path, name, others),) = read_list(folder / "list.csv")
    assert (path, name.as_posix(), others) == (folder / "a.png", "a.png", (("well", "A1"),))


@pytest.mark.parametrize(
    "text", ["path\nb, c.png\n", 'path,well\n"b, c.png",A1\n', "path;x\nb, c.png;1\n"]
)
def test_commas_in_names(text: str, folder: Path):
    (folder / "list.csv").write_text(text)
    ((path, *_),) = read_list(folder / "list.csv")
    assert path == folder / "b, c.png"


def test_other_columns_are_carried(bright_model: Path, folder: Path):
    text = "path;Behandlung;status;Größe\na.png;DMSO;x;1,5\nb, c.png;Wirkstoff 1;y;\n"
    (folder / "list.csv").write_text(text, encoding="utf-16")
    arguments = ("segment", folder / "list.csv", "-o", folder / "out", "--model", bright_model)
    for more in ((), ("--resume",)):
        assert nucseg(*arguments, *more).exit_code == 0
        rows = rows_of(folder / "out" / "images.csv")
        assert [row["Behandlung"] for row in rows] == ["DMSO", "Wirkstoff 1"]
        assert [row["Größe"] for row in rows] == ["1,5", ""]
        # nucseg's own name is kept for its own.
        assert [row["status"] for row in rows] == ["ok", "ok"]
        assert [row["list_status"] for row in rows] == ["x", "y"]


def test_images_without_a_list_have_no_such_columns(folder: Path):
    (folder / "list.csv").write_text("path,well\na.png,A1\n")
    assert columns(folder / "list.csv") == [{"well": "A1"}]
    assert columns(folder / "a.png") == [{}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_short_rows_and_empty_lines(delimiter: str, folder: Path):
    lines = ["well,path,dose", "A1,a.png", "", ",,", "B2,b.png,3"]
    text = "\n".join(line.replace(",", delimiter) for line in lines)
    (folder / "list.csv").write_text(text)
    found = read_list(folder / "list.csv")
    assert [dict(others) for _, _, others in found] == [
        {"well": "A1", "dose": ""},
        {"well": "B2", "dose": "3"},
    ]


def test_the_dialect_of_excel_where_commas_are_decimal(bright_model: Path, folder: Path):
    base = ("segment", folder / "a.png", "--model", bright_model, "--pixel-size", 0.325)
    assert nucseg(*base, "-o", folder / "us").exit_code == 0
    assert nucseg(*base, "-o", folder / "eu", "--csv-dialect", "excel-eu").exit_code == 0
    for name in ("measurements.csv", "images.csv"):
        assert (folder / "eu" / name).read_bytes().startswith(b"\xef\xbb\xbf")
        expected = pd.read_csv(folder / "us" / name)
        found = pd.read_csv(folder / "eu" / name, sep=";", decimal=",", encoding="utf-8-sig")
        pd.testing.assert_frame_equal(
            found.drop(columns="seconds", errors="ignore"),
            expected.drop(columns="seconds", errors="ignore"),
        )
    # Only tables change.
    assert "1 image of an earlier run kept" in nucseg(*base, "-o", folder / "eu", "--resume").stdout
    pd.testing.assert_frame_equal(
        pd.read_csv(folder / "eu" / "measurements.csv"),
        pd.read_csv(folder / "us" / "measurements.csv"),
    )


def test_an_unknown_dialect(folder: Path):
    result = nucseg("segment", folder / "a.png", "-o", folder / "out", "--csv-dialect", "de")
    assert result.exit_code == 2
    assert "excel-eu" in result.stderr
