"""Settings of runs: reading, segmentation, and the web app."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from nucseg.config.base import Frozen
from nucseg.config.measuring import Measuring

# Devices and precisions of a network.
Device = Literal["auto", "cpu", "cuda", "coreml", "directml", "openvino"]
Precision = Literal["auto", "f32", "bf16", "int8"]
DEVICES, PRECISIONS = get_args(Device)[1:], get_args(Precision)[1:]

# Range of pixel sizes in µm of light microscope images that show nuclei.
PIXEL_SIZES = (0.01, 10.0)


class Reading(Frozen):
    """Parts of an image file that are read."""

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
    """Settings of ``nucseg segment``."""

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
    engine: Literal["threads", "dask"] = Field(
        "threads",
        description="Where images are processed: in threads of this process, or by the workers of "
        "a Dask cluster, which --scheduler names or which is started on this computer.",
    )
    scheduler: str | None = Field(
        None,
        description="Address of a Dask scheduler that runs, as tcp://host:8786, or its scheduler "
        "file. Its workers need the same folders at the same places.",
    )
    workers: int | None = Field(
        None,
        ge=1,
        description="Workers of the cluster that --engine dask starts on this computer; by default "
        "one for each core.",
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
    """Settings of the web app, ``nucseg app``."""

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
