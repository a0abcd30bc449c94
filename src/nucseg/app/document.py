"""An image that is open in the browser: its nuclei, manual edits, and filters.

All nuclei from inference are stored, whatever their score and size; filters select the kept ones
each time, without the network. Pixels are stored in files, so that many images can be open.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nucseg.app import edits
from nucseg.app.edits import Change, Labels, Points
from nucseg.config import Filtering
from nucseg.core.filters import keep_nuclei
from nucseg.errors import InputError
from nucseg.inference.segmentation import Segmentation
from nucseg.measure import Columns, is_grey, measure_tile

IMAGE, LABELS, PROBABILITY = "image.npy", "labels.npy", "probability.npy"
# Number of changes that can be undone; each stores the pixels of a few nuclei.
_HISTORY = 500
# A nucleus drawn by hand is certain.
_BY_HAND = 1.0


@dataclass(frozen=True)
class Step:
    """A change, with the rows of the table that it removes and adds."""

    change: Change
    removed: Columns
    added: Columns

    def reversed(self) -> Step:
        """Return the step that undoes this one."""
        return Step(self.change.reversed(), self.added, self.removed)


class Document:
    """Nuclei of an image, and the history of their edits.

    Parameters
    ----------
    folder : Path
        Folder for its pixels; created if missing.
    segmentation : Segmentation
        All nuclei, unfiltered.

    Attributes
    ----------
    shape : tuple of int
        Height and width.
    found : int
        Number of nuclei from inference, with the numbers 1 to `found`. Nuclei with larger numbers
        were edited by hand: they have the score 1, and no filter removes them.
    confidence : Confidence or None
        Confidence of the model in the image, before edits.
    table : dict of str to ndarray
        Measurements of all nuclei, in the order of their numbers.
    edited : int
        Number of changes that were made and not undone.
    version : object
        A new object after each change.
    """

    def __init__(self, folder: Path, segmentation: Segmentation) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.found = segmentation.count
        self.confidence = segmentation.confidence
        self.shape = segmentation.labels.shape
        self._grey = is_grey(segmentation.image)
        np.save(folder / IMAGE, segmentation.image)
        np.save(folder / LABELS, segmentation.labels.astype(np.int32))
        np.save(folder / PROBABILITY, segmentation.probability)
        self.table = _measured(
            segmentation.labels.astype(np.int32),
            self._measurable(segmentation.image),
            (0, 0),
            self.shape,
            segmentation.scores,
        )
        self._next = self.found + 1
        self._done: list[Step] = []
        self._undone: list[Step] = []
        self.edited = 0
        self.version = object()

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to undo."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is a change to redo."""
        return bool(self._undone)

    def image(self) -> npt.NDArray[Any]:
        """Return the pixels, shape (H, W) or (H, W, C), memory-mapped from a file."""
        return np.asarray(np.load(self.folder / IMAGE, mmap_mode="r"))

    def labels(self) -> Labels:
        """Return the label image of all nuclei, shape (H, W), int32."""
        return np.asarray(np.load(self.folder / LABELS, mmap_mode="r"))

    def edit(
        self,
        kind: Literal["delete", "draw", "split", "merge", "brush", "erase"],
        *,
        number: int = 0,
        points: Points = (),
        radius: float = 0,
    ) -> Step:
        """Edit the nuclei by hand.

        Parameters
        ----------
        kind : {"delete", "draw", "split", "merge", "brush", "erase"}
        number : int
            Nucleus to delete, to brush or to erase from.
        points : sequence of (x, y)
            Outline to draw, line for split or merge, or points of a brush stroke, see
            `nucseg.app.edits`.
        radius : float
            Radius of the brush, in pixels.

        Raises
        ------
        InputError
            The edit is impossible; nothing is changed.
        """
        labels = self.labels()
        if kind == "delete":
            change = edits.remove_nucleus(labels, number)
        elif kind == "draw":
            change = edits.draw_nucleus(labels, points, self._next)
        elif kind == "split":
            change = edits.split_nucleus(labels, points, self._next)
        elif kind == "merge":
            change = edits.merge_nuclei(labels, points, self._next)
        elif kind == "brush":
            change = edits.brush_nucleus(labels, points, radius, number, self._next)
        else:
            change = edits.erase_from_nucleus(labels, points, radius, number, self._next)
        step = Step(change, self._rows(change.removed), self._measure(change))
        self._next += len(change.added)
        self._apply(step)
        self._undone.clear()
        self._done = [*self._done, step][-_HISTORY:]
        self.edited += 1
        return step

    def undo(self) -> Step:
        """Undo the last change.

        Raises
        ------
        InputError
            There is no change to undo.
        """
        if not self._done:
            raise InputError("There is no change to undo.")
        step = self._done.pop()
        self._undone.append(step)
        self._apply(step.reversed())
        self.edited -= 1
        return step.reversed()

    def redo(self) -> Step:
        """Redo the change that was undone last.

        Raises
        ------
        InputError
            There is no change to redo.
        """
        if not self._undone:
            raise InputError("There is no change to do again.")
        step = self._undone.pop()
        self._done.append(step)
        self._apply(step)
        self.edited += 1
        return step

    def kept(self, filters: Filtering) -> npt.NDArray[np.bool_]:
        """Return which nuclei of the table are kept, shape (N,), bool."""
        table = self.table
        keep = keep_nuclei(table["area"], table["touches_border"], table["score"], filters)
        return np.asarray(
            (keep & (table["area"] >= filters.min_area)) | (table["label"] > self.found)
        )

    def segmentation(
        self, filters: Filtering, *, pixel_size: tuple[float, float] | None
    ) -> Segmentation:
        """Return the kept nuclei, numbered from 1, as `Model.segment` would return them."""
        keep = self.kept(filters)
        numbers = self.table["label"][keep]
        few = len(numbers) <= np.iinfo(np.uint16).max
        new: npt.NDArray[np.unsignedinteger[Any]] = np.zeros(
            self._next, np.uint16 if few else np.uint32
        )
        new[numbers] = np.arange(1, len(numbers) + 1)
        return Segmentation(
            self.image(),
            new[self.labels()],
            np.asarray(self.table["score"][keep], np.float32),
            np.asarray(np.load(self.folder / PROBABILITY, mmap_mode="r")),
            pixel_size,
        )

    def _apply(self, step: Step) -> None:
        labels = np.load(self.folder / LABELS, mmap_mode="r+")
        labels[step.change.window] = step.change.after
        labels.flush()
        stay = ~np.isin(self.table["label"], step.change.removed)
        table = {
            name: np.concatenate([values[stay], step.added[name]])
            for name, values in self.table.items()
        }
        order = np.argsort(table["label"])
        self.table = {name: values[order] for name, values in table.items()}
        self.version = object()

    def _rows(self, numbers: list[int]) -> Columns:
        chosen = np.isin(self.table["label"], numbers)
        return {name: values[chosen] for name, values in self.table.items()}

    def _measure(self, change: Change) -> Columns:
        """Measure the nuclei that a change adds."""
        if not change.added:
            return self._rows([])
        labels = np.where(np.isin(change.after, change.added), change.after, 0)
        scores = np.full(len(change.added), _BY_HAND, np.float32)
        origin = (change.row, change.column)
        pixels = self._measurable(self.image()[change.window])
        return _measured(labels, pixels, origin, self.shape, scores)

    def _measurable(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return grey that was saved as colour as one channel."""
        return pixels[..., 0] if self._grey else pixels


def _measured(
    labels: Labels,
    image: npt.NDArray[Any],
    origin: tuple[int, int],
    shape: tuple[int, ...],
    scores: npt.NDArray[np.float32],
) -> Columns:
    return measure_tile(labels, image, origin=origin, shape=shape, scores=scores)
