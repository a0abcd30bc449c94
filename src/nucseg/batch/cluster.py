"""Process the images of a run on the workers of a Dask cluster, local or on many computers."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import socket
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from nucseg.batch import records
from nucseg.batch.inputs import Input
from nucseg.batch.leftovers import clear_partial
from nucseg.batch.process import Job, give_up, process_image
from nucseg.batch.records import Record
from nucseg.errors import InputError, MissingExtraError, first_line
from nucseg.files import PARTIAL
from nucseg.inference.runtimes import usable_cores

# After this many worker deaths beside other images, an image is tried alone.
_MOST_DEATHS = 2
# Seconds between two progress reports, and time limit for the first answer of a scheduler.
_TICK, _PATIENCE = 0.2, 30
# Ctrl-C reaches all processes of a terminal. The command ends its workers itself, once the images
# that they process have ended.
_IGNORE_INTERRUPTS = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)"
# Time limit for that, in seconds.
_END = 60

logger = logging.getLogger(__name__)


class Dask:
    """An `Executor` on Dask: each worker processes one image at a time, on one core.

    Workers read the images and write the results themselves, so all of them need the same folders
    at the same paths. If a worker dies, another worker processes its image. An image on which
    workers die repeatedly fails, and the others continue.

    Parameters
    ----------
    scheduler : str, optional
        Address of a scheduler, such as ``tcp://host:8786``, or its scheduler file. By default a
        cluster is started on this computer and closed at the end of the run.
    workers : int, optional
        Number of workers of the cluster on this computer; by default one per core.

    Raises
    ------
    MissingExtraError
        Dask's scheduler is not installed.
    InputError
        `workers` is less than 1 or given with a scheduler, or no scheduler answers.
    """

    def __init__(self, scheduler: str | None = None, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise InputError(f"Expected at least 1 worker, got {workers}.")
        if workers is not None and scheduler is not None:
            raise InputError("A running scheduler has its own workers: omit the number of workers.")
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("The engine dask", "scale") from error
        self._workers = workers or usable_cores()
        # Before the run changes anything in the output folder.
        self._address = None if scheduler is None else _address(scheduler)

    def process(
        self, images: Sequence[Input], job: Job, progress: Callable[[float], None]
    ) -> Generator[Record, None, None]:
        """See `Executor`."""
        # It logs each worker that connects or leaves.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        job = replace(job, model=job.model.on_one_thread(), folder=job.folder.absolute())
        name = f"{os.getpid()}-{time.monotonic_ns()}"
        # In a file, because flat fields make the job large, and the file outlives any process.
        sent = job.folder / records.FOLDER / f"{PARTIAL}job-{name}"
        shared = {"sent": sent, "where": Path.cwd(), "stop": f"nucseg-stop-{name}"}
        try:
            sent.write_bytes(pickle.dumps(job))
            with self._client(min(self._workers, len(images))) as client:
                yield from _processed(client, images, job, shared, progress)
        finally:
            with suppress(OSError):  # the next run removes it too
                clear_partial(job.folder)

    @contextmanager
    def _client(self, workers: int) -> Iterator[Any]:
        """Connect to the given scheduler, or start a local cluster and connect to it."""
        import dask
        from distributed import Client, LocalCluster

        if self._address is not None:
            with Client(self._address, timeout=_PATIENCE, set_as_default=False) as client:
                logger.info("Dask: the scheduler at %s, %s", self._address, client.dashboard_link)
                yield client
            return
        settings = {
            "distributed.scheduler.allowed-failures": _MOST_DEATHS - 1,
            "distributed.worker.daemon": False,
        }
        with (
            dask.config.set(settings),
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address=":0",
                silence_logs=logging.CRITICAL,
                preload=_IGNORE_INTERRUPTS,
            ) as cluster,
            Client(cluster) as client,
        ):
            logger.info("Dask: %d workers, %s", workers, client.dashboard_link)
            yield client


def _processed(
    client: Any,
    images: Sequence[Input],
    job: Job,
    shared: dict[str, Any],
    progress: Callable[[float], None],
) -> Iterator[Record]:
    """Process images on the workers, and give the records in order."""
    from distributed import CancelledError, Event
    from distributed.scheduler import KilledWorker

    futures = client.map(_work, images, pure=False, batch_size=1000, **shared)
    done: set[int] = set()
    for number, future in enumerate(futures):
        future.add_done_callback(lambda _future, number=number: done.add(number))

    def tick() -> None:
        progress(len(done))

    try:
        for image, future in zip(images, futures, strict=True):
            _wait([future], tick)
            try:
                yield future.result()
            except KilledWorker:
                # Dask blames all images that were on the worker: find out which one it is.
                _wait(futures, tick)
                alone = client.submit(_work, image, pure=False, **shared)
                _wait([alone], tick)
                killed = isinstance(alone.exception(), KilledWorker)
                yield _killed(image, job) if killed else alone.result()
            tick()
    except CancelledError as error:
        raise InputError(
            "The Dask scheduler stopped, or it lost the images of this run. Start it again, and "
            "continue with --resume."
        ) from error
    finally:
        _end(futures, Event(shared["stop"], client=client))


def _wait(futures: Sequence[Any], tick: Callable[[], None]) -> None:
    while not all(future.done() for future in futures):
        time.sleep(_TICK)
        tick()


def _killed(image: Input, job: Job) -> Record:
    text = "Workers died while they worked on this image, also when they had no other."
    return give_up(image, job, f"{text} It may need more memory than they have.")


def _address(scheduler: str) -> str:
    """Find the address of a scheduler, and check that something answers there."""
    from distributed.comm.addressing import get_address_host_port

    try:
        address = scheduler
        if not ("://" in scheduler or re.fullmatch(r"[\w.-]+:\d+", scheduler)):
            address = _address_in(Path(scheduler))
        # A client that reaches no scheduler waits a minute when the program ends.
        socket.create_connection(get_address_host_port(address), timeout=_PATIENCE).close()
    except (LookupError, OSError, TypeError, ValueError) as error:
        raise InputError(
            f"No Dask scheduler answers at {scheduler} ({first_line(error)}). Give --scheduler its "
            "address, as tcp://host:8786, or the file that dask scheduler --scheduler-file writes."
        ) from error
    return address


def _address_in(file: Path) -> str:
    """Read a scheduler file, which is written once the scheduler runs."""
    end = time.monotonic() + _PATIENCE
    while not file.exists() and time.monotonic() < end:
        time.sleep(_TICK)
    address: str = json.loads(file.read_text(encoding="utf-8"))["address"]
    return address


class _Stopped(Exception):  # noqa: N818 - not an error: the run ends for another reason
    """The run ends while this image is being processed."""


def _work(image: Input, *, sent: Path, where: Path, stop: str) -> Record:
    """Process one image on a worker."""
    from distributed import Event, get_client

    event = Event(stop, client=get_client())

    def progress(_share: float) -> None:
        if event.is_set():
            raise _Stopped

    progress(0)
    if Path.cwd() != where:  # paths of images may be relative
        os.chdir(where)
    return process_image(image, _job(sent), progress=progress)


@lru_cache(maxsize=1)
def _job(sent: Path) -> Job:
    """Load a job and its model, once per worker."""
    job: Job = pickle.loads(sent.read_bytes())  # noqa: S301 - from the client, which sends code too
    return job


def _end(futures: Sequence[Any], stop: Any) -> None:
    """End all tasks: waiting images are not started, large images stop at the next window."""
    from distributed import wait

    waiting = [future for future in futures if not future.done()]
    if waiting:
        stop.set()
        with suppress(TimeoutError):
            wait(waiting, timeout=_END)
    for future in futures:
        future.release()
