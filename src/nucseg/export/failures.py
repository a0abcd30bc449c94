"""Group failed images by the cause of the failure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Protocol


class Failed(Protocol):
    """A possibly failed image, such as `nucseg.batch.run.Outcome` or `ReportImage`."""

    @property
    def path(self) -> str:
        """The image, as the user gave it."""

    @property
    def plane(self) -> str:
        """Which of the file's planes, empty if it has one."""

    @property
    def status(self) -> str:
        """``failed`` if it failed."""

    @property
    def error(self) -> str:
        """Why it failed."""


@dataclass(frozen=True)
class Cause:
    """Cause of the failure of one or more images.

    Attributes
    ----------
    text : str
        Error of the first image, with an ellipsis instead of its name.
    images : list of str
        Paths, with the plane in brackets if there is one.
    """

    text: str
    images: list[str] = field(default_factory=list)


def causes_of(images: Iterable[Failed]) -> list[Cause]:
    """Group failed images by their errors, the most frequent error first.

    Parameters
    ----------
    images : iterable of Failed
        Images that did not fail, such as missing planes, are skipped.

    Returns
    -------
    list of Cause
        Errors that differ only in the image's name and in numbers, such as sizes, are grouped.

    Examples
    --------
    >>> from types import SimpleNamespace as Image
    >>> images = [
    ...     Image(path=f"in/{n}.png", plane="", status="failed", error=f"in/{n}.png is odd.")
    ...     for n in "ab"
    ... ]
    >>> causes_of(images)
    [Cause(text='… is odd.', images=['in/a.png', 'in/b.png'])]
    """
    causes: dict[str, Cause] = {}
    for image in images:
        if image.status == "failed":
            text = without_name(image.error, image.path)
            cause = causes.setdefault(re.sub(r"\d+", "0", text), Cause(text))
            cause.images.append(image.path + (f" ({image.plane})" if image.plane else ""))
    return sorted(causes.values(), key=lambda cause: -len(cause.images))


def without_name(error: str, path: str) -> str:
    """Replace the name of the image in its error with an ellipsis."""
    name = PurePath(path).name
    # A name without a suffix may equal any word of the text.
    return error.replace(path, "…").replace(name if "." in name else path, "…")
