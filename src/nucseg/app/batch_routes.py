"""Routes for a batch: upload, run, report progress, cancel, download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from nucseg.app.batches import Batch
from nucseg.app.command import as_line, segment_arguments
from nucseg.app.receiving import OwnSession, SharedEngine, receive
from nucseg.app.requests import BatchStart
from nucseg.app.uploads import check_pixels, safe_name
from nucseg.config import App, Reading
from nucseg.errors import InputError, MissingExtraError
from nucseg.images import open_image

router = APIRouter(prefix="/api/batch")

# Number of files that the command line lists; for more it uses a folder.
_NAMED = 3


def batch_of(session: OwnSession) -> Batch:
    """Return the batch of the session.

    Raises
    ------
    HTTPException
        The session has no batch.
    """
    if session.batch is None:
        raise HTTPException(404, "There is no batch in this session.")
    return session.batch


OwnBatch = Annotated[Batch, Depends(batch_of)]


@router.post("")
def create(session: OwnSession) -> dict[str, Any]:
    """Create a batch; the files and results of an earlier one are deleted."""
    with session.lock:
        if session.batch is not None:
            session.batch.close()
            session.delete(session.batch.folder)
        session.batch = Batch(session.new_place("batch"), session.settings, session.share)
        return session.batch.report()


@router.post("/files")
async def upload(
    request: Request,
    session: OwnSession,
    batch: OwnBatch,
    name: str = Query(min_length=1, max_length=1000),
) -> dict[str, Any]:
    """Receive a file, the body of the request, into the batch."""
    path = batch.reserve(safe_name(name))
    try:
        await receive(request, path, session)
        await run_in_threadpool(_check, path, session.settings)
    except BaseException:
        batch.discard(path)
        raise
    return {"name": path.name}


@router.post("/start")
def start(wanted: BatchStart, engine: SharedEngine, batch: OwnBatch) -> dict[str, Any]:
    """Start the run, or resume a cancelled one."""
    shown = batch.files if len(batch.files) <= _NAMED else ["images/"]
    arguments = segment_arguments(
        shown,
        engine.model.card,
        wanted,
        wanted.filters,
        model=engine.settings.model,
        formats=wanted.formats,
        pixel_size=wanted.pixel_size,
    )
    batch.start(
        engine.adapted(wanted, filters=wanted.filters),
        formats=wanted.formats,
        reading=Reading(**wanted.model_dump(include=set(Reading.model_fields))),
        resume=wanted.resume,
        command=arguments,
    )
    notes = [] if shown == batch.files else ["Put the files in a folder images/ first."]
    return {**batch.report(), "command": as_line(arguments), "notes": notes}


@router.get("")
def report(batch: OwnBatch) -> dict[str, Any]:
    """Return the progress of the run."""
    return batch.report()


@router.post("/cancel")
def cancel(batch: OwnBatch) -> dict[str, Any]:
    """Cancel the run."""
    batch.cancel()
    return batch.report()


@router.delete("")
def delete(session: OwnSession, batch: OwnBatch) -> dict[str, Any]:
    """Cancel the run and delete its files."""
    with session.lock:
        batch.close()
        session.delete(batch.folder)
        session.batch = None
    return {}


@router.get("/results.zip")
def results(session: OwnSession, batch: OwnBatch) -> FileResponse:
    """Return a zip file with all results."""
    path = session.new_place("nucseg-batch.zip")
    try:
        batch.zip(path)
        session.share.settle(path)
    except BaseException:
        session.delete(path.parent)
        raise
    return FileResponse(
        path, filename=path.name, background=BackgroundTask(session.delete, path.parent)
    )


def _check(path: Path, settings: App) -> None:
    """Reject an image with too many pixels; one that cannot be opened fails in the run."""
    try:
        sources = open_image(path)
    except (InputError, MissingExtraError):
        return
    check_pixels(sources, settings, path.name)
