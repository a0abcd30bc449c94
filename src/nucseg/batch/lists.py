"""Read lists of images: CSV tables from spreadsheets and scripts."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from nucseg.errors import InputError

Columns = tuple[tuple[str, str], ...]

# Columns that may contain the paths of images; the first one that exists is used.
_PATHS = ("path", "image", "file", "filename")
_DELIMITERS = (",", ";", "\t")
# A list with one column has no separator between cells.
_NONE = "\x1f"
_WIDE = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_list(table: Path) -> list[tuple[Path, PurePosixPath, Columns]]:
    """Read the images that a CSV file lists.

    Parameters
    ----------
    table : Path
        File in UTF-8, with or without a byte order mark, or UTF-16. Cells are separated by commas,
        semicolons or tabs, as in the header. The paths are in the column ``path`` (or ``image``,
        ``file`` or ``filename``, or the only column), relative to the folder of the list or to the
        working folder. A list with one column needs no header.

    Returns
    -------
    list of (Path, PurePosixPath, Columns)
        Path of each image, relative path of its results, and names and values of other columns.

    Raises
    ------
    InputError
        The file cannot be read, or has no column with one of these names.
    """
    try:
        text = _decoded(table.read_bytes())
        lines: list[list[str]] = list(_cells(text))
    except (OSError, csv.Error, UnicodeError) as error:
        raise InputError(f"The list {table} cannot be read: {error}.") from error
    header, *rows = lines or [[]]
    names = [name.strip() for name in header]
    lower = [name.lower() for name in names]
    named = [lower.index(name) for name in _PATHS if name in lower]
    if not named and len(names) > 1:
        raise InputError(
            f"The list {table} has the columns {', '.join(header)}, and none tells which holds the "
            f"images. Call it {_PATHS[0]}."
        )
    column = named[0] if named else 0
    if not named and header and _exists(table.parent / header[0]):
        rows = [header, *rows]  # a list without a header
    found = []
    for row in rows:
        given = row[column].strip() if len(row) > column else ""
        if given:
            others = {name: i for i, name in enumerate(names) if i != column and name}
            values = tuple(
                (name, row[i].strip() if len(row) > i else "") for name, i in others.items()
            )
            found.append((_from_list(table, given), _below(Path(given)), values))
    return found


def _decoded(data: bytes) -> str:
    """Decode a file in UTF-8 or UTF-16; file names may contain bytes that are not text."""
    if data[:2] in _WIDE:
        return data.decode("utf-16")
    if b"\0" in data[:200]:
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be")
    return data.decode("utf-8-sig", errors="surrogateescape")


def _cells(text: str) -> Iterator[list[str]]:
    """Yield rows of cells, split by the separator of the first line."""
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first.strip()) == len("sep=") + 1:
        return csv.reader(io.StringIO(rest, newline=""), delimiter=first.strip()[-1])
    counts = {each: first.count(each) for each in _DELIMITERS}
    delimiter = max(counts, key=lambda each: counts[each])
    return csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter if counts[delimiter] else _NONE
    )


def _from_list(table: Path, given: str) -> Path:
    """Return the path of a listed file: relative to the list, else to the working folder."""
    beside = table.parent / given
    return Path(given) if not _exists(beside) and _exists(Path(given)) else beside


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _below(path: Path) -> PurePosixPath:
    """Return the path of results: the given path, or its name if it leads out of the folder."""
    inside = not path.is_absolute() and ".." not in path.parts
    return PurePosixPath(path.as_posix() if inside else path.name)
