"""Images for the tests of inputs and settings that could give wrong numbers without a word."""

import csv
from pathlib import Path

import numpy as np
from click.testing import Result
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

from nucseg.cli.main import app


def discs(
    side: int = 4, size: int = 256, *, radius: float = 10, low: float = 200, high: float = 1500
) -> tuple[np.ndarray, np.ndarray]:
    """Bright discs in `side` rows and columns on a noisy background.

    Returns
    -------
    image : ndarray, shape (size, size), uint16
    labels : ndarray, shape (size, size), int32
        0 background, 1 to side² discs.
    """
    rows, columns = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.int32)
    for number in range(side * side):
        row, column = (np.array(divmod(number, side)) + 0.5) * size / side
        labels[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = number + 1
    image = gaussian_filter(np.where(labels > 0, high, low).astype(float), 1.5)
    image += np.random.default_rng(0).normal(0, 15, image.shape)
    return image.clip(0, 65535).astype(np.uint16), labels


def nucseg(*arguments: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, [str(each) for each in arguments])


def rows_of(table: Path) -> list[dict[str, str]]:
    """Rows of a CSV file that nucseg wrote."""
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
