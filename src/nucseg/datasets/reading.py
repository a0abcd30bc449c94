"""Opening a data set, whichever of the known layouts it has."""

from __future__ import annotations

from pathlib import Path

from nucseg.datasets.folders import open_folders
from nucseg.datasets.kaggle import open_kaggle
from nucseg.datasets.samples import Dataset, Kind, Problem, Sample
from nucseg.datasets.storage import open_files
from nucseg.errors import InputError

__all__ = ["Dataset", "Kind", "Problem", "Sample", "open_dataset"]


def open_dataset(path: Path | str) -> Dataset:
    """Open a data set for reading, from a folder or straight from a zip file.

    Parameters
    ----------
    path : Path or str
        A folder or zip file in one of two layouts, possibly inside further folders:
        ``<id>/images/<id>.png`` with ``<id>/masks/*.png``, one mask per nucleus, as Kaggle's 2018
        Data Science Bowl has it; or ``images/`` and ``labels/`` (or ``masks/``), where an image and
        its label image (integers, 0 background) have the same name but for the suffix.

    Raises
    ------
    InputError
        The path is missing, empty, no zip file or a malicious one, or has neither layout.

    Examples
    --------
    >>> dataset = open_dataset("stage1_train.zip")  # doctest: +SKIP
    >>> dataset.read(dataset.image_ids[0]).labels.max()  # doctest: +SKIP
    27
    """
    files = open_files(Path(path))
    dataset = open_folders(files) or open_kaggle(files)
    if dataset is None:
        raise InputError(
            f"{path} is no data set that nucseg knows: among its {len(files.names)} files "
            f"(the first is {files.names[0]}) there is neither <id>/images/<id>.png with "
            "<id>/masks/*.png (Kaggle's layout) nor images/ with labels/ beside it, or masks/ with "
            "files named as the images. Arrange the files in one of these ways."
        )
    return dataset
