"""What threads share that work on images side by side: room for pixels, and progress."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Budget:
    """Shares pixels that are worked on at the same time among threads, first come first served."""

    def __init__(self, pixels: float) -> None:
        self._free = self._all = pixels
        self._turn, self._changed = threading.Lock(), threading.Condition()

    @contextmanager
    def take(self, pixels: float) -> Iterator[bool]:
        """Wait until there is room for an image; yields whether it has all of it."""
        share = min(pixels, self._all)
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._free >= share)
            self._free -= share
        try:
            yield share == self._all
        finally:
            with self._changed:
                self._free += share
                self._changed.notify_all()


class Shares:
    """Adds up how much of each image is done."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._lock = threading.Lock()

    @property
    def sum(self) -> float:
        """Images that are done, with the shares of those that are not."""
        return round(self._sum, 6)

    def of_one(self, report: Callable[[float], None] | None = None) -> Callable[[float], None]:
        """Return what takes the share of one image that is done, and reports the sum."""
        before = 0.0

        def take(share: float) -> None:
            nonlocal before
            with self._lock:
                self._sum += share - before
            before = share
            if report is not None:
                report(self.sum)

        return take
