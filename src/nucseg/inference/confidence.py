"""Confidence of a model in the nuclei of an image as a whole, and the scale of the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nucseg.images.preprocess import FloatImage
from nucseg.images.quality import LARGEST_UM, SMALLEST_UM

# Nuclei with lower scores are more likely false than true, and are ignored when scales are
# compared. This is not the minimum score of a model, which users may change.
CREDIBLE = 0.4
# IoU with the true nucleus from which a nucleus counts as found.
RIGHT_IOU = 0.5
# Gain required of another scale: in the median score, and in the area of nuclei weighted by their
# scores. Larger scales give higher scores to the same nuclei, so both are required.
_BETTER_SCORE, _BETTER_COVER = 0.05, 1.2

Source = Literal["pixel size", "estimate", "scores", "diameter", "none"]
# Range in µm of the median diameter of nuclei in nearly all tissues and cultures.
USUAL_UM = (4.0, 20.0)
Areas = npt.NDArray[np.number[Any]]


@dataclass(frozen=True)
class View:
    """Scale and intensity range at which the network runs on an image, and their source.

    Attributes
    ----------
    scale : float
        Factor by which the image is resized for the network.
    source : {"pixel size", "estimate", "scores", "diameter", "none"}
        Source of the scale. ``pixel size``: the pixel size of the image. ``estimate``: the
        diameter of the nuclei of a probe. ``scores``: a comparison of several scales, one of which
        gave clearly better scores. ``diameter``: the diameter that the user gave. ``none``: the
        image is not resized, because there were too few nuclei for an estimate or the model has no
        scaling settings.
    diameter : float or None
        Median diameter of the nuclei from which the scale was chosen, in pixels of the image.
    outliers : float
        Fraction of pixels, in [0, 1], that are much brighter than the rest and were excluded from
        the intensity range.
    doubt : float or None
        Median diameter in µm by the pixel size, if it is so unusual that the scale does not follow
        the pixel size.
    bright : bool or None
        Whether the background of the image is bright. A model with two networks chooses the
        network by it. None if unknown.
    """

    scale: float = 1.0
    source: Source = "none"
    diameter: float | None = None
    outliers: float = 0.0
    doubt: float | None = None
    bright: bool | None = None


@dataclass(frozen=True)
class Confidence:
    """Confidence of a model in the segmentation of an image.

    Attributes
    ----------
    median_score : float or None
        Median score of all nuclei found, before filtering. None without nuclei.
    dropped : float
        Fraction of the nuclei found that were dropped because of their score, size or position,
        in [0, 1].
    limit : float or None
        Images with a lower median score are low-confidence images. None for models whose scores
        do not indicate the quality of the segmentation.
    view : View
    """

    median_score: float | None
    dropped: float
    limit: float | None
    view: View

    @property
    def low(self) -> bool:
        """Whether the median score is below the limit."""
        if self.median_score is None or self.limit is None:
            return False
        return self.median_score < self.limit

    @property
    def mostly_false(self) -> bool:
        """Whether most nuclei found are probably false: their median score is below 0.5.

        A score predicts the IoU with the true nucleus, and a nucleus counts as found from an IoU of
        0.5.
        """
        if self.median_score is None or self.limit is None:
            return False
        return self.median_score < RIGHT_IOU

    def warnings(self) -> list[str]:
        """Return warnings about the image; an empty list if there are none."""
        return [*self._low_warning(), *self._outlier_warning(), *self._scale_warning()]

    def _scale_warning(self) -> list[str]:
        doubt = self.view.doubt
        # Beyond these diameters the pixel size is wrong; another warning reports that.
        if doubt is None or not SMALLEST_UM <= doubt <= LARGEST_UM:
            return []
        return [
            f"Scale: by the pixel size the nuclei are {doubt:.3g} µm wide; {USUAL_UM[0]:g} to "
            f"{USUAL_UM[1]:g} are usual. The image was resized by its nuclei, not by the pixel "
            "size. Check the pixel size (--pixel-size)."
        ]

    def _outlier_warning(self) -> list[str]:
        if not self.view.outliers:
            return []
        return [
            f"Outliers: {self.view.outliers:.2%} of the pixels are much brighter than the rest, as "
            "hot pixels, dust or burnt nuclei are. They were left out of the range of intensities."
        ]

    def _low_warning(self) -> list[str]:
        if not self.low:
            return []
        return [
            f"Low confidence: the median score of the nuclei found is {self.median_score:.2f}, and "
            f"images below {self.limit:.2f} are often segmented badly. Look at this image first; "
            "where nuclei were taken for larger or smaller ones, give their diameter."
        ]


def confidence_from(values: Mapping[str, Any] | None) -> Confidence | None:
    """Create a `Confidence` from a dict made by `dataclasses.asdict`; None from None."""
    return None if values is None else Confidence(**{**values, "view": View(**values["view"])})


def median_is_low(scores: FloatImage, limit: float) -> bool:
    """Return whether the median score is below a limit; False without scores."""
    return bool(len(scores)) and float(np.median(scores)) < limit


def confidence(scores: FloatImage, kept: int, limit: float | None, view: View) -> Confidence:
    """Summarize the scores of an image.

    Parameters
    ----------
    scores : ndarray, shape (N,), float32
        Scores of all nuclei found.
    kept : int
        Number of nuclei that were not dropped.
    limit : float or None
    view : View

    Returns
    -------
    Confidence

    Examples
    --------
    >>> scores = np.array([0.9, 0.5, 0.25, 0.75], np.float32)
    >>> found = confidence(scores, 3, 0.7, View())
    >>> found.median_score, found.dropped, found.low
    (0.625, 0.25, True)
    """
    if not len(scores):
        return Confidence(None, 0.0, limit, view)
    dropped = 1 - kept / len(scores)
    return Confidence(round(float(np.median(scores)), 4), round(dropped, 4), limit, view)


def clearly_better(
    candidate: tuple[FloatImage, Areas], current: tuple[FloatImage, Areas]
) -> float | None:
    """Compare the nuclei that two scales give for the same pixels.

    The candidate is clearly better if the median score of its credible nuclei is higher by more
    than 0.05, and their area, weighted by score, is larger by more than a fifth.

    Parameters
    ----------
    candidate, current : (scores, areas)
        Scores and areas of all nuclei found, both of shape (N,).

    Returns
    -------
    float or None
        Quality of the candidate, to rank several candidates. None if it is not clearly better.

    Examples
    --------
    >>> specks = np.full(9, 0.5, np.float32), np.full(9, 20)
    >>> nuclei = np.full(3, 0.8, np.float32), np.full(3, 900)
    >>> clearly_better(nuclei, specks) is None, clearly_better(specks, nuclei) is None
    (False, True)
    """
    score, cover = _credible(*candidate)
    before, covered = _credible(*current)
    better = score > before + _BETTER_SCORE and cover > _BETTER_COVER * covered
    return score * cover if better else None


def _credible(scores: FloatImage, areas: Areas) -> tuple[float, float]:
    """Return the median score of the credible nuclei, and their area weighted by score."""
    sure = scores >= CREDIBLE
    if not sure.any():
        return 0.0, 0.0
    return float(np.median(scores[sure])), float(scores[sure] @ areas[sure])
