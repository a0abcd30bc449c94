"""The folder of a training run: its settings, its history and its checkpoints."""

from __future__ import annotations

import csv
import math
import shutil
import tomllib
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from nucseg.config import Training
from nucseg.errors import InputError
from nucseg.files import atomic_write
from nucseg.models.zoo import CARD, KERAS, ONNX

CONFIG = "config.toml"
HISTORY = "history.csv"
SPLIT = "split.csv"
LOG = "seg_log"
PLOTS = "plots"
PREDICTIONS = "predictions"
CHECKPOINT = "checkpoint"
LAST = f"{CHECKPOINT}/last.keras"
BEST = f"{CHECKPOINT}/best.weights.h5"
STEPS = f"{CHECKPOINT}/steps_per_epoch.txt"

History = list[dict[str, float]]


def read_settings(path: Path) -> Training:
    """Read the settings of a training run from TOML.

    Raises
    ------
    InputError
        The file is missing, no TOML, or has an unknown key or a value out of bounds.
    """
    try:
        return Training.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"Cannot read the settings {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML file: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"Wrong setting {place} in {path}: {first['msg']}.") from error


def write_settings(path: Path, settings: Training) -> None:
    """Write all settings of a run as TOML, None as ``"none"``."""
    with atomic_write(path) as partial:
        text = tomli_w.dumps(_without_null(settings.model_dump(mode="json")))
        partial.write_text(text, encoding="utf-8")


def _without_null(group: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_null(value) if isinstance(value, dict) else "none" if value is None else value
        for key, value in group.items()
    }


def read_history(path: Path, *, epochs: int) -> History:
    """Read the first `epochs` rows of ``history.csv``; none where there is no file yet."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [
            {key: float(value) for key, value in row.items() if value}
            for row in csv.DictReader(file)
        ]
    return rows[:epochs]


def write_history(path: Path, history: History) -> None:
    """Write one row for each epoch, numbered from 1; missing values stay empty."""
    names = dict.fromkeys(name for row in history for name in row)
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(names))
        writer.writeheader()
        writer.writerows({**row, "epoch": int(row["epoch"])} for row in history)


def best_epoch(history: History) -> int:
    """Index of the row with the lowest validation loss, the earliest of equals."""
    # A loss that is not a number (training blew up) is worse than any.
    losses = [math.inf if math.isnan(row["val_loss"]) else row["val_loss"] for row in history]
    return losses.index(min(losses))


def clear(folder: Path) -> None:
    """Remove what an earlier run left, so that nothing of it is mistaken for the new one's."""
    for name in (CONFIG, HISTORY, SPLIT, KERAS, ONNX, CARD):
        (folder / name).unlink(missing_ok=True)
    for name in (LOG, PLOTS, PREDICTIONS, CHECKPOINT):
        shutil.rmtree(folder / name, ignore_errors=True)


def begin(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Make sure that a run may start in the folder, before any work is done.

    Raises
    ------
    InputError
        The folder holds a run already and neither resuming nor overwriting was asked for, it holds
        other files (which are never overwritten), there is nothing to resume, or it cannot be
        written.
    """
    held = (folder / CONFIG).exists()
    if resume and not held:
        raise InputError(f"{folder} holds no run to resume: there is no {CONFIG} in it.")
    if held and not (resume or overwrite):
        raise InputError(
            f"{folder} already holds a training run. Go on with it by --resume, replace it by "
            "--overwrite, or give another folder."
        )
    if folder.is_dir() and not held and any(folder.iterdir()):
        raise InputError(f"{folder} holds files that are no training run. Give an empty folder.")
    with atomic_write(folder / ".writable") as partial:
        partial.touch()
    (folder / ".writable").unlink()
