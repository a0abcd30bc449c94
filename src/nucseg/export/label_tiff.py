"""Label images as TIFF, which every bioimage program reads."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from nucseg.export.format import Format, Segmented
from nucseg.files import whole_file

_MICROMETRES_PER_CENTIMETRE = 10_000


def write_label_tiff(segmented: Segmented, path: Path) -> None:
    """Write a label image as compressed TIFF with its pixel size.

    Deflate is the compression, since tifffile and all others read it without further packages.

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
    import tifffile

    labels = segmented.labels
    options: dict[str, Any] = {}
    if segmented.pixel_size is not None:
        down, across = segmented.pixel_size
        if labels.dtype == np.uint16:
            # ImageJ's own way, so that it measures in µm; its files have no 32-bit integers.
            options = {
                "imagej": True,
                "metadata": {"unit": "um", "axes": "YX"},
                "resolution": (1 / across, 1 / down),
            }
        else:
            options = {
                "resolutionunit": "CENTIMETER",
                "resolution": (
                    _MICROMETRES_PER_CENTIMETRE / across,
                    _MICROMETRES_PER_CENTIMETRE / down,
                ),
            }
    # Through memory, since a full disk then shows as such and not as an odd error of the library.
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, labels, compression="zlib", photometric="minisblack", **options)
    with whole_file(path) as partial:
        partial.write_bytes(buffer.getbuffer())


LABEL_TIFF = Format("labels", ".tif", "label image: 0 background, 1 to N nuclei", write_label_tiff)
