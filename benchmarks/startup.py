"""CPU time from a cold start: import, help, and segmentation of one image.

Each is a process of its own, run several times; the least counts, since other programs can only
add to it. CPU time (user and system, over all threads) does not depend on what else runs.

    python benchmarks/startup.py [--model NAME|PATH] [--repeats N] [--output startup.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from nucseg.datasets.synthetic import synthetic_image

PYTHON = [sys.executable]
NUCSEG = [sys.executable, "-m", "nucseg"]


def cpu_and_wall_seconds(command: list[str]) -> tuple[float, float]:
    """CPU and wall-clock seconds of a command and its threads."""
    start = time.perf_counter()
    with Path(os.devnull).open("w") as nowhere:
        actions = [(os.POSIX_SPAWN_DUP2, nowhere.fileno(), stream) for stream in (1, 2)]
        process = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"Failed: {' '.join(command)}")
    return usage.ru_utime + usage.ru_stime, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("startup.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image.png")
        pixels, _ = synthetic_image(np.random.default_rng(0), size=(512, 512), nuclei=100)
        Image.fromarray(pixels).save(image)
        segment = ["segment", str(image), "-o", str(Path(folder, "out")), "--model", given.model]
        commands = {
            "python -c pass": ([*PYTHON, "-c", "pass"], None),
            "import nucseg": ([*PYTHON, "-c", "import nucseg"], 0.2),
            "nucseg --help": ([*NUCSEG, "--help"], 0.5),
            "nucseg segment (512 x 512)": ([*NUCSEG, *segment], 2.0),
        }
        rows = []
        for name, (command, budget) in commands.items():
            times = [cpu_and_wall_seconds(command) for _ in range(given.repeats)]
            cpu, wall = (min(values) for values in zip(*times, strict=True))
            rows.append({"name": name, "cpu_s": cpu, "wall_s": wall, "budget_s": budget})
    print(f"{'':28}{'CPU s':>8}{'wall s':>8}{'budget':>8}")
    for row in rows:
        budget = "" if row["budget_s"] is None else row["budget_s"]
        print(f"{row['name']:28}{row['cpu_s']:8.2f}{row['wall_s']:8.2f}{budget:>8}")
    machine = {"cpus": os.cpu_count(), "platform": platform.platform(), "python": sys.version}
    given.output.write_text(json.dumps({"machine": machine, "model": given.model, "rows": rows}))


if __name__ == "__main__":
    main()
