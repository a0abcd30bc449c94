"""Classes of nuclei by clicks: the marks of a session, and the classifier trained on them."""

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

# Number of marks that can be undone.
_HISTORY = 1000

Key = tuple[str, int]


@dataclass(frozen=True)
class Mark:
    """A marked nucleus.

    Attributes
    ----------
    document : Document
        Document that contains the nucleus; another inference creates another document.
    kind : int
        Id of its class.
    """

    document: Document
    kind: int


class Marking:
    """The classes of a session and the marked nuclei in all its images.

    Marks of images that were removed or segmented again, and of nuclei that were edited by hand,
    are ignored; marks of nuclei that undo restores are valid again.

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
        """Whether there is a mark to undo."""
        return bool(self._history)

    def name(self, kinds: Sequence[tuple[int, str]]) -> None:
        """Set the classes; marks of removed classes are deleted.

        Parameters
        ----------
        kinds : sequence of (int, str)
            Id and name of each class.

        Raises
        ------
        InputError
            A name is invalid, an id occurs twice, or there are too many classes.
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
        """Load the classes of a classifier, which is used until marks train another one.

        Parameters
        ----------
        classifier : Classifier
            Its names replace those of the session, whose marks are deleted.
        """
        with self._lock:
            self.kinds = dict(enumerate(classifier.names, start=1))
            self._marks, self._history = {}, []
            self._loaded = classifier

    def mark(self, image: OpenImage, number: int, kind: int | None) -> None:
        """Mark a nucleus with a class, or remove its mark.

        Parameters
        ----------
        image : OpenImage
        number : int
            Number of the nucleus.
        kind : int or None
            Id of the class; None removes the mark.

        Raises
        ------
        InputError
            The nucleus or the class does not exist.
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
        """Undo the last mark.

        Raises
        ------
        InputError
            There is no mark to undo.
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
        """Return the marked nuclei of an image, with the ids of their classes."""
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
        """Count the valid marks of each class."""
        return Counter(kind for image in _all(images) for kind in self.marked(image).values())

    def classifier(self, images: Mapping[str, OpenImage]) -> tuple[Classifier | None, str]:
        """Train on the marks of all images, or return the reason why that is impossible yet.

        Training runs on request, and again only if marks, names or nuclei have changed.
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
        """Train on marks; if they are too few and its names match, return the loaded classifier."""
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
        """Find the nucleus with the most uncertain class.

        Parameters
        ----------
        images : sequence of OpenImage
        classifier : Classifier
        filters : Filtering
            Nuclei that these remove are excluded, and so are marked nuclei.
        seen : sequence of (str, int)
            Image and number of nuclei that are excluded too.

        Returns
        -------
        (OpenImage, int) or None
            An image and the number of its nucleus; None if there is none.
        """
        best, found = np.inf, None
        for image in images:
            document = image.document
            if document is None:
                continue
            try:
                predicted = classifier.predict(document.table, pixel_size=image.pixel_size)
            except InputError:  # different number of channels
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
    """Describe the classes, and the nuclei of an image, for the page.

    Parameters
    ----------
    marking : Marking
    images : mapping of str to OpenImage
        Images of the session.
    image : OpenImage, optional
        The displayed image.
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
    """Return marks and classes of the nuclei of an image, in the order of its table."""
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
