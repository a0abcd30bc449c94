"""Listening and serving, until it is interrupted."""

from __future__ import annotations

import ipaddress
import socket
import webbrowser

import numpy as np
import uvicorn

from nucseg.app.server import create_app
from nucseg.config import App
from nucseg.errors import InputError
from nucseg.inference.segmenter import Model

# Seconds that requests have to end at a stop.
_GRACE = 3


def listen(settings: App) -> socket.socket:
    """Take the address and the port.

    Raises
    ------
    InputError
        The port is in use, or the address is none of this computer.
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


def address(listening: socket.socket) -> str:
    """Address of the page, for a browser on this computer."""
    host, port = listening.getsockname()[:2]
    place = ipaddress.ip_address(host)
    if place.is_unspecified:
        return f"http://localhost:{port}/"
    return f"http://[{host}]:{port}/" if place.version == 6 else f"http://{host}:{port}/"


def is_open_to_others(listening: socket.socket) -> bool:
    """Whether other computers can reach it."""
    return not ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def warm_up(model: Model) -> None:
    """Run the network once, since the first run takes longer."""
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
        Whether to open the page.
    """
    config = uvicorn.Config(
        create_app(model, settings),
        log_level="warning",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_GRACE,
    )
    if browser:
        # Who asks before the server is ready waits in the socket's queue.
        webbrowser.open(address(listening))
    uvicorn.Server(config).run(sockets=[listening])
