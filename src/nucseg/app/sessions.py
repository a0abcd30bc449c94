"""Sessions of browsers: each with files of its own in a temporary folder, none sees another's."""

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

# An open page asks for its session at least this often, in seconds, and some requests may fail.
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
        What there is to choose in it.
    sample : bool
        Whether it was made up here.
    document : Document or None
        Its nuclei, once the network has seen it.
    run : ImageRun or None
        How the network saw it.
    seconds : float
        What that took.
    pixel_size : tuple of float or None
        Micrometres from pixel to pixel along rows and columns, where the file says so.
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
        """Where its pixels are kept."""
        return self.path.parent / "pixels"

    @property
    def result(self) -> str:
        """What its results are called, as `nucseg segment` calls them."""
        plane = f"_{self.run.plane}" if self.run and self.run.plane else ""
        return f"{self.path.stem}{plane}"


class Session:
    """What a browser has here.

    Attributes
    ----------
    folder : Path
        All its files.
    images : dict of str to OpenImage
    batch : Batch or None
    marking : Marking
        Classes of nuclei, and which were marked.
    share : Share
        Bytes that its files take.
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
        # Folders of images that are on their way.
        self._coming: set[Path] = set()
        self._counting = threading.Lock()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to lose in it."""
        return not (self.images or self._coming or self.batch)

    def image(self, name: str) -> OpenImage:
        """Find an image by its id.

        Raises
        ------
        KeyError
            There is none in this session.
        """
        return self.images[name]

    def new_place(self, name: str) -> Path:
        """Give a file a folder of its own."""
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        return folder / name

    @contextmanager
    def new_image(self, name: str) -> Iterator[Path]:
        """Give an image that comes a place in the list and a folder; an error takes both back.

        Yields
        ------
        Path
            Its file.

        Raises
        ------
        InputError
            There are ``max_images`` already, those that are on their way among them.
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
        """Put an image that came in the list, see `new_image`."""
        with self._counting:
            self._coming.discard(image.path.parent)
            self.images[image.id] = image

    def delete(self, folder: Path) -> None:
        """Delete a folder, and give back the room of what was in it."""
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(SessionOverError):
            self.share.release(folder)

    def remove(self, name: str) -> None:
        """Take an image out of the list, and delete its files.

        Raises
        ------
        KeyError
            There is none in this session.
        """
        with self._counting:
            image = self.images.pop(name)
        with image.lock:
            self.delete(image.path.parent)

    def close(self) -> None:
        """Stop what goes on, and delete all files."""
        if self.batch is not None:
            self.batch.close()
        for image in list(self.images.values()):
            with image.lock:  # no one else writes its files then
                image.document = None
        self.share.end()
        shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """All sessions, by their secret tokens.

    Parameters
    ----------
    root : Path
        Where their folders are made.
    settings : App
    clock : callable
        Seconds that pass.
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
        """Begin a session; returns its token, which nobody can guess.

        Where there are ``max_sessions``, one without files whose page is closed ends for it. One
        with files ends only when it is idle: its user may come back to them.

        Raises
        ------
        BusyError
            There are ``max_sessions`` that may not end.
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
        """Take a session out where there are too many."""
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
        """Find a session, which is in use from now on."""
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
        """End the sessions that nobody used for long; returns their number."""
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
