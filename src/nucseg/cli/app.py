"""``nucseg app``: the web app."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from nucseg.cli.common import checked, default, option
from nucseg.config import App, Device, Precision, Segmenting
from nucseg.errors import MissingExtraError

if TYPE_CHECKING:
    import socket


def app(
    host: Annotated[str, option(App, "host")] = default(App, "host"),
    port: Annotated[int, option(App, "port")] = default(App, "port"),
    model: Annotated[str, option(App, "model", metavar="NAME|PATH")] = default(App, "model"),
    device: Annotated[Device, option(Segmenting, "device")] = "auto",
    precision: Annotated[Precision, option(Segmenting, "precision")] = "auto",
    token: Annotated[
        str | None, option(App, "token", envvar="NUCSEG_TOKEN", metavar="WORD", show_default=False)
    ] = default(App, "token"),
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Do not open the page in a browser.")
    ] = False,
    max_upload: Annotated[float, option(App, "max_upload", metavar="MB")] = default(
        App, "max_upload"
    ),
    max_pixels: Annotated[float, option(App, "max_pixels", metavar="MEGAPIXELS")] = default(
        App, "max_pixels"
    ),
    max_images: Annotated[int, option(App, "max_images")] = default(App, "max_images"),
    max_batch: Annotated[int, option(App, "max_batch")] = default(App, "max_batch"),
    max_session: Annotated[float, option(App, "max_session", metavar="MB")] = default(
        App, "max_session"
    ),
    max_sessions: Annotated[int, option(App, "max_sessions")] = default(App, "max_sessions"),
    max_total: Annotated[float, option(App, "max_total", metavar="MB")] = default(App, "max_total"),
    idle: Annotated[float, option(App, "idle", metavar="SECONDS")] = default(App, "idle"),
) -> None:
    """View images, and correct and measure nuclei in the browser, on this computer.

    Images are not sent to other computers. They are stored in a temporary folder, and deleted when
    the session or the app ends. Press Ctrl-C to stop the app.

    **Examples**

        nucseg app
        nucseg app --port 0 --model my_run
        nucseg app --host 0.0.0.0 --no-browser
    """
    settings = checked(
        App,
        {
            "host": host,
            "port": port,
            "model": model,
            "token": token,
            "max_upload": max_upload,
            "max_pixels": max_pixels,
            "max_images": max_images,
            "max_batch": max_batch,
            "max_session": max_session,
            "max_sessions": max_sessions,
            "max_total": max_total,
            "idle": idle,
        },
    )
    try:
        from nucseg.app import serving
    except ModuleNotFoundError as error:
        raise MissingExtraError("The web app", "app") from error
    from nucseg.inference.loading import load_model

    loaded = load_model(model, device=device, precision=precision)
    with serving.listen(settings) as listening:
        settings = serving.secured(settings, listening)
        serving.warm_up(loaded)
        _announce(listening, settings.token)
        with suppress(KeyboardInterrupt):
            serving.serve(loaded, settings, listening, browser=not no_browser)


def _announce(listening: socket.socket, token: str | None) -> None:
    """Print the address of the page, for this computer and for others that may open it."""
    from nucseg.app import serving

    typer.echo(f"nucseg app is at {serving.address(listening, token)} - stop it with Ctrl-C.")
    if serving.is_open_to_others(listening):
        there = serving.address(listening, token, outside=True)
        typer.echo(f"From other computers: {there}")
        typer.secho(
            "Anyone with this address can use the app. The connection is not encrypted: use it "
            "only in a trusted network.",
            err=True,
            fg="yellow",
        )
