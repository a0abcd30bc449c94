"""Results of an evaluation: metrics of each image, over all images, and by group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nucseg.datasets.reading import Sample
from nucseg.evaluation.metrics import KAGGLE_THRESHOLDS, Matching, PixelCounts, pool
from nucseg.evaluation.predictions import Predict

AP_NAMES = tuple(f"ap{round(100 * threshold)}" for threshold in KAGGLE_THRESHOLDS)


@dataclass(frozen=True)
class ImageResult:
    """Evaluation of one image.

    Attributes
    ----------
    image_id : str
    group : str
        Its group, such as a modality; empty if no groups were given.
    error : str
        Why the image could not be evaluated; then all other fields are empty.
    problems : tuple of str
        Kinds of problems of its ground truth masks, which were used as they are, and, with the
        prefix ``prediction:``, of the evaluated label image.
    pixels : PixelCounts or None
        Agreement of the masks.
    matchings : tuple of Matching
        Matched nuclei at each of `nucseg.evaluation.metrics.KAGGLE_THRESHOLDS`.
    aji : float
        Aggregated Jaccard index.
    """

    image_id: str
    group: str = ""
    error: str = ""
    problems: tuple[str, ...] = ()
    pixels: PixelCounts | None = None
    matchings: tuple[Matching, ...] = ()
    aji: float = 0.0

    @property
    def true_nuclei(self) -> int:
        """Number of ground truth nuclei."""
        return self.matchings[0].true_positives + self.matchings[0].false_negatives

    @property
    def predicted_nuclei(self) -> int:
        """Number of predicted nuclei."""
        return self.matchings[0].true_positives + self.matchings[0].false_positives

    @property
    def scores(self) -> dict[str, float]:
        """Metrics of the image by name; empty if it could not be evaluated."""
        if self.pixels is None:
            return {}
        error = self.predicted_nuclei - self.true_nuclei
        return {
            **_ratios(self.pixels, self.matchings),
            "aji": self.aji,
            "count_error": error,
            "absolute_count_error": abs(error),
        }


@dataclass(frozen=True)
class Evaluation:
    """Result of `evaluate`.

    Attributes
    ----------
    data : Path
        The data set.
    judged : str
        Name of the model, or the folder of the label images.
    mask_size : tuple of int or None
        Height and width at which masks were compared; None for the size of each image.
    images : tuple of ImageResult
        One for each image, in the order of the data set.
    """

    data: Path
    judged: str
    mask_size: tuple[int, int] | None
    images: tuple[ImageResult, ...]
    read: Callable[[str], Sample] = field(repr=False, compare=False)
    predict: Predict = field(repr=False, compare=False)

    @property
    def failures(self) -> dict[str, str]:
        """Errors of the images that could not be evaluated, by image."""
        return {image.image_id: image.error for image in self.images if image.error}

    @property
    def overall(self) -> dict[str, Any]:
        """Metrics over all evaluated images; see `figures`."""
        return figures(self.images)

    @property
    def groups(self) -> dict[str, dict[str, Any]]:
        """Metrics of each group of images, by its name; empty if no groups were given."""
        members: defaultdict[str, list[ImageResult]] = defaultdict(list)
        for image in self.images:
            if image.group:
                members[image.group].append(image)
        return {name: figures(members[name]) for name in sorted(members)}

    def summary(self) -> dict[str, Any]:
        """Return all metrics, as in `metrics.json`."""
        return {
            "data": str(self.data),
            "judged": self.judged,
            "mask_size": self.mask_size,
            **self.overall,
            "groups": self.groups,
            "failures": self.failures,
        }

    def save(self, folder: Path | str, *, plots: bool = True) -> None:
        """Write all metrics and pictures to a folder.

        Parameters
        ----------
        folder : Path or str
            Output folder for ``metrics.json``, ``images.csv`` (one row per image), ``panels/`` (the
            worst, median and best images: input, true and predicted mask, and outlined errors),
            and ``plots/ap.png``. An earlier evaluation in it is replaced after everything is
            written; after an error, it stays as it was.
        plots : bool
            Whether to draw ``plots/ap.png``, which needs matplotlib.

        Raises
        ------
        InputError
            The folder cannot be written.
        MissingExtraError
            `plots` is true and matplotlib is not installed; everything else is written.
        """
        from nucseg.evaluation.report import write_report

        write_report(self, Path(folder), plots=plots)


def figures(images: Sequence[ImageResult]) -> dict[str, Any]:
    """Combine the results of several images.

    Parameters
    ----------
    images : sequence of ImageResult

    Returns
    -------
    dict
        ``images`` and ``failed``, the numbers of images that were evaluated and that failed;
        ``true_nuclei`` and ``predicted_nuclei``; ``mean``, each metric as the mean over images;
        and ``pooled``, the ratios over the pixels and nuclei of all images together. The last two
        are empty if no image was evaluated.
    """
    judged = [image for image in images if not image.error]
    scores = [image.scores for image in judged]
    pixels = [image.pixels for image in judged if image.pixels is not None]
    columns = zip(*(image.matchings for image in judged), strict=True)
    return {
        "images": len(judged),
        "failed": len(images) - len(judged),
        "true_nuclei": sum(image.true_nuclei for image in judged),
        "predicted_nuclei": sum(image.predicted_nuclei for image in judged),
        "mean": {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
        if scores
        else {},
        "pooled": _ratios(pool(pixels), [pool(column) for column in columns]) if pixels else {},
    }


def _ratios(pixels: PixelCounts, matchings: Sequence[Matching]) -> dict[str, float]:
    """Return the metrics that exist both for one image and for pooled counts, by name."""
    precisions = [matching.average_precision for matching in matchings]
    return {
        "dice": pixels.dice,
        "iou": pixels.iou,
        "pixel_accuracy": pixels.accuracy,
        "pixel_precision": pixels.precision,
        "pixel_recall": pixels.recall,
        "kaggle_map": float(np.mean(precisions)),
        **dict(zip(AP_NAMES, precisions, strict=True)),
        "f1": matchings[0].f1,
        "pq": matchings[0].panoptic_quality,
    }
