"""HTML view of a segmentation for notebooks: overlay, count, and head of the table."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from html import escape
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.core.segmented import Segmented
from nucseg.export.overlay import Picture, draw_overlay

# Longest side of the picture in pixels, and number of nuclei in the table.
_SIDE, _ROWS = 512, 5


def notebook_html(segmented: Segmented) -> str:
    """Describe the nuclei of an image in self-contained HTML.

    Parameters
    ----------
    segmented : Segmented
        A segmentation whose image is in memory.

    Returns
    -------
    str
        HTML with the picture embedded as PNG.
    """
    picture = reduced_overlay(np.asarray(segmented.image), np.asarray(segmented.labels), side=_SIDE)
    _, data = cv2.imencode(".png", picture[:, :, ::-1])
    source = base64.b64encode(data.tobytes()).decode("ascii")
    table = segmented.measurements()
    height, width = segmented.labels.shape
    count = len(table["label"])
    nuclei = "1 nucleus" if count == 1 else f"{count:,} nuclei"
    size = f"{width:,} × {height:,} pixels"
    if segmented.pixel_size is not None:
        size += " of {1:g} × {0:g} µm".format(*segmented.pixel_size)
    return (
        f"<div><p><strong>{nuclei}</strong> in {size}</p>"
        f'<img alt="The image with outlines of {nuclei}" '
        f'src="data:image/png;base64,{source}" style="display:block;max-width:100%">'
        f"{_table_head(table, count)}</div>"
    )


def reduced_overlay(
    image: npt.NDArray[Any], labels: npt.NDArray[np.integer[Any]], *, side: int
) -> Picture:
    """Draw the outlines of nuclei on a downsampled image.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
    labels : ndarray, shape (H, W), integer
    side : int
        Longest side of the picture in pixels. Smaller images keep their size.

    Returns
    -------
    ndarray, shape (h, w, 3), uint8

    Examples
    --------
    >>> reduced_overlay(np.zeros((90, 60)), np.zeros((90, 60), int), side=30).shape
    (30, 20, 3)
    """
    step = math.ceil(max(labels.shape) / side)
    # By subsampling: labels have no mean, and outlines have to stay aligned with the image.
    every = (slice(step // 2, None, step),) * 2
    return draw_overlay(image[every], labels[every], thickness=1)


def _table_head(table: Mapping[str, npt.NDArray[Any]], count: int) -> str:
    if not count:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in table)
    rows = [
        "<tr>" + "".join(f"<td>{_cell(values[row])}</td>" for values in table.values()) + "</tr>"
        for row in range(min(count, _ROWS))
    ]
    rest = f"<p>… and {count - _ROWS:,} more rows</p>" if count > _ROWS else ""
    return (
        '<div style="overflow-x:auto"><table style="white-space:nowrap">'
        f"<thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>{rest}"
    )


def _cell(value: Any) -> str:
    if isinstance(value, np.bool_):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, np.floating) else str(value)
