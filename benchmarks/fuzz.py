"""Whether damaged images always give pixels or an error message of nucseg.

    python benchmarks/fuzz.py [--minutes 30] [--seed N] [--jobs 2] [--keep DIR] [--json FILE]
    python benchmarks/fuzz.py --replay FILE...

Valid small images (PNG, JPEG, BMP; TIFF in strips and tiles, of all usual compressions, OME,
ImageJ, BigTIFF, pyramids; OME-Zarr 0.4 and 0.5; those in a folder given by --seeds too) are damaged
at random, opened, and read whole and in windows, in child processes of limited memory. Findings
are:

- error: an exception that is none of nucseg's, or a message that does not name the file;
- crash: the process ends;
- hang: an image takes longer than --seconds;
- memory: an image takes far more than its pixels do;
- differs: a window holds other pixels than the whole image there;
- chatter: a warning or a log entry that a user would see.

The damaged images of each finding are kept in --keep, to be read again by --replay. What is damaged
in which way depends on --seed and a running number alone. Exits with 1 where there are findings.
Needs Linux and the extra `formats`.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import json
import multiprocessing
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from fuzz_files import write_case, write_seeds
from fuzz_reading import Result, examine

# Damaged images kept of each finding.
KEPT = 3
# Bytes that may be taken whatever the image, and times the memory of its pixels beside that: for
# decoders, and what they keep.
MEMORY, COPIES = 2**28, 6
# Until a new process has imported what it needs.
START_SECONDS = 120


def serve(connection: Connection, folder: Path, options: argparse.Namespace) -> None:
    """Write and read one damaged image after the other: the work of a child process.

    A case is what `write_case` takes, or the path of an image that is there already. Its path goes
    back at once and its result when it is known.
    """
    for name in options.without:
        sys.modules[name] = None  # type: ignore[assignment]
    # What libraries in C print on damaged images is no finding, but hides what Python prints.
    os.dup2(os.open(folder / "printed", os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_WRONLY), 2)
    trace = (folder / "trace").open("w")
    faulthandler.enable(trace)
    limit = memory("VmSize") + int(options.gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while (case := connection.recv()) is not None:
        path = case if isinstance(case, Path) else write_case(*case, folder)
        connection.send(path)
        # From now on the largest that the process has been.
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
        faulthandler.dump_traceback_later(0.8 * options.seconds, file=trace)
        result = examine(path)
        faulthandler.cancel_dump_traceback_later()
        taken = memory("VmHWM") - before
        if taken > MEMORY + COPIES * result.nbytes:
            result = Result("memory", path.suffix, f"{taken / 2**20:.0f} MB")
        connection.send(result)


def memory(what: str) -> int:
    """Bytes that this process takes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition(f"{what}:")[2].split()[0])


