"""``nucseg train``: from annotated images to a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from nucseg.cli.common import ProgressDisplay, checked, option
from nucseg.config import DEFAULT_RECIPE, RECIPES, Training

OF_RECIPE = "as in the recipe"
COLUMNS = ("loss", "dice", "accuracy", "val_loss", "val_dice", "val_accuracy")


def train(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            help="Data sets, folders or zips: images/ + labels/ (or masks/), Kaggle's layout, or "
            "files of Cellpose, QuPath or COCO next to the images; "
            "a dataset.toml next to the images describes each for the model card.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the run; created if missing.")
    ],
    recipe: Annotated[str | None, option(Training, "recipe", show_default=DEFAULT_RECIPE)] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Settings as TOML, for example the config.toml of an earlier run."),
    ] = None,
    epochs: Annotated[int | None, option(Training, "epochs", min=1, show_default=OF_RECIPE)] = None,
    batch_size: Annotated[
        int | None, option(Training, "batch_size", min=1, show_default=OF_RECIPE)
    ] = None,
    learning_rate: Annotated[
        float | None, option(Training, "learning_rate", show_default=OF_RECIPE)
    ] = None,
    patience: Annotated[
        int | None, option(Training, "patience", min=1, show_default=OF_RECIPE)
    ] = None,
    seed: Annotated[int | None, option(Training, "seed", min=0)] = None,
    split: Annotated[str | None, option(Training, "split")] = None,
    group: Annotated[
        str | None, option(Training, "group", metavar="REGEX|TABLE.csv:COLUMN")
    ] = None,
    draw: Annotated[
        list[str] | None, option(Training, "draw", metavar="NAME=TIMES", show_default=False)
    ] = None,
    validation_fraction: Annotated[float | None, option(Training, "validation_fraction")] = None,
    encoder_weights: Annotated[str | None, option(Training, "encoder_weights")] = None,
    precision: Annotated[str | None, option(Training, "precision")] = None,
    start_from: Annotated[
        str | None, option(Training, "start_from", "--from", metavar="NAME|PATH")
    ] = None,
    relearn: Annotated[bool | None, option(Training, "relearn", "--relearn")] = None,
    blend: Annotated[float | None, option(Training, "blend", show_default=OF_RECIPE)] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last finished epoch of the run.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing run in the folder.")
    ] = False,
) -> None:
    """Train a network on annotated images.

    Writes to the run folder: the model (nucleus_segmentation_model.keras, model.onnx, model.json),
    its settings and history, plots, predictions on validation images, and the TensorBoard log.
    Ctrl-C ends training early and keeps the best epoch.

    **Examples**

        nucseg train my_images -o mine --from nuclei
        nucseg train stage1_train.zip -o run
        nucseg train stage1_train.zip tissue/ mine/ -o run --draw mine=2
        nucseg train slides/ -o run --group "patient[0-9]+"
        nucseg train stage1_train.zip -o classic --recipe semantic
        nucseg train stage1_train.zip -o run --resume
        tensorboard --logdir run/seg_log
    """
    given = {
        "recipe": recipe,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "patience": patience,
        "seed": seed,
        "split": split,
        "group": group,
        "draw": draw,
        "validation_fraction": validation_fraction,
        "encoder_weights": encoder_weights,
        "precision": precision,
        "start_from": start_from,
        "relearn": relearn,
        "blend": blend,
    }
    given = {name: value for name, value in given.items() if value is not None}
    settings = _settings(data, output, config, given, resume=resume)

    from nucseg.training.fit import train as run

    with ProgressDisplay() as display:
        folder = run(
            data,
            output,
            settings,
            resume=resume,
            overwrite=overwrite,
            progress=display.progress,
            on_epoch=lambda row: display.line(_figures(row, output)),
        )
    typer.echo(f"Trained model: {folder}")
    typer.echo(f"Segment images with it:  nucseg segment IMAGES -o OUT --model {folder}")
    typer.echo(f"View the training log:   tensorboard --logdir {folder / 'seg_log'}")


def _settings(
    data: list[Path], output: Path, config: Path | None, given: dict[str, Any], *, resume: bool
) -> Training | None:
    """Return the settings of the file, updated with the options; None for those of the run."""
    from nucseg.training import run_folder

    held = output / run_folder.CONFIG
    if config is None and resume:
        if not given or not held.is_file():
            return None
        config = held
    if config is not None:
        base = run_folder.read_settings(config)
    elif "start_from" in given:
        from nucseg.datasets.reading import open_datasets
        from nucseg.training.fine_tuning import fine_tuning, suited_start

        start = suited_start(given["start_from"], open_datasets(data))
        if start != given["start_from"]:
            typer.echo(f"Most images have a bright background: fine-tuning {start}.")
        given = {**given, "start_from": start}
        base = fine_tuning(start, relearn=given.get("relearn", False))
    else:
        base = RECIPES.get(given.get("recipe", DEFAULT_RECIPE), Training())
    return checked(Training, {**base.model_dump(), **given})


def _figures(row: dict[str, float], run: Path) -> str:
    """Put the figures of an epoch on one line, with its time and the time left."""
    from nucseg.training import run_folder

    epoch = int(row["epoch"])
    epochs = run_folder.read_settings(run / run_folder.CONFIG).epochs
    history = run_folder.read_history(run / run_folder.HISTORY, epochs=epoch)
    figures = "  ".join(f"{name} {row[name]:.4f}" for name in COLUMNS if name in row)
    seconds = [each["seconds"] for each in history if "seconds" in each]
    return f"epoch {epoch:3d} of {epochs}  {figures}  {_time_left(seconds, epochs - epoch)}"


def _time_left(seconds: Sequence[float], epochs: int) -> str:
    """Say how long the last epoch took and, by the median of the last five, what is left."""
    if not seconds:
        return ""
    told = f"{seconds[-1]:.1f} s"
    if not epochs:
        return told
    usual = seconds[1:][-5:] or seconds  # the first also prepares the network
    left = timedelta(seconds=round(epochs * median(usual)))
    return f"{told}, about {left} left"
