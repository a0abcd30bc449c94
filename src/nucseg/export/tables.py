"""Write tables as CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.files import atomic_write

# Rows written at once.
_ROWS = 10_000


@dataclass(frozen=True)
class Dialect:
    """Separators and encoding of a table.

    Attributes
    ----------
    name : str
        Name on the command line.
    delimiter, decimal : str
    encoding : str
    """

    name: str
    delimiter: str
    decimal: str
    encoding: str


EXCEL = Dialect("excel", ",", ".", "utf-8")
# Excel in countries with decimal commas needs the byte order mark to read non-ASCII text.
EXCEL_EU = Dialect("excel-eu", ";", ",", "utf-8-sig")

Table = Mapping[str, Sequence[Any] | npt.NDArray[Any]]


def write_table(
    path: Path,
    parts: Iterable[Table],
    *,
    names: Sequence[str] = (),
    dialect: Dialect = EXCEL,
) -> None:
    """Write a table of several parts as CSV; the write is atomic.

    Parameters
    ----------
    path : Path
    parts : iterable of mapping from str to sequence
        Columns of a part, all of the same length. Iterated twice, so that a table larger than
        memory can be written from a lazy re-iterable. A column that a part lacks stays empty.
    names : sequence of str
        Columns that come first and exist even if no part has them.
    dialect : Dialect

    Raises
    ------
    InputError
        The file cannot be written.
    """
    columns = dict.fromkeys(names)
    for part in parts:
        columns |= dict.fromkeys(part)
    write_columns(path, tuple(columns), parts, dialect=dialect)


def write_columns(
    path: Path, columns: Sequence[str], parts: Iterable[Table], *, dialect: Dialect = EXCEL
) -> None:
    """Write a table with known columns as CSV, part by part; the write is atomic.

    Parameters
    ----------
    path : Path
    columns : sequence of str
    parts : iterable of mapping from str to sequence
        As for `write_table`, but iterated once.
    dialect : Dialect

    Raises
    ------
    InputError
        The file cannot be written.
    """
    with (
        atomic_write(path) as partial,
        # File names may contain bytes that are not text.
        partial.open("w", encoding=dialect.encoding, errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n", delimiter=dialect.delimiter)
        writer.writerow(columns)
        for part in parts:
            rows = len(next(iter(part.values()), ()))
            # Cells as text need many times the memory of numbers.
            for first in range(0, rows, _ROWS):
                some = {name: part[name][first : first + _ROWS] for name in columns if name in part}
                missing = [None] * min(_ROWS, rows - first)
                cells = [_cells(some.get(name, missing), dialect.decimal) for name in columns]
                writer.writerows(zip(*cells, strict=True))


def _cells(column: Sequence[Any] | npt.NDArray[Any], decimal: str) -> list[Any]:
    """Format a column: nine digits, the precision of a 32-bit float; empty if undefined."""
    if not isinstance(column, np.ndarray):
        return [_cell(value, decimal) for value in column]
    if column.dtype.kind == "b":
        return list(column.astype(int).tolist())
    numbers = list(column.tolist())
    if column.dtype.kind != "f":
        return numbers
    # All at once, which is several times faster than one by one.
    text = len(numbers) * "%.9g " % tuple(numbers)
    cells: list[Any] = text.replace(".", decimal).split()
    whole = (column == np.rint(column)) & (np.abs(column) >= 1e9)
    for place in np.flatnonzero(np.isnan(column) | (column == 0) | whole):
        cells[place] = _cell(numbers[place], decimal)
    return cells


def _cell(value: Any, decimal: str) -> Any:
    """Format a value: nine digits, the precision of a 32-bit float; empty if undefined."""
    if isinstance(value, (bool, np.bool_)):
        return int(value)
    if value is None or isinstance(value, (str, int)):
        return value
    if math.isnan(value):
        return None
    if float(value).is_integer() and abs(value) < 1e15:
        return int(value)
    return f"{value:.9g}".replace(".", decimal)
