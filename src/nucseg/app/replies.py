"""Responses to the page, as values that JSON can represent."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg import __version__
from nucseg.app.document import Document, Step
from nucseg.app.engine import Engine
from nucseg.app.labels import runs
from nucseg.app.results import pixel_size_of
from nucseg.app.sessions import OpenImage, Session
from nucseg.app.uploads import UPLOAD_SUFFIXES
from nucseg.config import Segmenting
from nucseg.datasets.synthetic import SAMPLES
from nucseg.export import FORMATS
from nucseg.inference.confidence import Confidence
from nucseg.measure import Columns

# Number of digits that the page can show.
_DIGITS = 6


def of_session(engine: Engine, session: Session) -> dict[str, Any]:
    """Return all that the page needs to start, or to continue after a reload."""
    card, settings = engine.model.card, engine.settings
    return {
        "version": __version__,
        "model": {"name": card.name, "description": card.description},
        "takes_diameter": card.preprocessing.size is None,
        "filters": engine.filters.model_dump(),
        "formats": [
            {
                "name": each.name,
                "description": each.description,
                "default": each.name in Segmenting().save,
            }
            for each in FORMATS.values()
        ],
        "samples": list(SAMPLES),
        "suffixes": sorted(UPLOAD_SUFFIXES),
        "limits": settings.model_dump(include={"max_upload", "max_images", "max_batch", "idle"}),
        "images": [of_image(image) for image in session.images.values()],
        "batch": session.batch.report() if session.batch else None,
    }


def of_image(image: OpenImage) -> dict[str, Any]:
    """Describe an image in the list."""
    return {
        "id": image.id,
        "name": image.path.name,
        "channels": image.contents.channels,
        "channel": image.contents.channel,
        "planes": image.contents.planes,
        "run": image.run.model_dump() if image.run else None,
    }


def of_nuclei(image: OpenImage, document: Document) -> dict[str, Any]:
    """Describe the nuclei of an image."""
    return {
        "shape": list(document.shape),
        "found": document.found,
        "seconds": round(image.seconds, 3),
        "pixel_size": pixel_size_of(image, None),
        "confidence": _of_confidence(document.confidence),
        "columns": of_columns(document.table),
        "image": of_image(image),
        **_history(document),
    }


def _of_confidence(found: Confidence | None) -> dict[str, Any]:
    """Describe the confidence of the model in the image, and the scale of inference."""
    if found is None:
        return {"median_score": None, "warnings": []}
    return {
        "median_score": found.median_score,
        "scale": found.view.scale,
        "scale_source": found.view.source,
        "diameter": found.view.diameter,
        "warnings": found.warnings(),
    }


def of_step(document: Document, step: Step) -> dict[str, Any]:
    """Describe what a manual edit changes on the page."""
    change = step.change
    height, width = change.after.shape
    return {
        "removed": change.removed,
        "columns": of_columns(step.added),
        "window": [change.row, change.column, height, width],
        "runs": runs(change.after).tolist(),
        **_history(document),
    }


def of_columns(table: Columns) -> dict[str, list[Any]]:
    """Return the columns of a table; undefined values are null."""
    return {name: _values(values) for name, values in table.items()}


def _values(values: npt.NDArray[Any]) -> list[Any]:
    if values.dtype.kind != "f":
        return list(values.tolist())
    return [_rounded(value) for value in values.astype(np.float64).tolist()]


def _rounded(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _history(document: Document) -> dict[str, Any]:
    return {
        "edited": document.edited,
        "can_undo": document.can_undo,
        "can_redo": document.can_redo,
    }
