"""Every setting of nucseg with its default, bounds and help text, in one place.

The models are frozen and refuse unknown keys, so that a misspelt setting is an error and never a
silent default. The command line takes its defaults and help texts from here.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

OFFSET_MAPS = ("row_offset", "column_offset")
# What a network of the instance recipe gives; see `nucseg.training.targets.instance_maps`.
INSTANCE_MAPS = ("nucleus", "border", "distance", *OFFSET_MAPS)
# Pixels to a nucleus's centre, along an axis, that a map can say; it is 0.5 where there are none.
OFFSET_RANGE = 64


# What a network can run on, and the numbers that it works with there.
Device = Literal["auto", "cpu", "cuda", "coreml", "directml", "openvino"]
Precision = Literal["auto", "f32", "bf16", "int8"]
DEVICES, PRECISIONS = get_args(Device)[1:], get_args(Precision)[1:]

# Micrometres from pixel to pixel of light microscope images in which nuclei can be seen.
PIXEL_SIZES = (0.01, 10.0)


class Frozen(BaseModel):
    """A settings group: immutable, no unknown keys."""

    # Built when first used: most commands use few of them.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


def _none(value: Any) -> Any:
    """TOML has no null, so settings files say "none"."""
    return None if value == "none" else value


OrNone = BeforeValidator(_none)


def _pairs(value: Any) -> Any:
    """Take NAME=NUMBER, as the command line gives them, for a mapping."""
    if not isinstance(value, list | tuple):
        return value
    pairs = [str(each).rpartition("=") for each in value]
    if not all(name and equals for name, equals, _ in pairs):
        raise ValueError(f"expected NAME=NUMBER, not {', '.join(map(str, value))}")
    return {name: number for name, _, number in pairs}


class Preprocessing(Frozen):
    """From the pixels of a file to the input of the network."""

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
    """The network: a U-Net with a MobileNetV2 encoder."""

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
    """Which of the nuclei that are found are kept."""

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
    """From the maps of a network to nuclei, by any method."""

    threshold: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Probability from which a pixel is taken to lie in a nucleus; a lower one "
        "makes nuclei larger.",
    )


class ConnectedComponents(Finding):
    """From a probability map to a label image: connected pixels above a threshold."""

    method: Literal["connected-components"] = "connected-components"


class Watershed(Finding):
    """From maps of nucleus, touching border and distance to a label image.

    Seeds are where the distance map is high and no border is; they grow over the foreground.
    Pieces of one nucleus are joined by the votes of their pixels for its centre.
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
    """How features of a nucleus predict its IoU with the true one, by logistic regression."""

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
    """Which images are resized for the network: those with smaller or larger nuclei than it likes.

    By the square of the nearest diameter that it likes over that of the nuclei: not at all at its
    limits, so that no image jumps, and beyond them until nuclei are well within. Diameters are
    those of a disc of a nucleus's area, in pixels; an image goes by their median.
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


class Length(Frozen):
    """A length in the image."""

    value: float = Field(gt=0)
    unit: Literal["um", "pixels"]

    def __str__(self) -> str:
        """Say it as the command line takes it."""
        return f"{self.value:g}um" if self.unit == "um" else f"{self.value:g}"


def _length(value: Any) -> Any:
    """Take 2um or 8, as the command line gives them, for a length."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(um|µm|μm|px|pixels)?\s*", value)
    if found is None or float(found[1]) == 0:
        raise ValueError(f"expected a length above 0 as 2um, or 8 (pixels), not {value!r}")
    pixels = found[2] in (None, "px", "pixels")
    return {"value": float(found[1]), "unit": "pixels" if pixels else "um"}


def _split(value: Any) -> Any:
    """Take A,B,C, as the command line gives them, for a sequence."""
    return tuple(each.strip() for each in value.split(",")) if isinstance(value, str) else value


def _thresholds(value: Any) -> Any:
    """Take three numbers with commas between them, or auto."""
    return value if value == "auto" else _split(value)


DabThresholds = Annotated[
    tuple[float, float, float] | Literal["auto"], BeforeValidator(_thresholds)
]
LengthOrNone = Annotated[Length | None, BeforeValidator(_length)]


