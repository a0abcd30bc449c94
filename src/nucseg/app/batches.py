"""Batches in the app: `segment_files` in a thread of its own, with progress and cancelling."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from nucseg.app.archive import write_zip
from nucseg.app.room import Share
from nucseg.app.uploads import free_name
from nucseg.batch.run import segment_files
from nucseg.batch.summary import Outcome
from nucseg.config import App, Reading
from nucseg.errors import InputError, NucsegError
from nucseg.inference.segmenter import Model

State = Literal["filling", "waiting", "running", "cancelling", "cancelled", "failed", "done"]

_ACTIVE = ("waiting", "running", "cancelling")
# Files that contain paths.
_TEXT = (".csv", ".json")
# Seconds between two checks whether a waiting run is cancelled.
_TICK = 0.2
# Seconds between two checks of how much a run has written.
_COUNT = 2.0

# Runs share the network, and each uses all threads.
_one_at_a_time = threading.Lock()

logger = logging.getLogger(__name__)


class _Cancelled(Exception):  # noqa: N818 - not an error: the user requested it
    """The run has to end."""


class Batch:
    """Files of a session that are segmented together.

    Parameters
    ----------
    folder : Path
        Folder for the files and the results.
    settings : App
    share : Share
        Share of the session; results are counted as they are written.

    Attributes
    ----------
    state : str
        ``filling`` (files are uploaded), ``waiting`` (for another run), ``running``,
        ``cancelling``, ``cancelled``, ``failed`` or ``done``.
    done, total : float, int
        Progress in images, and number of images.
    error : str
        Why the run failed.
    """

    def __init__(self, folder: Path, settings: App, share: Share) -> None:
        self.inputs, self.output = folder / "images", folder / "results"
        self.inputs.mkdir(parents=True)
        self.folder = folder
        self._settings = settings
        self._share = share
        self._counted = 0.0
        self.state: State = "filling"
        self.done, self.total = 0.0, 0
        self.error = ""
        self._files: list[str] = []
        self._outcomes: list[Outcome] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def files(self) -> list[str]:
        """Names of the files."""
        return list(self._files)

    @property
    def active(self) -> bool:
        """Whether a run is active."""
        return self.state in _ACTIVE

    def reserve(self, name: str) -> Path:
        """Return the path of a new file, with a name that no other file has.

        Raises
        ------
        InputError
            There are ``max_batch`` files already, or the run has started.
        """
        with self._lock:
            if self.state != "filling":
                raise InputError("The run has begun. Files can be added to a new one.")
            if len(self._files) >= self._settings.max_batch:
                raise InputError(
                    f"A batch may have {self._settings.max_batch} files. Use nucseg segment for "
                    "more, or start the app with a larger --max-batch."
                )
            free = free_name(name, set(self._files))
            self._files.append(free)
            return self.inputs / free

    def discard(self, path: Path) -> None:
        """Remove a file that could not be received."""
        with self._lock:
            self._files.remove(path.name)
            path.unlink(missing_ok=True)
        self._share.settle(path)

    def start(
        self,
        model: Model,
        *,
        formats: Sequence[str],
        reading: Reading,
        resume: bool,
        command: Sequence[str],
    ) -> None:
        """Start the run.

        Raises
        ------
        InputError
            There are no files, or a run is active.
        """
        with self._lock:
            if self.active:
                raise InputError("The run goes on. Cancel it first.")
            if not self._files:
                raise InputError("There are no files. Choose some first.")
            self.state, self.error = "waiting", ""
            self.done, self.total = 0.0, len(self._files)
            self._outcomes = []
            self._stop.clear()
            options = {"formats": formats, "reading": reading, "resume": resume}
            self._thread = threading.Thread(
                target=self._run, args=(model, {**options, "command": command}), daemon=True
            )
            self._thread.start()

    def cancel(self) -> None:
        """Cancel the run; images in progress are finished."""
        with self._lock:
            if self.active:
                self.state = "cancelling"
                self._stop.set()

    def close(self) -> None:
        """Cancel the run, and wait until it has stopped writing."""
        self.cancel()
        if self._thread is not None:
            self._thread.join()

    def report(self) -> dict[str, Any]:
        """Return the progress of the run for the page."""
        return {
            "state": self.state,
            "files": self.files,
            "done": self.done,
            "total": self.total,
            "error": self.error,
            "images": [
                {**asdict(each), "path": Path(each.path).name, "error": self._shown(each.error)}
                for each in self._outcomes
            ],
        }

    def zip(self, path: Path) -> None:
        """Write the results to a zip file, with file names instead of temporary paths.

        Raises
        ------
        InputError
            The run is not done, there is no space, or the file cannot be written.
        """
        if self.state != "done":
            raise InputError("There are no results yet. Wait until the run is done.")
        files = sorted(file for file in self.output.rglob("*") if file.is_file())
        self._share.hold(path, sum(file.stat().st_size for file in files))
        write_zip(
            path,
            (
                (file.relative_to(self.output).as_posix(), self._lines(file))
                for file in files
                if not file.relative_to(self.output).parts[0].startswith(".")
            ),
        )

    def _lines(self, file: Path) -> Path | Iterator[bytes]:
        """Return a results file, or its lines without temporary paths if it contains any."""
        if file.parent != self.output or file.suffix not in _TEXT:
            return file
        return self._without_paths(file)

    def _without_paths(self, file: Path) -> Iterator[bytes]:
        with file.open(encoding="utf-8", newline="") as lines:
            for line in lines:
                yield self._shown(line).encode()

    def _shown(self, text: str) -> str:
        """Remove temporary paths from text, both plain and as escaped in JSON."""
        for folder, shown in ((self.inputs, ""), (self.output, "out/")):
            plain = f"{folder}{os.sep}"
            text = text.replace(json.dumps(plain)[1:-1], shown).replace(plain, shown)
        return text

    def _run(self, model: Model, options: dict[str, Any]) -> None:
        try:
            while not _one_at_a_time.acquire(timeout=_TICK):
                self._check()
            try:
                self._check()
                self.state = "running"
                files = [self.inputs / name for name in self._files]
                self._outcomes = segment_files(
                    files, self.output, model, progress=self._progress, **options
                )
            finally:
                _one_at_a_time.release()
                self._share.settle(self.output)
            self.state = "done"
        except _Cancelled:
            self.state = "cancelled"
        except NucsegError as error:
            self._failed(self._shown(str(error)))
        except Exception as error:  # nothing else reports errors of a thread
            logger.exception("A batch failed.")
            self._failed(f"Something unforeseen went wrong ({type(error).__name__}).")

    def _failed(self, error: str) -> None:
        self.error = error
        self.state = "failed"

    def _progress(self, done: float, total: int) -> None:
        self.done, self.total = done, total
        self._check()
        if time.monotonic() - self._counted > _COUNT:
            self._counted = time.monotonic()
            self._share.check_growth(self.output)

    def _check(self) -> None:
        if self._stop.is_set():
            raise _Cancelled
