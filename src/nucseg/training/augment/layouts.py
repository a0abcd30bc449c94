"""Where the nuclei of a packed field go: sheets, clusters, rings, palisades, anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Place:
    """Where a nucleus goes: its centre, and the direction of its long axis or None for any."""

    row: float
    column: float
    angle: float | None = None


def _grid(rng: np.random.Generator, size: int, step: float) -> list[Place]:
    """Place cells as in a sheet: on a jittered hexagonal grid."""
    places = []
    jitter = step * rng.uniform(0.05, 0.25)
    for number, row in enumerate(np.arange(-step, size + step, step * 0.87)):
        for column in np.arange(-step + step / 2 * (number % 2), size + step, step):
            away = rng.normal(0, jitter, 2)
            places.append(Place(float(row + away[0]), float(column + away[1])))
    return places


def _clusters(rng: np.random.Generator, size: int, step: float) -> list[Place]:
    """Place cells in clumps with gaps between them."""
    knots = rng.random((5, 5), np.float32)
    field = cv2.resize(knots, (size, size), interpolation=cv2.INTER_CUBIC)
    least = np.quantile(field, rng.uniform(0.2, 0.7))
    return [
        place
        for place in _grid(rng, size, step)
        if field[int(np.clip(place.row, 0, size - 1)), int(np.clip(place.column, 0, size - 1))]
        >= least
    ]


def _rings(rng: np.random.Generator, size: int, step: float) -> list[Place]:
    """Place cells in layers around a lumen, as in glands, long axes outwards or along."""
    places = []
    outwards = bool(rng.random() < 0.6)
    for _ in range(int(rng.integers(2, 7))):
        centre = rng.uniform(0, size, 2)
        radius = float(rng.uniform(1.2, 4)) * step
        squeeze = float(rng.uniform(0.6, 1))
        for layer in range(int(rng.integers(1, 4))):
            around = radius + layer * step
            count = max(int(2 * np.pi * around / step), 3)
            for angle in np.arange(count) * 2 * np.pi / count + rng.uniform(0, 1):
                away = rng.normal(0, 0.08 * step, 2)
                row = centre[0] + around * np.sin(angle) * squeeze + away[0]
                column = centre[1] + around * np.cos(angle) + away[1]
                turned = angle + (0 if outwards else np.pi / 2) + rng.normal(0, 0.2)
                places.append(Place(float(row), float(column), float(turned)))
    return places


def _palisades(rng: np.random.Generator, size: int, step: float) -> list[Place]:
    """Place cells side by side in wavy rows, their long axes across the row."""
    places = []
    turn, wave = rng.uniform(0, np.pi), rng.uniform(0, 0.5) * step
    length = rng.uniform(2, 6) * step
    narrow, between = step * rng.uniform(0.75, 1), step * rng.uniform(1.2, 3)
    reach = size * 0.75
    for row in np.arange(-reach, reach, between):
        for column in np.arange(-reach, reach, narrow):
            up = row + wave * np.sin(2 * np.pi * column / length) + rng.normal(0, 0.08 * step)
            at = size / 2 + column * np.sin(turn) + up * np.cos(turn)
            over = size / 2 + column * np.cos(turn) - up * np.sin(turn)
            angle = turn + np.pi / 2 + rng.normal(0, 0.15)
            places.append(Place(float(at), float(over), float(angle)))
    return [p for p in places if -step < p.row < size + step and -step < p.column < size + step]


def _scattered(rng: np.random.Generator, size: int, step: float) -> list[Place]:
    """Place cells anywhere, as densely as in a sheet, hence often one over another."""
    count = int((size / step) ** 2 * rng.uniform(0.4, 0.9)) + 1
    return [Place(*map(float, rng.uniform(0, size, 2))) for _ in range(count)]


# Of a random state, the side of the field and the distance of nuclei, in pixels.
LAYOUTS: tuple[Callable[[np.random.Generator, int, float], list[Place]], ...] = (
    _grid,
    _clusters,
    _rings,
    _palisades,
    _scattered,
)
LAYOUT_CHANCES = (0.25, 0.3, 0.15, 0.15, 0.15)
