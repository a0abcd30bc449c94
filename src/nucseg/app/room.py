"""Bytes that the files of all sessions take: counted before they are written."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from nucseg.app.uploads import MEGA, TooLargeError
from nucseg.config import App
from nucseg.errors import InputError


class BusyError(InputError):
    """The app has no place for more now: others take what there is."""


class SessionOverError(InputError):
    """The session has ended while something of it went on."""

    def __init__(self) -> None:
        super().__init__("Your session has ended, and its files are deleted.")


class Room:
    """What all sessions take together, and what there is.

    Requests at the same time cannot take more than that together, since each takes its bytes here
    before it writes them.

    Parameters
    ----------
    root : Path
        Where the folders of the sessions are.
    settings : App
    """

    def __init__(self, root: Path, settings: App) -> None:
        self._root = root
        self._settings = settings
        self._lock = threading.Lock()
        self._shares: set[Share] = set()

    def share(self) -> Share:
        """Begin the share of a session."""
        share = Share(self)
        with self._lock:
            self._shares.add(share)
        return share

    def end(self, share: Share) -> None:
        """Give back all that a session takes; it gets no more."""
        with self._lock:
            self._shares.discard(share)

    def take(self, share: Share, place: Path, size: int, *, refuse: bool) -> None:
        """Count other bytes for a place of a session.

        Raises
        ------
        SessionOverError
            The session has ended.
        TooLargeError
            The session would have more than ``max_session``.
        BusyError
            All sessions would have more than ``max_total``, or than the disk has.
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
    """What a session takes.

    Attributes
    ----------
    places : dict of Path to int
        Files and folders of the session, each with the bytes that are counted for it.
    used : int
        Their sum.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self.places: dict[Path, int] = {}
        self.used = 0

    def hold(self, place: Path, size: int) -> None:
        """Count so many bytes for a place, before they are written.

        Raises
        ------
        TooLargeError, BusyError, SessionOverError
            As `Room.take`; what was counted stays counted.
        """
        self._room.take(self, place, size, refuse=True)

    def settle(self, place: Path) -> None:
        """Count what is there, once it is written or deleted.

        Raises
        ------
        SessionOverError
            The session has ended.
        """
        self._room.take(self, place, _size(place), refuse=False)

    def check_growth(self, place: Path) -> None:
        """Count what is there while more is written, whose size nobody knows before.

        Raises
        ------
        TooLargeError, BusyError, SessionOverError
            As `Room.take`.
        """
        self.hold(place, _size(place))

    def release(self, folder: Path) -> None:
        """Count nothing any more for a folder that was deleted, nor for what was in it."""
        for place in list(self.places):
            if place.is_relative_to(folder):
                self._room.take(self, place, 0, refuse=False)

    def end(self) -> None:
        """Give all back."""
        self._room.end(self)


def _size(place: Path) -> int:
    """Bytes of a file, or of the files in a folder; what is deleted meanwhile has none."""
    total = 0
    for file in place.rglob("*") if place.is_dir() else [place]:
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total
