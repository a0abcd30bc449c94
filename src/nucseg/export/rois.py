"""Write nuclei as selections of ImageJ and Fiji."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nucseg.core.outlines import Polygon, outlines
from nucseg.core.segmented import Place, Segmented
from nucseg.export.format import Format
from nucseg.files import atomic_write

if TYPE_CHECKING:
    from roifile import ImagejRoi

# Integers in ImageJ's files have 16 bits, and ImageJ reads larger values as negative.
_LARGEST = 60_535
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0


def write_rois(segmented: Segmented, path: Path, _name: str) -> None:
    """Write nuclei as a zip file of ImageJ selections, for the ROI Manager.

    A connected nucleus without holes is a traced selection, as ImageJ's wand makes it; others are
    composite selections. Both follow the pixel edges, so that ImageJ selects the same pixels. Their
    names are the labels, zero-padded so that names sort like numbers. An image without nuclei gives
    a zip file without members, which the ROI Manager reports as empty.

    Parameters
    ----------
    segmented : Segmented
        Its `labels` are written.
    path : Path

    Raises
    ------
    InputError
        The file cannot be written.
    """
    digits = len(str(segmented.highest))
    with (
        atomic_write(path) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for part in segmented.parts():
            for label, polygons in outlines(part.labels, origin=part.origin):
                name = f"{label:0{digits}}"
                # Without the time, so that the same nuclei give the same file.
                entry = zipfile.ZipInfo(f"{name}.roi")
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, roi_bytes(polygons, name, segmented.place))


def roi_bytes(polygons: list[Polygon], name: str, place: Place | None = None) -> bytes:
    """Encode a nucleus as an ImageJ ROI file.

    Parameters
    ----------
    polygons : list of list of ndarray, shape (K, 2)
        Polygons from `nucseg.core.outlines.outlines`.
    name : str
    place : Place, optional
        Position of the plane in its stack.

    Returns
    -------
    bytes
    """
    from roifile import ROI_TYPE, ImagejRoi

    points = np.concatenate([rings[0] for rings in polygons])
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    roi = ImagejRoi(name=name, left=left, top=top, right=right, bottom=bottom)
    if place is not None:
        _set_position(roi, place)
    if len(polygons) == 1 and len(polygons[0]) == 1 and max(right, bottom) <= _LARGEST:
        roi.roitype = ROI_TYPE.TRACED
        roi.integer_coordinates = points - np.array([left, top], np.int32)
        roi.n_coordinates = len(points)
    else:
        roi.roitype = ROI_TYPE.RECT
        roi.multi_coordinates = _path(polygons)
        roi.shape_roi_size = roi.multi_coordinates.size
    return roi.tobytes()


def _set_position(roi: ImagejRoi, place: Place) -> None:
    """Set the plane of a selection: ImageJ counts from 1, and 0 means all planes."""
    z, t = place.z, place.t
    if place.single:
        roi.position = 1 + ((t or 0) if z is None else z)
        return
    roi.c_position = 0 if place.channel is None else place.channel + 1
    roi.z_position = 0 if z is None else z + 1
    roi.t_position = 0 if t is None else t + 1


def _path(polygons: list[Polygon]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return the path of a composite selection: move to the first corner, lines, close."""
    parts = []
    for ring in (ring for rings in polygons for ring in rings):
        steps = np.full((len(ring), 3), _LINE, np.float32)
        steps[0, 0] = _MOVE
        # Exact up to 16 million pixels per side.
        steps[:, 1:] = ring
        parts += [steps.ravel(), np.array([_CLOSE], np.float32)]
    return np.concatenate(parts)


ROI_ZIP = Format("rois", ".zip", "ImageJ selections for the ROI Manager", write_rois)
