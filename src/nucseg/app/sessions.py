"""Sessions of browsers: each with files of its own in a temporary folder, none sees another's."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nucseg.app.batches import Batch
from nucseg.app.document import Document
from nucseg.app.requests import ImageRun
from nucseg.app.uploads import MEGA, Contents, TooLargeError
from nucseg.config import App
from nucseg.errors import InputError

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
    """

    id: str
    path: Path
    contents: Contents
    sample: bool = False
    document: Document | None = None
    run: ImageRun | None = None
    seconds: float = 0.0
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
    """

    def __init__(self, folder: Path, settings: App) -> None:
        folder.mkdir(mode=0o700)
        self.folder = folder
        self.settings = settings
        self.images: dict[str, OpenImage] = {}
        self.batch: Batch | None = None
        self.lock = threading.RLock()

    def image(self, name: str) -> OpenImage:
        """Find an image by its id.

        Raises
        ------
        KeyError
            There is none in this session.
        """
        return self.images[name]

    def room(self) -> int:
        """Bytes that the session may still write."""
        used = sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
        return int(self.settings.max_session * MEGA) - used

    def check_room(self, size: float, room: int) -> None:
        """See whether so many bytes fit in the room that there is.

        Raises
        ------
        TooLargeError
            The session would have more than ``max_session``.
        """
        if size > room:
            raise TooLargeError(
                f"There is no room: all your images may take {self.settings.max_session:g} MB "
                "here. Remove some, or start the app with a larger --max-session."
            )

    def check_count(self) -> None:
        """See whether there may be one more image.

        Raises
        ------
        InputError
            There are ``max_images`` already.
        """
        if len(self.images) >= self.settings.max_images:
            raise InputError(
                f"There are {self.settings.max_images} images already, and no more may be open. "
                "Remove some, or segment many at once under Batch."
            )

    def add(self, image: OpenImage) -> None:
        """Put an image in the list.

        Raises
        ------
        InputError
            As `check_count`.
        """
        with self.lock:
            self.check_count()
            self.images[image.id] = image

    def remove(self, name: str) -> None:
        """Take an image out of the list, and delete its files.

        Raises
        ------
        KeyError
            There is none in this session.
        """
        with self.lock:
            image = self.images.pop(name)
        with image.lock:
            shutil.rmtree(image.path.parent, ignore_errors=True)

    def close(self) -> None:
        """Stop what goes on, and delete all files."""
        if self.batch is not None:
            self.batch.close()
        for image in list(self.images.values()):
            with image.lock:  # no one else writes its files then
                image.document = None
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

    def create(self) -> tuple[str, Session]:
        """Begin a session; returns its token, which nobody can guess."""
        token = secrets.token_urlsafe(32)
        session = Session(self.root / secrets.token_hex(8), self.settings)
        with self._lock:
            self._sessions[token] = (session, self._clock())
        return token, session

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
