"""Read results of ``nucseg segment`` as layers: images, labels and measurements."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nucseg.batch.inputs import Input
from nucseg.batch.records import read_measurements
from nucseg.batch.summary import RUN
from nucseg.errors import InputError, NucsegError
from nucseg.export import FORMATS
from nucseg.images import Source, open_image, read_image, read_plane
from nucseg.measure import Columns
from nucseg.napari.samples import LayerData

# More layers are not useful, and take long to read.
_MOST = 50


def results_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Return a reader if a file is the ``run.json`` of a run; called by napari.

    Parameters
    ----------
    path : str or list of str

    Returns
    -------
    callable or None
        `read_results`, or None if there are no label images beside the file.
    """
    if not isinstance(path, str) or Path(path).name != RUN:
        return None
    return read_results if (Path(path).parent / "labels").is_dir() else None


def read_results(path: str) -> list[LayerData]:
    """Read the label images of a run, with measurements, and the images that still exist.

    Parameters
    ----------
    path : str
        The ``run.json`` of an output folder of ``nucseg segment``.

    Returns
    -------
    list of tuple
        Layers; each image is followed by its label image.

    Raises
    ------
    InputError
        The file does not describe a run, there are no label images or too many, or one cannot be
        read.
    """
    folder = Path(path).parent
    inputs = _inputs(Path(path))
    suffix = FORMATS["labels"].suffix
    files = sorted((folder / "labels").rglob(f"*{suffix}"))
    if not 1 <= len(files) <= _MOST:
        raise InputError(
            f"{folder / 'labels'} holds {len(files)} label images, expected 1 to {_MOST}. Open "
            "some of them on their own."
        )
    layers = []
    for file in files:
        name = file.relative_to(folder / "labels").as_posix().removesuffix(suffix)
        labels = read_image(file)
        about: dict[str, Any] = {}
        if labels.pixel_size is not None:
            about = {"scale": labels.pixel_size, "units": ("um", "um")}
        source = _image_of(name, inputs)
        if source is not None and source.shape[:2] == labels.pixels.shape:
            rgb = len(source.shape) == 3 and source.shape[2] in (3, 4)
            if rgb or len(source.shape) == 2:
                pixels = read_plane(source).pixels
                layers.append((pixels, {**about, "name": name, "rgb": rgb}, "image"))
        features = _features(folder, name)
        about = {**about, "name": f"{name} nuclei", "features": features}
        layers.append((labels.pixels, about, "labels"))
    return layers


def _inputs(path: Path) -> list[Path]:
    """List the images of a run."""
    try:
        run = json.loads(path.read_bytes())
        return [Path(run["working_folder"], each) for each in run["inputs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} does not describe a run of nucseg segment. Give the run.json of its results."
        ) from error


def _image_of(name: str, inputs: list[Path]) -> Source | None:
    """Return the plane whose results have this name, if it is unique and can be opened."""
    found = []
    for path in inputs:
        begin = path.with_suffix("").as_posix()
        if not path.exists() or path.stem not in name:
            continue
        try:
            planes = open_image(path)
        except NucsegError:
            continue
        ends = {f"{begin}_{each.plane}" if each.plane else begin: each for each in planes}
        found += [each for end, each in ends.items() if f"/{end}".endswith(f"/{name}")]
    return found[0] if len(found) == 1 else None


def _features(folder: Path, name: str) -> Columns:
    measured = read_measurements(folder, Input(Path(name), name))
    return {"index": measured.pop("label"), **measured} if measured else {}
