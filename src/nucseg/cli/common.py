"""Shared by the commands: errors as short messages, options from settings, progress bars."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError
from typer.core import TyperGroup

from nucseg.errors import InputError, NucsegError

USAGE_ERROR = 2

SettingsT = TypeVar("SettingsT", bound=BaseModel)


class ErrorsAsMessages(TyperGroup):
    """A command group that prints nucseg errors without a traceback, unless debugging."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; exit with 2 if the input, the options or the output are invalid."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever read the output has seen enough
            raise
        except (NucsegError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            typer.secho(f"Error: {_message(error)}", err=True, fg="red")
            raise typer.Exit(USAGE_ERROR) from error


def _message(error: NucsegError | OSError) -> str:
    """Message of an error, also of system errors such as a folder without permission."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"Cannot use {error.filename}: {error.strerror}. Check the path and its permissions."
    return str(error)


def option(settings: type[BaseModel], field: str, *names: str, **changes: Any) -> Any:
    """Typer option whose help text and shown default come from a field of the settings."""
    held = settings.model_fields[field]
    several = isinstance(held.default, tuple)
    shown: str | bool = ", ".join(map(str, held.default)) if several else str(held.default)
    if held.default is None or isinstance(held.default, bool):
        shown = held.default is True  # Typer then names the option that is meant
    options = {"show_default": shown, **changes}
    return typer.Option(*names, help=held.description, **options)


def default(settings: type[BaseModel], field: str) -> Any:
    """Return the default of a field of the settings."""
    return settings.model_fields[field].default


def checked(settings: type[SettingsT], values: Mapping[str, Any]) -> SettingsT:
    """Make settings of the values of options.

    Raises
    ------
    InputError
        A value is out of bounds; the message names its option.
    """
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:  # of several options
            raise InputError(f"{message}.") from error
        name = "--" + ".".join(str(part) for part in first["loc"]).replace("_", "-")
        raise InputError(f"Wrong value of {name}: {message}.") from error


def show_log(*, debug: bool) -> None:
    """Send nucseg's log to standard error: warnings, or everything when debugging."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("nucseg").setLevel(logging.DEBUG if debug else logging.INFO)
    if not debug:
        # It logs every irregularity of a file; nucseg raises errors for those that matter.
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)


class ProgressDisplay:
    """Progress bars on standard error with count, rate and time left, and lines above them.

    A bar appears with the first report of its step, so that an error before leaves none.
    """

    def __enter__(self) -> ProgressDisplay:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", style="progress.data.speed"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            # Steps may be a minute apart; the time left follows from those of this long.
            speed_estimate_period=600,
        )
        self._tasks: dict[str, Any] = {}
        self._bars.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bars.stop()

    def progress(self, what: str, done: float, total: int) -> None:
        """Show how far a step is."""
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total, rate="")
        task = self._tasks[what]
        self._bars.update(task, completed=done, total=total)
        self._bars.update(task, rate=_rate(self._bars.tasks[task].speed))

    def line(self, text: str) -> None:
        """Write a line above the bars."""
        self._bars.console.print(text, highlight=False, soft_wrap=True)


def _rate(a_second: float | None) -> str:
    """Rate per second or, if that is slow, seconds for each."""
    if not a_second:
        return ""
    return f"{a_second:.1f}/s" if a_second >= 1 else f"{1 / a_second:.1f} s each"


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[float, int], None]]:
    """Show one progress bar.

    Yields
    ------
    callable
        ``progress(done, total)``.
    """
    with ProgressDisplay() as display:
        yield lambda done, total: display.progress(label, done, total)
