"""Runs `nucseg segment` and looks at what it leaves behind; for faults.py and kills.py."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from faults_files import Case
from PIL import Image

from nucseg.inference.segmenter import Model

NUCSEG = [sys.executable, "-m", "nucseg"]
RECORDS = ".nucseg"
OF_ALL = ("images.csv", "measurements.csv", "measurements.parquet", "report.html", "run.json")
MINUTES = 20


@dataclass
class Ran:
    """How a command ended.

    Attributes
    ----------
    status : int
    error : str
        What it wrote to standard error.
    peak : int
        Bytes of memory, at the most.
    """

    status: int
    error: str
    peak: int


def run(
    command: list[str],
    *,
    watch: Callable[[], bool] = lambda: True,
    blocks: int | None = None,
) -> Ran:
    """Run a command.

    Parameters
    ----------
    command : list of str
    watch : callable
        Called again and again until it returns true or the command ends.
    blocks : int, optional
        How many of 512 bytes a file may have.
    """
    if blocks is not None:
        command = ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", *command]
    with tempfile.TemporaryFile("w+", errors="replace") as error:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=error)
        peak, done, end = 0, False, time.monotonic() + 60 * MINUTES
        while process.poll() is None:
            done = done or watch()
            peak = max(peak, memory(process.pid))
            time.sleep(0.005 if not done else 0.05)
            if time.monotonic() > end:
                process.kill()
        error.seek(0)
        return Ran(process.returncode, error.read(), peak)


def memory(pid: int) -> int:
    """Bytes that a process has taken at the most."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    return 1024 * int(peak[1]) if peak else 0


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def shown(path: Path) -> str:
    """Write a path as tables hold it, where it may be no text."""
    return str(path).encode(errors="backslashreplace").decode()


def names_of(cases: list[Case], folder: Path) -> dict[tuple[Path, str], str]:
    """Names that results should have: without suffix, where no other and no folder has the same."""
    names = {}
    for case in cases:
        relative = case.path.relative_to(folder)
        for plane in case.planes or {"": None}:
            names[case.path, plane] = relative, f"_{plane}" if plane else ""
    short = {key: f"{path.with_suffix('')}{end}" for key, (path, end) in names.items()}
    uses = Counter(name.casefold() for name in short.values())
    folders = {str(parent) for path, _ in names.values() for parent in path.parents}
    return {
        key: f"{path}{end}"
        if uses[short[key].casefold()] > 1 or f"{short[key]}.tif" in folders
        else short[key]
        for key, (path, end) in names.items()
    }


def check_results(output: Path, folder: Path, cases: list[Case], model: Model) -> dict[Path, str]:
    """Tell what is wrong with the results of each file; nothing where all is as it should be."""
    names = names_of(cases, folder)
    outcomes: dict[str, list[dict[str, str]]] = {}
    for row in rows(output / "images.csv"):
        outcomes.setdefault(row["path"], []).append(row)
    measured: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows(output / "measurements.csv"):
        measured.setdefault((row["image"], row.get("plane", "")), []).append(row)
    wrong = {}
    for case in cases:
        found = outcomes.pop(shown(case.path), [])
        if case.reason:
            wrong[case.path] = check_bad(case, found)
            continue
        for plane, pixels in case.planes.items():
            row = next((row for row in found if row.get("plane", "") == plane), None)
            table = measured.pop((shown(case.path), plane), [])
            name = names[case.path, plane]
            fault = check_whole(output, name, model.segment(pixels).labels, row, table)
            wrong[case.path] = wrong.get(case.path) or fault
        if len(found) != len(case.planes):
            wrong[case.path] = f"{len(found)} rows, not {len(case.planes)}"
    extra = [*outcomes, *measured]
    return {path: fault for path, fault in wrong.items() if fault} | {
        Path(str(each)): "a row of no image" for each in extra
    }


