"""``nucseg demo``: segment sample images, without any download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nucseg.cli.common import default, option
from nucseg.cli.segment import run_and_report
from nucseg.config import Segmenting


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the images and the results.")
    ] = Path("nucseg-demo"),
    model: Annotated[str, option(Segmenting, "model", metavar="NAME|PATH")] = default(
        Segmenting, "model"
    ),
) -> None:
    """Segment synthetic sample images of stained tissue and fluorescence.

    The images are generated locally: nothing is downloaded.

    **Examples**

        nucseg demo
        nucseg demo -o somewhere --model my_run
    """
    from nucseg.inference.loading import load_model

    loaded = load_model(model)
    images = output / "images"
    written = _write_samples(images)
    results = output / "results"
    typer.echo(f"Sample images: {', '.join(str(path) for path in written)}")
    typer.echo(f"The command:   nucseg segment {images} -o {results} --model {model}")
    run_and_report([str(images)], results, loaded)
    for path in sorted(path for path in results.rglob("*") if path.is_file()):
        if not path.relative_to(results).parts[0].startswith("."):
            typer.echo(f"  {path}")
    typer.echo("Open report.html in a browser first, then check the pictures in overlays/.")


def _write_samples(folder: Path) -> list[Path]:
    """Write synthetic images."""
    from PIL import Image

    from nucseg.datasets.synthetic import SAMPLES, sample_image
    from nucseg.files import atomic_write

    paths = []
    for name in SAMPLES:
        path = folder / f"{name}.png"
        with atomic_write(path) as partial:
            Image.fromarray(sample_image(name)).save(partial, "PNG")
        paths.append(path)
    return paths
