"""Fields of the dock widget: names, ranges and help."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FileEdit,
    FloatSpinBox,
    Label,
    ProgressBar,
    PushButton,
    Select,
)

from nucseg.config import Filtering, Segmenting
from nucseg.models.zoo import bundled_models
from nucseg.napari.saving import SAVED

if TYPE_CHECKING:
    from nucseg.napari.widget import SegmentWidget

A_FOLDER = "a folder …"
# Number of steps of the progress bars.
STEPS = 1000
_LARGEST_AREA = 10**9
_LIST_HEIGHT = 110


def _help(settings: Any, name: str) -> str:
    return str(settings.model_fields[name].description)


def _number(decimals: int, at_minimum: str = "", **options: Any) -> FloatSpinBox:
    """Make a number field whose minimum may have a special meaning."""
    widget = FloatSpinBox(**options)
    widget.native.setDecimals(decimals)
    widget.native.setSpecialValueText(at_minimum)
    return widget


def inputs(of: SegmentWidget) -> list[Any]:
    """Make the fields for the input and the settings of inference."""
    help_for = partial(_help, Segmenting)
    return [
        ComboBox(name="image", choices=of.image_layers, nullable=False, tooltip="Image layer."),
        ComboBox(
            name="channel",
            choices=of.channel_names,
            tooltip="Channel that shows the nuclei, of colours or of an axis of the image.",
        ),
        ComboBox(
            name="model", choices=[*bundled_models(), A_FOLDER], value=Segmenting().model,
            tooltip=help_for("model"),
        ),
        FileEdit(name="model_folder", mode="d", visible=False, tooltip=help_for("model")),
        _number(
            1, "estimated", name="diameter", label="diameter (pixels)", min=0, max=10_000,
            tooltip=help_for("diameter"),
        ),
        _number(
            1, name="max_memory", label="memory (GB)", value=Segmenting().max_memory, min=0.6,
            max=1000, step=0.5, tooltip=help_for("max_memory"),
        ),
    ]  # fmt: skip


def filters() -> list[Any]:
    """Make the fields of the filters."""
    help_for = partial(_help, Filtering)
    return [
        _number(2, name="min_score", min=0, max=1, step=0.05, tooltip=help_for("min_score")),
        _number(0, name="min_area", min=0, max=_LARGEST_AREA, tooltip=help_for("min_area")),
        _number(
            0, "none", name="max_area", min=0, max=_LARGEST_AREA, tooltip=help_for("max_area")
        ),
        CheckBox(name="drop_border", text="", tooltip=help_for("border_nuclei")),
    ]  # fmt: skip


def actions(of: SegmentWidget) -> list[Any]:
    """Make the buttons, and the fields for display and saving."""
    formats = Select(
        name="formats", label="save as", choices=list(SAVED), value=list(Segmenting().save),
        tooltip="Formats, each in a folder of its own, beside measurements.csv.",
    )  # fmt: skip
    formats.native.setMaximumHeight(_LIST_HEIGHT)
    status = Label(name="status", value="")
    status.native.setWordWrap(True)
    progress = ProgressBar(name="progress", min=0, max=STEPS, value=0)
    return [
        PushButton(name="run", text="Run"),
        PushButton(name="cancel", text="Cancel"),
        Container(name="work", widgets=[progress, status], labels=False),
        ComboBox(
            name="colour_by", choices=of.colourings, tooltip="Measurement that the colours show."
        ),
        formats,
        PushButton(name="save", text="Save …"),
    ]
