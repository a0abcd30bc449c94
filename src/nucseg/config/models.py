"""Settings of a model: preprocessing, network, postprocessing, scale and scores."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nucseg.config.base import Frozen, OrNone

OFFSET_MAPS = ("row_offset", "column_offset")
# Maps of a network of the instance recipe; see `nucseg.training.targets.instance_maps`.
INSTANCE_MAPS = ("nucleus", "border", "distance", *OFFSET_MAPS)
# Largest centre offset along an axis, in pixels, that a map can represent; 0.5 means no offset.
OFFSET_RANGE = 64


class Preprocessing(Frozen):
    """Conversion of pixels to the input of the network."""

    size: Annotated[tuple[int, int] | None, OrNone] = Field(
        (128, 128), description="Height and width that each image is resized to, in pixels."
    )
    percentiles: Annotated[tuple[float, float] | None, OrNone] = Field(
        (1.0, 99.8),
        description="Lower and upper percentile of an image that become 0 and 1; "
        "none divides by the largest value of the data type instead.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Preprocessing:
        if self.percentiles is not None:
            low, high = self.percentiles
            if not 0 <= low < high <= 100:
                raise ValueError(f"percentiles must rise from 0 to 100, not {self.percentiles}")
        if self.size is not None and (min(self.size) < 32 or any(s % 32 for s in self.size)):
            raise ValueError(f"size must be multiples of 32, not {self.size}")
        return self


class UNet(Frozen):
    """Architecture of the network: a U-Net with a MobileNetV2 encoder."""

    alpha: float = Field(1.0, gt=0, le=2, description="Width multiplier of the encoder.")
    decoder: tuple[int, ...] = Field(
        (128, 96, 64, 48, 32),
        min_length=4,
        max_length=5,
        description="Filters of the decoder at 1/16, 1/8, 1/4, 1/2 and full resolution; with four, "
        "the maps are made at 1/2, four pixels at a time.",
    )
    skips: Literal["expanded", "projected"] = Field(
        "expanded",
        description="Where skip connections leave the encoder: at its wide or its narrow layers.",
    )
    stem: int = Field(
        0, ge=0, description="Filters at 1/2 that see the pixels themselves; 0 for none."
    )
    outputs: tuple[str, ...] = Field(
        ("nucleus",), min_length=1, description="Names of the sigmoid output channels."
    )
    batch_norm_momentum: float = Field(
        0.9,
        gt=0,
        lt=1,
        description="Momentum of the moving statistics; Keras's own .999 lags hundreds of steps.",
    )


class Filtering(Frozen):
    """Filters that decide which nuclei are kept."""

    min_score: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Nuclei of a lower score, from 0 to 1, are dropped as probably false.",
    )
    min_area: int = Field(
        12, ge=0, description="Nuclei of fewer pixels of the image than this are dropped."
    )
    max_area: Annotated[int | None, OrNone] = Field(
        None, ge=1, description="Nuclei of more pixels of the image than this are dropped."
    )
    border_nuclei: Literal["keep", "drop"] = Field(
        "keep",
        description="Whether nuclei that touch the edge of the image, of which a part may be "
        "missing, are kept or dropped.",
    )


class Finding(Filtering):
    """Settings of any method that computes nuclei from the maps of the network."""

    threshold: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Probability from which a pixel is taken to lie in a nucleus; a lower one "
        "makes nuclei larger.",
    )


class ConnectedComponents(Finding):
    """Label image from a probability map: connected pixels above a threshold."""

    method: Literal["connected-components"] = "connected-components"


class Watershed(Finding):
    """Label image from the maps of nucleus, touching border and distance.

    Seeds are regions with a high distance map and a low border map. They grow over the foreground.
    Fragments of a nucleus are joined by the votes of their pixels for its centre.
    """

    method: Literal["watershed"] = "watershed"
    relative_threshold: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Pixels below this share of their nucleus's mean probability are taken off its "
        "rim; 0 takes none.",
    )
    seed_threshold: float = Field(
        0.4,
        gt=0,
        lt=1,
        description="How deep in a nucleus its seed begins, from 0 at the outline to 1 at the "
        "core; a higher one separates more nuclei that touch.",
    )
    join_votes: float = Field(
        0.3,
        gt=0,
        description="Share of a piece's pixels that must see their nucleus's centre in the piece "
        "beside it for the two to be joined: a lower one joins more, above 1 none are.",
    )


class Scoring(Frozen):
    """Logistic regression that predicts the IoU with the true nucleus from a nucleus's features."""

    weights: tuple[float, ...] = Field(
        min_length=7,
        max_length=9,
        description="Weights of the features that `nucseg.inference.scores.FEATURES` names; the "
        "first seven in models that do not know the kind of image.",
    )
    bias: float = Field(description="Logit of a nucleus whose features are all 0.")
    curve: tuple[tuple[float, float], ...] = Field(
        (),
        description="Points (regression, score), both rising from 0 to 1, between which scores are "
        "interpolated: high IoU are higher than logistic regression says. Empty for none.",
    )
    confident_from: float = Field(
        0.74,
        ge=0,
        le=1,
        description="Median score of the nuclei found in an image below which it is of low "
        "confidence; benchmarks/confidence.py shows what a limit catches.",
    )


class Scaling(Frozen):
    """Range of nucleus diameters of the network; images with smaller or larger nuclei are resized.

    The factor is (d / D)², where D is the diameter of the nuclei and d the nearest diameter in the
    range. So the factor is 1 at the limits of the range and changes continuously beyond them, until
    nuclei are well within the range. Diameters are those of a disc with the area of the nucleus, in
    pixels; for an image, their median is used.
    """

    smallest: float = Field(12, gt=0, description="Diameter below which images are enlarged.")
    largest: float = Field(40, gt=0, description="Diameter above which images are made smaller.")
    pixel_size: float | None = Field(
        None,
        gt=0,
        description="Micrometres from pixel to pixel at which nuclei are seen best. Where an image "
        "states its pixel size, it is resized to this one, as far as its nuclei then keep to the "
        "diameters above.",
    )
    least: float = Field(0.2, gt=0, le=1, description="Smallest factor.")
    most: float = Field(2, ge=1, description="Largest factor.")

    @model_validator(mode="after")
    def _ordered(self) -> Scaling:
        if self.smallest > self.largest:
            raise ValueError(
                f"smallest must be at most largest, not {self.smallest} and {self.largest}"
            )
        return self


Postprocessing = Annotated[ConnectedComponents | Watershed, Field(discriminator="method")]
