"""What a format is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nucseg.core.segmented import Segmented


@dataclass(frozen=True)
class Format:
    """A kind of file that is written for each image, of any size.

    Attributes
    ----------
    name : str
        Its name on the command line, and the folder that its files go to.
    suffix : str
        What follows the name of the image; with a slash, the format is a folder in one of that
        name.
    description : str
        What it holds, for people.
    write : callable
        ``write(segmented, path, name)`` writes the file for the image called `name`, whole or not
        at all.
    from_labels : bool
        Whether a label image alone is enough, see `LabelImage`.
    needs : str or None
        A package of the extra ``formats`` without which it cannot be written.
    """

    name: str
    suffix: str
    description: str
    write: Callable[[Segmented, Path, str], None]
    from_labels: bool = True
    needs: str | None = None
