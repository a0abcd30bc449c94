"""Uploaded files: permitted names and sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nucseg.config import App
from nucseg.errors import InputError, NucsegError
from nucseg.images import INPUT_SUFFIXES, Source, channels_of, open_image
from nucseg.images.planes import MAX_CHANNELS
from nucseg.images.slides import SLIDE_SUFFIXES

# Whole-slide images of these formats consist of several files, and a list of paths would refer to
# files of the server.
UPLOAD_SUFFIXES = INPUT_SUFFIXES - SLIDE_SUFFIXES
MEGA = 10**6
# Characters that file systems and programs do not accept in a name.
_UNFIT = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]')
# Results have longer names, of at most 255 bytes.
_LONGEST = 120
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


class TooLargeError(InputError):
    """A file, an image or a session is larger than the settings allow."""


@dataclass(frozen=True)
class Contents:
    """Channels and planes of an image file.

    Attributes
    ----------
    channels : list of str
        Names of its channels or colours.
    channel : str or None
        Preselected channel; None leaves the choice to `open_image`.
    planes : list of str
        Names of its planes, ``[""]`` if there is only one.
    """

    channels: list[str]
    channel: str | None
    planes: list[str]


def safe_name(given: str) -> str:
    """Make a safe file name from the name that a browser sends.

    Parameters
    ----------
    given : str
        A name, or a path whose last part is used.

    Raises
    ------
    InputError
        The name has no suffix of an image that can be uploaded.

    Examples
    --------
    >>> safe_name("../plate 1/a:b.TIF")
    'a_b.TIF'
    """
    name = _UNFIT.sub("_", PurePosixPath(given.replace("\\", "/")).name).strip(". ")
    suffix = Path(name).suffix
    if suffix.lower() not in UPLOAD_SUFFIXES:
        raise InputError(
            f"{given!r} is not taken: expected a file that ends in "
            f"{', '.join(sorted(UPLOAD_SUFFIXES))}. Folders and slides of several files are for "
            "the command line."
        )
    stem = name.removesuffix(suffix).encode()[: _LONGEST - len(suffix)].decode(errors="ignore")
    return f"{'_' if _RESERVED.match(name) else ''}{stem}{suffix}"


def free_name(name: str, taken: set[str]) -> str:
    """Return a name that no other file has, ignoring case.

    Examples
    --------
    >>> free_name("a.png", {"a.png"})
    'a (2).png'
    """
    stem, suffix = Path(name).stem, Path(name).suffix
    used = {each.casefold() for each in taken}
    number = 1
    while name.casefold() in used:
        number += 1
        name = f"{stem} ({number}){suffix}"
    return name


def check_size(size: float, settings: App, name: str) -> None:
    """Reject a file with too many bytes.

    Raises
    ------
    TooLargeError
        The file is larger than ``max_upload``.
    """
    if size > settings.max_upload * MEGA:
        raise TooLargeError(
            f"{name} is too large: at most {settings.max_upload:g} MB can be uploaded. Use "
            "nucseg segment, or start the app with a larger --max-upload."
        )


def check_pixels(sources: list[Source], settings: App, name: str) -> None:
    """Reject an image with too many pixels, by its header.

    Raises
    ------
    TooLargeError
        One of its planes is larger than ``max_pixels``.
    """
    height, width = max((source.shape[:2] for source in sources), key=math.prod)
    if height * width > settings.max_pixels * MEGA:
        raise TooLargeError(
            f"{name} is too large: {height} by {width} pixels, at most {settings.max_pixels:g} "
            "megapixels can be opened here. Use nucseg segment, or start the app with a larger "
            "--max-pixels."
        )


def contents(path: Path, settings: App) -> Contents:
    """Read the channels and planes of an image file.

    Raises
    ------
    InputError
        The file is not an image, damaged or too large; the message contains only its name.
    MissingExtraError
        The file needs the ``formats`` extra.
    """
    with told_by_name(path):
        channels = channels_of(path)
        try:
            channel, sources = None, open_image(path)
        except InputError:
            if len(channels) <= MAX_CHANNELS:
                raise
            # No channel has the name of a nuclear stain: the user has to choose.
            channel = "0"
            sources = open_image(path, channel=channel)
        check_pixels(sources, settings, path.name)
        return Contents(channels, channel, [source.plane for source in sources])


@contextmanager
def told_by_name(path: Path) -> Iterator[None]:
    """Replace the temporary path of a file by its name in error messages."""
    try:
        yield
    except NucsegError as error:
        error.args = tuple(str(each).replace(str(path), path.name) for each in error.args)
        raise
