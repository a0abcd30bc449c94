"""Make the pictures of the README and the docs.

    python docs/pictures.py

Writes into ``docs/images/``. The images are simulated, so that they are nucseg's own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import nucseg
from nucseg.datasets.synthetic import synthetic_image
from nucseg.export.overlay import draw_overlay
from nucseg.pictures import label_colours, titled

IMAGES = Path(__file__).parent / "images"
SIZE = (256, 320)
GAP = 8


def overview() -> np.ndarray:
    """Show input, label image and outlines of two modalities, a row each."""
    model = nucseg.load_model()
    rng = np.random.default_rng(4)
    rows = []
    for modality in ("fluorescence", "histology"):
        image, _ = synthetic_image(rng, size=SIZE, nuclei=24, modality=modality)
        seg = model.segment(image)
        colours = label_colours(seg.count + 1)
        colours[0] = 0
        pictures = [
            titled(image, "input"),
            titled(colours[seg.labels], f"label image: {seg.count} nuclei"),
            titled(draw_overlay(image, seg.labels), "outlines"),
        ]
        gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
        rows.append(np.hstack([pictures[0], gap, pictures[1], gap, pictures[2]]))
    return np.vstack(rows)


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    Image.fromarray(overview()).save(IMAGES / "overview.png", optimize=True)


if __name__ == "__main__":
    main()
