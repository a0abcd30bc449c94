import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.errors import InputError
from nucseg.export import tables
from nucseg.export.parquet import write_parquet
from nucseg.export.run_record import write_run_record
from nucseg.export.tables import write_table


def test_parts_with_other_columns_leave_cells_empty(tmp_path: Path):
    path = tmp_path / "new" / "t.csv"
    parts = [{"a": [1, 2], "b": [0.5, float("nan")]}, {"a": np.array([3.0]), "c": ["x, y"]}]
    write_table(path, parts)
    assert path.read_text() == 'a,b,c\n1,0.5,\n2,,\n3,,"x, y"\n'


def test_a_part_of_many_rows_is_written_a_few_at_a_time(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tables, "_ROWS", 2)
    path = tmp_path / "t.csv"
    write_table(path, [{"a": np.arange(5), "b": list("vwxyz")}, {"a": [5]}, {"b": []}])
    assert path.read_text() == "a,b\n0,v\n1,w\n2,x\n3,y\n4,z\n5,\n"


def test_columns_without_parts(tmp_path: Path):
    write_table(tmp_path / "t.csv", [], names=("a", "b"))
    assert (tmp_path / "t.csv").read_text() == "a,b\n"


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=5))
def test_32_bit_numbers_come_back_exactly(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    write_table(path, [{"a": np.array(values, np.float32)}])
    with path.open(newline="") as file:
        read = [np.float32(row["a"]) for row in csv.DictReader(file)]
    assert read == [np.float32(value) for value in values]


def test_a_column_in_one_go_reads_as_its_numbers_one_by_one(tmp_path: Path):
    cell_of = {
        0.1: "0.1", -0.0: "0", 1e9: "1000000000", -123456789012.0: "-123456789012", 1e15: "1e+15",
        1.5e300: "1.5e+300", np.nan: "", np.inf: "inf", 3.0: "3", 1 / 3: "0.333333333",
        2e9 + 0.5: "2e+09",
    }  # fmt: skip
    numbers, cells = list(cell_of), list(cell_of.values())
    for column in (numbers, np.array(numbers)):
        write_table(tmp_path / "t.csv", [{"a": column, "b": ["x"] * len(numbers)}])
        read = (tmp_path / "t.csv").read_text().splitlines()[1:]
        assert [line.removesuffix(",x") for line in read] == cells
    write_table(tmp_path / "t.csv", [{"a": np.array([True, False]), "b": np.array([7, -8])}])
    assert (tmp_path / "t.csv").read_text() == "a,b\n1,7\n0,-8\n"


def test_parquet_reads_as_the_same_table(tmp_path: Path):
    parts = [
        {"image": ["a", "b\udcff"], "label": np.arange(1, 3), "area": np.array([2.5, np.nan])},
        {"image": ["c"], "label": np.array([70000]), "touches": np.array([True])},
        {"image": [], "label": np.zeros(0, int)},
    ]
    write_table(tmp_path / "t.csv", parts, names=("image", "plane"))
    write_parquet(tmp_path / "t.parquet", parts, names=("image", "plane"))
    read = pd.read_parquet(tmp_path / "t.parquet")
    assert list(read.columns) == ["image", "plane", "label", "area", "touches"]
    assert read["label"].tolist() == [1, 2, 70000]
    assert read["label"].dtype == np.int64
    assert read["area"].dtype == np.float64
    assert read["image"].tolist() == ["a", "b\\udcff", "c"]
    table = pd.read_csv(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(
        read[["label", "area"]], table[["label", "area"]], check_exact=True
    )
    assert read["plane"].isna().all()
    assert read["touches"].tolist() == [None, None, True]


def test_parquet_of_many_parts_and_of_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nucseg.export.parquet._ROWS", 10)
    parts = [{"a": np.arange(3) + 3 * place} for place in range(9)]
    write_parquet(tmp_path / "t.parquet", parts)
    assert pd.read_parquet(tmp_path / "t.parquet")["a"].tolist() == list(range(27))
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 3
    write_parquet(tmp_path / "t.parquet", [], names=("image", "label"))
    assert list(pd.read_parquet(tmp_path / "t.parquet").columns) == ["image", "label"]


def test_parquet_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write"):
        write_parquet(tmp_path / "file" / "t.parquet", [{"a": np.ones(1)}])
    with pytest.raises(ValueError, match="expected"):
        write_parquet(tmp_path / "t.parquet", [{"a": np.ones(1), "b": ["x", "y"]}])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_table_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write"):
        write_table(tmp_path / "file" / "t.csv", [{"a": [1]}])


def test_run_record_holds_versions(tmp_path: Path):
    write_run_record(tmp_path / "run.json", {"command": ["nucseg", "µ"]})
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert record["command"] == ["nucseg", "µ"]
    assert record["versions"]["numpy"] == np.__version__
    assert {"nucseg", "onnxruntime", "python"} <= set(record["versions"])
    assert record["written"].endswith("+00:00")


def test_run_record_names_what_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nucseg.export.run_record._PACKAGES", ("no-such-package",))
    write_run_record(tmp_path / "run.json", {})
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["versions"]["no-such-package"] == "not installed as a package"
