"""Zip files of results."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from nucseg.files import atomic_write

# Suffixes of files that are already compressed.
_STORED = frozenset({".png", ".tif", ".zip"})

Entry = tuple[str, Path | Iterator[bytes]]


def write_zip(path: Path, entries: Iterable[Entry]) -> None:
    """Write a zip file; the write is atomic.

    Parameters
    ----------
    path : Path
    entries : iterable of (name, content)
        Names with slashes; the content is a file, or bytes in parts.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    with atomic_write(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, content in entries:
            stored = Path(name).suffix in _STORED
            kind = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            if isinstance(content, Path):
                archive.write(content, name, kind)
                continue
            about = zipfile.ZipInfo(name)
            about.compress_type = kind
            with archive.open(about, "w", force_zip64=True) as entry:
                for piece in content:
                    entry.write(piece)
