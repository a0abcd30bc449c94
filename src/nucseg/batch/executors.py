"""Executors, which process the images of a run. This one uses threads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Protocol

from nucseg.batch.inputs import Input
from nucseg.batch.process import Job, process_image
from nucseg.batch.records import Record
from nucseg.batch.sharing import Budget, Shares
from nucseg.inference.segmenter import Model
from nucseg.inference.tiling import pixels_side_by_side

# More threads than this block each other in the Python code between calls of libraries.
MOST_THREADS = 8
# Images in progress may hold this many times the pixels that fit in memory side by side, because
# small images leave memory free.
_SIDE_BY_SIDE = 1.6
# Seconds between two progress reports.
_TICK = 0.2

logger = logging.getLogger(__name__)


class Executor(Protocol):
    """Processes the images of a run."""

    def process(
        self, images: Sequence[Input], job: Job, progress: Callable[[float], None]
    ) -> Generator[Record, None, None]:
        """Process images with `nucseg.batch.process.process_image`.

        Parameters
        ----------
        images : sequence of Input
        job : Job
        progress : callable
            ``progress(done)`` in images, with fractions for images in progress. Called in the
            calling thread.

        Yields
        ------
        dict
            The records, in the order of the images. When the generator is closed, all processing
            ends, and nothing more is written.
        """


class Threads:
    """An `Executor` on threads of this process, one image per thread.

    While one thread reads or writes an image, another runs the network. An image that needs more
    memory than its share waits until the memory is free, and then uses all threads.

    Parameters
    ----------
    most : int, optional
        Maximum number of images in progress; by default the number of threads of the model's
        runtime.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most

    def process(
        self, images: Sequence[Input], job: Job, progress: Callable[[float], None]
    ) -> Generator[Record, None, None]:
        """See `Executor`."""
        most = self._most or min(job.model.runtime.threads, MOST_THREADS)
        workers = max(min(most, len(images)), 1)
        shares, team = Shares(), _Team(job.model, workers)
        if workers == 1:
            for image in images:
                yield team.work(image, job, shares.of_one(progress))
            return
        pool = ThreadPoolExecutor(workers)
        waiting: list[Future[Record]] = []
        try:
            for image in images:
                waiting.append(pool.submit(team.work, image, job, shares.of_one()))
            for each in waiting:
                while not each.done():
                    wait([each], timeout=_TICK)
                    progress(shares.sum)
                yield each.result()
                progress(shares.sum)
        finally:
            _end(pool, waiting, team.stop)


class _Stopped(Exception):  # noqa: N818 - not an error: the run ends for another reason
    """The run ends while this image is being processed."""


class _Team:
    """State that threads share: the model, the memory budget, and whether the run ends."""

    def __init__(self, model: Model, workers: int) -> None:
        self.stop = threading.Event()
        self._model = model
        self._single = model if workers == 1 else model.on_one_thread()
        self._side_by_side = pixels_side_by_side(model.image_pixels)
        self._budget = Budget(_SIDE_BY_SIDE * self._side_by_side)

    def work(self, image: Input, job: Job, report: Callable[[float], None]) -> Record:
        """Process one image, unless the run ends."""

        def progress(share: float) -> None:
            self._go_on()
            report(share)

        self._go_on()
        return process_image(image, job, progress=progress, take=self._take)

    @contextmanager
    def _take(self, pixels: int) -> Iterator[Model]:
        alone = pixels > self._side_by_side
        with self._budget.take(float("inf") if alone else pixels) as has_all:
            self._go_on()
            yield self._model if has_all else self._single

    def _go_on(self) -> None:
        if self.stop.is_set():
            raise _Stopped


def _end(
    pool: ThreadPoolExecutor, waiting: Sequence[Future[Record]], stop: threading.Event
) -> None:
    """End all threads: waiting images are not started, large images stop at the next window."""
    while True:
        try:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            # After an interrupt, threads in join() count as ended although they still run.
            wait([each for each in waiting if not each.cancelled()])
            pool.shutdown()
        except KeyboardInterrupt:  # a second interrupt
            logger.warning("Waiting for the images that were begun.")
        else:
            return
