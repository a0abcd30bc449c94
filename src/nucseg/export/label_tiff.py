"""Write label images as TIFF, which every bioimage program reads."""

from __future__ import annotations

from pathlib import Path

from nucseg.core.segmented import Segmented
from nucseg.export.format import Format
from nucseg.export.tiff import write_tiff


def write_label_tiff(segmented: Segmented, path: Path, _name: str) -> None:
    """Write a label image as compressed TIFF with its pixel size.

    Parameters
    ----------
    segmented : Segmented
        Its `labels` and `pixel_size` are written.
    path : Path

    Raises
    ------
    InputError
        The file cannot be written.
    """
    write_tiff(path, segmented.labels, segmented.pixel_size)


LABEL_TIFF = Format("labels", ".tif", "label image: 0 background, 1 to N nuclei", write_label_tiff)
