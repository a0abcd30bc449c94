"""Train a network and leave a run folder that explains itself."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nucseg.config import DEFAULT_RECIPE, RECIPES, Training
from nucseg.datasets.groups import groups_of
from nucseg.datasets.reading import Dataset, open_datasets
from nucseg.datasets.splits import Split, make_split, read_split, write_split
from nucseg.errors import InputError
from nucseg.files import atomic_write
from nucseg.models.zoo import KERAS
from nucseg.quiet import import_tensorflow
from nucseg.training import run_folder
from nucseg.training.outcome import (
    described,
    given_scoring,
    keep_weights,
    learns_all,
    tune,
    warn_of_licences,
    without_folders,
    write_model,
)

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from nucseg.training.pipeline import Arrays

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Data:
    """What a network is trained on.

    Attributes
    ----------
    batches : callable
        Batches of images and targets of a range of epochs.
    steps : int
        Batches of one epoch.
    validation : Arrays
    """

    batches: Callable[[range], tf.data.Dataset]
    steps: int
    validation: Arrays


def train(
    data: str | Path | Sequence[str | Path],
    output: str | Path,
    settings: Training | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Path:
    """Train a network on annotated images.

    Parameters
    ----------
    data : str or Path, or a sequence of them
        Data sets: each Kaggle's layout, as a folder or zip, or ``images/`` and ``labels/``. Of
        several the image ids are ``<name of the set>/<image id>``.
    output : str or Path
        The run folder to make.
    settings : Training, optional
        By default the recipe of separate nuclei; `nucseg.config.RECIPES` has all. When resuming,
        those of the run.
    resume : bool
        Go on from the last finished epoch of the run in `output`.
    overwrite : bool
        Replace the run in `output`.
    progress : callable, optional
        ``progress(what, done, total)``.
    on_epoch : callable, optional
        Called with the figures of each epoch.

    Returns
    -------
    Path
        The run folder, which is a model folder for `nucseg.load_model`.

    Raises
    ------
    InputError
        The data, the split or the folder cannot be used.
    ModelError
        The encoder weights cannot be had or do not fit.
    MissingExtraError
        The training extra is not installed.

    Notes
    -----
    An interrupt (Ctrl-C) ends the training, not the function: the best epoch so far is kept and
    all files are written. Resuming goes on from there.
    """
    tf = import_tensorflow()
    import keras

    from nucseg.training.precision import in_float32

    folder = Path(output)
    report = progress or (lambda _what, _done, _total: None)
    dataset = open_datasets([data] if isinstance(data, str | Path) else data)
    run_folder.begin(folder, resume=resume, overwrite=overwrite)
    settings = _settings(folder, settings, resume=resume)
    split = _split(folder, dataset, settings, resume=resume, report=report)
    if not resume:
        run_folder.clear(folder)
        run_folder.write_settings(folder / run_folder.CONFIG, settings)
        write_split(folder / run_folder.SPLIT, split)
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()
    model, history = _start(folder, settings, resume=resume)
    read = _data(dataset, split, settings, report)
    warn_of_licences(dataset)
    scoring = given_scoring(settings)
    begun = datetime.now(UTC)
    interrupted = _fit(model, settings, folder, history, read, report, on_epoch)
    if not history:
        raise InputError("Training was interrupted before the first epoch ended: nothing to keep.")
    kept = keep_weights(model, settings, folder, history)
    if settings.precision == "bfloat16":
        model = in_float32(model)
    if settings.blend < 1:
        from nucseg.training.fine_tuning import blended

        blended(model, settings)
    record = {
        "data": described(dataset, split),
        "images": {name: len(getattr(split, name)) for name in ("train", "validation", "test")},
        "epochs": len(history),
        "kept_epoch": kept,
        "interrupted": interrupted,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - begun).total_seconds(), 1),
        "settings": without_folders(settings),
    }
    write_model(folder, model, settings, scoring, history, record)
    if learns_all(settings):
        tune(folder, dataset, split.validation, report)
    if not interrupted:
        shutil.rmtree(folder / run_folder.CHECKPOINT)
    return folder


def _settings(folder: Path, given: Training | None, *, resume: bool) -> Training:
    """Return the settings of a new run, or those of the run in the folder, which must agree."""
    if not resume:
        return given or RECIPES[DEFAULT_RECIPE]
    if (folder / KERAS).exists() and not (folder / run_folder.LAST).exists():
        raise InputError(f"The training run in {folder} is finished: there is nothing to resume.")
    held = run_folder.read_settings(folder / run_folder.CONFIG)
    if given is not None and given != held:
        changed = sorted(
            name for name in Training.model_fields if getattr(given, name) != getattr(held, name)
        )
        raise InputError(
            f"The run in {folder} was begun with other settings of {', '.join(changed)}. "
            "Resume it without giving settings, or start a new run in another folder."
        )
    return held


def _split(
    folder: Path, dataset: Dataset, settings: Training, *, resume: bool, report: Progress
) -> Split:
    if resume:
        return read_split(folder / run_folder.SPLIT, dataset.image_ids)
    if settings.split not in ("random", "field"):
        return read_split(Path(settings.split), dataset.image_ids)
    groups = None
    if settings.split == "field":
        groups = groups_of(
            dataset,
            settings.group,
            progress=lambda done, total: report("finding fields of view", done, total),
        )
    return make_split(
        dataset.image_ids,
        fields=groups,
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
    )


def _start(
    folder: Path, settings: Training, *, resume: bool
) -> tuple[keras.Model, run_folder.History]:
    """Return a new network, or the one of the last checkpoint with its history."""
    import keras

    from nucseg.models import losses
    from nucseg.models.unet import build_unet
    from nucseg.training.precision import in_bfloat16

    last = folder / run_folder.LAST
    if resume and last.is_file():
        functions = (_loss(settings), losses.dice, losses.accuracy)
        known = {function.__name__: function for function in functions}
        model = keras.models.load_model(last, custom_objects=known)
        # The checkpoint is written after the history, so it may be one epoch behind.
        done = _epochs_done(model, folder)
        return model, run_folder.read_history(folder / run_folder.HISTORY, epochs=done)
    if settings.start_from is not None:
        from nucseg.training.fine_tuning import starting_network

        model = starting_network(settings)
    else:
        model = build_unet(
            settings.network,
            size=settings.preprocessing.size,
            encoder_weights=settings.encoder_weights,
        )
    return (in_bfloat16(model) if settings.precision == "bfloat16" else model), []


def _epochs_done(model: keras.Model, folder: Path) -> int:
    """Epochs that a checkpoint has seen: its steps over those of one epoch."""
    marker = (folder / run_folder.STEPS).read_text(encoding="utf-8")
    return int(model.optimizer.iterations) // int(marker)


def _data(dataset: Dataset, split: Split, settings: Training, report: Progress) -> Data:
    """Read the images and tell how batches are made of them, by the recipe."""
    from nucseg.training import crops, pipeline

    total = len(split.train) + len(split.validation)

    def reading(before: int) -> Callable[[int, int], None]:
        return lambda done, _total: report("reading images", before + done, total)

    read, kept = reading(0), settings.preprocessing
    if settings.crops is None:
        arrays = pipeline.load_arrays(dataset, split.train, kept, progress=read)
        read = reading(len(split.train))
        validation = pipeline.load_arrays(dataset, split.validation, kept, progress=read)
        return Data(
            lambda epochs: pipeline.training_batches(
                arrays,
                settings.augmentation,
                batch_size=settings.batch_size,
                seed=settings.seed,
                epochs=epochs,
            ),
            -(-len(arrays.images) // settings.batch_size),
            validation,
        )
    images = crops.load_images(dataset, split.train, kept, draw=settings.draw, progress=read)
    read = reading(len(split.train))
    held_out = crops.load_images(dataset, split.validation, kept, progress=read)
    return Data(
        lambda epochs: crops.crop_batches(images, settings, epochs=epochs),
        -(-settings.crops.per_epoch // settings.batch_size),
        crops.fixed_crops(held_out, settings),
    )


def _fit(
    model: keras.Model,
    settings: Training,
    folder: Path,
    history: run_folder.History,
    data: Data,
    report: Progress,
    on_epoch: Callable[[dict[str, float]], None] | None,
) -> bool:
    """Train until the last epoch, the end of progress, or an interrupt; tell whether the last."""
    from nucseg.training import callbacks, pipeline

    first = len(history)
    if first == 0:
        with atomic_write(folder / run_folder.STEPS) as partial:
            partial.write_text(f"{data.steps}\n", encoding="utf-8")
        _compile(model, settings)
        callbacks.write_graph(model, folder, data.validation.images.shape[1:])
    recorder = callbacks.Recorder(folder, history, patience=settings.patience, on_epoch=on_epoch)
    if first >= settings.epochs or recorder.is_exhausted():
        return False
    shown = pipeline.Arrays(*(part[:8] for part in vars(data.validation).values()))
    held_out = pipeline.validation_batches(data.validation, batch_size=settings.batch_size)
    _build(model, next(iter(held_out)))
    try:
        model.fit(
            data.batches(range(first, settings.epochs)),
            validation_data=held_out,
            initial_epoch=first,
            epochs=settings.epochs,
            steps_per_epoch=data.steps,
            shuffle=False,
            verbose=0,
            callbacks=[
                callbacks.Clock(),
                callbacks.LearningRate(_learning_rate(settings, data.steps)),
                callbacks.Log(folder),
                callbacks.PredictionDisplay(
                    shown,
                    folder,
                    every=settings.display_every,
                    threshold=settings.postprocessing.threshold,
                ),
                recorder,
                callbacks.Progress(
                    lambda done, total: report("training", done, total), epochs=settings.epochs
                ),
            ],
        )
    except KeyboardInterrupt:
        logger.warning("Interrupted: keeping the best of %d epochs.", len(history))
        return True
    return False


def _loss(settings: Training) -> Callable[[Any, Any], Any]:
    from nucseg.models import losses

    if settings.recipe == "instance":
        return losses.instance_loss(settings.network.outputs)
    return losses.cross_entropy_dice


def _learning_rate(settings: Training, steps: int) -> Callable[[int], Any]:
    """Return the learning rate by step: a linear warm-up, then half a cosine."""
    import keras

    warmup = settings.warmup_epochs * steps
    schedule: Callable[[int], Any] = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else settings.learning_rate,
        max(settings.epochs * steps - warmup, 1),
        alpha=0.01,
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    return schedule


def _compile(model: keras.Model, settings: Training) -> None:
    import keras

    from nucseg.models import losses

    # `callbacks.LearningRate` sets the rate: a schedule here is traced twice for each variable.
    model.compile(
        keras.optimizers.AdamW(settings.learning_rate, weight_decay=settings.weight_decay),
        loss=_loss(settings),
        metrics=[losses.accuracy, losses.dice],
    )


def _build(model: keras.Model, batch: tuple[Any, Any]) -> None:
    """Make the variables of optimizer and metrics, without which Keras traces a step twice."""
    images, targets = batch
    model.optimizer.build(model.trainable_variables)
    model.compute_metrics(images, targets, targets)
    model.reset_metrics()
