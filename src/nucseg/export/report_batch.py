"""What a report needs of each image, and what is kept of many."""

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

# Images of low confidence of which pictures are kept, as many that look wrong, and as many others.
PICTURES = 200
# Of so many nuclei a histogram looks as that of all.
NUCLEI = 100_000


@dataclass(frozen=True)
class ReportImage:
    """What the page says of an image.

    Attributes
    ----------
    path : str
        As the user named it.
    plane : str
        Which of the file's planes, empty if it has one.
    status : {"ok", "empty", "failed", "missing"}
        With nuclei, without any, not segmented, or a plane that the file does not hold.
    nuclei : int
        Their number.
    error : str
        Why it failed, else empty.
    warnings : sequence of str
        What looks wrong, in sentences; see `nucseg.images.quality.warnings_of`.
    thumbnail : bytes or None
        JPEG file, as `thumbnail` makes it.
    link : str
        Address of the picture in full, from where the page lies; empty where there is none.
    areas, intensities : ndarray, shape (N,), real
        Area and mean intensity of each nucleus.
    unit : {"pixels", "µm²"}
        Of the areas.
    depth : str
        Of the intensities, such as ``8 bits``; those of each are shown by themselves.
    median_score : float or None
        Of the nuclei that were found; None where it is not known.
    low_confidence : bool
        Whether it is so low that somebody should look at the image.
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
        """Why somebody should look at it: nothing was found, or what looks wrong."""
        return ["No nucleus was found."] * (self.status == "empty") + [*self.warnings]


class Evenly(Generic[Item]):
    """Keeps the first and every so manieth of all items that are added, at most so many.

    Attributes
    ----------
    items : list
    step : int
        How many each of them stands for.
    """

    def __init__(self, most: int) -> None:
        self.items: list[Item] = []
        self.step = 1
        self._most, self.seen = most, 0

    def add(self, items: Sequence[Item]) -> None:
        """Keep of these what is due."""
        self.items.extend(items[-self.seen % self.step :: self.step])
        self.seen += len(items)
        while len(self.items) > self._most:
            del self.items[1::2]
            self.step *= 2


class Batch:
    """What is kept of all images."""

    def __init__(self) -> None:
        # Each image without what takes room, and the median area of its nuclei.
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
        """All, in the order in which they were added."""
        return [image for image, _ in self.rows]
