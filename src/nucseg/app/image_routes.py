"""Routes for images: upload, segment, show, edit, download."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from nucseg.app.class_routes import FILE
from nucseg.app.command import as_line, differences, segment_arguments
from nucseg.app.document import Document
from nucseg.app.labels import runs
from nucseg.app.picture import png
from nucseg.app.receiving import (
    OwnImage,
    OwnSession,
    SharedEngine,
    image_of,
    receive,
)
from nucseg.app.replies import of_image, of_nuclei, of_step
from nucseg.app.requests import Chosen, Download, Edit, ImageRun
from nucseg.app.results import write_results
from nucseg.app.sessions import OpenImage
from nucseg.app.uploads import safe_name
from nucseg.errors import InputError

router = APIRouter(prefix="/api")

_BINARY = "application/octet-stream"


@router.post("/images")
async def upload(
    request: Request,
    engine: SharedEngine,
    session: OwnSession,
    name: str = Query(min_length=1, max_length=1000),
) -> dict[str, Any]:
    """Receive an image file, the body of the request, and add it to the list."""
    with session.new_image(safe_name(name)) as path:
        await receive(request, path, session)
        return of_image(await run_in_threadpool(engine.open, session, path))


@router.post("/samples/{name}")
def add_sample(name: str, engine: SharedEngine, session: OwnSession) -> dict[str, Any]:
    """Add a synthetic sample image to the list."""
    return of_image(engine.add_sample(session, name))


@router.delete("/images/{image}")
def remove(image: str, session: OwnSession) -> dict[str, Any]:
    """Delete an image."""
    session.remove(image_of(image, session).id)
    return {}


@router.post("/images/{image}/segment")
def segment(
    image: OwnImage, run: ImageRun, engine: SharedEngine, session: OwnSession
) -> dict[str, Any]:
    """Run inference on an image."""
    with image.lock:
        return of_nuclei(image, engine.segment(session, image, run))


@router.get("/images/{image}")
def nuclei(image: OwnImage) -> dict[str, Any]:
    """Return the nuclei of a segmented image."""
    with image.lock:
        return of_nuclei(image, _document(image))


@router.get("/images/{image}/picture")
def picture(image: OwnImage) -> Response:
    """Return a picture of the plane and channel that were segmented."""
    with image.lock:
        return Response(png(_document(image).image()), media_type="image/png")


@router.get("/images/{image}/labels")
def labels(image: OwnImage) -> Response:
    """Return the label image, encoded as runs."""
    with image.lock:
        return Response(runs(_document(image).labels()).tobytes(), media_type=_BINARY)


@router.post("/images/{image}/edits")
def edit(image: OwnImage, wanted: Edit) -> dict[str, Any]:
    """Edit nuclei by hand."""
    with image.lock:
        document = _document(image)
        step = document.edit(
            wanted.kind, number=wanted.number, points=wanted.points, radius=wanted.radius
        )
        return of_step(document, step)


@router.post("/images/{image}/history/{way}")
def history(image: OwnImage, way: Literal["undo", "redo"]) -> dict[str, Any]:
    """Undo the last change, or redo it."""
    with image.lock:
        document = _document(image)
        return of_step(document, document.undo() if way == "undo" else document.redo())


@router.post("/images/{image}/command")
def command(
    image: OwnImage, chosen: Chosen, engine: SharedEngine, session: OwnSession
) -> dict[str, Any]:
    """Return the command line that gives the same results."""
    classifier, _ = session.marking.classifier(session.images)
    document, run = _document(image), image.run or ImageRun()
    card = engine.model.card
    arguments = segment_arguments(
        [image.path.name],
        card,
        run,
        chosen.filters,
        model=engine.settings.model,
        formats=chosen.formats,
        pixel_size=chosen.pixel_size,
        classes=FILE if classifier else None,
    )
    told = differences(
        card,
        chosen.filters,
        edited=document.edited,
        plane=run.plane,
        sample=image.sample,
        pixel_size=chosen.pixel_size,
    )
    if classifier:
        told.append(f"Save the classes as {FILE} first.")
    return {"command": as_line(arguments), "notes": told}


@router.post("/results")
def results(wanted: Download, engine: SharedEngine, session: OwnSession) -> FileResponse:
    """Return a zip file with the requested results of images."""
    pairs = [(image_of(each.image, session), each) for each in wanted.images]
    path = session.new_place("nucseg-results.zip")
    try:
        classifier, _ = session.marking.classifier(session.images)
        card = engine.model.card
        share, to_train = session.share, wanted.to_train
        write_results(path, pairs, wanted.formats, card, share, classifier, to_train=to_train)
        session.share.settle(path.parent)
    except BaseException:
        session.delete(path.parent)
        raise
    return FileResponse(
        path, filename=path.name, background=BackgroundTask(session.delete, path.parent)
    )


def _document(image: OpenImage) -> Document:
    if image.document is None:
        raise InputError(f"{image.path.name} is not segmented yet.")
    return image.document
