"""What a training run leaves: a model folder with its description, plots and tuned thresholds."""

from __future__ import annotations

import logging
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nucseg.config import Scaling, Scoring, Training
from nucseg.datasets.facts import FACTS
from nucseg.datasets.reading import Dataset
from nucseg.datasets.splits import Split
from nucseg.files import atomic_write
from nucseg.models.zoo import (
    KERAS,
    ONNX,
    ModelCard,
    bundled_models,
    find_model,
    read_card,
    write_card,
)
from nucseg.training import run_folder

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

NO_LICENCE = "not stated: whether this model may be given away is not known"


def learns_all(settings: Training) -> bool:
    """Whether thresholds and score are learned too: not where a model goes on in small steps."""
    return settings.recipe == "instance" and (settings.start_from is None or settings.relearn)


def keep_weights(
    model: keras.Model, settings: Training, folder: Path, history: run_folder.History
) -> int:
    """Give the network the weights to keep, and tell of which epoch they are.

    Those of the lowest validation loss; of the instance recipe, unless it goes on in small steps,
    the last where no epoch is missing: its learning rate has fallen to next to nothing by then, and
    the loss of one crop of each validation image says less of separate nuclei than that.
    """
    if learns_all(settings) and len(history) == settings.epochs:
        return settings.epochs
    model.load_weights(folder / run_folder.BEST)
    return run_folder.best_epoch(history) + 1


def write_model(
    folder: Path,
    model: keras.Model,
    settings: Training,
    scoring: Scoring | None,
    history: run_folder.History,
    record: dict[str, Any],
) -> None:
    """Write the model folder of a run, with plots of its history and its network.

    Parameters
    ----------
    folder : Path
        The run folder.
    model : keras.Model
    settings : Training
    scoring : Scoring or None
        How nuclei are scored, where that is not learned.
    history : list of dict
        Figures of each epoch.
    record : dict
        What ``model.json`` says of the training.
    """
    from nucseg.figures.curves import history_plots
    from nucseg.models.picture import architecture_picture

    kept = history[record["kept_epoch"] - 1]
    save_model(
        folder,
        model,
        ModelCard(
            name=folder.resolve().name,
            description=f"U-Net with a MobileNetV2 encoder, {settings.recipe} recipe.",
            recipe=settings.recipe,
            network=settings.network,
            preprocessing=settings.preprocessing,
            postprocessing=settings.postprocessing,
            scoring=scoring,
            scaling=Scaling() if settings.recipe == "instance" else None,
            training=record,
            figures={"validation": {k: v for k, v in kept.items() if k != "seconds"}},
            versions=versions(),
            files={KERAS: "", ONNX: ""},
        ),
    )
    columns = {key: [row[key] for row in history] for key in history[0]}
    history_plots(columns, folder / run_folder.PLOTS, kept=record["kept_epoch"])
    architecture_picture(model, folder / run_folder.PLOTS / "model.png")
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    with atomic_write(folder / run_folder.PLOTS / "model.txt") as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def given_scoring(settings: Training) -> Scoring | None:
    """Take over the score of the model to go on from, as its thresholds: few images tell less."""
    return (
        None if settings.start_from is None else read_card(find_model(settings.start_from)).scoring
    )


def tune(
    folder: Path,
    dataset: Dataset,
    image_ids: Sequence[str],
    report: Callable[[str, int, int], None],
) -> None:
    """Fit thresholds and scores on the validation images, whole ones, and keep them."""
    from nucseg.inference.loading import load_model
    from nucseg.training.tuning import tuned

    model = tuned(
        load_model(folder),
        dataset,
        image_ids,
        progress=lambda done, total: report("tuning on validation images", done, total),
    )
    write_card(folder, model.card)


def described(dataset: Dataset, split: Split) -> dict[str, Any]:
    """Tell of each data set what it says of itself and how many of its images were used.

    Parameters
    ----------
    dataset : Dataset
        One, or several that are taken as one.
    split : Split

    Returns
    -------
    dict
        For ``model.json``, by the name of the set.
    """
    subsets = ("train", "validation", "test")
    counts = {
        name: Counter(dataset.facts_of(image_id).name for image_id in getattr(split, name))
        for name in subsets
    }
    told: dict[str, Any] = {}
    for member in dataset.members or (dataset,):
        facts = member.facts
        stated = {key: getattr(facts, key) for key in ("source", "citation", "pixel_size")}
        told[facts.name] = {
            "licence": facts.licence or NO_LICENCE,
            **{key: value for key, value in stated.items() if value},
            "images": {name: counts[name][facts.name] for name in subsets},
        }
    return told


def warn_of_licences(dataset: Dataset) -> None:
    """Warn of data sets that state no licence."""
    unknown = [
        member.facts.name for member in dataset.members or (dataset,) if not member.facts.licence
    ]
    if unknown:
        logger.warning(
            "No licence is stated for %s: whether the model may be given away is not known. Write "
            "it in %s, beside the images.",
            ", ".join(unknown),
            FACTS,
        )


def without_folders(settings: Training) -> dict[str, Any]:
    """Name files without their folders, which say nothing where the model is used."""
    files = ("split", "encoder_weights", "start_from")
    given = {key: getattr(settings, key) for key in files}
    bundled = bundled_models()  # of which one may have a slash in its name
    names = {
        key: value if value in bundled else Path(value).name
        for key, value in given.items()
        if value is not None
    }
    return settings.model_copy(update=names).model_dump(mode="json")


def save_model(folder: Path, model: keras.Model, card: ModelCard) -> None:
    """Write a model folder: the Keras file, the same network as ONNX, and ``model.json``.

    Parameters
    ----------
    folder : Path
    model : keras.Model
        Saved without its optimizer and losses, so that plain Keras loads it in safe mode, and with
        its kernels rounded to what half precision holds, which halves the ONNX file.
    card : ModelCard
        The hashes of the files are filled in.
    """
    import keras

    from nucseg.models.onnx_export import write_onnx

    plain = keras.Model.from_config(model.get_config())
    plain.set_weights([
        weights.astype(np.float16).astype(weights.dtype) if weights.ndim > 1 else weights
        for weights in model.get_weights()
    ])  # fmt: skip
    with atomic_write(folder / KERAS) as partial:
        plain.save(partial)
    with atomic_write(folder / ONNX) as partial:
        write_onnx(plain, partial, card.outputs)
    write_card(folder, card)


def versions() -> dict[str, str]:
    """Name what a model was made with."""
    names = ("nucseg", "keras", "tensorflow", "numpy", "onnx", "opencv-python-headless")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
