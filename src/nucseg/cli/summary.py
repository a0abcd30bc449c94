"""The summary that a batch prints at its end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nucseg.cli.dry_run import print_missing

if TYPE_CHECKING:
    from nucseg.batch.summary import Outcome


# Failed images listed for each cause; images.csv lists all.
NAMED = 5


def summary_of(outcomes: list[Outcome], output: Path, seconds: float) -> dict[str, Any]:
    """Sum up a batch, as ``--json`` prints it."""
    from nucseg.batch.measuring import POSITIVE
    from nucseg.batch.summary import REPORT, channels_told, counts_of
    from nucseg.export.failures import causes_of

    done = sum(not outcome.kept for outcome in outcomes)
    causes = causes_of(outcomes)
    return {
        "output": str(output),
        "report": str(output / REPORT) if (output / REPORT).exists() else None,
        "positive": str(output / POSITIVE) if (output / POSITIVE).exists() else None,
        "mostly_false": sum(each.mostly_false for each in outcomes),
        "images": len(outcomes),
        "ok": sum(outcome.status == "ok" for outcome in outcomes),
        "empty": sum(outcome.status == "empty" for outcome in outcomes),
        "failed": [
            {"path": outcome.path, "plane": outcome.plane, "error": outcome.error}
            for outcome in outcomes
            if outcome.status == "failed"
        ],
        "causes": [{"error": cause.text, "images": cause.images} for cause in causes],
        "warned": [
            {"path": outcome.path, "plane": outcome.plane, "warnings": outcome.warnings}
            for outcome in outcomes
            if outcome.warnings
        ],
        "low_confidence": [
            {"path": each.path, "plane": each.plane, "median_score": each.median_score}
            for each in sorted(outcomes, key=lambda each: each.median_score or 0.0)
            if each.low_confidence
        ],
        "warnings": [text for outcome in outcomes for text in outcome.warnings],
        "to_look_at": sum(each.status == "empty" or bool(each.warnings) for each in outcomes),
        "missing": [
            {"path": outcome.path, "plane": outcome.plane}
            for outcome in outcomes
            if outcome.status == "missing"
        ],
        "channels": channels_told(outcomes),
        "kept": len(outcomes) - done,
        "nuclei": sum(outcome.nuclei for outcome in outcomes),
        "classes": counts_of(outcomes, "classes"),
        "candidates": counts_of(outcomes, "candidates"),
        "seconds": round(seconds, 3),
        "images_per_second": round(done / seconds, 3),
    }


def print_summary(summary: dict[str, Any]) -> None:
    """Print the summary of a batch for a reader."""
    done = summary["ok"] + summary["empty"]
    empty = f" ({summary['empty']:,} without nuclei)" if summary["empty"] else ""
    typer.echo(f"{_count(done, 'image')} segmented{empty}: {_nuclei(summary['nuclei'])}.")
    for what in ("classes", "candidates"):
        each = ", ".join(f"{name} {count:,}" for name, count in summary[what].items())
        if each:
            typer.echo(f"{what.capitalize()}: {each}.")
    if summary["kept"]:
        typer.echo(f"{_count(summary['kept'], 'image')} of an earlier run kept.")
    _print_missing_planes(summary)
    if new := summary["images"] - summary["kept"] - len(summary["missing"]):
        seconds = summary["seconds"]
        typer.echo(f"Time: {_time(seconds)}, {_rate(new, seconds)}.")
    _print_failures(summary["causes"])
    _print_low_confidence(summary["low_confidence"])
    if summary["to_look_at"]:
        where = "the report" if summary["report"] else "the warnings in images.csv"
        odd = _count(summary["to_look_at"], "image")
        typer.secho(f"{odd} to check, empty or suspicious: see {where}.", err=True, fg="yellow")
        kinds = Counter(text.partition(":")[0] for text in summary["warnings"])
        for kind, count in kinds.most_common():
            typer.echo(f"  {kind}: {count}", err=True)
    typer.echo(f"Results: {summary['output']}")
    if summary["positive"]:
        _print_positive(summary)
    if summary["report"]:
        typer.echo(f"Report: {summary['report']} (opens in a browser)")
    if summary.get("analysis"):
        typer.echo(f"Analysis: {summary['analysis']} (opens in a browser)")


def _print_positive(summary: dict[str, Any]) -> None:
    typer.echo(f"Positive nuclei and H-scores: {summary['positive']}")
    if summary["mostly_false"]:
        images = _count(summary["mostly_false"], "image")
        text = f"  {images} left out of the total: most nuclei found there are probably false."
        typer.secho(text, err=True, fg="yellow")


def _print_missing_planes(summary: dict[str, Any]) -> None:
    for text in summary["channels"]:
        typer.echo(text)
    print_missing([each["path"] for each in summary["missing"]])


def _print_failures(causes: list[dict[str, Any]]) -> None:
    for cause in causes:
        names = cause["images"]
        typer.secho(f"{_count(len(names), 'image')} failed: {cause['error']}", err=True, fg="red")
        for name in names[:NAMED]:
            typer.echo(f"  {name}", err=True)
        if len(names) > NAMED:
            typer.echo(f"  and {len(names) - NAMED:,} more: see images.csv", err=True)


def _print_low_confidence(images: list[dict[str, Any]]) -> None:
    if not images:
        return
    count = _count(len(images), "image")
    typer.secho(
        f"Low confidence in {count}, check these first (median score):", err=True, fg="yellow"
    )
    for each in images[:NAMED]:
        name = f"{each['path']} {each['plane']}".rstrip()
        typer.echo(f"  {name} ({each['median_score']:.2f})", err=True)
    if len(images) > NAMED:
        typer.echo(f"  and {len(images) - NAMED:,} more: see images.csv", err=True)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _nuclei(number: int) -> str:
    return "1 nucleus" if number == 1 else f"{number:,} nuclei"


def _time(seconds: float) -> str:
    minutes, seconds = divmod(seconds, 60)
    if not minutes:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02.0f} s"


def _rate(images: int, seconds: float) -> str:
    """Images per second, or the time per image if that is slow."""
    each = seconds / images
    return f"{1 / each:.1f} images/s" if each < 1 else f"{_time(each)} per image"
