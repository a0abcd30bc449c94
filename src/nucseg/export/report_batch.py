"""What a report needs of each image, and what it keeps of many images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]
Item = TypeVar("Item")

# Pictures that are kept of low-confidence images, of images with warnings, and of others each.
PICTURES = 200
# A histogram of this many nuclei looks like that of all nuclei.
NUCLEI = 100_000


@dataclass(frozen=True)
class ReportImage:
    """An image in the report.

    Attributes
    ----------
    path : str
        Path, as the user gave it.
    plane : str
        Which of the file's planes, empty if it has one.
    status : {"ok", "empty", "failed", "missing"}
        With nuclei, without nuclei, failed, or a missing plane.
    nuclei : int
        Number of nuclei.
    error : str
        Why it failed, else empty.
    warnings : sequence of str
        Problems, in sentences; see `nucseg.images.quality.warnings_of`.
    thumbnail : bytes or None
        JPEG file from `thumbnail`.
    link : str
        Address of the full picture, relative to the page; empty if there is none.
    areas, intensities : ndarray, shape (N,), real
        Area and mean intensity of each nucleus.
    unit : {"pixels", "µm²"}
        Unit of the areas.
    depth : str
        Bit depth of the intensities, such as ``8 bits``; each depth has a histogram of its own.
    median_score : float or None
        Median score of the nuclei; None if unknown.
    low_confidence : bool
        Whether the median score is below the limit, so the image should be checked.
    """

    path: str
    plane: str
    status: Literal["ok", "empty", "failed", "missing"]
    nuclei: int
    error: str = ""
    warnings: Sequence[str] = ()
    thumbnail: bytes | None = None
    link: str = ""
    areas: Numbers = field(default_factory=lambda: np.zeros(0))
    intensities: Numbers = field(default_factory=lambda: np.zeros(0))
    unit: Literal["pixels", "µm²"] = "pixels"
    depth: str = ""
    median_score: float | None = None
    low_confidence: bool = False

    @property
    def name(self) -> str:
        """File name and plane."""
        return PurePath(self.path).name + (f" ({self.plane})" if self.plane else "")

    @property
    def remarks(self) -> list[str]:
        """Reasons to check the image: no nuclei, or its warnings."""
        return ["No nucleus was found."] * (self.status == "empty") + [*self.warnings]


class Evenly(Generic[Item]):
    """Keeps an evenly spaced subset of all added items, up to a maximum number.

    Attributes
    ----------
    items : list
    step : int
        How many items each kept item represents.
    """

    def __init__(self, most: int) -> None:
        self.items: list[Item] = []
        self.step = 1
        self._most, self.seen = most, 0

    def add(self, items: Sequence[Item]) -> None:
        """Keep every `step`-th item."""
        self.items.extend(items[-self.seen % self.step :: self.step])
        self.seen += len(items)
        while len(self.items) > self._most:
            del self.items[1::2]
            self.step *= 2


class Batch:
    """What the report keeps of all images."""

    def __init__(self) -> None:
        # Each image without its large data, and the median area of its nuclei.
        self.rows: list[tuple[ReportImage, float | None]] = []
        self.low: Evenly[ReportImage] = Evenly(PICTURES)
        self.wrong: Evenly[ReportImage] = Evenly(PICTURES)
        self.others: Evenly[ReportImage] = Evenly(PICTURES)
        self.areas: defaultdict[str, Evenly[float]] = defaultdict(lambda: Evenly(NUCLEI))
        self.intensities: defaultdict[str, Evenly[float]] = defaultdict(lambda: Evenly(NUCLEI))

    def add(self, image: ReportImage) -> None:
        """Keep what the page shows of an image."""
        none = np.zeros(0)
        small = replace(image, areas=none, intensities=none)
        if image.low_confidence:
            self.low.add([small])
        elif image.remarks:
            self.wrong.add([small])
        elif image.thumbnail is not None:
            self.others.add([small])
        areas = image.areas[np.isfinite(image.areas) & (image.areas > 0)]
        if areas.size:
            self.areas[image.unit].add(areas.tolist())
        intensities = image.intensities[np.isfinite(image.intensities)]
        if intensities.size:
            self.intensities[image.depth].add(intensities.tolist())
        median = float(f"{np.median(areas):.4g}") if areas.size else None
        self.rows.append((replace(small, thumbnail=None), median))

    @property
    def images(self) -> list[ReportImage]:
        """All images, in the order in which they were added."""
        return [image for image, _ in self.rows]
