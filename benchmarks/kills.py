"""Whether killed runs of `nucseg segment` can be resumed with the same results.

    python benchmarks/kills.py [--model NAME|PATH] [--images 40] [--kills 20] [--seed N]
        [--json FILE]

A run on so many images, some of them bad, is killed (SIGKILL to its process group) at random
moments spread over it, from before its first image to after its last. Expected: every result that
is there is whole; the same command with --resume keeps what was done, and ends with the same
labels, overlays, masks and tables as a run that was never killed, and nothing else. Exits with 1
where anything differs. Linux and macOS.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from faults_checks import NUCSEG, broken, differences, run, table
from faults_files import TEXT, cut_short, write_whole

SAVE = "labels,overlays,masks"


@dataclass
class Kill:
    """A run that was killed, and the one that went on with it.

    Attributes
    ----------
    seconds : float
        After its start.
    done : int
        Images that were done.
    half_done : int
        Files that were being written.
    problems : list of str
        What should have been otherwise.
    """

    seconds: float
    done: int
    half_done: int
    problems: list[str] = field(default_factory=list)


def write_images(folder: Path, count: int) -> None:
    list(write_whole(folder, count - 2))
    cut_short(folder / "cut.png", 0.5)
    (folder / "plate 1" / "text.tif").write_bytes(TEXT)


def command(images: Path, output: Path, model: str) -> list[str]:
    return [*NUCSEG, "segment", str(images), "-o", str(output), "--model", model, "--save", SAVE]


def records(output: Path) -> dict[Path, int]:
    """Images that are done, and when that was written."""
    found = {}
    for path in (output / ".nucseg").rglob("*.json"):
        # Failed ones are tried again.
        if not path.name.startswith(".partial") and '"failed"' not in path.read_text():
            found[path] = path.stat().st_mtime_ns
    return found


def kill(given: list[str], output: Path, after: int, wait: float) -> Kill:
    """Start a command and kill it so many seconds after so many images are done."""
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    start = time.monotonic()
    process = subprocess.Popen(given, start_new_session=True, **nowhere)
    place = output / ".nucseg"
    while process.poll() is None and not (place.is_dir() and len(records(output)) >= after):
        time.sleep(0.002)
    time.sleep(wait)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    half_done = len(list(output.rglob(".partial*")))
    return Kill(time.monotonic() - start, len(records(output)), half_done, broken_results(output))


def broken_results(output: Path) -> list[str]:
    return [name for name in broken(output) if ".partial" not in name]


def resume(killed: Kill, given: list[str], output: Path, clean: Path, status: int) -> None:
    """Go on with a run that was killed, and compare with one that was not."""
    before = records(output)
    ran = run([*given, "--resume"])
    after = records(output)
    if ran.status != status or "Traceback" in ran.error:
        killed.problems.append(f"resumed: exit status {ran.status}: {ran.error[-300:]}")
    again = [path.name for path in before if after.get(path) != before[path]]
    killed.problems += [f"{name} was done again" for name in again]
    killed.problems += [f"{name} differs" for name in differences(output, clean)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="classic-128", help="name or folder")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    kills = []
    with tempfile.TemporaryDirectory() as folder:
        images, clean = Path(folder, "images"), Path(folder, "clean")
        write_images(images, options.images)
        start = time.monotonic()
        status = run(command(images, clean, options.model)).status
        each = (time.monotonic() - start) / options.images
        for number in range(options.kills):
            output = Path(folder, f"out-{number}")
            given = command(images, output, options.model)
            after = round(number * (options.images - 2) / max(options.kills - 1, 1))
            killed = kill(given, output, after, rng.uniform(0, each))
            resume(killed, given, output, clean, status)
            kills.append(killed)
    title = f"{len(kills)} kills of a run on {options.images} images"
    lines = [
        (
            n,
            f"{each.seconds:.2f}",
            each.done,
            each.half_done,
            "; ".join(each.problems) or "the same",
        )
        for n, each in enumerate(kills, start=1)
    ]
    table(title, ("kill", "after s", "images done", "files half done", "resumed"), lines)
    if options.json:
        figures = {
            "model": options.model,
            "images": options.images,
            "seed": options.seed,
            "kills": [asdict(each) for each in kills],
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    raise SystemExit(any(each.problems for each in kills))


if __name__ == "__main__":
    main()
