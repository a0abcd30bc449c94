"""The dock widget: choose an image and a model, run, filter, colour and save."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import Container
from napari.layers import Image
from napari.qt.threading import GeneratorWorkerSignals, WorkerBase
from napari.utils import cancelable_progress
from napari.utils.colormaps import DirectLabelColormap, ensure_colormap
from napari.utils.notifications import notification_manager, show_error
from qtpy.QtWidgets import QFileDialog

from nucseg.config import Filtering
from nucseg.errors import NucsegError
from nucseg.models.zoo import find_model, read_card
from nucseg.napari.fields import A_FOLDER, STEPS, actions, filters, inputs
from nucseg.napari.finding import Found, Kept, kept_nuclei
from nucseg.napari.layers import Job, channels_of, numeric, placement, relative, stack_of
from nucseg.napari.saving import save_layer

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

_OWN_COLOURS = "each its own"

Progress = Callable[[float, int], None]


class _Cancelled(Exception):  # noqa: N818 - requested by the user, not an error
    """Ends the work in a thread, between two windows."""


class _Worker(WorkerBase):
    """Runs a task in a thread; `quit` ends it at its next progress report."""

    def __init__(self, task: Callable[[Progress], Any]) -> None:
        super().__init__(SignalsClass=GeneratorWorkerSignals)
        self._task = task

    def work(self) -> Any:
        """Run the task."""
        try:
            return self._task(self._report)
        except _Cancelled:
            return None

    def _report(self, done: float, total: int) -> None:
        if self.abort_requested:
            raise _Cancelled
        self.yielded.emit(done / total)


@dataclass
class _Result:
    """Nuclei that were found, and the layer that shows them.

    napari gives plugins a new proxy of a layer each time, so layers are compared by ``==``.
    """

    job: Job
    found: Found
    kept: Kept
    layer: Labels
    own_colours: Any
    by_hand: bool = False


class SegmentWidget(Container):
    """Segment the nuclei of an image layer.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        self._viewer = napari_viewer
        self._worker: _Worker | None = None
        self._bar: Any = None
        self._result: _Result | None = None
        self._open = True
        super().__init__()
        self.extend([*inputs(self), *filters(), *actions(self)])
        self.image.changed.connect(lambda *_: self.channel.reset_choices())
        self.model.changed.connect(lambda *_: self._model_changed())
        self.model_folder.changed.connect(lambda *_: self._model_changed())
        for name in ("min_score", "min_area", "max_area", "drop_border"):
            self[name].changed.connect(lambda *_: self._filter())
        self.colour_by.changed.connect(lambda *_: self._colour())
        self.run.changed.connect(lambda *_: self._run())
        self.cancel.changed.connect(lambda *_: self._cancel())
        self.save.changed.connect(lambda *_: self._choose_folder())
        napari_viewer.layers.events.removed.connect(self._removed)
        self.native.destroyed.connect(self._closed)
        self.reset_choices()  # include layers that exist already
        self.cancel.enabled = self.save.enabled = False
        self._model_changed()

    # Choices.

    def image_layers(self, *_: object) -> list[Image]:
        """Return the image layers of the viewer, the top layer first."""
        return [layer for layer in reversed(self._viewer.layers) if isinstance(layer, Image)]

    def channel_names(self, *_: object) -> list[str]:
        """Return the channels of the selected image."""
        layer = self.image.value if len(self) else None  # while the widget is built
        return list(channels_of(layer)) if layer is not None else []

    def colourings(self, *_: object) -> list[str]:
        """Return the names of the measurements by which nuclei can be coloured."""
        return [_OWN_COLOURS, *(numeric(self._result.kept.features) if self._result else [])]

    def _model_name(self) -> str:
        chosen = self.model.value
        return str(self.model_folder.value) if chosen == A_FOLDER else str(chosen)

    def _filtering(self) -> dict[str, Any]:
        return {
            "min_score": self.min_score.value,
            "min_area": int(self.min_area.value),
            "max_area": int(self.max_area.value) or None,
            "border_nuclei": "drop" if self.drop_border.value else "keep",
        }

    def _model_changed(self) -> None:
        """Show the default filters of the model, as the command line uses them."""
        self.model_folder.visible = self.model.value == A_FOLDER
        if self.model.value == A_FOLDER and self.model_folder.value == Path():
            return
        try:
            card = read_card(find_model(self._model_name()))
        except NucsegError as error:
            self._say(str(error))
            return
        own = card.postprocessing
        values = {
            "min_score": own.min_score,
            "min_area": own.min_area,
            "max_area": own.max_area or 0,
            "drop_border": own.border_nuclei == "drop",
        }
        for name, value in values.items():
            with self[name].changed.blocked():
                self[name].value = value
        self._say(card.description)
        self._filter()

    def _job(self) -> Job:
        layer = self.image.value
        return Job(
            layer=layer,
            stack=stack_of(layer, channels_of(layer)[self.channel.value]),
            model=self._model_name(),
            max_memory=self.max_memory.value,
            diameter=self.diameter.value or None,
            filters=self._filtering(),
        )

    # Work in a thread.

    def _run(self) -> None:
        if self.image.value is None:
            self._say("Open an image first, or File > Open Sample > nucseg.")
            return
        try:
            job = self._job()
        except NucsegError as error:
            self._failed(error)
            return
        self._start(job.run, partial(self._show, job), f"Finding nuclei in {job.layer.name}")

    def _start(
        self, task: Callable[[Progress], Any], done: Callable[[Any], None], what: str
    ) -> None:
        worker = _Worker(task)
        worker.yielded.connect(self._while_open(self._progressed))
        worker.returned.connect(self._while_open(done))
        worker.errored.connect(self._while_open(self._failed))
        worker.finished.connect(self._while_open(self._finished))
        self._worker = worker
        self._bar = cancelable_progress(total=STEPS, desc=what)
        self.run.enabled = self.save.enabled = False
        self.cancel.enabled = True
        self.work.progress.value = 0
        self._say(f"{what} …")
        worker.start()

    def _while_open(self, then: Callable[..., None]) -> Callable[..., None]:
        """Return a callback that runs only while the widget exists."""

        def call(*values: Any) -> None:
            if self._open:
                then(*values)

        return call

    def _closed(self) -> None:
        self._open = False
        if self._worker is not None:
            self._worker.quit()
            self._bar.close()

    def _cancel(self) -> None:
        if self._worker is not None:
            self._worker.quit()
            self.cancel.enabled = False
            self._say("Cancelling: the window that is being looked at is the last one.")

    def _progressed(self, share: float) -> None:
        steps = round(share * STEPS)
        self.work.progress.value = steps
        bar = self._bar
        if bar is not None:
            # This processes other events, such as the end of the work.
            bar.update(steps - bar.n)
            if bar.is_canceled and self.cancel.enabled:
                self._cancel()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, NucsegError):
            show_error(str(error))
        else:
            notification_manager.receive_error(type(error), error, error.__traceback__)
        self._say(f"Failed: {error}")

    def _finished(self) -> None:
        if self._worker is not None and self._worker.abort_requested:
            self._say("Cancelled. Nothing was changed.")
        self._bar.close()
        self._worker = self._bar = None
        self.work.progress.value = 0
        self.cancel.enabled = False
        self.run.enabled = True
        self.save.enabled = self._result is not None

    # Results.

    def _show(self, job: Job, found: Found) -> None:
        kept = kept_nuclei(found, Filtering(**self._filtering()))
        before = self._result
        if before is not None and before.job.layer == job.layer and self._in_place(found):
            self._result = replace(before, job=job, found=found, kept=kept)
            self._update()
            return
        layer = self._viewer.add_labels(
            kept.labels,
            name=f"{job.layer.name} nuclei",
            features=kept.features,
            **placement(job.layer, job.stack.axes),
        )
        self._result = _Result(job, found, kept, layer, layer.colormap)
        layer.events.paint.connect(self._painted)
        self._shown()

    def _in_place(self, found: Found) -> bool:
        """Return whether the layer exists, is unedited, and can show other results."""
        result = self._result
        return (
            result is not None
            and not result.by_hand
            and result.layer.data.shape == found.labels.shape
        )

    def _removed(self, event: Any) -> None:
        """Discard the results if their layer is removed."""
        if self._open and self._result is not None and self._result.layer == event.value:
            self._result = None
            self.save.enabled = False
            self.colour_by.reset_choices()

    def _painted(self, event: Any) -> None:
        if self._result is not None and self._result.layer == event.source:
            self._result.by_hand = True

    def _filter(self) -> None:
        """Filter the nuclei that were found, without the network."""
        result = self._result
        if result is None:
            return
        kept = kept_nuclei(result.found, Filtering(**self._filtering()))
        if self._in_place(result.found):
            self._result = replace(result, kept=kept)
            self._update()
        else:
            # Edited by hand, and edits must not get lost: make a new layer.
            self._show(result.job, result.found)

    def _update(self) -> None:
        result = self._result
        if result is not None:
            result.layer.data = result.kept.labels
            result.layer.features = result.kept.features
            self._shown()

    def _shown(self) -> None:
        result = self._result
        if result is None:
            return
        count = len(result.kept.features["index"])
        found = sum(len(table["label"]) for table in result.found.tables)
        text = f"{result.job.layer.name}: {count} of {found} nuclei found"
        if result.found.pixel_size is not None:
            down, across = result.found.pixel_size
            text += f", pixels of {down:g} by {across:g} µm"
        if self.min_area.value < result.found.min_area:
            text += f". Those under {result.found.min_area} pixels come with the next run"
        self.colour_by.reset_choices()
        self._colour()
        self.save.enabled = self._worker is None
        self._say(f"{text}.")

    def _colour(self) -> None:
        result = self._result
        if result is None:
            return
        column = self.colour_by.value
        if column in (None, _OWN_COLOURS):
            result.layer.colormap = result.own_colours
            return
        features = result.kept.features
        colours = ensure_colormap("viridis").map(relative(features[column]))
        by_label = dict(zip(features["index"].tolist(), colours, strict=True))
        transparent = np.zeros(4, np.float32)
        result.layer.colormap = DirectLabelColormap(
            color_dict={None: transparent, 0: transparent, **by_label}
        )

    # Files.

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self.native, "Save nuclei to a folder")
        if folder:
            self.save_to(Path(folder))

    def save_to(self, folder: Path) -> None:
        """Save the nuclei of the layer as they are now, in the selected formats, in a thread.

        Parameters
        ----------
        folder : Path
        """
        result = self._result
        if result is None:
            return
        features = result.kept.features
        task = partial(
            _save,
            labels=np.array(result.layer.data),
            stack=result.job.stack,
            folder=folder,
            name=result.job.layer.name.replace("/", "_"),
            formats=tuple(self.formats.value),
            score_of=dict(zip(features["index"].tolist(), features["score"].tolist(), strict=True)),
            pixel_size=result.found.pixel_size,
        )
        self._start(task, self._saved, f"Saving to {folder}")

    def _saved(self, written: list[Path]) -> None:
        self._say(f"Wrote {len(written)} files to {written[-1].parent}.")

    def _say(self, text: str) -> None:
        self.work.status.value = text


def _save(progress: Progress, **options: Any) -> list[Path]:
    return save_layer(**options, progress=progress)