def check_bad(case: Case, found: list[dict[str, str]]) -> str:
    if len(found) != 1:
        return f"{len(found)} rows, not 1"
    (row,) = found
    if (row["status"], row["nuclei"]) != ("failed", "0"):
        return f"status {row['status']}"
    if not re.search(case.reason, row["error"]) or re.match(
        r"\w+(Error|Exception): ", row["error"]
    ):
        return f"says: {row['error']}"
    return ""


def check_whole(
    output: Path, name: str, expected, row: dict[str, str] | None, table: list[dict[str, str]]
) -> str:
    """Tell what is wrong with the results of a plane."""
    if row is None or row["status"] == "failed":
        return f"failed: {row['error']}" if row else "no row in images.csv"
    count = int(expected.max())
    try:
        labels = tifffile.imread(output / "labels" / f"{name}.tif")
        with Image.open(output / "overlays" / f"{name}.png") as opened:
            overlay = np.asarray(opened)
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    areas = np.bincount(expected.ravel(), minlength=count + 1)[1:]
    checks = {
        "other labels": not np.array_equal(labels, expected),
        "an overlay of another size": overlay.shape != (*expected.shape, 3),
        "a wrong status": row["status"] != ("ok" if count else "empty"),
        "a wrong number of nuclei": row["nuclei"] != str(count),
        "wrong measurements": [row["label"] for row in table] != [str(n + 1) for n in range(count)]
        or [row["area"] for row in table] != [str(area) for area in areas],
    }
    return ", ".join(what for what, is_so in checks.items() if is_so)


def leftovers(output: Path, cases: list[Case], folder: Path) -> list[str]:
    """Files in the output that belong to no whole image, or are half done."""
    if not output.is_dir():
        return []
    names = names_of(cases, folder)
    own = {
        f"{kind}/{names[case.path, plane]}{suffix}"
        for case in cases
        for plane in case.planes
        for kind, suffix in (("labels", ".tif"), ("overlays", ".png"))
    }
    own |= set(OF_ALL)
    files = [path.relative_to(output) for path in output.rglob("*") if not path.is_dir()]
    return [
        shown(path)
        for path in files
        if ".partial" in str(path) or (path.parts[0] != RECORDS and str(path) not in own)
    ]


def broken(output: Path) -> list[str]:
    """Results that cannot be read."""
    found = []
    for path in (path for path in output.rglob("*") if path.is_file()):
        try:
            if path.suffix == ".tif":
                tifffile.imread(path)
            elif path.suffix in (".png", ".jpg"):
                with Image.open(path) as opened:
                    opened.load()
            elif path.suffix == ".json":
                json.loads(path.read_bytes())
            elif path.suffix == ".npy":
                np.load(path)
            elif path.suffix == ".html" and not path.read_text("utf-8").endswith("</html>\n"):
                found.append(f"{shown(path)} is not whole: its end is missing")
        except Exception as error:  # noqa: BLE001 (whatever it is, the file is not whole)
            found.append(f"{shown(path)} is not whole: {error}")
    return found


def contents(output: Path) -> dict[str, bytes | list[dict[str, str]]]:
    """All results of a run but what depends on the time: run.json, and seconds in images.csv."""
    found: dict[str, bytes | list[dict[str, str]]] = {}
    for path in (path for path in output.rglob("*") if path.is_file()):
        name = shown(path.relative_to(output))
        if path.name == "images.csv":
            found[name] = [{**row, "seconds": ""} for row in rows(path)]
        elif name != "run.json" and not name.startswith(RECORDS):
            found[name] = path.read_bytes()
    return found


def differences(output: Path, clean: Path) -> list[str]:
    """Results that are not those of a run without trouble, and leftovers of what was half done."""
    ours, theirs = contents(output), contents(clean)
    found = [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
    return found + [shown(path) for path in output.rglob(".partial*")]


def table(title: str, columns: tuple[str, ...], lines: list[tuple]) -> None:
    print(f"\n### {title}\n\n| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for line in lines:
        print(f"| {' | '.join(map(str, line))} |")
