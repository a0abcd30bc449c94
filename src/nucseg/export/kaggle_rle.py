"""Write nuclei as run-length encoding of Kaggle's 2018 Data Science Bowl."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nucseg.core.segmented import Segmented
from nucseg.export.format import Format
from nucseg.export.runs import column_runs, kaggle_texts
from nucseg.export.tables import Table, write_columns


def write_kaggle_rle(segmented: Segmented, path: Path, name: str) -> None:
    """Write nuclei as CSV with the columns ImageId and EncodedPixels, one row per nucleus.

    Parameters
    ----------
    segmented : Segmented
        Its `labels` are written, in their order. Pixels are counted from 1, down the columns. An
        image without nuclei has one row without pixels, as in a submission to Kaggle.
    path : Path
    name : str
        The ImageId of the image.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    write_columns(path, ("ImageId", "EncodedPixels"), _rows(segmented, name))


def _rows(segmented: Segmented, name: str) -> Iterator[Table]:
    for part in segmented.parts():
        runs = column_runs(part.labels, origin=part.origin, shape=segmented.labels.shape)
        texts = list(kaggle_texts(runs))
        yield {"ImageId": [name] * len(texts), "EncodedPixels": texts}
    if not segmented.highest:
        yield {"ImageId": [name], "EncodedPixels": [""]}


KAGGLE_RLE = Format(
    "rle", ".csv", "Kaggle's run-length encoding: ImageId, EncodedPixels", write_kaggle_rle
)
