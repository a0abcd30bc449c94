"""Output formats of nucseg: one module per format, all listed in `FORMATS`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from nucseg.core.segmented import Segmented
from nucseg.errors import InputError, MissingExtraError
from nucseg.export.coco import COCO_JSON
from nucseg.export.format import Format
from nucseg.export.geojson import GEOJSON
from nucseg.export.kaggle_rle import KAGGLE_RLE
from nucseg.export.label_image import LabelImage, to_label_image
from nucseg.export.label_tiff import LABEL_TIFF
from nucseg.export.masks import MASKS
from nucseg.export.ome_zarr import OME_ZARR
from nucseg.export.overlay import OVERLAY_PNG
from nucseg.export.probability import PROBABILITY_TIFF
from nucseg.export.rois import ROI_ZIP

__all__ = [
    "FORMATS",
    "SUMMARIES",
    "Format",
    "LabelImage",
    "Segmented",
    "check_formats",
    "output_files",
    "output_path",
    "save_formats",
    "split_formats",
    "to_label_image",
]

FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        LABEL_TIFF,
        OVERLAY_PNG,
        ROI_ZIP,
        GEOJSON,
        COCO_JSON,
        MASKS,
        KAGGLE_RLE,
        OME_ZARR,
        PROBABILITY_TIFF,
    )
}

# Files written once for all images of a run, and the package of the extra `formats` that each
# needs. `excel-eu` changes how tables are written.
SUMMARIES: dict[str, str | None] = {"parquet": "pyarrow", "report": None, "excel-eu": None}


def split_formats(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate the formats of single images from the files written once for all images.

    Parameters
    ----------
    names : sequence of str
        Names of `FORMATS` and of `SUMMARIES`.

    Returns
    -------
    formats, summaries : list of str
        Each in the given order.

    Raises
    ------
    InputError
        A format is unknown.
    MissingExtraError
        A package that a format needs is not installed.

    Examples
    --------
    >>> split_formats(["labels", "report"])
    (['labels'], ['report'])
    """
    of_all = [name for name in dict.fromkeys(names) if name in SUMMARIES]
    of_each = [name for name in dict.fromkeys(names) if name not in SUMMARIES]
    for name in of_all:
        _check_needed(name, SUMMARIES[name])
    return [each.name for each in check_formats(of_each)], of_all


def check_formats(names: Sequence[str]) -> list[Format]:
    """Return formats by their names.

    Raises
    ------
    InputError
        A format is unknown.
    MissingExtraError
        A package that a format needs is not installed.
    """
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise InputError(f"Unknown format {unknown[0]!r}. Give any of {', '.join(FORMATS)}.")
    formats = [FORMATS[name] for name in dict.fromkeys(names)]
    for each in formats:
        _check_needed(each.name, each.needs)
    return formats


def _check_needed(name: str, package: str | None) -> None:
    if package is not None and find_spec(package) is None:
        raise MissingExtraError(f"The format {name}", "formats")


def output_files(folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    """List the files that `save_formats` writes: ``folder/<format>/<name><suffix>``.

    For the formats ``masks`` and ``zarr`` each is a folder.
    """
    return [output_path(folder, name, each.name) for each in check_formats(formats)]


def output_path(folder: Path, name: str, form: str) -> Path:
    """Return the path of one format of an image, even if the format cannot be written here.

    Parameters
    ----------
    folder : Path
    name : str
        Name of the image.
    form : str
        One of `FORMATS`.
    """
    return folder / form / f"{name}{FORMATS[form].suffix}"


def save_formats(
    segmented: Segmented, folder: Path, name: str, formats: Sequence[str]
) -> list[Path]:
    """Write the nuclei of an image in several formats; all writes are atomic.

    Parameters
    ----------
    segmented : Segmented
    folder : Path
    name : str
        Name of the image without suffix; it may contain folders, separated by slashes.
    formats : sequence of str
        Names of `FORMATS`.

    Returns
    -------
    list of Path
        The written files.

    Raises
    ------
    InputError
        A format is unknown, the data that it needs is missing, or a file cannot be written.
    MissingExtraError
        A package that a format needs is not installed.
    """
    files = output_files(folder, name, formats)
    for each, path in zip(check_formats(formats), files, strict=True):
        each.write(segmented, path, name)
    return files
