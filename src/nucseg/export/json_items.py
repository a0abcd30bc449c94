"""JSON files that hold a long list, written without holding its text."""

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
    """Write a JSON object whose last field is a list, an item a line, whole or not at all.

    Parameters
    ----------
    path : Path
    fields : mapping
        The other fields, of which there is at least one.
    key : str
        Name of the field that is the list.
    items : iterable of mapping

    Raises
    ------
    InputError
        The file cannot be written.
    """
    with (
        atomic_write(path) as partial,
        # Names of images may hold bytes that are no text.
        partial.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):
        file.write(f"{_COMPACT.encode(fields)[:-1]},{_COMPACT.encode(key)}:[")
        for number, item in enumerate(items):
            file.write(",\n" if number else "\n")
            file.write(_COMPACT.encode(item))
        file.write("\n]}\n")


def rounded(value: float) -> float:
    """Keep nine digits, which hold all of a 32-bit number, as in tables."""
    return float(f"{value:.9g}")
