"""What nucseg writes: one file per format, all listed in `FORMATS`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nucseg.errors import InputError
from nucseg.export import label_tiff, overlay
from nucseg.export.format import Format, Segmented

__all__ = ["FORMATS", "Format", "Segmented", "check_formats", "output_files", "save_formats"]

FORMATS: dict[str, Format] = {
    each.name: each for each in (label_tiff.LABEL_TIFF, overlay.OVERLAY_PNG)
}


def check_formats(names: Sequence[str]) -> list[Format]:
    """Find formats by their names.

    Raises
    ------
    InputError
        There is no such format.
    """
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise InputError(f"Unknown format {unknown[0]!r}. Give any of {', '.join(FORMATS)}.")
    return [FORMATS[name] for name in dict.fromkeys(names)]


def output_files(folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    """Where `save_formats` writes: ``folder/<format>/<name><suffix>`` for each format."""
    return [folder / each.name / f"{name}{each.suffix}" for each in check_formats(formats)]


def save_formats(
    segmented: Segmented, folder: Path, name: str, formats: Sequence[str]
) -> list[Path]:
    """Write the nuclei of an image in several formats, each file whole or not at all.

    Parameters
    ----------
    segmented : Segmented
    folder : Path
    name : str
        Name of the image without suffix; it may hold folders, separated by slashes.
    formats : sequence of str
        Names of `FORMATS`.

    Returns
    -------
    list of Path
        The written files.

    Raises
    ------
    InputError
        There is no such format, or a file cannot be written.
    """
    files = output_files(folder, name, formats)
    for each, path in zip(check_formats(formats), files, strict=True):
        each.write(segmented, path)
    return files
