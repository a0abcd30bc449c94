"""Build the command line that repeats what was done in the browser."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence

from nucseg.app.requests import NetworkRun
from nucseg.config import Filtering, Segmenting
from nucseg.models.zoo import ModelCard


def segment_arguments(
    inputs: Sequence[str],
    card: ModelCard,
    run: NetworkRun,
    filters: Filtering,
    *,
    model: str,
    formats: Sequence[str],
    pixel_size: float | None,
    classes: str | None = None,
) -> list[str]:
    """Build the arguments of ``nucseg segment``, with only the options that differ from defaults.

    Parameters
    ----------
    inputs : sequence of str
        Files.
    card : ModelCard
        Card of the model as it was loaded.
    run : NetworkRun
    filters : Filtering
    model : str
        Name or folder of the model.
    formats : sequence of str
        Formats; empty for the default ones.
    pixel_size : float or None
    classes : str or None
        File of classes.

    Returns
    -------
    list of str
        Arguments, starting with ``nucseg``.
    """
    defaults = card.postprocessing
    options: list[tuple[str, object, object]] = [
        ("--model", model, Segmenting().model),
        ("--save", ",".join(formats or Segmenting().save), ",".join(Segmenting().save)),
        ("--channel", run.channel, None),
        ("--project", run.project, Segmenting().project),
        ("--pixel-size", pixel_size, None),
        ("--classes", classes, None),
        ("--diameter", run.diameter, None),
        ("--min-score", filters.min_score, defaults.min_score),
        ("--min-area", filters.min_area, defaults.min_area),
        ("--max-area", filters.max_area, defaults.max_area),
    ]
    arguments = ["nucseg", "segment", *inputs, "-o", "out"]
    for name, value, default in options:
        if value not in (None, default):
            arguments += [name, f"{value:g}" if isinstance(value, float) else str(value)]
    if filters.border_nuclei == "drop" and defaults.border_nuclei != "drop":
        arguments.append("--drop-border")
    if run.tta and not card.tta:
        arguments.append("--tta")
    return arguments


def as_line(arguments: Sequence[str]) -> str:
    """Quote arguments for the shell of this computer."""
    return subprocess.list2cmdline(arguments) if os.name == "nt" else shlex.join(arguments)


def differences(
    card: ModelCard,
    filters: Filtering,
    *,
    edited: int = 0,
    plane: str = "",
    sample: bool = False,
    pixel_size: float | None = None,
) -> list[str]:
    """Describe how the results of the command differ from those of the browser."""
    told = []
    if edited:
        changes = "1 change" if edited == 1 else f"{edited} changes"
        told.append(f"Not in the command: {changes} by hand.")
    if plane:
        told.append(f"The command segments all planes of the file, {plane} among them.")
    if sample:
        told.append("nucseg demo writes the sample image.")
    if card.scaling is not None and filters.min_area != card.postprocessing.min_area:
        told.append("With another minimum size the command may estimate another scale.")
    if pixel_size is not None and card.scaling is not None and card.scaling.pixel_size is not None:
        told.append("The command resizes the image by --pixel-size too, which here only measures.")
    return told
