"""Nuclei as the masks of Kaggle's 2018 Data Science Bowl: a PNG for each."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from nucseg.export.folders import whole_folder
from nucseg.export.format import Format, Segmented
from nucseg.export.runs import column_runs

_WHITE = 255


def write_masks(segmented: Segmented, path: Path, _name: str) -> None:
    """Write a folder with a PNG of the image's size for each nucleus: 255 in it, else 0.

    Parameters
    ----------
    segmented : Segmented
        Its `labels` are written, and name the files, with zeros in front.
    path : Path
        The folder, which appears with all its files or not at all. An image without nuclei gives
        an empty one.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    labels = segmented.labels
    runs = column_runs(labels)
    digits = len(str(labels.max()))
    mask = np.zeros(labels.shape, np.uint8)
    with whole_folder(path) as partial:
        for label, (left, top, width, height) in zip(
            runs.labels.tolist(), runs.boxes().tolist(), strict=True
        ):
            place = np.s_[top : top + height, left : left + width]
            mask[place] = (labels[place] == label) * np.uint8(_WHITE)
            _, data = cv2.imencode(".png", mask)
            mask[place] = 0
            (partial / f"{label:0{digits}}.png").write_bytes(data.tobytes())


MASKS = Format("masks", "/masks", "folder with a PNG per nucleus, in Kaggle's layout", write_masks)
