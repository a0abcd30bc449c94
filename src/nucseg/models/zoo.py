"""Model folders: the bundled ones and the user's own, each described by its ``model.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from nucseg.config import (
    INSTANCE_MAPS,
    Frozen,
    Postprocessing,
    Preprocessing,
    Scaling,
    Scoring,
    Segmenting,
    UNet,
)
from nucseg.errors import ModelError
from nucseg.files import atomic_write, sha256

BUNDLED = Path(__file__).parent / "bundled"
CARD = "model.json"
ONNX = "model.onnx"
# The same network in whole numbers of eight bits, where a folder has it.
INT8 = "model-int8.onnx"
KERAS = "nucleus_segmentation_model.keras"
DEFAULT_MODEL = Segmenting().model


class Interface(Frozen):
    """How a network is called and what it gives; the defaults are those of nucseg's own U-Net.

    With it a folder of an ONNX file of any origin and a ``model.json`` written by hand is a model.
    """

    input: str | None = Field(None, description="Name of the input; by default the first.")
    output: str | None = Field(None, description="Name of the output; by default the first.")
    layout: Literal["NHWC", "NCHW"] = Field("NHWC", description="Order of the axes.")
    channels: Literal[1, 3] = Field(3, description="Channels of the input; 1 is their mean.")
    mean: tuple[float, ...] = Field((0.0,), description="Taken off intensities in [0, 1].")
    deviation: tuple[float, ...] = Field((1.0,), description="By which they are divided then.")
    outputs: tuple[str, ...] = Field(
        (),
        description="Name of each channel of the output; 'nucleus' must be there, others than "
        "those of nucseg.config.INSTANCE_MAPS are not used. By default those of the network.",
    )
    activation: Literal["none", "sigmoid", "softmax"] = Field(
        "none", description="What is still to be done to the output, to be probabilities."
    )
    stride: int = Field(
        32, ge=1, le=256, description="Height and width must be multiples of this, in pixels."
    )
    margin: int = Field(
        192,
        ge=0,
        description="Pixels around a place that change what the network says of it noticeably.",
    )
    bytes_per_pixel: int = Field(450, ge=1, description="Memory that a pixel of the input takes.")

    @model_validator(mode="after")
    def _of_its_channels(self) -> Interface:
        for name in ("mean", "deviation"):
            if len(getattr(self, name)) not in (1, self.channels):
                raise ValueError(f"{name} needs one value, or one for each channel")
        if min(self.deviation) <= 0:
            raise ValueError(f"deviation must be above 0, not {self.deviation}")
        return self


class ModelCard(Frozen):
    """All that is needed to use a model and to judge it: the content of ``model.json``."""

    format: Literal[1] = 1
    name: str = Field(min_length=1)
    description: str = ""
    recipe: Literal["semantic", "instance"] = "semantic"
    network: UNet | None = Field(None, description="nucseg's own; none for any other.")
    interface: Interface = Interface()
    preprocessing: Preprocessing
    postprocessing: Postprocessing
    scoring: Scoring | None = None
    scaling: Scaling | None = None
    tta: bool = Field(False, description="Average the maps over turns and mirror images.")
    bright: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="Folder in that of the model, with a model of its own for images with a bright "
        "background: stained tissue, brightfield.",
    )
    training: dict[str, Any] = Field(default_factory=dict)
    figures: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    licence: str = ""
    files: dict[str, str] = Field(description="SHA-256 of each file of the folder.")

    @property
    def channels(self) -> tuple[str, ...]:
        """Name of each channel that the network gives."""
        return self.interface.outputs or (self.network.outputs if self.network else ())

    @property
    def outputs(self) -> tuple[str, ...]:
        """Name of each map that is used, the nucleus first."""
        if not self.interface.outputs:
            return self.channels
        return tuple(name for name in INSTANCE_MAPS if name in self.channels)

    @model_validator(mode="after")
    def _gives_nuclei(self) -> ModelCard:
        if "nucleus" not in self.channels:
            raise ValueError(
                "network or interface.outputs must name the channel 'nucleus', not "
                f"{', '.join(self.channels) or 'nothing'}"
            )
        return self


def bundled_models() -> list[str]:
    """Names of the models that come with nucseg."""
    return sorted(path.parent.relative_to(BUNDLED).as_posix() for path in BUNDLED.rglob(CARD))


def find_model(name: str | Path = DEFAULT_MODEL) -> Path:
    """Folder of a model.

    Parameters
    ----------
    name : str or Path
        Name of a bundled model, or a model folder such as one that ``nucseg train`` wrote.

    Raises
    ------
    ModelError
        There is no such model; another one is never taken in its place.
    """
    if str(name) in bundled_models():
        return BUNDLED / str(name)
    folder = Path(name)
    if (folder / CARD).is_file():
        return folder
    found = f"{folder} holds no {CARD}" if folder.exists() else f"there is no folder {folder}"
    choices = ", ".join([*bundled_models(), "the folder of a trained model"])
    raise ModelError(f"Unknown model {str(name)!r}: {found}. Give one of: {choices}.")


def read_card(folder: Path) -> ModelCard:
    """Read the description of a model and check its files against it.

    Parameters
    ----------
    folder : Path
        A model folder.

    Raises
    ------
    ModelError
        The description is missing or broken or has an unknown key, or a file is missing or
        differs from its recorded hash.
    """
    path = folder / CARD
    try:
        card = ModelCard.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"Cannot read {path}: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ModelError(
            f"{path} does not describe a model of this version of nucseg: {place}: {first['msg']}."
        ) from error
    for name, expected in card.files.items():
        file = folder / name
        if not file.is_file():
            raise ModelError(f"The model {card.name} lacks its file {file}. Copy the whole folder.")
        if sha256(file) != expected:
            raise ModelError(
                f"{file} is not the file that {path} describes (its SHA-256 differs): it was "
                "changed or only partly copied. Copy the model folder again."
            )
    return card


def listed_file(folder: Path, card: ModelCard, name: str) -> Path:
    """Path of a file of a model, which its description must name with a hash.

    All that opens a file of a model asks here, so that nothing else is ever run.

    Parameters
    ----------
    folder : Path
        A model folder.
    card : ModelCard
        As `read_card` gave it, which has checked the hashes.
    name : str

    Raises
    ------
    ModelError
        The description does not name the file.
    """
    if name in card.files:
        return folder / name
    there = (
        " There is such a file in its folder, but it may be any."
        if (folder / name).exists()
        else ""
    )
    listed = ", ".join(card.files) or "none"
    raise ModelError(
        f"The model {card.name} has no {name} among the files that its {CARD} lists ({listed})."
        f"{there} Copy the whole model folder again, or use another model."
    )


def write_card(folder: Path, card: ModelCard) -> None:
    """Write ``model.json``, whole, with the hash of each of its files taken now.

    Parameters
    ----------
    folder : Path
        A folder that holds the files named in `card.files`.
    card : ModelCard
        The hashes in `card.files` are replaced.
    """
    hashes = {name: sha256(folder / name) for name in card.files}
    with atomic_write(folder / CARD) as partial:
        text = card.model_copy(update={"files": hashes}).model_dump_json(indent=2)
        partial.write_text(text + "\n", encoding="utf-8")
