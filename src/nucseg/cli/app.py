"""``nucseg app``: the web app."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from nucseg.cli.common import checked, default, option
from nucseg.config import App
from nucseg.errors import MissingExtraError


def app(
    host: Annotated[str, option(App, "host")] = default(App, "host"),
    port: Annotated[int, option(App, "port")] = default(App, "port"),
    model: Annotated[str, option(App, "model", metavar="NAME|PATH")] = default(App, "model"),
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
    idle: Annotated[float, option(App, "idle", metavar="SECONDS")] = default(App, "idle"),
) -> None:
    """Look at images, correct and measure nuclei in the browser, on this computer.

    Images are sent to no other computer. They lie in a temporary folder, and are deleted when the
    session or the app ends. Stop it with Ctrl-C.

    **Examples**

        nucseg app
        nucseg app --port 0 --model my_run
    """
    settings = checked(
        App,
        {
            "host": host,
            "port": port,
            "model": model,
            "max_upload": max_upload,
            "max_pixels": max_pixels,
            "max_images": max_images,
            "max_batch": max_batch,
            "max_session": max_session,
            "idle": idle,
        },
    )
    try:
        from nucseg.app import serving
    except ModuleNotFoundError as error:
        raise MissingExtraError("The web app", "app") from error
    from nucseg.inference.loading import load_model

    loaded = load_model(model)
    with serving.listen(settings) as listening:
        serving.warm_up(loaded)
        typer.echo(f"nucseg app is at {serving.address(listening)} - stop it with Ctrl-C.")
        if serving.is_open_to_others(listening):
            typer.secho(
                f"Anyone who can reach {host} can use it: it asks for no password.",
                err=True,
                fg="yellow",
            )
        with suppress(KeyboardInterrupt):
            serving.serve(loaded, settings, listening, browser=not no_browser)
