"""Nuclei as the run-length encoding of Kaggle's 2018 Data Science Bowl."""

from __future__ import annotations

from pathlib import Path

from nucseg.export.format import Format, Segmented
from nucseg.export.runs import column_runs, kaggle_texts
from nucseg.export.tables import write_table


def write_kaggle_rle(segmented: Segmented, path: Path, name: str) -> None:
    """Write nuclei as CSV with the columns ImageId and EncodedPixels, a row per nucleus.

    Parameters
    ----------
    segmented : Segmented
        Its `labels` are written, in their order. Pixels are counted from 1, down the columns. An
        image without nuclei has one row without pixels, as in a submission to Kaggle.
    path : Path
    name : str
        The ImageId.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    texts = list(kaggle_texts(column_runs(segmented.labels))) or [""]
    write_table(path, [{"ImageId": [name] * len(texts), "EncodedPixels": texts}])


KAGGLE_RLE = Format(
    "rle", ".csv", "Kaggle's run-length encoding: ImageId, EncodedPixels", write_kaggle_rle
)
