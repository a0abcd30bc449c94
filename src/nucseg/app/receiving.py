"""What requests have in common: their session, and the files that they bring."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from nucseg.app.engine import Engine
from nucseg.app.room import BusyError, SessionOverError
from nucseg.app.sessions import OpenImage, Session
from nucseg.app.uploads import check_size


def engine_of(request: Request) -> Engine:
    """Get what all requests share."""
    engine: Engine = request.app.state.engine
    return engine


def cookie_name(request: Request) -> str:
    """Name of the cookie; browsers send it to all ports, so that the port is in the name."""
    return f"nucseg-{request.url.port or 80}"


def session_of(request: Request) -> Session:
    """Session of the browser that asks.

    Raises
    ------
    SessionOverError
        It has none, or it is over.
    """
    session = engine_of(request).sessions.get(request.cookies.get(cookie_name(request)))
    if session is None:
        raise SessionOverError
    return session


SharedEngine = Annotated[Engine, Depends(engine_of)]
OwnSession = Annotated[Session, Depends(session_of)]


def image_of(image: str, session: OwnSession) -> OpenImage:
    """Image that a request is about.

    Raises
    ------
    HTTPException
        The session has no such image.
    """
    try:
        return session.image(image)
    except KeyError as error:
        raise HTTPException(404, "There is no such image in this session.") from error


OwnImage = Annotated[OpenImage, Depends(image_of)]


async def receive(request: Request, path: Path, session: Session) -> None:
    """Write the body of a request to a file, as it comes in.

    Its room is taken before it is read, so that files that come at the same time cannot take more
    together than there is.

    Parameters
    ----------
    request : Request
    path : Path
    session : Session

    Raises
    ------
    TooLargeError
        It is larger than a file may be, or than the room that is left; nothing stays.
    BusyError
        There is no room among all sessions or on the disk.
    SessionOverError
        The session has ended meanwhile.
    """
    stated = request.headers.get("content-length", "")
    held = int(stated) if stated.isdecimal() else 0
    check_size(held, session.settings, path.name)
    size = 0
    try:
        session.share.hold(path, held)
        with path.open("wb") as file:
            async for piece in request.stream():
                size += len(piece)
                check_size(size, session.settings, path.name)
                if size > held:  # its length was not stated
                    session.share.hold(path, size)
                file.write(piece)
        session.share.settle(path)
    except BaseException as error:
        path.unlink(missing_ok=True)
        with suppress(SessionOverError):
            session.share.settle(path)
        if isinstance(error, OSError):
            raise BusyError(f"{path.name} cannot be written here: {error.strerror}.") from error
        raise
