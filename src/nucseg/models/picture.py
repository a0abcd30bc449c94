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

ENCODER, DECODER, EDGE = "#56B4E9", "#E69F00", "#333333"


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
    encoder, decoder = stages(model)
    rows = {scale: row for row, scale in enumerate((1, 2, 4, 8, 16, 32))}
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(-1.75, 5.75), ylim=(5.8, -1.9))
    axes.axis("off")
    parameters = f"{model.count_params() / 1e6:.2f} million parameters"
    axes.set_title(f"U-Net with a MobileNetV2 encoder, {parameters}")

    def box(x: float, stage: Stage, colour: str) -> None:
        size = "input size" if stage.scale == 1 else f"1/{stage.scale} of it"
        axes.text(
            x, rows[stage.scale], f"{stage.title}\n{stage.channels} channels, {size}",
            ha="center", va="center", fontsize=9,
            bbox={"boxstyle": "round,pad=0.5", "facecolor": colour, "edgecolor": EDGE,
                  "alpha": 0.6},
        )  # fmt: skip

    def arrow(start: tuple[float, float], end: tuple[float, float], style: str) -> None:
        axes.annotate(
            "", end, start,
            arrowprops={"arrowstyle": "->", "linestyle": style, "color": EDGE, "shrinkA": 22,
                        "shrinkB": 22},
        )  # fmt: skip

    left, right = 0.0, 4.0
    box(left, Stage("image", int(model.inputs[0].shape[-1]), 1), "#FFFFFF")
    for stage in encoder:
        box(left, stage, ENCODER)
        arrow((left, rows[stage.scale] - 1), (left, rows[stage.scale]), "-")
    for stage in decoder:
        box(right, stage, DECODER)
        if stage.scale < 16:
            arrow((right, rows[stage.scale] + 1), (right, rows[stage.scale]), "-")
        axes.annotate(
            "skip", (right - 0.95, rows[stage.scale]), (left + 1.0, rows[stage.scale]),
            va="center", fontsize=8, color=EDGE,
            arrowprops={"arrowstyle": "->", "linestyle": "--", "color": EDGE},
        )  # fmt: skip
    axes.annotate(
        "", (right, rows[16] + 0.27), (left + 0.9, rows[32]),
        arrowprops={"arrowstyle": "->", "connectionstyle": "angle,angleA=0,angleB=90",
                    "color": EDGE},
    )  # fmt: skip
    axes.text(
        right, -1.2, f"{model.layers[-1].name}\n{model.outputs[0].shape[-1]} channels, sigmoid",
        ha="center", va="center", fontsize=9,
        bbox={"boxstyle": "round,pad=0.5", "facecolor": "#FFFFFF", "edgecolor": EDGE},
    )  # fmt: skip
    arrow((right, rows[decoder[-1].scale]), (right, -1.2), "-")
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=120)
