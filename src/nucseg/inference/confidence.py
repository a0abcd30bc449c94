"""How sure a model is of the nuclei of an image as a whole, and at what scale it saw them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nucseg.images.preprocess import FloatImage
from nucseg.images.quality import LARGEST_UM, SMALLEST_UM

# Nuclei of lower scores are rather false than true, and do not count where scales are compared. Not
# the minimum score of a model, which a user may change.
CREDIBLE = 0.4
# IoU with the true nucleus from which a nucleus counts as found.
RIGHT_IOU = 0.5
# What another scale must gain to be taken: in the median score, and in the area that nuclei cover,
# weighted by their scores. Larger scales give higher scores to the same nuclei, hence both.
_BETTER_SCORE, _BETTER_COVER = 0.05, 1.2

Source = Literal["pixel size", "estimate", "scores", "diameter", "none"]
# Micrometres between which the median diameter of nuclei lies in nearly all tissues and cultures.
USUAL_UM = (4.0, 20.0)
Areas = npt.NDArray[np.number[Any]]


@dataclass(frozen=True)
class View:
    """At what scale and in what range a network sees an image, and why.

    Attributes
    ----------
    scale : float
        Factor by which the image is resized for the network.
    source : {"pixel size", "estimate", "scores", "diameter", "none"}
        Where the scale comes from: the pixel size that the image states (``pixel size``); the
        diameter of the nuclei of a first look (``estimate``); a
        comparison of several scales, one of which gave clearly better scores (``scores``); the
        diameter that the user gave (``diameter``). ``none``: the image is seen as it is, since
        there were too few nuclei to tell, or its model takes no scale.
    diameter : float or None
        Median diameter of the nuclei that the scale was chosen for, in pixels of the image.
    outliers : float
        Share of the pixels, in [0, 1], that are much brighter than the rest and were left out of
        the range of intensities.
    doubt : float or None
        Median diameter in micrometres by the pixel size, where that is so unusual that the scale
        does not follow the pixel size.
    bright : bool or None
        Whether the background of the image is bright, by which a model of two networks takes the
        one or the other. None where that is not known.
    """

    scale: float = 1.0
    source: Source = "none"
    diameter: float | None = None
    outliers: float = 0.0
    doubt: float | None = None
    bright: bool | None = None


@dataclass(frozen=True)
class Confidence:
    """How sure a model is of an image.

    Attributes
    ----------
    median_score : float or None
        Median score of all nuclei that were found, before any is dropped; None without nuclei.
    dropped : float
        Share of the nuclei found that were dropped for their score, size or place, in [0, 1].
    limit : float or None
        Median score below which somebody should look at the image; None for models whose scores
        do not tell.
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

        A score predicts the IoU with the true nucleus, and a nucleus is found right from 0.5 on.
        """
        if self.median_score is None or self.limit is None:
            return False
        return self.median_score < RIGHT_IOU

    def warnings(self) -> list[str]:
        """Say in words why somebody should look at the image; empty where nothing is doubtful."""
        return [*self._low_warning(), *self._outlier_warning(), *self._scale_warning()]

    def _scale_warning(self) -> list[str]:
        doubt = self.view.doubt
        # Beyond these the pixel size is wrong, which another warning says.
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
    """Make a `Confidence` of what `dataclasses.asdict` gave for one; None of nothing."""
    return None if values is None else Confidence(**{**values, "view": View(**values["view"])})


def median_is_low(scores: FloatImage, limit: float) -> bool:
    """Whether the median of some scores is below a limit; False of none."""
    return bool(len(scores)) and float(np.median(scores)) < limit


def confidence(scores: FloatImage, kept: int, limit: float | None, view: View) -> Confidence:
    """Sum up the scores of an image.

    Parameters
    ----------
    scores : ndarray, shape (N,), float32
        Of all nuclei that were found.
    kept : int
        How many of them are kept.
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

    Parameters
    ----------
    candidate, current : (scores, areas)
        Of all nuclei that were found, both of shape (N,).

    Returns
    -------
    float or None
        How good the candidate is, to choose among several; None where it is not clearly better:
        the median score of its credible nuclei is higher by 0.05, and their area, weighted by
        score, larger by a fifth.

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
    """Median score of the credible nuclei, and their area weighted by score."""
    sure = scores >= CREDIBLE
    if not sure.any():
        return 0.0, 0.0
    return float(np.median(scores[sure])), float(scores[sure] @ areas[sure])
