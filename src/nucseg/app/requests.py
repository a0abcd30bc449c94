"""Requests of the page: validated before anything is done."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nucseg.config import PIXEL_SIZES, Filtering, Frozen, Reading

Coordinate = Annotated[float, Field(ge=-1e7, le=1e7)]
Path2D = Annotated[list[tuple[Coordinate, Coordinate]], Field(max_length=100_000)]
Formats = Annotated[tuple[str, ...], Field(max_length=20)]


class Request(Frozen, defer_build=False):
    """A request of a page; the model is built on import, because FastAPI needs all at once."""


class NetworkRun(Reading, defer_build=False):
    """Settings of inference: choices that require a new run."""

    tta: bool = Field(False, description="Average over turned and mirrored images.")
    diameter: float | None = Field(None, gt=0, description="Of typical nuclei, in pixels.")


class ImageRun(NetworkRun):
    """Inference on a plane of an image."""

    plane: str = Field("", max_length=200, description="Which; the first where empty.")


class Edit(Request):
    """A manual edit, see `nucseg.app.document.Document.edit`."""

    kind: Literal["delete", "draw", "split", "merge", "brush", "erase"]
    number: int = Field(0, ge=0, le=2**31 - 1)
    points: Path2D = Field(default_factory=list)
    radius: float = Field(0, ge=0, le=500, description="Of a brush, in pixels.")


class Chosen(Request):
    """Filters and, to save results, the formats and the pixel size."""

    filters: Filtering
    formats: Formats = ()
    pixel_size: float | None = Field(
        None, ge=PIXEL_SIZES[0], le=PIXEL_SIZES[1], description="Micrometres from pixel to pixel."
    )


class Wanted(Request):
    """An image whose results are requested."""

    image: str = Field(max_length=100)
    filters: Filtering
    pixel_size: float | None = Field(None, ge=PIXEL_SIZES[0], le=PIXEL_SIZES[1])


class Download(Request):
    """Results of images, as a zip file."""

    images: Annotated[list[Wanted], Field(min_length=1, max_length=10_000)]
    formats: Formats
    to_train: bool = Field(False, description="Images too, in the layout that training reads.")


class NamedClass(Request):
    """A class of nuclei."""

    id: int = Field(ge=1, le=2**31 - 1)
    name: str = Field(max_length=200)


class ShownImage(Request):
    """The image whose nuclei the page shows; none if empty."""

    image: str = Field("", max_length=100)


class ClassNames(ShownImage):
    """The classes of the session."""

    classes: Annotated[list[NamedClass], Field(max_length=20)]


class ClassFile(ShownImage):
    """A saved file of classes."""

    name: str = Field("classes.json", max_length=200)
    text: str = Field(max_length=1_000_000)


class NucleusMark(ShownImage):
    """A nucleus that is marked with a class, or whose mark is removed."""

    number: int = Field(ge=1, le=2**31 - 1)
    kind: int | None = Field(None, description="Id of the class; none takes the mark away.")


class NextNucleus(Request):
    """A request for an uncertain nucleus that was not shown already."""

    filters: Filtering
    seen: Annotated[list[tuple[str, int]], Field(max_length=10_000, default_factory=list)]


class BatchStart(NetworkRun):
    """A run of ``nucseg segment`` on the files of a batch."""

    filters: Filtering
    formats: Formats
    resume: bool = Field(False, description="Go on with a run that was cancelled.")