class Child:
    """A process that reads damaged images; a new one takes its place when it crashes or hangs."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder, self._options = folder, options
        folder.mkdir()
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        self.connection, other = context.Pipe()
        self._process = context.Process(
            target=serve, args=(other, self._folder, self._options), daemon=True
        )
        self._process.start()
        other.close()
        self._patience = START_SECONDS

    def give(self, case: Any) -> None:
        """Let the process read the next image."""
        self.path, self._since = None, time.monotonic()
        self.connection.send(case)

    def result(self, *, ready: bool) -> Result | None:
        """Give the result of the image, once it is known.

        Parameters
        ----------
        ready : bool
            Whether the process has sent something, or has ended.
        """
        if not ready and time.monotonic() - self._since <= self._patience:
            return None
        try:
            got = self.connection.recv() if ready else None
        except (EOFError, ConnectionResetError):
            self.stop()
            result = Result("crash", self._at(), f"exit status {self._process.exitcode}")
            self._start()
            return result
        if isinstance(got, Path):
            self.path, self._since = got, time.monotonic()
            self._patience = self._options.seconds
            return None
        if got is None:
            self.stop()
            got = Result("hang", self._at(), f"longer than {self._patience} seconds")
            self._start()
        return got

    def _at(self) -> str:
        """Where the process was, the innermost places first."""
        trace = (self._folder / "trace").read_text()
        places = re.findall(r'File "([^"]*)", line (\d+)', trace)
        return " ← ".join(f"{Path(file).name}:{line}" for file, line in places[:3])

    def printed(self) -> str:
        """Read what the process has printed, such as a traceback."""
        return (self._folder / "printed").read_text(errors="replace")

    def stop(self) -> None:
        """End the process."""
        self.connection.close()
        self._process.kill()
        self._process.join()


class Report:
    """Counts what came of the images, and keeps those of findings."""

    def __init__(self, keep: Path | None) -> None:
        self.keep = keep
        self.outcomes: Counter[str] = Counter()
        self.findings: dict[tuple[str, str], dict[str, Any]] = {}
        self.slowest = (0.0, "")

    def add(self, path: Path, result: Result, seconds: float) -> None:
        """Take in the result of an image, whose file is no longer needed."""
        self.slowest = max(self.slowest, (seconds, path.name))
        self.outcomes[result.finding or ("message" if result.what else "pixels")] += 1
        if result.finding:
            found = self.findings.setdefault(
                (result.finding, result.where),
                {"kind": result.finding, "where": result.where, "count": 0, "examples": {}},
            )
            found["count"] += 1
            if len(found["examples"]) < KEPT:
                found["examples"][self._kept(path)] = result.what
        if self.keep:
            remove(path)

    def _kept(self, path: Path) -> str:
        if self.keep is None:
            return str(path)
        self.keep.mkdir(parents=True, exist_ok=True)
        target = self.keep / path.name
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, target)
        return str(target)

    def show(self) -> None:
        """Print counts and findings."""
        print("\n| outcome | images |\n|---|---|")
        for outcome, count in self.outcomes.most_common():
            print(f"| {outcome} | {count:,} |")
        print(f"\nSlowest: {self.slowest[0]:.1f} s, {self.slowest[1]}")
        for found in sorted(self.findings.values(), key=lambda each: -each["count"]):
            print(f"\n{found['kind']}, {found['count']} times: {found['where']}")
            for file, what in found["examples"].items():
                print(f"  {file}: {what[:300]}")


def remove(path: Path) -> None:
    """Delete a file, or a folder with all in it."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def examine_all(children: list[Child], cases: Iterator[Any], report: Report) -> None:
    """Let children read images until there are no more."""
    busy: dict[Child, float] = {}

    def give(child: Child) -> None:
        busy.pop(child, None)
        if (case := next(cases, None)) is not None:
            child.give(case)
            busy[child] = time.monotonic()

    for child in children:
        give(child)
    while busy:
        ready = wait([child.connection for child in busy], timeout=1)
        for child, start in list(busy.items()):
            result = child.result(ready=child.connection in ready)
            if result is not None:
                if child.path is None:
                    raise SystemExit(f"This program itself fails: {child.printed()}")
                report.add(child.path, result, time.monotonic() - start)
                give(child)
    for child in children:
        child.stop()


def damaged(options: argparse.Namespace, folder: Path) -> Iterator[tuple[list[Path], int, int]]:
    """Numbers of damaged images, until the time is over."""
    seeds = write_seeds(folder)
    if options.seeds:
        seeds += sorted(options.seeds.iterdir())
    end = time.monotonic() + 60 * options.minutes
    for number in itertools.count(options.first):
        if time.monotonic() > end:
            return
        yield seeds, options.seed, number


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first image")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10, help="limit for an image")
    parser.add_argument("--gigabytes", type=float, default=2, help="memory to work in")
    parser.add_argument("--seeds", type=Path, help="folder of more images to damage")
    parser.add_argument(
        "--without", action="append", default=[], metavar="PACKAGE", help="as if not installed"
    )
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE")
    options = parser.parse_args()
    # Threads of decoders would take address space that is none of the image's.
    os.environ |= {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
    multiprocessing.get_context("forkserver").set_forkserver_preload(["fuzz_reading"])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        jobs = 1 if options.replay else options.jobs
        children = [Child(folder / str(number), options) for number in range(jobs)]
        report = Report(None if options.replay else options.keep)
        cases = iter(options.replay or damaged(options, folder / "seeds"))
        examine_all(children, cases, report)
    report.show()
    if options.json:
        figures = {
            "seed": options.seed,
            "images": report.outcomes.total(),
            "outcomes": dict(report.outcomes),
            "findings": list(report.findings.values()),
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    raise SystemExit(bool(report.findings))


if __name__ == "__main__":
    main()
