"""Open a data set in any of the supported layouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nucseg.datasets.beside import open_beside, open_coco
from nucseg.datasets.facts import Facts, read_facts
from nucseg.datasets.folders import open_folders
from nucseg.datasets.kaggle import open_kaggle
from nucseg.datasets.samples import Dataset, Kind, Pixels, Problem, Sample
from nucseg.datasets.storage import open_files
from nucseg.errors import InputError

__all__ = ["Dataset", "Facts", "Kind", "Problem", "Sample", "open_dataset", "open_datasets"]


def open_dataset(path: Path | str) -> Dataset:
    """Open a data set for reading, from a folder or directly from a zip file.

    Parameters
    ----------
    path : Path or str
        A folder or zip file in one of these layouts, possibly inside further folders:

        - ``images/`` and ``labels/`` (or ``masks/``, as in StarDist), with an image and its label
          image (integers, 0 is background) of the same name except for the suffix;
        - files beside the images: ``a_masks.tif``, ``a_cp_masks.png`` or ``a_seg.npy``, as Cellpose
          writes them, or ``a.geojson``, as QuPath exports objects;
        - a JSON file in COCO's format, with polygons or run lengths;
        - ``<id>/images/<id>.png`` with ``<id>/masks/*.png``, one mask per nucleus, as in Kaggle's
          2018 Data Science Bowl.

    Raises
    ------
    InputError
        The path is missing, empty, not a zip file or a malicious one, or has another layout.

    Examples
    --------
    >>> dataset = open_dataset("stage1_train.zip")  # doctest: +SKIP
    >>> dataset.read(dataset.image_ids[0]).labels.max()  # doctest: +SKIP
    27
    """
    files = open_files(Path(path))
    # Annotations beside images are tried before Kaggle's layout, which one folder images/ matches.
    openers = (open_folders, open_beside, open_kaggle, open_coco)
    dataset = next((found for each in openers if (found := each(files)) is not None), None)
    if dataset is None:
        raise InputError(
            f"{path} is no data set that nucseg knows: among its {len(files.names)} files "
            f"(the first is {files.names[0]}) there is neither <id>/images/<id>.png with "
            "<id>/masks/*.png (Kaggle's layout) nor images/ with labels/ beside it, or masks/ with "
            "files named as the images, nor a.png with a_masks.tif, a_seg.npy or a.geojson, nor a "
            "JSON file in COCO's format. Arrange the files in one of these ways."
        )
    return replace(dataset, facts=read_facts(files))


def open_datasets(paths: Sequence[Path | str]) -> Dataset:
    """Open several data sets as one.

    Parameters
    ----------
    paths : sequence of Path or str
        Paths that `open_dataset` accepts.

    Returns
    -------
    Dataset
        A single data set stays unchanged. For several, the image ids are
        ``<name of the set>/<image id>``; names come from `Facts`, and a second set of the same
        name is numbered.

    Raises
    ------
    InputError
        There are no paths, or a data set cannot be opened.
    """
    if not paths:
        raise InputError("No data set is given; expected one or more folders or zip files.")
    opened = [open_dataset(path) for path in paths]
    if len(opened) == 1:
        return opened[0]
    members: dict[str, Dataset] = {}
    for dataset in opened:
        # A slash separates the name of the set from that of the image.
        name = free = dataset.facts.name.replace("/", "-")
        number = 1
        while free in members:
            number += 1
            free = f"{name}-{number}"
        facts = dataset.facts.model_copy(update={"name": free})
        members[free] = replace(dataset, facts=facts)

    def whole_name(name: str, problem: Problem) -> Problem:
        return replace(problem, image_id=f"{name}/{problem.image_id}")

    def read(image_id: str) -> Sample:
        name, _, rest = image_id.partition("/")
        sample = members[name].read(rest)
        problems = tuple(whole_name(name, problem) for problem in sample.problems)
        return replace(sample, image_id=image_id, problems=problems)

    def read_pixels(image_id: str) -> Pixels:
        name, _, rest = image_id.partition("/")
        return members[name].read_pixels(rest)

    return Dataset(
        opened[0].path,
        "several",
        tuple(
            sorted(f"{name}/{each}" for name, set_ in members.items() for each in set_.image_ids)
        ),
        read,
        read_pixels,
        tuple(whole_name(name, each) for name, set_ in members.items() for each in set_.problems),
        members=tuple(members.values()),
    )
