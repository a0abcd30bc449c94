"""State that all requests share: the model, the settings, the sessions."""

from __future__ import annotations

import io
import secrets
import threading
import time
from pathlib import Path

from PIL import Image

from nucseg.app.document import Document
from nucseg.app.requests import ImageRun, NetworkRun
from nucseg.app.sessions import OpenImage, Session, Sessions
from nucseg.app.uploads import Contents, check_pixels, contents, told_by_name
from nucseg.config import App, Filtering
from nucseg.datasets.synthetic import sample_image
from nucseg.errors import InputError
from nucseg.images import open_image, read_plane
from nucseg.inference.segmenter import Model

# Bytes per pixel of the label image and the probability map.
_BYTES_OF_RESULTS = 8


class Engine:
    """Model, settings and sessions.

    Parameters
    ----------
    model : Model
    settings : App
    root : Path
        Folder for the files of the sessions.

    Attributes
    ----------
    filters : Filtering
        Filters of the model, with which results equal those of `Model.segment`.
    """

    def __init__(self, model: Model, settings: App, root: Path) -> None:
        self.model = model
        self.settings = settings
        self.sessions = Sessions(root, settings)
        post = model.card.postprocessing
        self.filters = Filtering(**{name: getattr(post, name) for name in Filtering.model_fields})
        # The minimum area is used in finding nuclei; the other filters are applied later.
        self._all = model.with_postprocessing(min_score=0.0, max_area=None, border_nuclei="keep")
        # Each run uses all threads.
        self._network = threading.Lock()

    def open(self, session: Session, path: Path) -> OpenImage:
        """Open a received file and add it to the list of a session.

        Raises
        ------
        InputError, MissingExtraError
            The file cannot be opened.
        """
        image = OpenImage(secrets.token_hex(8), path, contents(path, self.settings))
        session.add(image)
        return image

    def add_sample(self, session: Session, name: str) -> OpenImage:
        """Add a synthetic sample image to the list of a session.

        Raises
        ------
        InputError
            The sample does not exist, there are too many images, or there is no space.
        """
        pixels = sample_image(name)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        with session.new_image(f"{name}.png") as path:
            session.share.hold(path.parent, len(file.getvalue()))
            path.write_bytes(file.getvalue())
            about = contents(path, self.settings)
            image = OpenImage(secrets.token_hex(8), path, about, sample=True)
            session.add(image)
        return image

    def adapted(self, run: NetworkRun, *, filters: Filtering | None = None) -> Model:
        """Return the model with the settings of a run; without filters it returns all nuclei.

        Raises
        ------
        InputError
            The model does not accept a diameter.
        """
        model = self._all
        if filters is not None:
            model = self.model.with_postprocessing(**filters.model_dump())
        if run.diameter is not None:
            model = model.with_diameter(run.diameter)
        return model.with_tta() if run.tta else model

    def segment(self, session: Session, image: OpenImage, run: ImageRun) -> Document:
        """Run inference on a plane of an image; manual edits are lost.

        Raises
        ------
        InputError, MissingExtraError, ModelError
            As in `nucseg.images.open_image` and `Model.segment`, or the plane does not exist.
        """
        model = self.adapted(run)
        with image.lock, told_by_name(image.path), self._network:
            start = time.perf_counter()
            sources = open_image(image.path, channel=run.channel, project=run.project)
            image.contents = Contents(
                image.contents.channels,
                image.contents.channel,
                [source.plane for source in sources],
            )
            run = run.model_copy(update={"plane": run.plane or sources[0].plane})
            chosen = [source for source in sources if source.plane == run.plane]
            if not chosen:
                raise InputError(
                    f"{image.path.name} has no plane {run.plane!r}. Choose one of "
                    f"{', '.join(source.plane for source in sources)}."
                )
            check_pixels(chosen, self.settings, image.path.name)
            read = read_plane(chosen[0])
            pixels = read.pixels
            rows, columns = pixels.shape[:2]
            session.share.hold(image.folder, pixels.nbytes + _BYTES_OF_RESULTS * rows * columns)
            try:
                document = Document(image.folder, model.segment(pixels, pixel_size=read.pixel_size))
            finally:
                session.share.settle(image.folder)
            image.document, image.run = document, run
            image.pixel_size = read.pixel_size
            image.seconds = time.perf_counter() - start
        return document
