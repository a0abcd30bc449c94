"""Encode images for display in the page."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucseg.images.colours import to_rgb
from nucseg.images.preprocess import displayed_limits, stretch

# Percentiles that become black and white, as in overlays.
_PERCENTILES = (1.0, 99.8)
# Rows that are converted to 8 bits at once; limits the memory.
_BAND = 512
# Fast rather than small: the file is only sent to a browser on the same computer.
_COMPRESSION = [cv2.IMWRITE_PNG_COMPRESSION, 1]


def png(image: npt.NDArray[Any]) -> bytes:
    """Convert an image with `nucseg.export.overlay.display_image` and encode it as PNG.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype

    Returns
    -------
    bytes
        PNG file, greyscale if the image is.
    """
    colours = to_rgb(image)
    limits = displayed_limits(colours, _PERCENTILES)
    grey = image.ndim == 2 or image.shape[2] < 3
    # OpenCV expects BGR order.
    shown = colours[..., :1] if grey else colours[..., ::-1]
    picture = np.empty(shown.shape, np.uint8)
    for top in range(0, len(shown), _BAND):
        band = stretch(shown[top : top + _BAND], _PERCENTILES, limits=limits)
        picture[top : top + _BAND] = np.rint(band * 255)
    return bytes(cv2.imencode(".png", picture, _COMPRESSION)[1])
