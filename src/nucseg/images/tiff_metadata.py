"""Metadata of TIFF files: pixel size and channel names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nucseg.images.units import PixelSize, micrometres, pixel_size, plausible

if TYPE_CHECKING:
    import tifffile


_INCHES = ("inch", "inches", "in")


def tiff_pixel_size(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> PixelSize | None:
    """Read the pixel size from the metadata of OME, Aperio or ImageJ, or from the resolution tags.

    Parameters
    ----------
    tiff : TiffFile
    series : TiffPageSeries
        One of its series.

    Returns
    -------
    (down, across) in micrometres, or None
        Pixel size as declared. Resolution tags are used only if plausible, because most refer to a
        screen or a printer.
    """
    import tifffile

    page = series.keyframe
    if tiff.is_ome:
        return _ome_pixel_size(_ome_image(tiff, series))
    if series.kind == "svs":
        size = tifffile.tifffile.svs_description_metadata(page.description).get("MPP")
        if found := pixel_size(size, size):
            return found
    across, down = (_pixels_per_unit(page, tag) for tag in ("XResolution", "YResolution"))
    if not across or not down:
        return None
    if tiff.is_imagej:
        name = (tiff.imagej_metadata or {}).get("unit")
        unit = micrometres(name)
        size = None if unit is None else (unit / down, unit / across)
        # Inches refer to a screen or a printer, as in the tags below: ImageJ copies them.
        return plausible(size) if str(name).strip().lower() in _INCHES else size
    unit = {2: 25_400.0, 3: 10_000.0}.get(int(page.tags.valueof("ResolutionUnit", 1)))
    return None if unit is None else plausible((unit / down, unit / across))


def channel_names(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[str, ...]:
    """Read the channel names of a series from OME, or from the slice labels of ImageJ.

    Returns
    -------
    tuple of str
        Empty without names.
    """
    if tiff.is_ome:
        channels = _listed(_pixels(_ome_image(tiff, series)).get("Channel"))
        return tuple(str(each.get("Name") or each.get("Fluor") or "") for each in channels)
    axes, lengths = series.axes, series.shape
    labels = _listed((tiff.imagej_metadata or {}).get("Labels"))
    if "C" not in axes.partition("Y")[0] or not labels:
        return ()
    step = 1
    for length in lengths[axes.index("C") + 1 : axes.index("Y")]:
        step *= length
    # Labels of the first slice and time point.
    return tuple(str(label) for label in labels[: step * lengths[axes.index("C")] : step])


def _ome_image(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Mapping[str, Any]:
    """Return the OME-XML element of a series."""
    import tifffile

    images = _listed(tifffile.xml2dict(tiff.ome_metadata or "").get("OME", {}).get("Image"))
    if len(images) != len(tiff.series):
        # Images without pixels have no series.
        images = [each for each in images if str(each.get("Name", "")) == series.name] or images
        return images[0] if images else {}
    found: Mapping[str, Any] = images[tiff.series.index(series)]
    return found


def _listed(value: Any) -> list[Any]:
    """Return several XML elements, or one, as a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _pixels(image: Mapping[str, Any]) -> Mapping[str, Any]:
    pixels: Mapping[str, Any] = image.get("Pixels", {})
    return pixels


def _ome_pixel_size(image: Mapping[str, Any]) -> PixelSize | None:
    pixels = _pixels(image)
    sizes = []
    for axis in "YX":
        value = pixels.get(f"PhysicalSize{axis}")
        unit = micrometres(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        if unit is None or not isinstance(value, (int, float)):
            return None
        sizes.append(value * unit)
    return pixel_size(*sizes)


def _pixels_per_unit(page: Any, tag: str) -> float | None:
    value = page.tags.valueof(tag)
    if not isinstance(value, tuple) or len(value) != 2 or not value[0] or not value[1]:
        return None
    return float(value[0]) / float(value[1])
