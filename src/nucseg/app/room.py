"""Disk space of the files of all sessions, counted before they are written."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from nucseg.app.uploads import MEGA, TooLargeError
from nucseg.config import App
from nucseg.errors import InputError


class BusyError(InputError):
    """The app has no space at the moment, because other sessions use it."""


class SessionOverError(InputError):
    """The session ended while its work was running."""

    def __init__(self) -> None:
        super().__init__("Your session has ended, and its files are deleted.")


class Room:
    """Space that all sessions use together, and its limits.

    Simultaneous requests cannot exceed the limits together, because each reserves its bytes here
    before it writes them.

    Parameters
    ----------
    root : Path
        Folder that contains the folders of the sessions.
    settings : App
    """

    def __init__(self, root: Path, settings: App) -> None:
        self._root = root
        self._settings = settings
        self._lock = threading.Lock()
        self._shares: set[Share] = set()

    def share(self) -> Share:
        """Create the share of a session."""
        share = Share(self)
        with self._lock:
            self._shares.add(share)
        return share

    def end(self, share: Share) -> None:
        """Release all space of a session; it gets no more."""
        with self._lock:
            self._shares.discard(share)

    def take(self, share: Share, place: Path, size: int, *, refuse: bool) -> None:
        """Set the number of bytes counted for a path of a session.

        Raises
        ------
        SessionOverError
            The session has ended.
        TooLargeError
            The session would exceed ``max_session``.
        BusyError
            All sessions would exceed ``max_total``, or the free space of the disk.
        """
        with self._lock:
            if share not in self._shares:
                raise SessionOverError
            more = size - share.places.get(place, 0)
            if refuse and more > 0:
                self._check(share, more)
            share.used += more
            if size:
                share.places[place] = size
            else:
                share.places.pop(place, None)

    def _check(self, share: Share, more: int) -> None:
        limit, everything = self._settings.max_session, self._settings.max_total
        if share.used + more > limit * MEGA:
            raise TooLargeError(
                f"There is no room: all your images may take {limit:g} MB here. Remove some, or "
                "start the app with a larger --max-session."
            )
        if sum(each.used for each in self._shares) + more > everything * MEGA:
            raise BusyError(
                f"There is no room: the images of all sessions may take {everything:g} MB here. "
                "Remove some, try again when others have ended, or start the app with a larger "
                "--max-total."
            )
        free = shutil.disk_usage(self._root).free
        if more > free:
            raise BusyError(
                f"There is no room: the disk has {free // MEGA} MB left in {self._root.parent}. "
                "Remove some images, or start the app with TMPDIR on another disk."
            )


class Share:
    """Space of a session.

    Attributes
    ----------
    places : dict of Path to int
        Files and folders of the session, each with the bytes counted for it.
    used : int
        Sum of these bytes.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self.places: dict[Path, int] = {}
        self.used = 0

    def hold(self, place: Path, size: int) -> None:
        """Reserve bytes for a path, before they are written.

        Raises
        ------
        TooLargeError, BusyError, SessionOverError
            See `Room.take`; the count stays as it was.
        """
        self._room.take(self, place, size, refuse=True)

    def settle(self, place: Path) -> None:
        """Count the actual bytes, after a path was written or deleted.

        Raises
        ------
        SessionOverError
            The session has ended.
        """
        self._room.take(self, place, _size(place), refuse=False)

    def check_growth(self, place: Path) -> None:
        """Count the actual bytes during writing, if the final size is unknown.

        Raises
        ------
        TooLargeError, BusyError, SessionOverError
            See `Room.take`.
        """
        self.hold(place, _size(place))

    def release(self, folder: Path) -> None:
        """Remove the count of a deleted folder and of its content."""
        for place in list(self.places):
            if place.is_relative_to(folder):
                self._room.take(self, place, 0, refuse=False)

    def end(self) -> None:
        """Release everything."""
        self._room.end(self)


def _size(place: Path) -> int:
    """Return the bytes of a file, or of the files in a folder; files deleted meanwhile count 0."""
    total = 0
    for file in place.rglob("*") if place.is_dir() else [place]:
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total
