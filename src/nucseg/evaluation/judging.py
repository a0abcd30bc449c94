"""Run a model, or read label images, on a data set, and evaluate each image."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np

from nucseg.datasets.reading import Dataset, Sample, open_dataset
from nucseg.errors import InputError, MissingExtraError
from nucseg.evaluation.metrics import (
    KAGGLE_THRESHOLDS,
    aggregated_jaccard,
    match,
    overlap,
    pixel_counts,
)
from nucseg.evaluation.predictions import Predict, by_files, by_model
from nucseg.evaluation.results import Evaluation, ImageResult
from nucseg.images.preprocess import resize_labels
from nucseg.inference.loading import load_model
from nucseg.inference.segmenter import Model
from nucseg.models.zoo import DEFAULT_MODEL

NO_GROUP = "unlisted"


def evaluate(
    data: Path | str | Dataset,
    *,
    model: str | Path | Model | None = None,
    labels: Path | str | None = None,
    image_ids: Collection[str] | None = None,
    groups: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate a model, or label images, on images with ground truth.

    Nuclei are evaluated at the size of each image. Masks of a model are evaluated at the size of
    its network input, with the ground truth resized with nearest neighbour; masks of label images
    at the size of each image.

    Parameters
    ----------
    data : Path, str or Dataset
        A data set, or an argument of `nucseg.datasets.reading.open_dataset`.
    model : str, Path or Model, optional
        The model to evaluate: a name, a folder, or a loaded model; by default `nuclei`.
    labels : Path or str, optional
        Instead of a model, a folder of label images, such as output of ``nucseg segment``: named
        as the images, with any suffix, in any subfolder.
    image_ids : collection of str, optional
        Evaluate only these images.
    groups : mapping of str to str, optional
        Group of each image, such as its modality; metrics are also computed for each group. Images
        without a group go to the group "unlisted".
    progress : callable, optional
        ``progress(done, total)``, called after each image.

    Returns
    -------
    Evaluation
        Images that cannot be read or have no ground truth are in its `failures`, and in no metric.

    Raises
    ------
    InputError
        Both `model` and `labels` are given, or the data set, the selection of images or the folder
        of label images cannot be used.
    ModelError
        There is no such model, or it cannot be used.

    Examples
    --------
    >>> import nucseg
    >>> result = nucseg.evaluate("stage1_test.zip", model="classic-128")  # doctest: +SKIP
    >>> result.overall["mean"]["kaggle_map"]  # doctest: +SKIP
    0.512
    """
    if model is not None and labels is not None:
        raise InputError("Give either a model or a folder of label images to evaluate, not both.")
    dataset = data if isinstance(data, Dataset) else open_dataset(data)
    ids = _chosen(dataset, image_ids)
    mask_size = None
    if labels is None:
        loaded = model if isinstance(model, Model) else load_model(model or DEFAULT_MODEL)
        predict, judged = by_model(loaded), loaded.card.name
        mask_size = loaded.card.preprocessing.size
    else:
        predict, judged = by_files(Path(labels), ids), str(labels)
    results = []
    for done, image_id in enumerate(ids, start=1):
        group = "" if groups is None else groups.get(image_id, NO_GROUP)
        try:
            results.append(_judge(dataset.read(image_id), predict, group))
        except (InputError, MissingExtraError) as error:
            results.append(ImageResult(image_id, group, error=str(error)))
        if progress is not None:
            progress(done, len(ids))
    return Evaluation(dataset.path, judged, mask_size, tuple(results), dataset.read, predict)


def read_groups(path: Path, column: str = "modality") -> dict[str, str]:
    """Read the group of each image from a CSV file.

    Parameters
    ----------
    path : Path
        File with the columns ``image_id`` and `column`; other columns are ignored.
    column : str
        Column to group by.

    Raises
    ------
    InputError
        The file cannot be read or lacks a column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            found = table.fieldnames or []
            if not {"image_id", column} <= set(found):
                raise InputError(
                    f"{path} has the columns {', '.join(found) or '(none)'}; expected a CSV file "
                    f"with the columns image_id and {column}."
                )
            return {row["image_id"]: row[column] or NO_GROUP for row in table}
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path} with groups of images.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read the groups in {path}: {error}.") from error


def _chosen(dataset: Dataset, wanted: Collection[str] | None) -> tuple[str, ...]:
    if wanted is None:
        return dataset.image_ids
    unknown = sorted(set(wanted) - set(dataset.image_ids))
    if unknown:
        raise InputError(
            f"{dataset.path} lacks {len(unknown)} of the images asked for, such as {unknown[0]!r}."
        )
    if not wanted:
        raise InputError(f"No image of {dataset.path} was chosen to evaluate.")
    return tuple(image_id for image_id in dataset.image_ids if image_id in set(wanted))


def _judge(sample: Sample, predict: Predict, group: str) -> ImageResult:
    if not sample.labelled:
        reasons = " ".join(problem.message for problem in sample.problems)
        raise InputError(f"There is no truth to compare with. {reasons}")
    prediction = predict(sample)
    labels, mask = prediction.labels, prediction.mask
    table = overlap(sample.labels, labels)
    truth, found = sample.labels > 0, labels > 0
    if mask is not None:
        truth, found = resize_labels(truth.astype(np.int32), mask.shape) > 0, mask
    return ImageResult(
        sample.image_id,
        group,
        problems=(
            *(problem.kind for problem in sample.problems),
            *(f"prediction: {doubt.kind}" for doubt in prediction.doubts),
        ),
        pixels=pixel_counts(truth, found),
        matchings=tuple(match(table, threshold) for threshold in KAGGLE_THRESHOLDS),
        aji=aggregated_jaccard(table),
    )
