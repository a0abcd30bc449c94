"""The ``nucseg`` command: its subcommands in one list."""

from __future__ import annotations

from typing import Annotated

import typer

from nucseg import __version__
from nucseg.cli.analyze import analyze
from nucseg.cli.app import app as web_app
from nucseg.cli.common import ErrorsAsMessages, show_log
from nucseg.cli.convert import convert
from nucseg.cli.data import app as data
from nucseg.cli.demo import demo
from nucseg.cli.doctor import doctor
from nucseg.cli.evaluate import evaluate
from nucseg.cli.export import export
from nucseg.cli.measure import measure
from nucseg.cli.models import models
from nucseg.cli.segment import segment
from nucseg.cli.train import train

app = typer.Typer(
    cls=ErrorsAsMessages,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nucseg {__version__}")
        raise typer.Exit


@app.callback()
def nucseg(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the full log, and tracebacks of errors.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Segment, count and measure cell nuclei in microscope images."""
    show_log(debug=debug)


app.command()(segment)
app.command()(measure)
app.command()(analyze)
app.command()(convert)
app.command()(train)
app.command()(evaluate)
app.command()(models)
app.command()(demo)
app.command("app")(web_app)
app.add_typer(data, name="data")
app.command()(export)
app.command()(doctor)


def main() -> None:
    """Run the command line."""
    app()
