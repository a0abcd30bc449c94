"""What requests have in common: their session, and the files that they bring."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from nucseg.app.engine import Engine
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
    HTTPException
        It has none, or it is over.
    """
    session = engine_of(request).sessions.get(request.cookies.get(cookie_name(request)))
    if session is None:
        raise HTTPException(401, "Your session has ended, and its files are deleted.")
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

    Parameters
    ----------
    request : Request
    path : Path
    session : Session

    Raises
    ------
    TooLargeError
        It is larger than a file may be, or than the room that is left; nothing stays.
    """
    room = await run_in_threadpool(session.room)
    size = int(request.headers.get("content-length", 0))
    _check(size, path, session, room)
    size = 0
    try:
        with path.open("wb") as file:
            async for piece in request.stream():
                size += len(piece)
                _check(size, path, session, room)
                file.write(piece)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _check(size: int, path: Path, session: Session, room: int) -> None:
    check_size(size, session.settings, path.name)
    session.check_room(size, room)


def delete_folder(path: Path) -> None:
    """Delete a folder with all that is in it."""
    shutil.rmtree(path, ignore_errors=True)
