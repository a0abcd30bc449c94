"""Draw the architecture of a U-Net from the Keras model itself, without system packages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nucseg.errors import MissingExtraError
from nucseg.files import atomic_write
from nucseg.models.unet import BOTTOM

if TYPE_CHECKING:
    import keras
    from matplotlib.axes import Axes

ENCODER, DECODER, WHITE, EDGE = "#9AD2F2", "#F0C566", "#FFFFFF", "#333333"
# Of a box, in the units of the axes, in which rows are 1 apart.
HALF_WIDTH, HALF_HEIGHT = 0.95, 0.3


@dataclass(frozen=True)
class Stage:
    """A box of the picture: what is computed there, how many channels, at which scale."""

    title: str
    channels: int
    scale: int


def stages(model: keras.Model) -> tuple[list[Stage], list[Stage]]:
    """Stages of the encoder, from fine to coarse, and of the decoder, from coarse to fine.

    Parameters
    ----------
    model : keras.Model
        A network of `nucseg.models.unet.build_unet`.
    """
    skips = [
        model.get_layer(f"decoder_{scale}_concat").input[1]._keras_history.operation.name
        for scale in (2, 4, 8, 16)
    ]
    encoder = [
        Stage(name, _channels(model, name), 2 ** (level + 1))
        for level, name in enumerate((*skips, BOTTOM))
    ]
    held = {layer.name for layer in model.layers}
    decoder = [
        Stage(f"decoder_{scale}", _channels(model, f"decoder_{scale}_b_relu"), scale)
        for scale in (16, 8, 4, 2, 1)
        if f"decoder_{scale}_b_relu" in held
    ]
    return encoder, decoder


def _channels(model: keras.Model, layer: str) -> int:
    return int(model.get_layer(layer).output.shape[-1])


def architecture_picture(model: keras.Model, path: Path) -> None:
    """Draw encoder, decoder and skip connections with their channels to a PNG.

    Parameters
    ----------
    model : keras.Model
        A network of `nucseg.models.unet.build_unet`.
    path : Path
        The picture to write.

    Raises
    ------
    MissingExtraError
        Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("Drawing the architecture", "train") from error
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(-1.2, 5.2), ylim=(5.6, -1.8))
    axes.axis("off")
    parameters = f"{model.count_params() / 1e6:.2f} million parameters"
    axes.set_title(f"U-Net with a MobileNetV2 encoder, {parameters}")
    _draw(axes, model)
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=120)


def _draw(axes: Axes, model: keras.Model) -> None:
    """Draw boxes and, from edge to edge of them, arrows."""
    encoder, decoder = stages(model)
    rows = {scale: row for row, scale in enumerate((1, 2, 4, 8, 16, 32))}
    left, right, top = 0.0, 4.0, -1.25
    _box(axes, (left, rows[1]), Stage("image", int(model.inputs[0].shape[-1]), 1), WHITE)
    for stage in encoder:
        row = rows[stage.scale]
        _box(axes, (left, row), stage, ENCODER)
        _arrow(axes, (left, row - 1 + HALF_HEIGHT), (left, row - HALF_HEIGHT))
    for stage in decoder:
        row = rows[stage.scale]
        _box(axes, (right, row), stage, DECODER)
        if stage.scale < 16:
            _arrow(axes, (right, row + 1 - HALF_HEIGHT), (right, row + HALF_HEIGHT))
        _arrow(axes, (left + HALF_WIDTH, row), (right - HALF_WIDTH, row), "skip connection")
    stem = {layer.name: layer for layer in model.layers}.get("stem_conv")
    if stem is not None:
        text = f"stem, {_channels_text(int(stem.output.shape[-1]))}"
        _arrow(axes, (left + HALF_WIDTH, 0.1), (right - HALF_WIDTH, rows[2] - 0.15), text)
    bottom, end = (left + HALF_WIDTH, rows[32]), (right, rows[16] + HALF_HEIGHT)
    _arrow(axes, bottom, end, connectionstyle="angle,angleA=0,angleB=90")
    head = Stage(model.layers[-1].name, int(model.outputs[0].shape[-1]), 1)
    _box(axes, (right, top), head, WHITE, ending="sigmoid")
    _arrow(axes, (right, rows[decoder[-1].scale] - HALF_HEIGHT), (right, top + HALF_HEIGHT))


def _channels_text(count: int) -> str:
    return f"{count} channel" + "s" * (count != 1)


def _box(
    axes: Axes, centre: tuple[float, float], stage: Stage, colour: str, *, ending: str | None = None
) -> None:
    """Draw a stage; below its name stand its channels and its size, or `ending`."""
    from matplotlib.patches import FancyBboxPatch

    x, y = centre
    axes.add_patch(
        FancyBboxPatch(
            (x - HALF_WIDTH, y - HALF_HEIGHT), 2 * HALF_WIDTH, 2 * HALF_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.06", facecolor=colour, edgecolor=EDGE,
        )
    )  # fmt: skip
    size = "full size" if stage.scale == 1 else f"1/{stage.scale} of the size"
    text = f"{stage.title}\n{_channels_text(stage.channels)}, {ending or size}"
    axes.text(x, y, text, ha="center", va="center", fontsize=9)


def _arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    text: str = "",
    *,
    connectionstyle: str = "arc3",
) -> None:
    """Draw an arrow; one with a text, which stands on its middle, is dashed."""
    style = {"linestyle": "--" if text else "-", "connectionstyle": connectionstyle}
    arrow = {"arrowstyle": "-|>", "color": EDGE, "shrinkA": 0, "shrinkB": 0, **style}
    axes.annotate("", end, start, arrowprops=arrow)
    if text:
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        white = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axes.text(*middle, text, ha="center", va="center", fontsize=8, color=EDGE, bbox=white)
