"""Browser sessions: each has files of its own in a temporary folder, hidden from the others."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from nucseg.app.batches import Batch
from nucseg.app.document import Document
from nucseg.app.marking import Marking
from nucseg.app.requests import ImageRun
from nucseg.app.room import BusyError, Room, SessionOverError, Share
from nucseg.app.uploads import Contents
from nucseg.config import App
from nucseg.errors import InputError
from nucseg.images import PixelSize

# An open page sends a request at least this often, in seconds, and some requests may fail.
_PAGE_ASKS = 60
_MISSED = 3

logger = logging.getLogger(__name__)


@dataclass
class OpenImage:
    """An image in the list of a session.

    Attributes
    ----------
    path : Path
        Its file, alone in a folder.
    contents : Contents
        Channels and planes to choose from.
    sample : bool
        Whether it is a synthetic sample.
    document : Document or None
        Its nuclei, after inference.
    run : ImageRun or None
        Settings of the inference.
    seconds : float
        Duration of the inference, in seconds.
    pixel_size : tuple of float or None
        Pixel size along rows and columns in µm per pixel, if the file contains it.
    """

    id: str
    path: Path
    contents: Contents
    sample: bool = False
    document: Document | None = None
    run: ImageRun | None = None
    seconds: float = 0.0
    pixel_size: PixelSize | None = None
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def folder(self) -> Path:
        """Folder of its pixels."""
        return self.path.parent / "pixels"

    @property
    def result(self) -> str:
        """Name of its results, as in `nucseg segment`."""
        plane = f"_{self.run.plane}" if self.run and self.run.plane else ""
        return f"{self.path.stem}{plane}"


class Session:
    """Files and state of a browser.

    Attributes
    ----------
    folder : Path
        Folder of all its files.
    images : dict of str to OpenImage
    batch : Batch or None
    marking : Marking
        Classes of nuclei, and marked nuclei.
    share : Share
        Bytes that its files use.
    """

    def __init__(self, folder: Path, settings: App, share: Share) -> None:
        folder.mkdir(mode=0o700)
        self.folder = folder
        self.settings = settings
        self.share = share
        self.images: dict[str, OpenImage] = {}
        self.batch: Batch | None = None
        self.marking = Marking()
        self.lock = threading.RLock()
        # Folders of images that are being uploaded.
        self._coming: set[Path] = set()
        self._counting = threading.Lock()

    @property
    def empty(self) -> bool:
        """Whether the session has nothing to lose."""
        return not (self.images or self._coming or self.batch)

    def image(self, name: str) -> OpenImage:
        """Find an image by its id.

        Raises
        ------
        KeyError
            The session has no such image.
        """
        return self.images[name]

    def new_place(self, name: str) -> Path:
        """Make a folder for one file; return the path of the file."""
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        return folder / name

    @contextmanager
    def new_image(self, name: str) -> Iterator[Path]:
        """Reserve a folder and a place in the list for a new image; an error releases both.

        Yields
        ------
        Path
            Path of its file.

        Raises
        ------
        InputError
            There are ``max_images`` already, including those that are being uploaded.
        """
        with self._counting:
            if len(self.images) + len(self._coming) >= self.settings.max_images:
                raise InputError(
                    f"There are {self.settings.max_images} images already, and no more may be "
                    "open. Remove some, or segment many at once under Batch."
                )
            path = self.new_place(name)
            self._coming.add(path.parent)
        try:
            yield path
        except BaseException:
            self.delete(path.parent)
            raise
        finally:
            with self._counting:
                self._coming.discard(path.parent)

    def add(self, image: OpenImage) -> None:
        """Add an uploaded image to the list, see `new_image`."""
        with self._counting:
            self._coming.discard(image.path.parent)
            self.images[image.id] = image

    def delete(self, folder: Path) -> None:
        """Delete a folder, and release the space of its files."""
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(SessionOverError):
            self.share.release(folder)

    def remove(self, name: str) -> None:
        """Remove an image from the list, and delete its files.

        Raises
        ------
        KeyError
            The session has no such image.
        """
        with self._counting:
            image = self.images.pop(name)
        with image.lock:
            self.delete(image.path.parent)

    def close(self) -> None:
        """Stop running work, and delete all files."""
        if self.batch is not None:
            self.batch.close()
        for image in list(self.images.values()):
            with image.lock:  # nobody else writes its files then
                image.document = None
        self.share.end()
        shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """All sessions, by their secret tokens.

    Parameters
    ----------
    root : Path
        Folder for the folders of the sessions.
    settings : App
    clock : callable
        Returns the time in seconds.
    """

    def __init__(
        self, root: Path, settings: App, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.root = root
        self.settings = settings
        self._clock = clock
        self._sessions: dict[str, tuple[Session, float]] = {}
        self._lock = threading.Lock()
        self._room = Room(root, settings)

    def create(self) -> tuple[str, Session]:
        """Start a session; return its token, which cannot be guessed.

        If there are ``max_sessions``, a session without files whose page is closed is ended. One
        with files ends only after it is idle, because its user may come back to it.

        Raises
        ------
        BusyError
            There are ``max_sessions`` that may not be ended.
        """
        if len(self._sessions) >= self.settings.max_sessions:
            self.end_idle()
        token = secrets.token_urlsafe(32)
        with self._lock:
            ended = self._make_place()
            try:
                place = self.root / secrets.token_hex(8)
                session = Session(place, self.settings, self._room.share())
                self._sessions[token] = (session, self._clock())
            finally:
                if ended is not None:
                    ended.close()
        return token, session

    def _make_place(self) -> Session | None:
        """Remove and return an unused session if there is no room for another one, else None."""
        if len(self._sessions) < self.settings.max_sessions:
            return None
        closed = self._clock() - _MISSED * min(_PAGE_ASKS, self.settings.idle / _MISSED)
        for token, (session, last) in sorted(self._sessions.items(), key=lambda item: item[1][1]):
            if session.empty and last < closed:
                del self._sessions[token]
                return session
        raise BusyError(
            f"No session can begin: at most {self.settings.max_sessions} may be open, and all have "
            "files or an open page. Try again when others have ended theirs with Delete all, or "
            "start the app with a larger --max-sessions."
        )

    def get(self, token: str | None) -> Session | None:
        """Find a session, and record that it is in use."""
        with self._lock:
            found = self._sessions.get(token or "")
            if token is None or found is None:
                return None
            session, last = found
            if self._clock() - last > self.settings.idle:
                return None
            self._sessions[token] = (session, self._clock())
            return session

    def end(self, token: str) -> None:
        """End a session and delete its files."""
        with self._lock:
            session, _ = self._sessions.pop(token, (None, 0.0))
        if session is not None:
            session.close()

    def end_idle(self) -> int:
        """End the sessions that have been idle too long; return their number."""
        with self._lock:
            now = self._clock()
            old = [
                token
                for token, (_, last) in self._sessions.items()
                if now - last > self.settings.idle
            ]
        for token in old:
            self.end(token)
        return len(old)

    def close(self) -> None:
        """End all sessions."""
        for token in list(self._sessions):
            self.end(token)
