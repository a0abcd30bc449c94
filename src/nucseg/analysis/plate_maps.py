"""Plate maps: treatment, dose and replicate of each well, from CSV or Excel files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucseg.errors import InputError, MissingExtraError

# Accepted names of the columns of a plate map, by their meaning.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "well": ("well", "well_id", "position", "wellid"),
    "plate": ("plate", "plate_id", "barcode", "plateid"),
    "treatment": ("treatment", "compound", "drug", "condition", "sample", "perturbation"),
    "dose": ("dose", "concentration", "conc"),
    "unit": ("unit", "units", "dose_unit", "concentration_unit"),
    "replicate": ("replicate", "rep", "donor", "biological_replicate"),
    "control": ("control", "role", "control_type", "type"),
}
_CONTROLS = {
    "negative": ("negative", "neg", "vehicle", "dmso", "untreated", "control", "true", "yes", "1"),
    "positive": ("positive", "pos"),
}
_WELL = re.compile(r"^([A-Za-z]{1,2})0*([1-9][0-9]?)$")
# Rows and columns of plates with 6 to 1536 wells.
_MOST_ROWS, _MOST_COLUMNS = 32, 48
_UNIT = re.compile(r"^(.*?)\s*[\[(]([^\])]+)[\])]$")


@dataclass(frozen=True)
class PlateMap:
    """Content of each well.

    Attributes
    ----------
    rows : tuple of dict
        One for each well, with the keys ``well`` (``A01``) and any of `COLUMNS` and of the file's
        other columns. ``dose`` is a number or None; ``control`` is ``negative``, ``positive`` or
        empty.
    notes : tuple of str
        Guesses made in reading, in sentences.
    """

    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()

    @property
    def plates(self) -> tuple[str, ...]:
        """Names of the plates in the map; empty if it applies to every plate."""
        return tuple(dict.fromkeys(str(row["plate"]) for row in self.rows if row.get("plate")))


def well_name(text: str) -> str | None:
    """Normalize the name of a well to the row letters and two digits.

    Parameters
    ----------
    text : str
        Name such as ``a1``, ``A01`` or ``AF48``.

    Returns
    -------
    str or None
        None if `text` is not a well of a plate with up to 1536 wells.

    Examples
    --------
    >>> [well_name(text) for text in ("a1", "A01", "P24", "AF48", "1A", "Z99")]
    ['A01', 'A01', 'P24', 'AF48', None, None]
    """
    match = _WELL.match(text.strip())
    if match is None:
        return None
    row, column = match[1].upper(), int(match[2])
    if row_number(row) >= _MOST_ROWS or column > _MOST_COLUMNS:
        return None
    return f"{row}{column:02}"


def row_number(letters: str) -> int:
    """Convert the letters of a plate's row to its number, from 0.

    Examples
    --------
    >>> [row_number(letters) for letters in ("A", "H", "Z", "AA", "AF")]
    [0, 7, 25, 26, 31]
    """
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def read_plate_map(path: Path) -> PlateMap:
    """Read a plate map.

    Parameters
    ----------
    path : Path
        CSV, TSV or Excel (.xlsx). The table is either long, with a row for each well and a column
        ``well``, or has the form of the plate: a grid with row letters in its first column and
        column numbers in its first row. In a file of several grids, the name of each is in its
        upper left corner, in the line above it, or is the name of the sheet.

    Raises
    ------
    InputError
        The file cannot be read, has neither form, lists a well twice, or a dose is not a number.
    MissingExtraError
        An Excel file is given and openpyxl is not installed.
    """
    sheets = _sheets(path)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    grids: dict[str, dict[str, str]] = {}
    for name, cells in sheets.items():
        found = _grids(cells, name)
        if found:
            grids |= found
        elif _is_long(cells):
            rows += _long(cells, path, notes)
    if grids:
        rows += _of_grids(grids, notes)
    if not rows:
        raise InputError(
            f"{path} is no plate map: expected a column 'well' with a row for each well, or a grid "
            "with row letters (A, B, ...) in its first column and column numbers (1, 2, ...) in "
            "its first row."
        )
    _check_once(rows, path)
    return PlateMap(tuple(_typed(row, path, notes) for row in rows), tuple(dict.fromkeys(notes)))


def _sheets(path: Path) -> dict[str, list[list[str]]]:
    """Read the cells of each sheet of a file as text."""
    if path.suffix.lower() in {".xlsx", ".xlsm"}:
        return _excel(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read the plate map {path}: {error.strerror or error}.") from error
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    first = text.splitlines()[0] if text.strip() else ""
    separator = max(",;\t", key=first.count)
    cells = [
        [cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=separator)
    ]
    return {path.stem: cells}


def _excel(path: Path) -> dict[str, list[list[str]]]:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise MissingExtraError("Reading Excel files", "analysis") from error
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # openpyxl raises various errors for damaged files
        raise InputError(f"Cannot read the plate map {path}: {error}.") from error
    try:
        return {
            sheet.title: [
                [_text(cell) for cell in row] for row in sheet.iter_rows(values_only=True)
            ]
            for sheet in book.worksheets
        }
    finally:
        book.close()


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def _is_long(cells: Sequence[Sequence[str]]) -> bool:
    header = [cell.lower() for cell in cells[0]] if cells else []
    return any(name in header for name in COLUMNS["well"])


def _long(cells: Sequence[Sequence[str]], path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """Return the rows of a table with one well per row."""
    names = [_meaning(cell, notes) for cell in cells[0]]
    units = [_UNIT.match(cell) for cell in cells[0]]
    rows = []
    for number, line in enumerate(cells[1:], start=2):
        if not any(line):
            continue
        row = {name: value for name, value in zip(names, line, strict=False) if name}
        for name, unit in zip(names, units, strict=True):
            if name == "dose" and unit is not None:
                row.setdefault("unit", unit[2])
        well = well_name(row.get("well", ""))
        if well is None:
            raise InputError(
                f"{path}, line {number}: {row.get('well', '')!r} is no well; expected a letter and "
                "a number, such as A1 or H12."
            )
        rows.append({**row, "well": well})
    return rows


def _meaning(head: str, notes: list[str]) -> str:
    """Return the meaning of a column; its own name if that is none of `COLUMNS`."""
    unit = _UNIT.match(head)
    bare = (unit[1] if unit else head).strip().lower().replace(" ", "_")
    for meaning, names in COLUMNS.items():
        if bare in names:
            if bare != meaning:
                notes.append(f"The column {head!r} of the plate map is taken for the {meaning}.")
            return meaning
    return bare


def _grids(cells: Sequence[Sequence[str]], sheet: str) -> dict[str, dict[str, str]]:
    """Find grids in the form of a plate; return the content of each well, by the grid's name."""
    found: dict[str, dict[str, str]] = {}
    for top, line in enumerate(cells):
        columns = [
            (place, int(cell)) for place, cell in enumerate(line) if place and cell.isdigit()
        ]
        numbers = [number for _, number in columns]
        if len(numbers) < 2 or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            continue
        wells: dict[str, str] = {}
        for below in cells[top + 1 :]:
            letters = below[0] if below else ""
            if not re.fullmatch(r"[A-Za-z]{1,2}", letters):
                break
            for place, number in columns:
                well = well_name(f"{letters}{number}")
                if well and place < len(below):
                    wells[well] = below[place]
        if wells:
            above = next((cell for cell in cells[top - 1] if cell), "") if top else ""
            found[line[0] or above or sheet] = wells
    return found


