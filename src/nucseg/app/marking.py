"""Classes of nuclei by clicks: the marks of a session, and what is learned from them at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nucseg.app.document import Document
from nucseg.classes import FEWEST_MARKS, Classifier, check_names, fit
from nucseg.config import Filtering
from nucseg.errors import InputError
from nucseg.export.overlay import CLASS_COLOURS

if TYPE_CHECKING:
    from nucseg.app.sessions import OpenImage

# Marks that can be taken back.
_HISTORY = 1000

Key = tuple[str, int]


@dataclass(frozen=True)
class Mark:
    """A nucleus that was marked.

    Attributes
    ----------
    document : Document
        The nuclei among which it is; another run of the network makes others.
    kind : int
        Id of its class.
    """

    document: Document
    kind: int


class Marking:
    """The classes of a session and the nuclei that were marked, in any of its images.

    Marks of images that were removed or segmented again, and of nuclei that were changed by hand,
    do not count; those of nuclei that come back by undo count again.

    Attributes
    ----------
    kinds : dict of int to str
        Names of the classes by their ids, in their order.
    """

    def __init__(self) -> None:
        self.kinds: dict[int, str] = {1: "class 1", 2: "class 2"}
        self._marks: dict[Key, Mark] = {}
        self._history: list[tuple[Key, Mark | None]] = []
        self._loaded: Classifier | None = None
        self._trained: tuple[object, Classifier | None, str] | None = None
        self._lock = threading.RLock()

    @property
    def can_undo(self) -> bool:
        """Whether there is a mark to take back."""
        return bool(self._history)

    def name(self, kinds: Sequence[tuple[int, str]]) -> None:
        """Set which classes there are; marks of classes that are no more are taken away.

        Parameters
        ----------
        kinds : sequence of (int, str)
            Id and name of each.

        Raises
        ------
        InputError
            A name cannot be used, an id is there twice, or there are too many.
        """
        check_names([name for _, name in kinds])
        if len(dict(kinds)) < len(kinds):
            raise InputError("Two classes have the same id. Load the page again.")
        with self._lock:
            self.kinds = dict(kinds)
            self._marks = {k: mark for k, mark in self._marks.items() if mark.kind in self.kinds}
            self._history = [
                (key, before)
                for key, before in self._history
                if before is None or before.kind in self.kinds
            ]

    def load(self, classifier: Classifier) -> None:
        """Take the classes of a classifier, which names nuclei until marks teach another.

        Parameters
        ----------
        classifier : Classifier
            Its names become those of the session, whose marks are taken away.
        """
        with self._lock:
            self.kinds = dict(enumerate(classifier.names, start=1))
            self._marks, self._history = {}, []
            self._loaded = classifier

    def mark(self, image: OpenImage, number: int, kind: int | None) -> None:
        """Mark a nucleus as one of a class, or take its mark away.

        Parameters
        ----------
        image : OpenImage
        number : int
            Of the nucleus.
        kind : int or None
            Id of the class; None takes the mark away.

        Raises
        ------
        InputError
            There is no such nucleus or class.
        """
        document = image.document
        if document is None or number not in document.table["label"]:
            raise InputError(f"There is no nucleus {number} to mark. Click one that is shown.")
        if kind is not None and kind not in self.kinds:
            raise InputError("There is no such class any more. Choose another.")
        key = image.id, number
        with self._lock:
            self._history = [*self._history, (key, self._marks.get(key))][-_HISTORY:]
            self._set(key, None if kind is None else Mark(document, kind))

    def undo(self) -> None:
        """Take the last mark back.

        Raises
        ------
        InputError
            There is none.
        """
        with self._lock:
            if not self._history:
                raise InputError("There is no mark to take back.")
            self._set(*self._history.pop())

    def _set(self, key: Key, mark: Mark | None) -> None:
        if mark is None:
            self._marks.pop(key, None)
        else:
            self._marks[key] = mark

    def marked(self, image: OpenImage) -> dict[int, int]:
        """Nuclei of an image that are marked, with the ids of their classes."""
        document = image.document
        if document is None:
            return {}
        there = set(document.table["label"].tolist())
        return {
            number: mark.kind
            for (name, number), mark in list(self._marks.items())
            if name == image.id and mark.document is document and number in there
        }

    def counts(self, images: Mapping[str, OpenImage]) -> Counter[int]:
        """Count the marks of each class that are valid."""
        return Counter(kind for image in _all(images) for kind in self.marked(image).values())

    def classifier(self, images: Mapping[str, OpenImage]) -> tuple[Classifier | None, str]:
        """Learn from the marks of all images, or say why nothing can be learned yet.

        It is learned when it is asked for, anew where marks, names or nuclei have changed.
        """
        with self._lock:
            there = [(image, self.marked(image)) for image in _all(images)]
            state = (
                tuple(self.kinds.items()),
                id(self._loaded),
                tuple(
                    (image.document and image.document.version, *marked.items())
                    for image, marked in there
                ),
            )
            if self._trained is None or self._trained[0] != state:
                self._trained = (state, *self._found(there))
            return self._trained[1], self._trained[2]

    def _found(
        self, there: Sequence[tuple[OpenImage, dict[int, int]]]
    ) -> tuple[Classifier | None, str]:
        """Learn from marks, or take what was loaded while they are too few and names are its."""
        learned, lacking = self._learn(there)
        loaded = self._loaded
        if learned is not None or loaded is None or loaded.names != tuple(self.kinds.values()):
            return learned, lacking
        return loaded, f"These classes are from a file. To learn others: {lacking}"

    def _learn(
        self, there: Sequence[tuple[OpenImage, dict[int, int]]]
    ) -> tuple[Classifier | None, str]:
        counts = Counter(kind for _, marked in there for kind in marked.values())
        missing = [
            f"{FEWEST_MARKS - counts[kind]} more of {name}"
            for kind, name in self.kinds.items()
            if counts[kind] < FEWEST_MARKS
        ]
        if len(self.kinds) < 2:
            return None, "Name two classes or more."
        if missing:
            return None, f"Mark {' and '.join(missing)}."
        tables, marks, sizes = [], [], []
        for image, marked in there:
            if image.document is None or not marked:
                continue
            table = image.document.table
            tables.append(table)
            kinds = (marked.get(number) for number in table["label"].tolist())
            marks.append(["" if kind is None else self.kinds[kind] for kind in kinds])
            sizes.append(image.pixel_size)
        try:
            names = tuple(self.kinds.values())
            return fit(tables, marks, classes=names, pixel_sizes=sizes), ""
        except InputError as error:
            return None, str(error)

    def uncertain(
        self,
        images: Sequence[OpenImage],
        classifier: Classifier,
        filters: Filtering,
        seen: Sequence[Key],
    ) -> tuple[OpenImage, int] | None:
        """Find the nucleus that the classes are least sure of.

        Parameters
        ----------
        images : sequence of OpenImage
        classifier : Classifier
        filters : Filtering
            Nuclei that are dropped are no candidates, nor are those that are marked.
        seen : sequence of (str, int)
            Image and number of nuclei that shall not come again.

        Returns
        -------
        (OpenImage, int) or None
            An image and the number of its nucleus; None where none is left.
        """
        best, found = np.inf, None
        for image in images:
            document = image.document
            if document is None:
                continue
            try:
                predicted = classifier.predict(document.table, pixel_size=image.pixel_size)
            except InputError:  # another number of channels
                continue
            labels = document.table["label"]
            passed = [number for name, number in seen if name == image.id]
            known = np.isin(labels, [*self.marked(image), *passed])
            margin = np.where(known | ~document.kept(filters), np.inf, predicted.margin)
            if len(margin) and margin.min() < best:
                best, found = margin.min(), (image, int(labels[margin.argmin()]))
        return found


def _all(images: Mapping[str, OpenImage]) -> list[OpenImage]:
    return list(images.values())


def told(
    marking: Marking, images: Mapping[str, OpenImage], image: OpenImage | None
) -> dict[str, Any]:
    """Tell the page of the classes, and of the nuclei of an image.

    Parameters
    ----------
    marking : Marking
    images : mapping of str to OpenImage
        Of the session.
    image : OpenImage, optional
        The one that is shown.
    """
    classifier, lacking = marking.classifier(images)
    counts = marking.counts(images)
    accuracy = classifier and classifier.accuracy
    return {
        "classes": [
            {
                "id": kind,
                "name": name,
                "colour": list(CLASS_COLOURS[place]),
                "marks": counts[kind],
            }
            for place, (kind, name) in enumerate(marking.kinds.items())
        ],
        "colours": [list(colour) for colour in CLASS_COLOURS],
        "fewest": FEWEST_MARKS,
        "can_undo": marking.can_undo,
        "lacking": lacking,
        "accuracy": accuracy and {
            "told": accuracy.told(),
            "commonest": accuracy.commonest,
            **accuracy.model_dump(include={"right", "of", "low", "high"}),
        },
        "image": image and _of_image(marking, classifier, image),
    }  # fmt: skip


def _of_image(marking: Marking, classifier: Classifier | None, image: OpenImage) -> dict[str, Any]:
    """Tell marks and classes of the nuclei of an image, in the order of its table."""
    reply: dict[str, Any] = {"id": image.id, "marked": marking.marked(image)}
    document = image.document
    if classifier is None or document is None:
        return {**reply, "labels": [], "numbers": [], "probabilities": [], "warnings": []}
    table = document.table
    try:
        predicted = classifier.predict(table, pixel_size=image.pixel_size)
    except InputError as error:
        nothing: dict[str, Any] = {"labels": [], "numbers": [], "probabilities": []}
        return {**reply, **nothing, "warnings": [str(error)]}
    return {
        **reply,
        "labels": table["label"].tolist(),
        "numbers": predicted.numbers.tolist(),
        "probabilities": [round(each, 4) for each in predicted.probability.tolist()],
        "warnings": predicted.warnings(),
    }
