"""Write JSON files with a long list, without holding their text in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nucseg.files import atomic_write

_COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write_json_items(
    path: Path, fields: Mapping[str, Any], key: str, items: Iterable[Mapping[str, Any]]
) -> None:
    """Write a JSON object whose last field is a list, one item per line; the write is atomic.

    Parameters
    ----------
    path : Path
    fields : mapping
        The other fields, at least one.
    key : str
        Name of the field of the list.
    items : iterable of mapping

    Raises
    ------
    InputError
        The file cannot be written.
    """
    with (
        atomic_write(path) as partial,
        # File names may contain bytes that are not text.
        partial.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):
        file.write(f"{_COMPACT.encode(fields)[:-1]},{_COMPACT.encode(key)}:[")
        for number, item in enumerate(items):
            file.write(",\n" if number else "\n")
            file.write(_COMPACT.encode(item))
        file.write("\n]}\n")


def rounded(value: float) -> float:
    """Round to nine digits, the precision of a 32-bit float, as in tables."""
    return float(f"{value:.9g}")
