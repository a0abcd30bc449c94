"""Failed images by what they failed of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Protocol


class Failed(Protocol):
    """An image that failed; `nucseg.batch.run.Outcome` is one, `ReportImage` another."""

    @property
    def path(self) -> str:
        """The image, as the user named it."""

    @property
    def plane(self) -> str:
        """Which of the file's planes, empty if it has one."""

    @property
    def status(self) -> str:
        """``failed`` where it failed."""

    @property
    def error(self) -> str:
        """Why it failed."""


@dataclass(frozen=True)
class Cause:
    """What one or more images failed of.

    Attributes
    ----------
    text : str
        The error of the first of them, with an ellipsis for its name.
    images : list of str
        Paths, with the plane in brackets where there is one.
    """

    text: str
    images: list[str] = field(default_factory=list)


def causes_of(images: Iterable[Failed]) -> list[Cause]:
    """Group failed images by their errors, those first of which there are most.

    Parameters
    ----------
    images : iterable of Failed
        Those that did not fail are left out, such as planes that are missing from their file.

    Returns
    -------
    list of Cause
        Errors that differ in nothing but the image's name and in numbers, such as sizes, are one.

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
    """Put an ellipsis for the image's name in its error."""
    name = PurePath(path).name
    # A name without a suffix may be any word of the text.
    return error.replace(path, "…").replace(name if "." in name else path, "…")
