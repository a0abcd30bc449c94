"""What ``nucseg segment --dry-run`` prints."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from nucseg.batch.plan import Planned
    from nucseg.inference.segmenter import Model

# Images that are listed individually; if there are more, the largest.
TOLD = 20


def print_plan(
    inputs: Sequence[str], output: Path, model: Model, *, as_json: bool, **options: Any
) -> None:
    """Print the plan for each image, and for all."""
    from nucseg.batch.plan import plan_files

    planned = plan_files(inputs, output, model, **options)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in planned], indent=2))
        return
    possible = [each for each in planned if not each.error]
    largest = sorted(possible, key=lambda each: each.shape[0] * each.shape[1], reverse=True)
    told = possible if len(possible) <= TOLD else largest[:TOLD]
    if told:
        typer.echo("" if told is possible else f"The {TOLD} largest images:")
    for each in told:
        typer.echo(f"  {_described(each)}")
    failing = [each for each in planned if each.error and not each.missing]
    for each in failing[:TOLD]:
        typer.secho(f"  {each.path}: {each.error}", fg="red", err=True)
    if len(failing) > TOLD:
        typer.echo(f"  and {len(failing) - TOLD} more", err=True)
    print_missing([each.path for each in planned if each.missing])
    pixels = sum(each.shape[0] * each.shape[1] for each in possible)
    typer.echo(
        f"{_count(len(possible), 'image')}, {pixels / 1e6:,.1f} megapixels, "
        f"{_count(sum(each.windows for each in possible), 'window')}; "
        f"{len(failing)} would fail."
    )
    typer.echo(f"Time: about {_time(sum(each.seconds for each in possible))} on this machine.")
    memory = max((each.memory for each in possible), default=0)
    disk = max((each.disk for each in possible), default=0)
    typer.echo(f"Memory: about {memory:.1f} GB for the largest image.")
    if disk:
        typer.echo(f"Disk: {disk:,.1f} GB in {output} while the largest image is processed.")
    typer.echo("Nothing was written.")


def print_missing(paths: Sequence[str]) -> None:
    """Print the number of missing planes of each file, given the file of each plane."""
    files = Counter(paths)
    for path, count in files.most_common(TOLD):
        verb = "is" if count == 1 else "are"
        typer.secho(f"{_count(count, 'plane')} {verb} missing from {path}.", fg="yellow")
    if len(files) > TOLD:
        typer.echo(f"Planes of {len(files) - TOLD:,} more files are missing: see images.csv.")


def _described(planned: Planned) -> str:
    plane = f" {planned.plane}" if planned.plane else ""
    height, width = planned.shape
    return (
        f"{planned.path}{plane}: {height} × {width} pixels, {_count(planned.windows, 'window')}, "
        f"{planned.memory:.1f} GB, {_time(planned.seconds)}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
