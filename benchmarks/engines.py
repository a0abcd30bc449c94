"""Whether all engines of `nucseg segment` give the same files, also if workers are killed.

    python benchmarks/engines.py [--model NAME|PATH] [--images 200] [--bad 20] [--kills 5]
        [--seed N] [--json FILE]

A folder of so many images, some of them cut short, is segmented by threads; by two workers of a
Dask cluster that nucseg starts; by a scheduler and two workers that are started before, as separate
processes; then several times by Dask while workers are killed (SIGKILL) at random moments; and once
by Dask where the command itself is killed and continued with --resume. Compared with the run by
threads: all files, but times in images.csv and run.json. Exits with 1 if anything differs. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from faults_checks import NUCSEG, differences, run, table
from faults_files import cut_short, write_whole

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
DASK = ["--engine", "dask", "--workers", "2"]


def write_images(folder: Path, count: int, bad: int) -> None:
    """Write images of several kinds and sizes; the last ones are cut short."""
    list(write_whole(folder, count - bad))
    for number in range(bad):
        cut_short(folder / f"cut{number:03}.png", 0.5, number)


@contextmanager
def scheduler(folder: Path):
    """Start a scheduler and two workers; give the scheduler's file."""
    file = folder / "scheduler.json"
    commands = [
        ["distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--host", "127.0.0.1"],
        ["distributed.cli.dask_worker", "--nworkers", "2", "--nthreads", "1", "--no-dashboard"],
    ]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", *each, "--scheduler-file", file], cwd=folder, **QUIET
        )
        for each in commands
    ]
    try:
        yield file
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def workers_of(pid: int) -> list[int]:
    """List the processes of the workers that a command has started."""
    listed = subprocess.run(
        ["pgrep", "-f", "spawn_main", "-P", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(each) for each in listed.stdout.split()]


def done(output: Path) -> int:
    """Images that have a record."""
    return len(list((output / ".nucseg").rglob("*.json"))) if output.is_dir() else 0


def run_with_kills(given: list[str], output: Path, images: int, rng: random.Random) -> tuple:
    """Run a command, and kill two of its workers at random moments; exit status and deaths."""
    process = subprocess.Popen(given, **QUIET)
    killed = 0

    def kill_some() -> None:
        nonlocal killed
        for after in sorted(rng.randint(1, images * 3 // 4) for _ in range(2)):
            while done(output) < after and process.poll() is None:
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 0.3))
            for pid in rng.sample(workers_of(process.pid), 1):
                os.kill(pid, signal.SIGKILL)
                killed += 1
            time.sleep(3)  # until another has been started

    killer = threading.Thread(target=kill_some)
    killer.start()
    status = process.wait()
    killer.join()
    return status, killed


def kill_command(given: list[str], output: Path, after: int) -> None:
    """Kill a command and its workers once so many images are done."""
    process = subprocess.Popen(given, start_new_session=True, **QUIET)
    while done(output) < after and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(2)


def main() -> None:
    """Print a table of the runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="classic-128", help="name or folder")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--bad", type=int, default=20)
    parser.add_argument("--kills", type=int, default=5, help="runs in which workers are killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rng, rows = random.Random(options.seed), []
    os.environ |= {"NUCSEG_DEVICE": "cpu", "NUCSEG_PRECISION": "f32"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, clean = folder / "images", folder / "threads"
        write_images(images, options.images, options.bad)

        def command(output: Path, *more: str) -> list[str]:
            given = [*NUCSEG, "segment", str(images), "-o", str(output), "--model", options.model]
            return [*given, *more]

        def note(what: str, status: int, start: float, output: Path) -> None:
            other = [f"{each} differs" for each in differences(output, clean)]
            wrong = [] if status == 1 else [f"exit status {status}"]
            rows.append((what, f"{time.monotonic() - start:.1f}", "; ".join(wrong + other)))
            print(*rows[-1], flush=True)

        start = time.monotonic()
        note("threads", run(command(clean)).status, start, clean)
        start, output = time.monotonic(), folder / "dask"
        note("Dask, 2 workers", run(command(output, *DASK)).status, start, output)
        with scheduler(folder) as file:
            start, output = time.monotonic(), folder / "scheduler"
            status = run(command(output, "--scheduler", str(file))).status
            note("a scheduler and 2 workers of their own", status, start, output)
        for number in range(options.kills):
            start, output = time.monotonic(), folder / f"killed-{number}"
            status, deaths = run_with_kills(command(output, *DASK), output, options.images, rng)
            note(f"Dask, {deaths} workers killed", status, start, output)
        start, output = time.monotonic(), folder / "resumed"
        kill_command(command(output, *DASK), output, options.images // 3)
        status = run(command(output, *DASK, "--resume")).status
        note("Dask, the command killed and resumed", status, start, output)
    shown = [(what, seconds, problems or "the same") for what, seconds, problems in rows]
    table(f"{options.images} images, {options.bad} bad", ("run", "s", "files"), shown)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    raise SystemExit(any(problems for *_, problems in rows))


if __name__ == "__main__":
    main()
