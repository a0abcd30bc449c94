"""``nucseg data``: download, generate, check and preview data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nucseg.cli.common import progress_bar

if TYPE_CHECKING:
    import numpy as np

    from nucseg.datasets.samples import Sample
    from nucseg.figures.pictures import Picture

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

VARIANTS = 5
SIDE = 192

Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="Folder or zip file: Kaggle's layout (&lt;id&gt;/images, &lt;id&gt;/masks), "
        "images/ and labels/ (or masks/ with files named as the images), or files of Cellpose, "
        "QuPath or COCO next to the images.",
    ),
]


@app.callback()
def data() -> None:
    """Download, generate, check and preview data sets."""


@app.command()
def download(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="dsb2018: the 2018 Data Science Bowl, stage 1.")
    ],
    to: Annotated[Path, typer.Option("--to", help="Folder to write to.")],
    unpack: Annotated[
        bool, typer.Option("--unpack/--keep-zip", help="Unpack the zip file, or keep it.")
    ] = True,
    url: Annotated[
        str | None, typer.Option("--url", help="URL of a mirror of the same zip file.")
    ] = None,
) -> None:
    """Download a public data set; an interrupted download is resumed.

    dsb2018 is the training set of the 2018 Data Science Bowl: 670 images with one mask per nucleus.

    **Examples**

        nucseg data download dsb2018 --to data
        nucseg data download dsb2018 --to data --keep-zip
    """
    from nucseg.datasets.download import download_dataset

    with _byte_bar(f"Downloading {name}") as progress:
        got = download_dataset(name, to, url=url, unpack=unpack, progress=progress)
    if got.sha256 is None:
        typer.echo(f"{got.path} already exists. Its content was not checked.")
        return
    how = "as expected" if got.hash_known else "not compared: no known hash"
    typer.echo(f"Wrote {got.path}\nSHA-256 of the zip file: {got.sha256} ({how})")


@app.command()
def synthetic(
    to: Annotated[Path, typer.Option("--to", help="New folder to write.")],
    images: Annotated[int, typer.Option("--images", min=1, help="Number of images.")] = 50,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed; the same seed gives the same data set.")
    ] = 0,
    size: Annotated[int, typer.Option("--size", min=16, help="Height and width in pixels.")] = 256,
) -> None:
    """Generate synthetic images of nuclei with their masks, in Kaggle's layout.

    Every fourth image is stained tissue, the others are fluorescence. Use them for tests, not to
    train a model for real images.

    **Example**

        nucseg data synthetic --to made-up --images 100 --seed 1
    """
    from nucseg.datasets.synthetic import write_synthetic_dataset

    with progress_bar("Drawing") as progress:
        write_synthetic_dataset(to, images=images, seed=seed, size=(size, size), progress=progress)
    typer.echo(f"Wrote {images} images with their masks to {to}")


@app.command()
def info(
    path: Data,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            "--sheet",
            help="Where to write the contact sheet: a PNG file, or a folder to put it in.",
            show_default="<name of DATA>-contact-sheet.png",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Describe a data set, report its problems, and draw a contact sheet.

    Lists unreadable images, images without masks, masks that are empty, overlap or have a different
    size, and all other problems that training would work around.

    **Examples**

        nucseg data info stage1_train.zip
        nucseg data info my-images -o sheet.png --json > report.json
    """
    import json

    from nucseg.datasets.reading import open_dataset
    from nucseg.datasets.report import contact_sheet, describe, inspect_dataset, summary
    from nucseg.figures.pictures import write_png

    dataset = open_dataset(path)
    with progress_bar("Reading") as progress:
        report = inspect_dataset(dataset, progress)
    target = output or Path()
    if target.is_dir() or not target.suffix:
        target /= f"{path.resolve().stem}-contact-sheet.png"
    write_png(target, contact_sheet(dataset, report))
    typer.echo(json.dumps(summary(report), indent=2) if as_json else describe(report))
    typer.echo(f"Contact sheet: {target}", err=as_json)


