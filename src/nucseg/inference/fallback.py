"""A network on a device that may fail, with the CPU as fallback, so that no image is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock
from typing import Any

from nucseg.errors import ModelError
from nucseg.images.preprocess import FloatImage
from nucseg.inference.runtimes import LoadedLater, Runtime

Load = Callable[[], Runtime]

logger = logging.getLogger(__name__)


class WithFallback:
    """A network on a device, and on the CPU after the first failure of the device.

    The CPU also runs the image at which the device failed. A batch that fails on both is an error.

    Parameters
    ----------
    load : callable
        Loads the network on the device. It must be picklable.
    load_other : callable
        Loads the network on the CPU, when it is needed. It must be picklable.

    Raises
    ------
    ModelError
        The device cannot load the network.
    """

    def __init__(self, load: Load, load_other: Load) -> None:
        self._load, self._load_other = load, load_other
        self._set(load(), LoadedLater(load_other), _Failure())

    def _set(self, first: Runtime, other: LoadedLater, failure: _Failure) -> None:
        self._first, self._failure = first, failure
        self._other = other

    def __reduce__(self) -> tuple[Any, ...]:
        """Load the same network after unpickling, on the CPU if the device is missing."""
        return _load_where_it_is, (self._load, self._load_other, self.failure)

    @property
    def failure(self) -> str | None:
        """Reason why the device is no longer used, None while it is."""
        return self._failure.reason

    @property
    def device(self) -> str:
        """Current device."""
        return self._now.device

    @property
    def precision(self) -> str:
        """Current number format."""
        return self._now.precision

    @property
    def threads(self) -> int:
        """Number of threads."""
        return self._first.threads

    @property
    def _now(self) -> Runtime:
        return self._first if self.failure is None else self._other

    def on_one_thread(self) -> WithFallback:
        """Return the same network for parallel calls; both share a failure."""
        single = WithFallback.__new__(WithFallback)
        single._load, single._load_other = self._load, self._load_other
        single._set(self._first.on_one_thread(), self._other.on_one_thread(), self._failure)
        return single

    def __call__(self, batch: FloatImage) -> FloatImage:
        """Run the network; see `Runtime`."""
        if self.failure is None:
            try:
                return self._first(batch)
            except ModelError as error:
                # If the CPU fails too, the batch or the network is the cause.
                maps = self._other(batch)
                self._failure.tell(str(error))
                return maps
        return self._other(batch)


class _Failure:
    """Reason why a device is no longer used; shared by threads and logged once."""

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason
        self._lock = Lock()

    def tell(self, reason: str) -> None:
        with self._lock:
            if self.reason is None:
                self.reason = reason
                logger.warning("%s From here on the CPU is used; no image is lost.", reason)


def _load_where_it_is(load: Load, load_other: Load, failure: str | None) -> Runtime:
    """Load a network on its device in another process, or on the CPU if that fails."""
    if failure is not None:
        return load_other()
    try:
        return WithFallback(load, load_other)
    except ModelError as error:
        logger.warning("%s The CPU is used.", error)
        return load_other()
