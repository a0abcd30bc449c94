"""What threads that process images in parallel share: a pixel budget and progress."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Budget:
    """Pixel budget shared among threads, first come, first served."""

    def __init__(self, pixels: float) -> None:
        self._free = self._all = pixels
        self._turn, self._changed = threading.Lock(), threading.Condition()

    @contextmanager
    def take(self, pixels: float) -> Iterator[bool]:
        """Wait until there is room for an image; yield whether the image has the whole budget."""
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
    """Adds up the finished fractions of all images."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._lock = threading.Lock()

    @property
    def sum(self) -> float:
        """Number of finished images, plus the fractions of images in progress."""
        return round(self._sum, 6)

    def of_one(self, report: Callable[[float], None] | None = None) -> Callable[[float], None]:
        """Return a function that receives the finished fraction of an image and reports the sum."""
        before = 0.0

        def take(share: float) -> None:
            nonlocal before
            with self._lock:
                self._sum += share - before
            before = share
            if report is not None:
                report(self.sum)

        return take
