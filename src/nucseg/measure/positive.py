"""Positive nuclei in immunohistochemistry, by the optical density of DAB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nucseg.core.stains import DAB, HAEMATOXYLIN, stain_matrix, unmix
from nucseg.errors import InputError
from nucseg.measure.nuclei import Columns, is_grey

Floats = npt.NDArray[np.float64]

# Columns of the class (0 negative, 1 weak, 2 moderate, 3 strong) and of the fraction of DAB.
DAB_CLASS, DAB_SHARE = "dab_class", "dab_share"
# Densities from which a nucleus is weak, moderate and strong.
DENSITIES = (0.2, 0.4, 0.6)
# Fraction of DAB from which a nucleus is positive with thresholds "auto", chosen on images of
# patients for which no figure is reported, and lowest density that differs from the noise of a
# scanner.
AUTO_SHARE, LEAST_DAB = 0.6, 0.05
CLASSES = ("negative", "weak", "moderate", "strong")
# If an empty area of the slide is darker than this, densities are too high by 0.1 or more.
_WHITE = 0.8
# Normal quantile of a 95 % interval.
_QUANTILE = 1.959963984540054


def stain_densities(image: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Unmix haematoxylin and DAB.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3) or (H, W, 4), unsigned integer, or float in [0, 1]
        Transmitted light: red, green, blue and optionally alpha.

    Returns
    -------
    haematoxylin, dab : ndarray, shape (H, W), float64
        Optical densities as decimal logarithms, as in QuPath. They are below 0 for colours that
        are not mixtures of the two stains.

    Raises
    ------
    InputError
        The image has no colours, or its values are not transmitted light.

    Examples
    --------
    >>> import numpy as np
    >>> brown = np.array([[[0.65, 0.40, 0.29]]])
    >>> haematoxylin, dab = stain_densities(brown)
    >>> float(haematoxylin[0, 0].round(2)), float(dab[0, 0].round(2))
    (0.0, 0.69)
    """
    if image.ndim != 3 or image.shape[2] not in (3, 4) or is_grey(image):
        raise InputError(
            f"Haematoxylin and DAB are told apart by colours, and this image has none: its shape "
            f"is {image.shape}. Give the image in colours, without --channel."
        )
    colours = image[..., :3].astype(np.float32)
    if image.dtype.kind == "u":
        colours /= np.float32(np.iinfo(image.dtype).max)
    elif image.dtype.kind != "f" or colours.min(initial=0) < 0 or colours.max(initial=0) > 1:
        raise InputError(
            f"Optical densities need light from 0 to 1, or unsigned integers, got {image.dtype} "
            f"from {colours.min():g} to {colours.max():g}. Give the image as the scanner saved it."
        )
    amounts = unmix(colours, stain_matrix(HAEMATOXYLIN, DAB)) / np.log(10)
    return amounts[..., 0].astype(np.float64), amounts[..., 1].astype(np.float64)


def measure_dab(
    labels: npt.NDArray[np.integer[Any]],
    image: npt.NDArray[Any],
    thresholds: Sequence[float] | Literal["auto"] = DENSITIES,
) -> tuple[Columns, list[str]]:
    """Measure DAB in each nucleus, and classify it as negative, weak, moderate or strong.

    Parameters
    ----------
    labels : ndarray, shape (H, W), integer
        0 background, nuclei above 0.
    image : ndarray, shape (H, W, 3) or (H, W, 4)
        See `stain_densities`.
    thresholds : sequence of 3 float, or "auto"
        Mean optical densities of DAB from which a nucleus is weak, moderate and strong. With
        ``auto``, a nucleus is positive if DAB makes up `AUTO_SHARE` or more of the density of both
        stains (and its density is at least `LEAST_DAB`), moderate from 0.4 and strong from 0.6.

    Returns
    -------
    columns : dict of str to ndarray, shape (N,)
        ``haematoxylin_mean``, ``dab_mean``, ``dab_share`` (fraction of DAB in the density of both,
        0 to 1) and ``dab_class`` (0 to 3), in the order of the labels.
    doubts : list of str
        Warnings about uncertain densities.

    Raises
    ------
    InputError
        See `stain_densities`.

    Examples
    --------
    >>> import numpy as np
    >>> brown, blue = (0.65, 0.40, 0.29), (0.55, 0.5, 0.8)
    >>> measure_dab(np.array([[1, 2]]), np.array([[brown, blue]]))[0]["dab_class"].tolist()
    [3, 0]
    """
    haematoxylin, dab = stain_densities(image)
    numbers, area = np.unique(labels[labels > 0], return_counts=True)
    which = np.searchsorted(numbers, labels[labels > 0])
    columns: Columns = {}
    for name, plane in (("haematoxylin_mean", haematoxylin), ("dab_mean", dab)):
        columns[name] = np.bincount(which, plane[labels > 0], len(numbers)) / area
    blue, brown = (np.maximum(columns[name], 0) for name in ("haematoxylin_mean", "dab_mean"))
    columns[DAB_SHARE] = np.divide(brown, blue + brown, out=np.zeros_like(brown), where=brown > 0)
    columns[DAB_CLASS] = classes_of(columns["dab_mean"], columns[DAB_SHARE], thresholds)
    doubts = []
    full = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    brightest = float(np.percentile(image[..., :3].max(axis=2), 99)) / full if image.size else 1.0
    if brightest < _WHITE:
        doubts.append(
            f"Densities doubtful: the brightest places have {brightest:.0%} of full light, "
            "so that either the slide is nowhere empty or all densities are too high."
        )
    return columns, doubts