class Measuring(Frozen):
    """What is measured besides position, shape and the intensity of what was read."""

    measure: Annotated[tuple[str, ...], BeforeValidator(_split)] = Field(
        (),
        description="Channels to measure in each nucleus, by name or number (from 0), with commas "
        "between them, or all; by default those that are read for --ring or --expand.",
    )
    ring: LengthOrNone = Field(
        None,
        description="Measure too in a ring around each nucleus, of this width: 2um, or 8 for "
        "pixels. It never reaches into a neighbour.",
    )
    expand: LengthOrNone = Field(
        None,
        description="Measure too in a whole cell, the nucleus grown by this much: 5um, or 20 for "
        "pixels. It never grows into a neighbour.",
    )
    texture: bool = Field(
        False, description="Measure too Haralick's features of texture of each nucleus."
    )
    radial: bool = Field(
        False,
        description="Measure too how intensity is spread from the centre of each nucleus to its "
        "edge.",
    )
    granularity: bool = Field(
        False,
        description="Measure too the granularity of each nucleus: how much of its intensity is in "
        "grains of 1 to 16 pixels.",
    )
    dna: bool = Field(
        False,
        description="Measure too the DNA content of each nucleus, its summed intensity above the "
        "background, by which nucseg analyze tells phases of the cell cycle.",
    )
    candidates: str | None = Field(
        None,
        description="Name candidates for mitotic, apoptotic and fragmented nuclei and micronuclei, "
        "and flag debris and outliers, by rules: those of nucseg (default), or of a TOML file.",
    )
    flat_field: str = Field(
        "off",
        description="Take uneven illumination out of what is measured: estimated over the images "
        "of each folder, 10 or more (auto), of a TIFF file that an earlier run wrote, or not "
        "(off). Outlines of nuclei do not depend on it.",
    )

    dab: bool = Field(
        False,
        description="Unmix haematoxylin and DAB of immunohistochemistry, and tell negative, weak, "
        "moderate and strong nuclei apart; positive.csv has H-scores and positive shares.",
    )
    dab_thresholds: DabThresholds = Field(
        "auto",
        description="With auto a nucleus is positive where DAB makes up most of its colour, "
        "however pale. Else the mean optical densities of DAB from which a nucleus is weak, "
        "moderate and strong, with commas between them; the first from a negative control.",
    )

    @model_validator(mode="after")
    def _rising(self) -> Measuring:
        if self.dab_thresholds == "auto":
            return self
        if list(self.dab_thresholds) != sorted(set(self.dab_thresholds)):
            raise ValueError(f"dab_thresholds must rise, not {self.dab_thresholds}")
        return self

    @property
    def any(self) -> bool:
        """Whether anything is asked for."""
        asked = (self.measure, self.ring, self.expand, self.texture, self.radial, self.dab)
        more = (self.granularity, self.dna, self.candidates, self.flat_field != "off")
        return any(map(bool, asked + more))


class Reading(Frozen):
    """What of an image file is read."""

    channel: str | None = Field(
        None,
        description="Name or number (from 0) of the channel that shows the nuclei; by default the "
        "one that is called after a nuclear stain (DAPI, Hoechst, ...), else all.",
    )
    project: Literal["none", "max"] = Field(
        "none",
        description="What to do with the slices of a z-stack: each on its own, or all in one, "
        "their largest values (max).",
    )
    pixel_size: float | None = Field(
        None,
        ge=PIXEL_SIZES[0],
        le=PIXEL_SIZES[1],
        description="Micrometres from pixel to pixel, for measurements, from 0.01 to 10; by "
        "default what the file says.",
    )

    exclude: tuple[str, ...] = Field(
        (),
        description="Leave out files and folders whose name, or path from the searched folder, "
        'matches a pattern, such as "*_raw.tif". May be given several times.',
    )
    measuring: Measuring = Field(
        default_factory=Measuring, description="What is measured besides what always is."
    )


