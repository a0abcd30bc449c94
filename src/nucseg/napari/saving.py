"""Save labels layers to files, with the exporters of the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from nucseg.batch.summary import MEASUREMENTS
from nucseg.core.segmented import InMemory
from nucseg.errors import InputError
from nucseg.export import FORMATS, Format, check_formats, save_formats, to_label_image
from nucseg.export.tables import write_table
from nucseg.images.units import plausible
from nucseg.measure import Columns, measure
from nucseg.napari.finding import Labels, PixelSize
from nucseg.napari.stacks import Stack

# Formats of a labels layer with its image.
SAVED = tuple(name for name in FORMATS if name != "probability")
# Formats of a labels layer alone, as one file.
_BY_SUFFIX: dict[str, Format] = {
    FORMATS[name].suffix: FORMATS[name] for name in ("labels", "rois", "geojson", "coco", "rle")
}


@dataclass(frozen=True)
class LabelledPlane(InMemory):
    """A plane with the nuclei of the layer: a `nucseg.export.Segmented`.

    Attributes
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
    labels : ndarray, shape (H, W), uint16 or uint32
    scores : ndarray, shape (N,), float32, or None
        None if nuclei were drawn by hand.
    pixel_size : tuple of float or None
    """

    image: npt.NDArray[Any]
    labels: Labels
    scores: npt.NDArray[np.floating[Any]] | None
    pixel_size: PixelSize | None

    @property
    def probability(self) -> NoReturn:
        """Raise InputError: the probability map is not stored."""
        raise InputError(
            "The probability map is not kept in napari. Write it with nucseg segment "
            "--save probability."
        )

    def measurements(self) -> Columns:
        """Measure each nucleus, see `nucseg.measure.measure`."""
        return measure(self.labels, self.image, scores=self.scores, pixel_size=self.pixel_size)


def save_layer(
    labels: npt.NDArray[Any],
    stack: Stack,
    folder: Path,
    name: str,
    *,
    formats: Sequence[str],
    score_of: Mapping[int, float] | None = None,
    pixel_size: PixelSize | None = None,
    progress: Callable[[float, int], None] | None = None,
) -> list[Path]:
    """Write the nuclei of a labels layer, with measurements of its current labels.

    Parameters
    ----------
    labels : ndarray, shape (..., H, W), integer
        Labels, which may have been edited by hand.
    stack : Stack
        Image of the labels.
    folder : Path
        Output folder; files of the same name in it are replaced.
    name : str
        Name of the image. For planes of a stack their position is appended, ``name_002``.
    formats : sequence of str
        Formats of `SAVED`.
    score_of : mapping of int to float, optional
        Scores of labels. Planes that have a label without a score get no scores.
    pixel_size : tuple of float, optional
    progress : callable, optional
        ``progress(done, total)`` in planes; an exception that it raises ends the work.

    Returns
    -------
    list of Path
        The written files, the last of which is ``measurements.csv``.

    Raises
    ------
    InputError
        Labels and image differ in shape, a format needs more, or a file cannot be written.
    """
    if labels.shape != stack.shape:
        raise InputError(
            f"The labels are of shape {labels.shape}, their image has planes of {stack.shape}. "
            "Choose the image and the channel that they belong to."
        )
    check_formats(formats)
    places, written, parts = list(stack.indices), list[Path](), list[dict[str, Any]]()
    for done, index in enumerate(places):
        if progress is not None:
            progress(done, len(places))
        values = to_label_image(labels[index]).labels
        scores = _scores(values, score_of or {})
        plane = LabelledPlane(stack.plane(index).pixels(), values, scores, pixel_size)
        called = "_".join([name, *(f"{place:03}" for place in index)])
        written += save_formats(plane, folder, called, formats)
        columns = plane.measurements()
        parts.append({"image": [called] * len(columns["label"]), **columns})
    write_table(folder / MEASUREMENTS, parts)
    return [*written, folder / MEASUREMENTS]


def _scores(labels: Labels, score_of: Mapping[int, float]) -> npt.NDArray[np.float32] | None:
    present = np.unique(labels[labels > 0]).tolist()
    if not set(present) <= set(score_of):
        return None
    return np.array([score_of[label] for label in present], np.float32)


def write_labels(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write a labels layer to a file; called by napari.

    Parameters
    ----------
    path : str
        Its suffix determines the format: .tif, .geojson (QuPath), .zip (ImageJ), .json (COCO) or
        .csv (Kaggle's run lengths).
    data : array, shape (H, W), integer
    attributes : mapping
        Attributes of the layer; its ``scale`` and ``units`` determine the pixel size.

    Returns
    -------
    list of str
        The path.

    Raises
    ------
    InputError
        The suffix is unknown, the layer has more than one plane, or the file cannot be written.
    """
    target = Path(path)
    if target.suffix not in _BY_SUFFIX:
        raise InputError(
            f"Cannot write {target.name}: expected a name that ends in {', '.join(_BY_SUFFIX)}."
        )
    labels = np.asarray(data)
    if labels.ndim != 2:
        raise InputError(
            f"Expected labels of one plane, got shape {labels.shape}. Save stacks by the button "
            "Save of nucseg's widget, which writes a file for each plane."
        )
    size = pixel_size(attributes.get("scale", ()), attributes.get("units", ()))
    _BY_SUFFIX[target.suffix].write(to_label_image(labels, size), target, target.stem)
    return [path]


def pixel_size(scale: Sequence[float], units: Sequence[Any]) -> PixelSize | None:
    """Determine the pixel size from the scale of a layer.

    Parameters
    ----------
    scale : sequence of float
        Scale of each axis; the last two are rows and columns.
    units : sequence of pint.Unit or str
        Unit of each axis. If these are pixels, the default, a scale other than 1 is interpreted as
        micrometres.

    Returns
    -------
    tuple of float or None
        Pixel size along rows and columns in µm per pixel; None if no plausible value is known.

    Examples
    --------
    >>> pixel_size((1, 1), ("pixel", "pixel")), pixel_size((2, 0.5, 0.25), ())
    (None, (0.5, 0.25))
    >>> pixel_size((500, 250), ("nanometer", "nanometer"))
    (0.5, 0.25)
    """
    if len(scale) < 2:
        return None
    down, across = float(scale[-2]), float(scale[-1])
    names = [str(unit) for unit in units[-2:]] or ["pixel", "pixel"]
    if names == ["pixel", "pixel"]:
        return None if down == across == 1 else plausible((down, across))
    factors = [_MICROMETRES.get(name) for name in names]
    if None in factors:
        return None
    return plausible((down * float(factors[0] or 0), across * float(factors[1] or 0)))


_MICROMETRES = {
    **dict.fromkeys(("um", "µm", "μm", "micron", "micrometer", "micrometre"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-3),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e4),
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    **dict.fromkeys(("Å", "angstrom"), 1e-4),
    **dict.fromkeys(("inch", "in"), 25400.0),
}
