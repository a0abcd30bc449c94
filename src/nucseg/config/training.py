"""Settings of training, and the recipes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from nucseg.config.base import Frozen, OrNone, pairs
from nucseg.config.models import (
    INSTANCE_MAPS,
    ConnectedComponents,
    Postprocessing,
    Preprocessing,
    UNet,
    Watershed,
)


class Augmentation(Frozen):
    """Random augmentation of training images; ranges are symmetric unless two values are given."""

    flips: bool = Field(True, description="Mirror along either axis.")
    quarter_turns: bool = Field(True, description="Rotate by multiples of 90 degrees.")
    rotation: float = Field(15.0, ge=0, le=180, description="Largest extra rotation, in degrees.")
    zoom: tuple[float, float] = Field(
        (0.8, 1.4), description="Range of the zoom factor; above 1 enlarges nuclei."
    )
    brightness: float = Field(0.1, ge=0, le=1, description="Largest shift of intensity.")
    contrast: float = Field(0.25, ge=0, lt=1, description="Largest relative change of contrast.")
    gamma: float = Field(0.3, ge=0, le=1, description="Largest change of log2(gamma).")
    blur: float = Field(1.0, ge=0, description="Largest Gaussian blur, as sigma in pixels.")
    noise: float = Field(0.04, ge=0, le=1, description="Largest standard deviation of the noise.")
    inversion: float = Field(0.1, ge=0, le=1, description="Probability of inverting intensities.")

    @model_validator(mode="after")
    def _zoom_ordered(self) -> Augmentation:
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError(f"zoom must be two rising factors above 0, not {self.zoom}")
        return self


class Crops(Frozen):
    """Random crops of images at full resolution, instead of whole images resized."""

    size: int = Field(256, ge=32, multiple_of=32, description="Side of the crops, in pixels.")
    per_epoch: int = Field(960, ge=1, description="Crops that make up an epoch.")
    grey: float = Field(0.15, ge=0, le=1, description="Probability of taking the colours away.")
    colour: float = Field(
        0.15, ge=0, lt=1, description="Largest relative change of each colour channel."
    )
    crowd: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Probability of a made-up field in which an image's nuclei lie packed.",
    )
    vary: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Probability that each nucleus of a fluorescence image gets its own brightness "
        "and focus.",
    )
    as_tissue: float = Field(
        0.06,
        ge=0,
        le=1,
        description="Probability of staining a fluorescence image like tissue.",
    )
    stain: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Probability of giving a stained image the colours of other stains.",
    )
    strength: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Probability of staining tissue stronger or weaker with each of its stains.",
    )
    immuno: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Probability of making immunohistochemistry of stained tissue.",
    )
    thickness: float = Field(
        0.2, ge=0, le=1, description="Probability of a section of uneven thickness."
    )
    elastic: float = Field(0.3, ge=0, le=1, description="Probability of an elastic deformation.")
    defocus: float = Field(0.08, ge=0, le=1, description="Probability of an image out of focus.")
    coarse: float = Field(
        0.1, ge=0, le=1, description="Probability of the resolution of a weaker objective."
    )
    jpeg: float = Field(0.12, ge=0, le=1, description="Probability of JPEG compression.")
    upright: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Probability of neither zooming nor turning by other than quarter turns, so "
        "that pixels and outlines stay as sharp as they are.",
    )
    illumination: float = Field(
        0.2, ge=0, le=1, description="Probability of uneven light or of haze from out of focus."
    )
    clutter: float = Field(
        0.06,
        ge=0,
        le=1,
        description="Probability of a made-up crop without nuclei: text, lines, noise.",
    )


class Training(Frozen):
    """Settings of a training run; defaults are those of the semantic recipe, see `RECIPES`."""

    recipe: Literal["semantic", "instance"] = Field(
        "semantic",
        description="What the network learns: masks (semantic), or separate nuclei (instance).",
    )
    epochs: int = Field(40, ge=1, description="Largest number of passes over the training images.")
    batch_size: int = Field(64, ge=1, description="Images per training step.")
    learning_rate: float = Field(3e-3, gt=0, description="Highest learning rate.")
    weight_decay: float = Field(1e-4, ge=0, description="Decoupled weight decay of AdamW.")
    warmup_epochs: int = Field(
        1, ge=0, description="Epochs over which the learning rate rises from 0."
    )
    patience: int = Field(
        10, ge=1, description="Stop after this many epochs without a lower validation loss."
    )
    seed: int = Field(0, ge=0, description="Seed of the split, the weights and the augmentation.")
    split: str = Field(
        "field",
        description="How validation images are chosen: whole fields of view (field), "
        "single images (random), or by a CSV file with the columns image_id and subset.",
    )
    group: Annotated[str | None, OrNone] = Field(
        None,
        description="What images of one patient, slide or field share, which are never parted: a "
        "regular expression of a part of the name, or TABLE.csv:COLUMN. By default what "
        "dataset.toml says, else images that continue each other.",
    )
    draw: Annotated[dict[str, float], BeforeValidator(pairs)] = Field(
        {},
        description="How often images of a data set are drawn, as NAME=TIMES; by default each "
        "kind of image in each set by the square root of its number. May be given several times.",
    )
    validation_fraction: float = Field(
        0.15, gt=0, lt=1, description="Share of the images held out for validation."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="What the network computes in while it learns; bfloat16 is faster where the "
        "processor has it (avx512_bf16 or amx_bf16 in Linux's lscpu), elsewhere slower.",
    )
    display_every: int = Field(
        5, ge=1, description="Show predictions on validation images every this many epochs."
    )
    encoder_weights: str = Field(
        "imagenet", description="Encoder start: imagenet (asks Keras for them), none, or a file."
    )
    start_from: Annotated[str | None, OrNone] = Field(
        None, description="Model to go on from: its name, or the folder of a trained one."
    )
    relearn: bool = Field(
        False,
        description="Where a model goes on: learn in large steps, normalization and thresholds "
        "too, from hundreds of images; by default in small ones, from a few.",
    )
    blend: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Where a model goes on: the share of what it has learned that is kept. Each "
        "weight is so far between those before and after, so that less is forgotten.",
    )
    preprocessing: Preprocessing = Preprocessing()
    network: UNet = UNet()
    augmentation: Augmentation = Augmentation()
    crops: Annotated[Crops | None, OrNone] = Field(
        None, description="Train on random crops in place of whole images made small."
    )
    postprocessing: Postprocessing = ConnectedComponents()

    @model_validator(mode="after")
    def _of_one_recipe(self) -> Training:
        if self.blend < 1 and self.start_from is None:
            raise ValueError("Only a model that goes on (--from) can keep a share of what it was")
        if self.relearn and self.start_from is None:
            raise ValueError("Only a model that goes on (--from) can learn anew (--relearn)")
        instance = self.recipe == "instance"
        if self.draw and not instance:
            raise ValueError("draw (--draw) is of the instance recipe, which draws crops")
        if (self.crops is not None) != instance or (self.preprocessing.size is None) != instance:
            raise ValueError(
                "the semantic recipe needs preprocessing.size and no crops, the instance recipe "
                "crops and no preprocessing.size"
            )
        return self


RECIPES = {
    "semantic": Training(),
    "instance": Training(
        recipe="instance",
        epochs=50,
        batch_size=8,
        learning_rate=1.5e-3,
        patience=25,
        preprocessing=Preprocessing(size=None),
        network=UNet(
            decoder=(96, 64, 48, 32),
            skips="projected",
            stem=16,
            outputs=INSTANCE_MAPS,
            batch_norm_momentum=0.99,
        ),
        augmentation=Augmentation(
            rotation=45,
            zoom=(0.5, 1.8),
            contrast=0.3,
            gamma=0.5,
            blur=1.5,
            noise=0.06,
            inversion=0.15,
        ),
        crops=Crops(),
        postprocessing=Watershed(),
    ),
}

DEFAULT_RECIPE = "instance"

# Settings that differ for fine-tuning: a low learning rate, so that the model forgets little.
FINE_TUNING: dict[str, Any] = {"epochs": 20, "learning_rate": 2e-4, "patience": 10}
# Crops per epoch in fine-tuning; a few images do not provide more.
FINE_TUNING_CROPS = 240
