"""Whether `nucseg segment` loses no results: bad images, and output that cannot be written.

    python benchmarks/faults.py [--model NAME|PATH] [--images 200] [--json FILE]

A folder of images, 40 of them bad in every way that was thought of, goes through the command.
Expected: of each whole image the labels that `Model.segment` gives for what another reader reads,
with measurements and picture; for each bad one a row in images.csv that says why; exit status 1;
nothing half done; no traceback; memory below 1.2 GB with --max-memory 1. Then whole images, and
outputs that are a file, read-only, full, deleted while the run goes on. Expected: exit status 2 and
one message, or 1; nothing half done; and from the same command with --resume, once the output can
be written, the results of a run without trouble. Exits with 1 where anything else comes of it.

Linux. As root it mounts small disks (tmpfs); else a limit on the size of files stands for a full
disk. Root may read any file: for an unreadable one it has a link to what gives an input error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from faults_checks import (
    NUCSEG,
    Ran,
    broken,
    check_results,
    differences,
    leftovers,
    rows,
    run,
    shown,
    table,
)
from faults_files import VANISHES, Case, write_folder, write_whole

from nucseg import load_model

MAX_MEMORY, MOST_BYTES = "1", 1.2e9
# Images of the scenarios, and bytes of disks that are too small for their results.
WHOLE, DISKS, ENOUGH = 40, (100_000, 500_000, 1_000_000), 100_000_000
# Of 512 bytes.
BLOCKS = 40


@dataclass
class Scenario:
    """An output that makes trouble, and how the command took it.

    Attributes
    ----------
    name : str
    status : int
    message : str
        What the command wrote to standard error.
    problems : list of str
        What should have been otherwise.
    """

    name: str
    status: int
    message: str
    problems: list[str] = field(default_factory=list)


def command(images: Path, output: Path, model: str, *more: str) -> list[str]:
    given = [str(images), "-o", str(output), "--model", model, "--max-memory", MAX_MEMORY]
    return [*NUCSEG, "segment", *given, *more]


def vanish(output: Path, cases: list[Case]) -> Callable[[], bool]:
    """Delete the files that shall vanish as soon as there is a result of another."""

    def watch() -> bool:
        if not any(path.suffix == ".tif" for path in (output / "labels").rglob("*")):
            return False
        for case in cases:
            if case.kind == VANISHES:
                case.path.unlink(missing_ok=True)
        return True

    return watch


def bad_images(place: Path, model: str, count: int) -> tuple[list[Case], dict[Path, str], Ran]:
    """Segment a folder with bad images; returns what is wrong with the results of each file."""
    folder, output = place / "images", place / "out"
    cases = write_folder(folder, count)
    ran = run(command(folder, output, model), watch=vanish(output, cases))
    if not (output / "images.csv").exists():
        return cases, {output: f"no images.csv; status {ran.status}: {ran.error[-500:]}"}, ran
    wrong = check_results(output, folder, cases, load_model(model, threads=1))
    faults = {
        "exit status": ran.status != 1 and f"{ran.status}, expected 1",
        "standard error": "Traceback" in ran.error and ran.error[-500:],
        "memory": ran.peak > MOST_BYTES and f"{ran.peak / 1e9:.2f} GB",
        "leftovers": ", ".join(leftovers(output, cases, folder)),
        "broken": ", ".join(broken(output)),
    }
    return cases, wrong | {Path(what): str(said) for what, said in faults.items() if said}, ran


def print_kinds(cases: list[Case], wrong: dict[Path, str], output: Path) -> list[dict[str, object]]:
    """Print what came of each kind of file."""
    said = {row["path"]: row["error"] for row in rows(output / "images.csv")}
    kinds: dict[str, list[Case]] = {}
    for case in cases:
        kinds.setdefault(case.kind, []).append(case)
    lines = []
    for kind, group in kinds.items():
        amiss = [wrong[case.path] for case in group if case.path in wrong]
        expected = "refused, says why" if group[0].reason else "segmented"
        messages = {said.get(shown(case.path), "").replace(shown(case.path), "…") for case in group}
        message = "; ".join(sorted(short(message.partition(". ")[0]) for message in messages))
        outcome = f"WRONG: {amiss[0]}" if amiss else expected
        lines.append((kind, len(group), outcome, message))
    table("Files", ("kind", "files", "outcome", "message"), lines)
    columns = ("kind", "files", "outcome", "message")
    return [dict(zip(columns, line, strict=True)) for line in lines]


class Output:
    """Runs the command on whole images with an output that makes trouble."""

    def __init__(self, place: Path, model: str) -> None:
        self.place, self.model, self.images = place, model, place / "whole"
        self.cases = list(write_whole(self.images, WHOLE))
        self.clean = place / "clean"
        ran = run(command(self.images, self.clean, model))
        if ran.status:
            raise SystemExit(f"A run without trouble fails: {ran.error}")

    def check(
        self,
        name: str,
        output: Path,
        *,
        statuses: tuple[int, ...] = (2,),
        watch: Callable[[], bool] = lambda: True,
        blocks: int | None = None,
    ) -> Scenario:
        """Run the command and look at what it says and leaves."""
        given = command(self.images, output, self.model)
        ran = run(given, watch=watch, blocks=blocks)
        found = Scenario(name, ran.status, ran.error.strip())
        if ran.status not in statuses:
            found.problems.append(f"exit status {ran.status}")
        if "Traceback" in ran.error:
            found.problems.append("a traceback")
        if ran.status == 2 and ran.error.count("Error: ") != 1:
            found.problems.append("not one message")
        found.problems += leftovers(output, self.cases, self.images) + broken(output)
        return found

    def resume(self, scenario: Scenario, output: Path) -> Scenario:
        """Run the command again, with --resume, and compare."""
        ran = run(command(self.images, output, self.model, "--resume"))
        if ran.status:
            scenario.problems.append(f"resumed: exit status {ran.status}: {ran.error}")
        else:
            other = differences(output, self.clean)
            scenario.problems += [f"resumed: {name} is another" for name in other]
        return scenario

    def file(self) -> Scenario:
        """Put a file in place of the folder."""
        output = self.place / "file"
        output.touch()
        return self.check("a file in its place", output)

    def file_within(self) -> Scenario:
        """Put a file in place of a folder in it."""
        output = self.place / "within"
        output.mkdir()
        (output / "labels").touch()
        found = self.check("a file in place of labels/", output)
        found.problems.remove("labels")
        (output / "labels").unlink()
        return self.resume(found, output)

    def read_only(self) -> Scenario:
        """Take away the right to write."""
        if os.geteuid():
            output = self.place / "read-only"
            output.mkdir(mode=0o555)
            return self.check("read-only folder", output)
        with disk(self.place / "read-only", ENOUGH) as output:
            remount(output, "ro")
            found = self.check("read-only disk", output)
            remount(output, "rw")
            return self.resume(found, output)

    def becomes_read_only(self) -> Scenario:
        """Take away the right to write while the run goes on."""
        with disk(self.place / "turns", ENOUGH) as output:

            def watch() -> bool:
                return done(output) >= WHOLE // 4 and remount(output, "ro")

            found = self.check("disk that becomes read-only", output, watch=watch)
            remount(output, "rw")
            return self.resume(found, output)

    def full(self, size: int) -> Scenario:
        """Give too little room."""
        with disk(self.place / "small", size) as output:
            found = self.check(f"disk of {size / 1000:.0f} kB", output)
            remount(output, f"size={ENOUGH}")
            return self.resume(found, output)

    def no_large_files(self) -> Scenario:
        """Give too little room for some of the files."""
        output = self.place / "limited"
        limit = {"statuses": (1, 2), "blocks": BLOCKS}
        found = self.check("limit on the size of files", output, **limit)
        return self.resume(found, output)

    def deleted(self) -> Scenario:
        """Delete all results while the run goes on."""
        output = self.place / "deleted"

        def watch() -> bool:
            if done(output) < WHOLE // 4:
                return False
            shutil.rmtree(output, ignore_errors=True)
            return True

        found = self.check("deleted during the run", output, statuses=(1, 2), watch=watch)
        for row in rows(output / "images.csv") if (output / "images.csv").exists() else ():
            name = Path(row["path"]).relative_to(self.images).with_suffix(".tif")
            if row["status"] != "failed" and not (output / "labels" / name).exists():
                found.problems.append(f"{name} is gone, and images.csv calls it {row['status']}")
        return self.resume(found, output)

    def scenarios(self) -> Iterator[Scenario]:
        """Run all that can be."""
        yield self.file()
        yield self.file_within()
        yield self.read_only()
        yield self.deleted()
        yield self.no_large_files()
        if not os.geteuid():
            yield self.becomes_read_only()
            for size in DISKS:
                yield self.full(size)


def short(text: str) -> str:
    """Bring a message to one line, without the progress bar, and the middle of a long path."""
    text = re.sub(r"Segmenting\s.*\n", "", text).replace("\n", " ")
    text = re.sub(r"\s+", " ", text)
    return text if len(text) < 200 else f"{text[:100]} … {text[-90:]}"


def done(output: Path) -> int:
    """Count the images that are done."""
    return len(list((output / ".nucseg").rglob("*.json")))


@contextmanager
def disk(place: Path, size: int) -> Iterator[Path]:
    """Mount a disk of so many bytes."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def remount(place: Path, option: str) -> bool:
    """Change a disk; false where it is in use."""
    given = ["mount", "-o", f"remount,{option}", place]
    return subprocess.run(given, check=False, capture_output=True).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nuclei", help="name or folder")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        cases, wrong, ran = bad_images(place, options.model, options.images)
        print(f"{len(cases)} files, {sum(bool(case.reason) for case in cases)} of them bad:")
        print(f"exit status {ran.status}, {ran.peak / 1e9:.2f} GB, {len(wrong)} problems")
        kinds = print_kinds(cases, wrong, place / "out")
        for path, fault in wrong.items():
            print(f"WRONG: {path}: {fault}")
        found = list(Output(place, options.model).scenarios())
        lines = [
            (
                each.name,
                each.status,
                short(each.message.replace(folder, "")),
                "; ".join(each.problems[:5]) or "none",
            )
            for each in found
        ]
        table("Outputs", ("output", "exit status", "message", "problems"), lines)
    if options.json:
        figures = {
            "model": options.model,
            "files": len(cases),
            "exit_status": ran.status,
            "peak_bytes": ran.peak,
            "kinds": kinds,
            "problems": {shown(path): fault for path, fault in wrong.items()},
            "outputs": [asdict(each) for each in found],
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    raise SystemExit(bool(wrong) or any(each.problems for each in found))


if __name__ == "__main__":
    main()
