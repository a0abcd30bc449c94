"""Montages of typical and extreme nuclei of each condition, to check the numbers visually."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from nucseg.analysis.summaries import COUNT
from nucseg.errors import NucsegError
from nucseg.export import output_path
from nucseg.figures.pictures import Picture
from nucseg.images import Projection, Source, open_image
from nucseg.images.colours import to_rgb
from nucseg.images.preprocess import stretch

# Nuclei of each kind and condition; side length of a crop in the picture, in pixels.
NUCLEI, SIDE, _GAP = 6, 96, 4
TYPICAL, EXTREME = "typical", "extreme"
# Standard deviation of a Gaussian divided by its median absolute deviation.
_MAD = 1.4826
_OUTLINE = (240, 228, 66)
# Side length of crops relative to large nuclei; minimum, in pixels.
_ROOM, _LEAST = 1.4, 24
_PERCENTILES = (0.5, 99.8)


_Crop = tuple[dict[str, Any], npt.NDArray[Any], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class Montage:
    """Crops of the nuclei of a condition.

    Attributes
    ----------
    condition : str
    picture : ndarray, shape (H, W, 3), uint8
        A row of typical and a row of extreme nuclei, outlined.
    nuclei : DataFrame
        A row for each crop, from left to right: ``kind``, image, label, measurements and
        ``distance`` from the median nucleus of the condition.
    """

    condition: str
    picture: Picture
    nuclei: pd.DataFrame


def chosen_nuclei(
    nuclei: pd.DataFrame, measures: Sequence[str], number: int = NUCLEI
) -> pd.DataFrame:
    """Choose the most typical and the most extreme nuclei of a condition.

    Parameters
    ----------
    nuclei : DataFrame
        Nuclei of one condition, one row each.
    measures : sequence of str
        Columns from which the distance to the median nucleus is computed.
    number : int
        Number of nuclei of each kind.

    Returns
    -------
    DataFrame
        The typical nuclei, nearest first, then the extreme nuclei, farthest first, with the columns
        ``kind`` and ``distance``: the root of the sum of squared differences in robust standard
        deviations. Nuclei at the edge of an image are excluded, and if there are enough images, no
        two nuclei of a kind are from the same image.
    """
    if "touches_border" in nuclei:
        nuclei = nuclei[~nuclei["touches_border"].astype(bool)]
    used = [name for name in measures if name != COUNT and name in nuclei]
    values = nuclei[used].astype(float)
    away = (values - values.median()).abs()
    spread = _MAD * away.median()
    scaled = away / spread.where(spread > 0, np.nan)
    distance = np.sqrt((scaled.fillna(0) ** 2).sum(axis=1))
    told = nuclei.assign(distance=distance)
    near = told.sort_values("distance", kind="stable")
    parts = []
    for kind, ordered in ((TYPICAL, near), (EXTREME, near.iloc[::-1])):
        again = ordered.duplicated("image")
        first = pd.concat([ordered[~again], ordered[again]]).head(number)
        parts.append(first.sort_values("distance", ascending=kind == TYPICAL).assign(kind=kind))
    return pd.concat(parts)


def montages(
    results: Path,
    images: pd.DataFrame,
    nuclei: pd.DataFrame,
    measures: Sequence[str],
    conditions: Sequence[str],
) -> list[Montage]:
    """Crop typical and extreme nuclei of each condition from their images.

    Parameters
    ----------
    results : Path
        Output folder of ``nucseg segment -o``, with ``labels/``.
    images : DataFrame
        Table of `nucseg.analysis.conditions.Assignment`.
    nuclei : DataFrame
        A row for each nucleus.
    measures, conditions : sequence of str

    Returns
    -------
    list of Montage
        All crops have the same size in pixels and the same range of intensities. Nuclei whose image
        is missing, or whose label image was not saved or has changed, are skipped, and so are
        conditions without other nuclei.
    """
    keys = ["image", "plane"] if "plane" in images and "plane" in nuclei else ["image"]
    joined = nuclei.merge(images[[*keys, "condition"]].drop_duplicates(keys), on=keys)
    if not {"bbox_row", "bbox_column", "bbox_height", "bbox_width"}.issubset(joined):
        return []
    chosen = {
        condition: chosen_nuclei(joined[joined["condition"] == condition], measures)
        for condition in conditions
    }
    sides = joined[["bbox_height", "bbox_width"]].max(axis=1)
    side = max(int(np.ceil(_ROOM * np.nanpercentile(sides, 95))), _LEAST) if len(sides) else _LEAST
    reader = _Reader(results)
    cut: dict[str, list[_Crop]] = {}
    for condition, table in chosen.items():
        for row in table.to_dict("records"):
            told = {str(key): value for key, value in row.items()}
            if (pair := reader.crop(told, side)) is not None:
                cut.setdefault(condition, []).append((told, *pair))
    if not cut:
        return []
    pixels = [pixels.ravel() for crops in cut.values() for _, pixels, _ in crops]
    low, high = np.percentile(np.concatenate(pixels), _PERCENTILES)
    names = ["kind", *keys, "label", *(m for m in measures if m in joined), "distance"]
    return [
        Montage(
            condition,
            _arranged(
                [(row["kind"], _shown(crop, mask, (low, high))) for row, crop, mask in crops]
            ),
            pd.DataFrame([row for row, *_ in crops])[names],
        )
        for condition, crops in cut.items()
    ]


class _Reader:
    """Reads crops of images and of their labels; opens each file once for consecutive nuclei."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._sources: dict[Path, list[Source]] = {}
        try:
            about = json.loads((results / "run.json").read_text(encoding="utf-8"))
            self._folder = Path(about["working_folder"])
            self._channel = about["reading"]["channel"]
            self._project = about["reading"]["project"]
        except (OSError, ValueError, KeyError, TypeError):
            self._folder, self._channel, self._project = Path(), None, "none"

    def crop(
        self, row: dict[str, Any], side: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]] | None:
        """Return the pixels around a nucleus and its mask; None if they cannot be read."""
        plane = str(row["plane"]) if pd.notna(row.get("plane")) else ""
        top = int(row["bbox_row"] + row["bbox_height"] / 2 - side / 2)
        left = int(row["bbox_column"] + row["bbox_width"] / 2 - side / 2)
        labels = self._labels(str(row["image"]), plane)
        image = self._source(self._folder / str(row["image"]), plane)
        if labels is None or image is None or labels.shape != image.shape[:2]:
            return None
        inside = tuple(
            slice(max(begin, 0), max(begin + side, 0))
            for begin in (top, left)
        )  # fmt: skip
        try:
            mask = labels[inside[0], inside[1]] == row["label"]
            pixels = np.asarray(image[inside[0], inside[1]], np.float32)
        except NucsegError:
            return None
        if (
            mask.sum() != row.get("area", mask.sum())
            and max(row["bbox_height"], row["bbox_width"]) < side
        ):
            return None  # not the label image that was measured
        before = [max(-begin, 0) for begin in (top, left)]
        padding = [
            (start, side - start - length) for start, length in zip(before, mask.shape, strict=True)
        ]
        more = [(0, 0)] * (pixels.ndim - 2)
        outside = float(np.median(pixels))
        filled = np.pad(pixels, [*padding, *more], constant_values=outside)
        return filled, np.pad(mask, padding)

    def _labels(self, image: str, plane: str) -> Source | None:
        """Open the label image; the name of a result is the end of its image's path."""
        path = PurePosixPath(image.replace("\\", "/"))
        end = f"_{plane}" if plane else ""
        for start in range(len(path.parts)):
            below = PurePosixPath(*path.parts[start:])
            for name in (below.with_suffix("").as_posix(), below.as_posix()):
                # The root of an absolute path would lead out of the folder.
                if name.startswith("/"):
                    continue
                place = output_path(self._results, f"{name}{end}", "labels")
                if place.exists():
                    return self._source(place, "", labels=True)
        return None

    def _source(self, path: Path, plane: str, *, labels: bool = False) -> Source | None:
        if path not in self._sources:
            while len(self._sources) > 3:
                self._sources.pop(next(iter(self._sources)))
            try:
                channel = None if labels else self._channel
                project: Projection = "max" if self._project == "max" and not labels else "none"
                self._sources[path] = open_image(
                    path, channel=channel, project=project, as_labels=labels
                )
            except NucsegError:
                self._sources[path] = []
        return next((each for each in self._sources[path] if each.plane == plane), None)


def _shown(
    pixels: npt.NDArray[Any], mask: npt.NDArray[np.bool_], limits: tuple[float, float]
) -> Picture:
    """Resize a crop to the size of the picture and outline its nucleus."""
    grey = np.asarray(stretch(pixels, None, limits=limits), np.float32)
    colour = np.asarray(np.rint(to_rgb(grey) * 255), np.uint8)
    large = cv2.resize(colour, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    soft = cv2.resize(mask.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    rims, _ = cv2.findContours(
        (soft > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    return np.asarray(cv2.drawContours(np.ascontiguousarray(large), rims, -1, _OUTLINE, 1))


def _arranged(crops: Sequence[tuple[str, Picture]]) -> Picture:
    """Arrange typical crops above extreme ones."""
    rows = []
    for kind in (TYPICAL, EXTREME):
        strip = np.full((SIDE, NUCLEI * (SIDE + _GAP) - _GAP, 3), 255, np.uint8)
        for place, picture in enumerate([each for name, each in crops if name == kind]):
            strip[:, place * (SIDE + _GAP) :][:, :SIDE] = picture
        rows.append(strip)
    gap = np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8)
    return np.vstack([rows[0], gap, rows[1]])
