"""Definition of an output format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nucseg.core.segmented import Segmented


@dataclass(frozen=True)
class Format:
    """An output format that is written for each image, of any size.

    Attributes
    ----------
    name : str
        Name on the command line, and of the folder for its files.
    suffix : str
        Suffix after the name of the image. With a slash, the file is in a folder of the image's
        name.
    description : str
        Content of the file, for users.
    write : callable
        ``write(segmented, path, name)`` atomically writes the file for the image called `name`.
    from_labels : bool
        Whether a label image alone is sufficient, see `LabelImage`.
    needs : str or None
        A package of the extra ``formats`` that is required to write it.
    """

    name: str
    suffix: str
    description: str
    write: Callable[[Segmented, Path, str], None]
    from_labels: bool = True
    needs: str | None = None