def classes_of(
    density: Floats, share: Floats, thresholds: Sequence[float] | Literal["auto"]
) -> npt.NDArray[np.intp]:
    """Classify nuclei as negative, weak, moderate or strong.

    Parameters
    ----------
    density, share : ndarray, shape (N,), float64
        ``dab_mean`` and ``dab_share`` of `measure_dab`.
    thresholds
        See `measure_dab`.

    Returns
    -------
    ndarray, shape (N,), integer, 0 to 3

    Examples
    --------
    >>> import numpy as np
    >>> density, share = np.array([0.1, 0.1, 0.5]), np.array([0.3, 0.9, 0.9])
    >>> classes_of(density, share, "auto").tolist()
    [0, 1, 2]
    """
    if thresholds != "auto":
        return np.asarray(np.searchsorted(thresholds, density, side="right"), np.intp)
    found = np.maximum(np.searchsorted(DENSITIES, density, side="right"), 1)
    return np.where((share >= AUTO_SHARE) & (density >= LEAST_DAB), found, 0)


def threshold_from_control(means: npt.NDArray[np.floating[Any]], share: float = 0.01) -> float:
    """Compute a density threshold from a negative control.

    Parameters
    ----------
    means : ndarray, shape (N,)
        ``dab_mean`` of the nuclei of tissue without positive nuclei, stained together with the
        other samples.
    share : float
        Fraction of the control nuclei that may exceed the threshold.

    Returns
    -------
    float
        At least 0.05; lower densities are noise of the scanner.

    Raises
    ------
    InputError
        There are too few nuclei for such a fraction.

    Examples
    --------
    >>> import numpy as np
    >>> round(threshold_from_control(np.linspace(0, 0.2, 201)), 3)
    0.198
    """
    if len(means) * share < 1:
        raise InputError(
            f"The control has {len(means)} nuclei, expected at least {int(np.ceil(1 / share))} to "
            f"find what {share:.0%} of them lie above. Give more images of it."
        )
    return max(float(np.quantile(means, 1 - share)), LEAST_DAB)


@dataclass(frozen=True)
class Positivity:
    """Counts of positive nuclei in one or several images.

    Attributes
    ----------
    counts : tuple of int
        Number of negative, weak, moderate and strong nuclei.
    low, high : float
        95 % interval of the positive fraction.
    """

    counts: tuple[int, int, int, int]
    low: float
    high: float

    @property
    def nuclei(self) -> int:
        """Number of nuclei."""
        return sum(self.counts)

    @property
    def share(self) -> float:
        """Fraction of positive nuclei, for Ki-67 the labelling index; NaN without nuclei."""
        return 1 - self.counts[0] / self.nuclei if self.nuclei else np.nan

    @property
    def h_score(self) -> float:
        """H-score, 0 to 300: percent weak + 2 × percent moderate + 3 × percent strong."""
        weighted = sum(weight * count for weight, count in enumerate(self.counts))
        return 100 * weighted / self.nuclei if self.nuclei else np.nan


def positivity(fields: Sequence[npt.NDArray[np.integer[Any]]]) -> Positivity:
    """Count the classes, and compute the positive fraction with its interval.

    Parameters
    ----------
    fields : sequence of ndarray, shape (N,), integer
        Classes from 0 to 3 of the nuclei of each field of view.

    Returns
    -------
    Positivity

    Notes
    -----
    For one field of view, the interval is Wilson's, which assumes independent nuclei. For several,
    the field of view is the sampling unit: the interval is that of the ratio of all positive to all
    nuclei, with linearised variance and Student's t (Cochran 1977, "Sampling Techniques", 6.3). It
    is never narrower than Wilson's.

    Examples
    --------
    >>> import numpy as np
    >>> found = positivity([np.array([0, 0, 1, 3])])
    >>> found.share, found.h_score, round(found.low, 3), round(found.high, 3)
    (0.5, 100.0, 0.15, 0.85)
    """
    counts = np.bincount(np.concatenate([np.zeros(0, np.intp), *fields]), minlength=4)
    negative, weak, moderate, strong = map(int, counts[:4])
    total = int(counts.sum())
    positive = total - negative
    low, high = wilson(positive, total)
    sizes = np.array([len(each) for each in fields if len(each)], np.float64)
    if len(sizes) > 1:
        # Imported here because it is slow to import.
        from scipy.special import stdtrit

        hits = np.array([np.count_nonzero(each) for each in fields if len(each)], np.float64)
        share, count = positive / total, len(sizes)
        spread = np.sum((hits - share * sizes) ** 2) * count / (count - 1)
        half = float(stdtrit(count - 1, 0.975) * np.sqrt(spread) / total)
        low, high = min(low, max(share - half, 0.0)), max(high, min(share + half, 1.0))
    return Positivity((negative, weak, moderate, strong), low, high)


def wilson(positive: int, total: int) -> tuple[float, float]:
    """Compute Wilson's 95 % interval of a fraction; NaN if the total is 0.

    Examples
    --------
    >>> low, high = wilson(0, 10)
    >>> low, round(high, 4)
    (0.0, 0.2775)
    """
    if not total:
        return np.nan, np.nan
    share, square = positive / total, _QUANTILE**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = _QUANTILE * np.sqrt(share * (1 - share) / total + square / (4 * total**2))
    half /= 1 + square / total
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)