class Segmenting(Reading):
    """A run of ``nucseg segment``."""

    model: str = Field(
        "nuclei", description="Name of a bundled model, or a folder of a trained model."
    )
    save: tuple[str, ...] = Field(
        ("labels", "overlays"),
        description="What to write for each image: labels, overlays, rois (ImageJ), geojson "
        "(QuPath), coco, masks and rle (Kaggle), zarr (OME-Zarr) or probability; and parquet, the "
        "measurements of all as Apache Parquet. Several with commas between them.",
    )
    report: bool = Field(
        True, description="Whether to write report.html, a page by which the results are checked."
    )
    resume: bool = Field(
        False,
        description="Keep what an earlier run with the same settings has done and do the rest.",
    )
    classes: str | None = Field(
        None,
        description="File of classes, as the web app saves it: each nucleus gets a class.",
    )
    tta: bool = Field(
        False,
        description="Look at each image eight times, turned and mirrored, and take the mean: a "
        "little better, 8 times slower.",
    )
    csv_dialect: Literal["excel", "excel-eu"] = Field(
        "excel",
        description="How tables are written: with commas and decimal points (excel), or with "
        "semicolons and decimal commas (excel-eu), as Excel reads them where commas are decimal.",
    )
    max_memory: float = Field(
        2.0,
        gt=0,
        description="Memory to work in, in gigabytes; larger images are segmented in windows.",
    )
    diameter: float | None = Field(
        None,
        gt=0,
        description="Typical diameter of the nuclei in pixels, by which images are resized for the "
        "network; by default it is estimated for each image by a first look.",
    )
    threads: int | None = Field(
        None, ge=1, description="Threads of the network; by default one for each physical core."
    )
    device: Device = Field(
        "auto",
        description="What the network runs on; auto takes the fastest that is there and finds the "
        "same nuclei in a sample. nucseg doctor lists them.",
    )
    precision: Precision = Field(
        "auto",
        description="Numbers that the network works with; auto takes the fastest that finds the "
        "same nuclei in a sample. f32 on the device cpu gives labels that can be repeated.",
    )


class App(Frozen):
    """The web app, ``nucseg app``."""

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen at; by default only this computer can reach it.",
    )
    port: int = Field(8765, ge=0, le=65535, description="Port to listen at; 0 takes a free one.")
    token: str | None = Field(
        None,
        min_length=16,
        max_length=200,
        pattern=r"^[A-Za-z0-9._~-]+$",
        repr=False,
        description="Word that the address has to hold (?token=…), 16 characters or more. By "
        "default a random one where other computers can reach --host, and none elsewhere.",
    )
    model: str = Field(
        "nuclei", description="Name of a bundled model, or a folder of a trained model."
    )
    max_upload: float = Field(500, gt=0, description="Largest file, in megabytes.")
    max_pixels: float = Field(50, gt=0, description="Largest image, in megapixels.")
    max_images: int = Field(50, ge=1, description="Images that a session may have open.")
    max_batch: int = Field(1000, ge=1, description="Files of a batch.")
    max_session: float = Field(
        10_000, gt=0, description="Room of a session in the temporary folder, in megabytes."
    )
    max_sessions: int = Field(30, ge=1, description="Sessions at a time; each browser has one.")
    max_total: float = Field(
        50_000, gt=0, description="Room of all sessions in the temporary folder, in megabytes."
    )
    idle: float = Field(
        3600,
        gt=0,
        description="Seconds after its page was last open until a session, with all its files, "
        "is deleted.",
    )


class Augmentation(Frozen):
    """Random changes of training images; ranges are symmetric unless two values are given."""

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
    """Random crops of images at their own resolution, in place of whole images made small."""

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
    """A training run; its fields begin as the semantic recipe has them, see `RECIPES`."""

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
    draw: Annotated[dict[str, float], BeforeValidator(_pairs)] = Field(
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

# What differs where a trained model goes on: small steps, so that it forgets little.
FINE_TUNING: dict[str, Any] = {"epochs": 20, "learning_rate": 2e-4, "patience": 10}
# Crops of an epoch then: a few images hold no more.
FINE_TUNING_CROPS = 240