def _of_grids(grids: Mapping[str, Mapping[str, str]], notes: list[str]) -> list[dict[str, Any]]:
    """Return a row for each well, from one grid per property."""
    named = {_meaning(name, notes): wells for name, wells in grids.items()}
    if len(named) == 1 and "treatment" not in named:
        (name, wells), named = next(iter(named.items())), {}
        notes.append(f"The grid {name!r} of the plate map is taken for the treatments.")
        named["treatment"] = wells
    every = dict.fromkeys(well for wells in named.values() for well in wells)
    rows = [
        {"well": well, **{name: each.get(well, "") for name, each in named.items()}}
        for well in every
    ]
    return [row for row in rows if any(value for key, value in row.items() if key != "well")]


def _check_once(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    seen: set[tuple[str, str]] = set()
    for row in rows:
        key = (str(row.get("plate", "")), row["well"])
        if key in seen:
            where = f"{key[1]} of plate {key[0]}" if key[0] else key[1]
            raise InputError(
                f"{path} names the well {where} twice. Keep one row for each well; where several "
                "plates have it, add a column 'plate'."
            )
        seen.add(key)


def _typed(row: Mapping[str, Any], path: Path, notes: list[str]) -> dict[str, Any]:
    """Convert dose and control to their values."""
    typed = dict(row)
    if "dose" in typed:
        typed["dose"] = _dose(str(typed["dose"]), f"{path}, well {row['well']}")
    control = str(typed.get("control", "")).lower()
    typed["control"] = next((kind for kind, names in _CONTROLS.items() if control in names), "")
    if not control and str(typed.get("treatment", "")).lower() in _CONTROLS["negative"][:5]:
        typed["control"] = "negative"
        notes.append(
            f"Wells of {typed['treatment']} are taken for negative controls; a column 'control' "
            "would say it."
        )
    return typed


def _dose(text: str, where: str) -> float | None:
    bare = text.strip().replace(",", ".")
    if not bare or bare.lower() in {"na", "nan", "none", "-"}:
        return None
    try:
        dose = float(bare)
    except ValueError as error:
        raise InputError(
            f"{where}: the dose {text!r} is no number. Write the unit in a column of its own, or "
            "in the heading, as 'dose [uM]'."
        ) from error
    if not 0 <= dose < float("inf"):
        raise InputError(f"{where}: the dose {text} is not 0 or above.")
    return dose
