"""Read TensorBoard event files: which curves, pictures and graphs a run has written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nucseg.errors import InputError, MissingExtraError
from nucseg.quiet import without_native_notes
from nucseg.training.run_folder import LOG


@dataclass(frozen=True)
class LogContent:
    """What the event files of one folder hold.

    Attributes
    ----------
    name : str
        Folder below the log folder: ``train``, ``validation``, ``predictions``.
    files : int
        Number of event files.
    scalars : dict of str to int
        Points of each curve.
    images : dict of str to int
        Points in time of each series of pictures.
    graph : bool
        Whether the network's graph is there.
    """

    name: str
    files: int
    scalars: dict[str, int]
    images: dict[str, int]
    graph: bool


def read_log(run: Path) -> list[LogContent]:
    """Read what a training run has written for TensorBoard.

    Parameters
    ----------
    run : Path
        A run folder, or its log folder.

    Returns
    -------
    list of LogContent
        One for each folder with event files, sorted by name; empty where there are none.

    Raises
    ------
    InputError
        There is no such folder.
    MissingExtraError
        TensorBoard is not installed.
    """
    if not run.is_dir():
        raise InputError(f"There is no folder {run}. Give the folder of a training run.")
    log = run / LOG if (run / LOG).is_dir() else run
    folders = sorted({file.parent for file in log.rglob("events.out.tfevents.*")})
    # TensorBoard imports TensorFlow when it reads.
    with without_native_notes():
        return [_read_folder(folder, log) for folder in folders]


def _read_folder(folder: Path, log: Path) -> LogContent:
    try:
        from tensorboard.backend.event_processing import event_accumulator
    except ImportError as error:
        raise MissingExtraError("Reading TensorBoard's event files", "train") from error
    # The sizes say how much to keep of each kind; 0 keeps all.
    guidance = {"scalars": 0, "tensors": 0, "images": 1, "graph": 1}
    events = event_accumulator.EventAccumulator(str(folder), size_guidance=guidance)
    events.Reload()
    tags = events.Tags()
    scalars = {tag: len(events.Scalars(tag)) for tag in tags["scalars"]}
    images = {tag: len(events.Images(tag)) for tag in tags["images"]}
    for tag in tags["tensors"]:
        plugin = events.SummaryMetadata(tag).plugin_data.plugin_name
        kept = {"scalars": scalars, "images": images}.get(plugin)
        if kept is not None:
            kept[tag] = len(events.Tensors(tag))
    name = folder.relative_to(log).as_posix()
    files = len(list(folder.glob("events.out.tfevents.*")))
    return LogContent(name, files, scalars, images, bool(tags["graph"]))


def missing_curves(contents: list[LogContent]) -> list[str]:
    """Name the curves that a run of nucseg writes and that are not there."""
    found = {(content.name, tag) for content in contents for tag in content.scalars}
    wanted = [(part, f"epoch_{tag}") for part in ("train", "validation") for tag in
              ("loss", "accuracy", "dice")]  # fmt: skip
    return [f"{part}/{tag}" for part, tag in wanted if (part, tag) not in found]
