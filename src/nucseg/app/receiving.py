"""Common parts of requests: their session, and uploaded files."""

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
    """Return the state that all requests share."""
    engine: Engine = request.app.state.engine
    return engine


def cookie_name(request: Request) -> str:
    """Return the name of the cookie; it contains the port, because browsers ignore ports."""
    return f"nucseg-{request.url.port or 80}"


def session_of(request: Request) -> Session:
    """Return the session of the browser.

    Raises
    ------
    SessionOverError
        The browser has no session, or it has ended.
    """
    session = engine_of(request).sessions.get(request.cookies.get(cookie_name(request)))
    if session is None:
        raise SessionOverError
    return session


SharedEngine = Annotated[Engine, Depends(engine_of)]
OwnSession = Annotated[Session, Depends(session_of)]


def image_of(image: str, session: OwnSession) -> OpenImage:
    """Return the image of a request.

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
    """Stream the body of a request to a file.

    Space is reserved before the body is read, so that simultaneous uploads cannot use more than
    the available space.

    Parameters
    ----------
    request : Request
    path : Path
    session : Session

    Raises
    ------
    TooLargeError
        The file is larger than permitted, or than the free space; nothing is kept.
    BusyError
        There is no free space among all sessions or on the disk.
    SessionOverError
        The session has ended during the upload.
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
                if size > held:  # the request declared no length
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
