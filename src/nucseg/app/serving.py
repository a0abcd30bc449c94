"""Listen and serve until interrupted."""

from __future__ import annotations

import ipaddress
import socket
import webbrowser

import numpy as np
import uvicorn

from nucseg.app.guard import is_loopback, token_for
from nucseg.app.server import create_app
from nucseg.config import App
from nucseg.errors import InputError
from nucseg.inference.segmenter import Model

# Seconds that running requests have to finish at a stop.
_GRACE = 3


def listen(settings: App) -> socket.socket:
    """Bind the address and the port.

    Raises
    ------
    InputError
        The port is in use, or the address does not belong to this computer.
    """
    host, port = settings.host, settings.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise InputError(
            f"Cannot listen at {host}, port {port}: {error.strerror or error}. Give another --port "
            "(0 takes a free one), or another --host."
        ) from error
    return listening


def secured(settings: App, listening: socket.socket) -> App:
    """Add the token that the address needs to the settings, see `nucseg.app.guard.token_for`."""
    token = token_for(listening.getsockname()[0], settings.token)
    return settings.model_copy(update={"token": token})


def address(listening: socket.socket, token: str | None = None, *, outside: bool = False) -> str:
    """Return the address of the page.

    Parameters
    ----------
    listening : socket
        From `listen`.
    token : str, optional
        Token that the address has to contain.
    outside : bool
        Whether it is for a browser on another computer; by default it is for this computer.
    """
    host, port = listening.getsockname()[:2]
    place = ipaddress.ip_address(host)
    if place.is_unspecified:
        host = socket.gethostname() if outside else "localhost"
    elif place.version == 6:
        host = f"[{host}]"
    return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


def is_open_to_others(listening: socket.socket) -> bool:
    """Return whether other computers can reach the server."""
    return not is_loopback(listening.getsockname()[0])


def warm_up(model: Model) -> None:
    """Run the network once, because the first run takes longer."""
    model.segment(np.zeros((64, 64), np.uint8))


def serve(model: Model, settings: App, listening: socket.socket, *, browser: bool) -> None:
    """Serve the app until it is interrupted.

    Parameters
    ----------
    model : Model
    settings : App
    listening : socket
        From `listen`.
    browser : bool
        Whether to open the page in a browser.
    """
    config = uvicorn.Config(
        create_app(model, settings, bound=listening.getsockname()[0]),
        log_level="warning",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_GRACE,
    )
    if browser:
        # Requests before the server is ready wait in the socket's queue.
        webbrowser.open(address(listening, settings.token))
    uvicorn.Server(config).run(sockets=[listening])