@app.command()
def preview(
    path: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file to write.")],
    images: Annotated[
        int, typer.Option("--images", min=1, help="Number of images, one per row.")
    ] = 6,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the augmentation.")] = 0,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            help="Augmentation of this recipe: semantic (images at 128 by 128 pixels) or instance.",
        ),
    ] = "semantic",
) -> None:
    """Draw images as in training: unchanged, then with random augmentation, with their masks.

    The instance recipe uses crops of 256 by 256 pixels; some of them are synthetic fields of
    densely packed nuclei of the image.

    **Examples**

        nucseg data preview stage1_train.zip -o augmented.png
        nucseg data preview my-images -o crops.png --recipe instance
    """
    import numpy as np

    from nucseg.config import RECIPES
    from nucseg.datasets.reading import open_dataset
    from nucseg.datasets.sheets import sheet
    from nucseg.errors import InputError, NucsegError
    from nucseg.figures.pictures import write_png

    if recipe not in RECIPES:
        raise InputError(f"Wrong value of --recipe: {recipe!r}; expected {' or '.join(RECIPES)}.")
    dataset = open_dataset(path)
    rng = np.random.default_rng(seed)
    pictures: list[tuple[Picture, str, bool]] = []
    shown = 0
    for image_id in rng.permutation(dataset.image_ids):
        try:
            sample = dataset.read(str(image_id))
        except NucsegError as error:
            typer.echo(f"Skipped {image_id}: {error}", err=True)
            continue
        if sample.labelled:
            drawn = _variants if recipe == "semantic" else _crops
            pictures += drawn(sample, rng)
            shown += 1
        if shown == images:
            break
    if not shown:
        raise InputError(f"{path} has no readable image with annotated nuclei to preview.")
    write_png(output, sheet(pictures, columns=VARIANTS + 1, side=SIDE))
    typer.echo(f"Wrote {output}: {shown} images, each with {VARIANTS} augmented variants")


def _variants(sample: Sample, rng: np.random.Generator) -> list[tuple[Picture, str, bool]]:
    """Draw an image as the network would see it, and then with random changes."""
    from nucseg.config import Augmentation, Preprocessing
    from nucseg.datasets.sheets import thumbnail
    from nucseg.images.preprocess import prepare, resize_labels
    from nucseg.training.augment import augment
    from nucseg.training.targets import foreground

    settings = Preprocessing()
    image = prepare(sample.pixels, settings)
    target = foreground(resize_labels(sample.labels, (image.shape[0], image.shape[1])))
    drawn = [(image, target, sample.image_id)]
    for number in range(1, VARIANTS + 1):
        drawn.append((*augment(image, target, rng, Augmentation()), f"augmented {number}"))
    return [
        (thumbnail(each, mask[..., 0].astype("int32"), SIDE, percentiles=None), caption, False)
        for each, mask, caption in drawn
    ]


def _crops(sample: Sample, rng: np.random.Generator) -> list[tuple[Picture, str, bool]]:
    """Draw an image, and random crops of it as the instance recipe cuts them."""
    import numpy as np

    from nucseg.config import RECIPES
    from nucseg.datasets.sheets import thumbnail
    from nucseg.images.preprocess import prepare
    from nucseg.training.crops import Images, draw_crop

    settings = RECIPES["instance"]
    pixels = np.asarray(prepare(sample.pixels, settings.preprocessing) * 255 + 0.5, np.uint8)
    images = Images((sample.image_id,), (pixels,), (sample.labels,), np.ones(1), (True,))
    drawn: list[tuple[Any, Any, str]] = [(pixels / np.float32(255), sample.labels, sample.image_id)]
    for number in range(1, VARIANTS + 1):
        crop, labels, _ = draw_crop(images, settings, rng)
        drawn.append((crop, np.maximum(labels, 0), f"crop {number}"))
    return [
        (thumbnail(each, labels, SIDE, percentiles=None), caption, False)
        for each, labels, caption in drawn
    ]


@contextmanager
def _byte_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Progress bar in bytes, as a callback."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as SpeedColumn

    columns = (
        TextColumn(label),
        BarColumn(),
        DownloadColumn(),
        SpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield progress
