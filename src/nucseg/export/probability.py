"""Write probability maps as TIFF."""

from __future__ import annotations

from pathlib import Path

from nucseg.core.segmented import Segmented
from nucseg.export.format import Format
from nucseg.export.tiff import write_tiff


def write_probability(segmented: Segmented, path: Path, _name: str) -> None:
    """Write a probability map as compressed TIFF of 32-bit floats, with its pixel size.

    The compression is lossless: the file contains the output of the network, from 0 to 1.

    Parameters
    ----------
    segmented : Segmented
        Its `probability` and `pixel_size` are written.
    path : Path

    Raises
    ------
    InputError
        There is no probability map, or the file cannot be written.
    """
    write_tiff(path, segmented.probability, segmented.pixel_size)


PROBABILITY_TIFF = Format(
    "probability",
    ".tif",
    "probability of each pixel to lie in a nucleus, 32-bit floats from 0 to 1",
    write_probability,
    from_labels=False,
)
