"""Write tables as Apache Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nucseg.export.tables import Table
from nucseg.files import atomic_write

# Rows written at once, so that a table of many small parts is fast to read.
_ROWS = 2**17


def write_parquet(path: Path, parts: Iterable[Table], *, names: Sequence[str] = ()) -> None:
    """Write a table of several parts as Apache Parquet; the write is atomic.

    Parameters
    ----------
    path : Path
    parts, names
        See `nucseg.export.tables.write_table`. Arrays become numbers or booleans, null if
        undefined; everything else becomes text.

    Raises
    ------
    InputError
        The file cannot be written.
    ImportError
        pyarrow, of the extra ``formats``, is not installed.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    schema = pa.schema(_types(parts, names))
    with (
        atomic_write(path) as partial,
        partial.open("wb") as file,
        ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        waiting, rows = [], 0
        for part in parts:
            waiting.append(_rows(part, schema))
            rows += len(waiting[-1])
            if rows >= _ROWS:
                writer.write_table(pa.concat_tables(waiting))
                waiting, rows = [], 0
        if waiting:
            writer.write_table(pa.concat_tables(waiting))


def _types(parts: Iterable[Table], names: Sequence[str]) -> list[tuple[str, Any]]:
    import pyarrow as pa

    found: dict[str, set[np.dtype[Any]]] = {name: set() for name in names}
    for part in parts:
        for name, values in part.items():
            found.setdefault(name, set())
            if isinstance(values, np.ndarray):
                found[name].add(values.dtype)
    return [
        (name, pa.from_numpy_dtype(np.result_type(*each)) if each else pa.string())
        for name, each in found.items()
    ]


def _rows(part: Table, schema: Any) -> Any:
    import pyarrow as pa

    rows = len(next(iter(part.values()), ()))
    columns = []
    for name, kind in zip(schema.names, schema.types, strict=True):
        values = part.get(name)
        if values is None:
            columns.append(pa.nulls(rows, kind))
        elif isinstance(values, np.ndarray):
            columns.append(pa.array(values, from_pandas=True).cast(kind))
        else:
            columns.append(pa.array([_text(each) for each in values], kind))
    return pa.table(columns, schema=schema)


def _text(value: Any) -> str:
    """Convert to text; file names may contain bytes that are not text."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
