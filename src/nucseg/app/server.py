"""The server of the web app."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from nucseg.app import batch_routes, class_routes, image_routes
from nucseg.app.engine import Engine
from nucseg.app.guard import Guard, token_for
from nucseg.app.receiving import OwnSession, SharedEngine, cookie_name
from nucseg.app.replies import of_session
from nucseg.app.room import BusyError, SessionOverError
from nucseg.app.uploads import TooLargeError
from nucseg.config import App
from nucseg.errors import NucsegError
from nucseg.inference.segmenter import Model

STATIC = Path(__file__).parent / "static"
# Seconds between two searches for idle sessions.
_LOOK = 30.0
# The framework can send requests, with their contents, to collectors of traces.
_NO_TELEMETRY: dict[str, bool] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}

logger = logging.getLogger(__name__)


def create_app(model: Model, settings: App | None = None, *, bound: str | None = None) -> FastAPI:
    """Create the web app.

    Its files are stored in a temporary folder, created at the start and deleted at the stop.

    Parameters
    ----------
    model : Model
    settings : App, optional
    bound : str, optional
        Address of the server, if ``settings.host`` is a name that may have several.

    Returns
    -------
    FastAPI
        An ASGI application; `nucseg app` serves it. If other computers can reach
        ``settings.host``, it answers only requests with ``settings.token``.
    """
    settings = settings or App()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        root = Path(tempfile.mkdtemp(prefix="nucseg-app-"))
        engine = app.state.engine = Engine(model, settings, root)
        watching = asyncio.create_task(_end_idle(engine))
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await run_in_threadpool(engine.sessions.close)
            shutil.rmtree(root, ignore_errors=True)

    options: dict[str, Any] = {"telemetry": _NO_TELEMETRY}
    # The pages of the API documentation would load scripts from other hosts.
    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None, **options)
    token = token_for(bound or settings.host, settings.token)
    app.add_middleware(Guard, host=settings.host, token=token)
    app.include_router(image_routes.router)
    app.include_router(batch_routes.router)
    app.include_router(class_routes.router)
    app.get("/")(_page)
    app.post("/api/session")(_begin)
    app.get("/api/session")(_keep)
    app.delete("/api/session")(_end)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.exception_handler(NucsegError)(_refused)
    app.exception_handler(RequestValidationError)(_malformed)
    app.exception_handler(HTTPException)(_not_found)
    app.exception_handler(Exception)(_unforeseen)
    return app


async def _end_idle(engine: Engine) -> None:
    while True:
        await asyncio.sleep(min(_LOOK, engine.settings.idle / 2))
        await run_in_threadpool(engine.sessions.end_idle)


async def _page() -> FileResponse:
    return FileResponse(STATIC / "index.html")


def _begin(request: Request, response: Response, engine: SharedEngine) -> dict[str, Any]:
    """Continue the session of the browser, or start one."""
    name = cookie_name(request)
    session = engine.sessions.get(request.cookies.get(name))
    if session is None:
        token, session = engine.sessions.create()
        response.set_cookie(name, token, httponly=True, samesite="strict")
    return of_session(engine, session)


def _keep(session: OwnSession) -> dict[str, Any]:
    """Keep the session: the page is open."""
    return {"images": len(session.images)}


def _end(
    request: Request, response: Response, session: OwnSession, engine: SharedEngine
) -> dict[str, Any]:
    """End the session and delete all its files."""
    name = cookie_name(request)
    engine.sessions.end(request.cookies[name])
    response.delete_cookie(name, httponly=True, samesite="strict")
    return {"deleted": len(session.images)}


def _refused(_request: Request, error: Exception) -> JSONResponse:
    statuses = {TooLargeError: 413, BusyError: 503, SessionOverError: 401}
    return _told(statuses.get(type(error), 422), str(error))


def _malformed(_request: Request, error: Exception) -> JSONResponse:
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    place = ".".join(str(part) for part in first.get("loc", ())[1:])
    return _told(422, f"Unusable value of {place or 'the request'}: {first.get('msg')}.")


def _not_found(_request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _told(status, error.detail if isinstance(error, HTTPException) else "")


def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _told(
        500,
        f"Something unforeseen went wrong ({type(error).__name__}). The terminal in which nucseg "
        "app runs tells more.",
    )


def _told(status: int, error: str) -> JSONResponse:
    return JSONResponse({"error": error}, status_code=status)
