"""Reads a damaged image as nucseg does, and says what went on that should not."""

from __future__ import annotations

import logging
import random
import re
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nucseg.errors import InputError, MissingExtraError
from nucseg.images import Source, open_image, read_plane

# A plane of so many bytes is read whole; of a larger one windows.
WHOLE_BYTES = 2**22
WINDOW = 512
PLANES = 3


@dataclass(frozen=True)
class Result:
    """How it went with an image.

    Attributes
    ----------
    finding : str
        The kind of what should not happen, empty where all is well.
    where : str
        Findings of one kind at one place have one cause.
    what : str
        What should not happen, or else the message that a user gets, empty where the image could be
        read.
    nbytes : int
        Of the largest plane that was read.
    """

    finding: str
    where: str
    what: str
    nbytes: int = 0


class DiffersError(Exception):
    """A window holds other pixels than the whole image there."""


class _Listener(logging.Handler):
    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        # The command line keeps them quiet too.
        if record.name.partition(".")[0] not in ("tifffile", "PIL"):
            self.heard.append(f"{record.name} logs: {record.getMessage()}")


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect warnings and log entries that would reach a user's terminal."""
    heard: list[str] = []
    listener = _Listener(heard)
    logging.getLogger().addHandler(listener)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield heard
    logging.getLogger().removeHandler(listener)
    for each in caught:
        where = f"{Path(each.filename).name}:{each.lineno}"
        heard.append(f"{each.category.__name__} at {where}: {each.message}")


def place_of(error: BaseException) -> str:
    """Where an exception was raised: the last line in nucseg, and the last of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "nucseg" in frame.filename] or frames
    places = [f"{Path(each.filename).name}:{each.lineno}" for each in (ours[-1], frames[-1])]
    return " → ".join(dict.fromkeys(places))


def nbytes(plane: Source) -> int:
    """Bytes that the pixels of a plane take."""
    channels = plane.shape[2] if len(plane.shape) > 2 else 1
    return plane.shape[0] * plane.shape[1] * channels * plane.dtype.itemsize


def windows(plane: Source, rng: random.Random) -> list[tuple[slice, slice]]:
    """Windows at a corner and anywhere."""
    height, width = plane.shape[:2]
    top, left = rng.randrange(height), rng.randrange(width)
    size = 24 if nbytes(plane) <= WHOLE_BYTES else WINDOW
    return [
        (slice(0, 16), slice(0, 16)),
        (slice(top, top + size), slice(left, left + size)),
    ]


def read(plane: Source, rng: random.Random) -> None:
    """Read windows of a plane and, where it is not large, all of it."""
    parts = [(window, plane[window]) for window in windows(plane, rng)]
    if nbytes(plane) > WHOLE_BYTES:
        return
    whole = read_plane(plane).pixels
    for window, part in parts:
        if part.tobytes() != whole[window].tobytes():
            raise DiffersError(f"{window} of {plane.shape}, {plane.dtype}")


def message_of(path: Path, rng: random.Random, sizes: list[int]) -> str:
    """Open and read an image; returns the message of nucseg's that a user would get, if any.

    The bytes of the planes that are read go to `sizes`.
    """
    try:
        planes = open_image(path)
        for plane in rng.sample(planes, min(PLANES, len(planes))):
            sizes.append(nbytes(plane))
            read(plane, rng)
        if len(planes) <= 4 * PLANES:
            open_image(path, channel=0, project="max")[0][:16, :16]
    except (InputError, MissingExtraError) as error:
        return str(error)
    return ""


def examine(path: Path) -> Result:
    """Read a damaged image and judge what comes of it."""
    # By its name, so that the same file is read in the same way again.
    rng, sizes = random.Random(path.name), [0]
    with listening() as heard:
        try:
            message = message_of(path, rng, sizes)
            result = Result("", "", message.replace(str(path), "…"), max(sizes))
            if message and str(path) not in message:
                result = Result("error", "a message without the name of the file", message)
        except DiffersError as error:
            result = Result("differs", path.suffix, str(error))
        except BaseException as error:  # noqa: BLE001 (whatever it is, it is a finding)
            result = Result("error", f"{type(error).__name__} at {place_of(error)}", str(error))
    if heard and not result.finding:
        return Result("chatter", re.sub(r"[\d.]+", "…", heard[0])[:100], heard[0])
    return result
