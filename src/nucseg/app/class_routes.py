"""Routes for classes of nuclei: name, mark, train, save."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query, Response

from nucseg.app.marking import told
from nucseg.app.receiving import OwnSession, image_of
from nucseg.app.requests import ClassFile, ClassNames, NextNucleus, NucleusMark, ShownImage
from nucseg.app.sessions import OpenImage, Session
from nucseg.classes import Classifier, from_json, to_json
from nucseg.errors import InputError

router = APIRouter(prefix="/api/classes")

FILE = "classes.json"


@router.get("")
def classes(session: OwnSession, image: str = Query("", max_length=100)) -> dict[str, Any]:
    """Return classes, marks and accuracy; for an image, the class of each nucleus."""
    return _told(session, image)


@router.post("/names")
def name(wanted: ClassNames, session: OwnSession) -> dict[str, Any]:
    """Name the classes."""
    session.marking.name([(each.id, each.name.strip()) for each in wanted.classes])
    return _told(session, wanted.image)


@router.post("/marks")
def mark(wanted: NucleusMark, session: OwnSession) -> dict[str, Any]:
    """Mark a nucleus, or remove its mark."""
    image = image_of(wanted.image, session)
    session.marking.mark(image, wanted.number, wanted.kind)
    return _told(session, wanted.image)


@router.post("/undo")
def undo(wanted: ShownImage, session: OwnSession) -> dict[str, Any]:
    """Undo the last mark."""
    session.marking.undo()
    return _told(session, wanted.image)


@router.post("/next")
def uncertain(wanted: NextNucleus, session: OwnSession) -> dict[str, Any]:
    """Find the nucleus with the most uncertain class."""
    found = session.marking.uncertain(
        _images(session), _classifier(session), wanted.filters, wanted.seen
    )
    image, number = found or (None, 0)
    return {"image": image and image.id, "number": number}


@router.get("/file")
def file(session: OwnSession) -> Response:
    """Return the file of the classes, for ``nucseg segment --classes``."""
    return Response(to_json(_classifier(session)), media_type="application/json")


@router.post("/file")
def load(wanted: ClassFile, session: OwnSession) -> dict[str, Any]:
    """Load classes from a file; they replace those of the session and their marks."""
    session.marking.load(from_json(wanted.text, wanted.name))
    return _told(session, wanted.image)


def _told(session: Session, image: str) -> dict[str, Any]:
    shown = image_of(image, session) if image else None
    return told(session.marking, session.images, shown)


def _images(session: Session) -> list[OpenImage]:
    return list(session.images.values())


def _classifier(session: Session) -> Classifier:
    classifier, lacking = session.marking.classifier(session.images)
    if classifier is None:
        raise InputError(f"Nothing is learned yet. {lacking}")
    return classifier
