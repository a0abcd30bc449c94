"""Make the pictures of the README and the docs.

    python docs/pictures.py

Writes into ``docs/images/``. The images are simulated, so that they are nucseg's own.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

import nucseg
from nucseg.config import INSTANCE_MAPS, OFFSET_MAPS, OFFSET_RANGE
from nucseg.datasets.synthetic import synthetic_image
from nucseg.export.overlay import display_image, draw_overlay
from nucseg.figures.pictures import (
    BLUE,
    ORANGE,
    SKY,
    VERMILION,
    YELLOW,
    Colour,
    Picture,
    label_colours,
    titled,
    write_png,
)
from nucseg.inference.tiling import tiles
from nucseg.training.augment import crowded_field
from nucseg.training.augment.stains import immunostain
from nucseg.training.targets import instance_maps

IMAGES = Path(__file__).parent / "images"
SIZE = (256, 320)
GAP = 8
# Pixels to the centre of a nucleus that are drawn in full colour.
FAR = 12
WINDOW, MARGIN = 256, 64


def row(pictures: list[Picture]) -> Picture:
    """Put pictures of one height side by side."""
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    spaced = [part for each in pictures for part in (each, gap)]
    return np.hstack(spaced[:-1])


def column(pictures: list[Picture]) -> Picture:
    """Put pictures of one width one above the other."""
    gap = np.full((GAP, pictures[0].shape[1], 3), 255, np.uint8)
    spaced = [part for each in pictures for part in (each, gap)]
    return np.vstack(spaced[:-1])


def coloured(labels: npt.NDArray[np.integer]) -> Picture:
    """Give each nucleus a colour, and black to the background."""
    colours = label_colours(int(labels.max()) + 1)
    colours[0] = 0
    return colours[labels]


def overview() -> Picture:
    """Show input, label image and outlines of two modalities, a row each."""
    model = nucseg.load_model()
    rng = np.random.default_rng(4)
    rows = []
    for modality in ("fluorescence", "histology"):
        image, _ = synthetic_image(rng, size=SIZE, nuclei=24, modality=modality)
        seg = model.segment(image)
        pictures = [
            titled(image, "input"),
            titled(coloured(seg.labels), f"label image: {seg.count} nuclei"),
            titled(draw_overlay(image, seg.labels), "outlines"),
        ]
        rows.append(row(pictures))
    return np.vstack(rows)


def maps() -> Picture:
    """Show the maps of a made-up label image, and below them what `nuclei` gives for its image."""
    part = np.s_[75:195, 15:135]
    image, labels = synthetic_image(np.random.default_rng(7), size=SIZE, nuclei=60)
    model = nucseg.load_model()
    given = model.network_maps(image)
    found = model.nuclei(image, given).labels
    first = ["true nuclei", "input"], [coloured(labels), display_image(image)]
    last = ["", "label image"], [np.full((*SIZE, 3), 255, np.uint8), coloured(found)]
    rows = []
    for place, drawn in enumerate((instance_maps(labels), given)):
        pictures = [
            (first[0][place], first[1][place]),
            *((name, map_picture(name, drawn[..., i])) for i, name in enumerate(INSTANCE_MAPS)),
            (last[0][place], last[1][place]),
        ]
        rows.append(row([titled(each[part], title) for title, each in pictures]))
    return column(rows)


def map_picture(name: str, values: npt.NDArray[np.floating]) -> Picture:
    """Show a map as grey; an offset as blue towards smaller indices and orange towards larger."""
    if name not in OFFSET_MAPS:
        return np.repeat(np.rint(255 * values).astype(np.uint8)[..., None], 3, axis=2)
    share = np.clip((values - 0.5) * (2 * OFFSET_RANGE / FAR), -1, 1)[..., None]
    colour = np.where(share > 0, np.array(ORANGE), np.array(SKY))
    return np.rint(np.abs(share) * colour).astype(np.uint8)


def touching() -> Picture:
    """Show what each of the bundled models makes of nuclei that touch."""
    image, labels = synthetic_image(np.random.default_rng(31), size=SIZE, nuclei=60)
    pictures = [titled(draw_overlay(image, labels), f"true: {labels.max()} nuclei")]
    for name in ("classic-128", "nuclei"):
        seg = nucseg.load_model(name).segment(image)
        pictures.append(titled(draw_overlay(image, seg.labels), f"{name}: {seg.count}"))
    return row(pictures)


def windows() -> Picture:
    """Show the windows of an image, and from which of them each nucleus comes."""
    size = (400, 640)
    image, labels = synthetic_image(np.random.default_rng(12), size=size, nuclei=120)
    parts = tiles(size, size=WINDOW, margin=MARGIN)
    colours: list[Colour] = [BLUE, ORANGE, SKY, YELLOW, VERMILION, (0, 158, 115)]
    picture = display_image(image) // 2
    taken = np.zeros(labels.max() + 1, bool)
    taken[0] = True
    for number, part in enumerate(parts):
        seen = np.unique(labels[part.core])
        new = seen[~taken[seen]]
        taken[new] = True
        picture[np.isin(labels, new)] = colours[number % len(colours)]
    for part in parts:
        frame(picture, part.core, (255, 255, 255))
    frame(picture, parts[1].window, VERMILION)
    return titled(picture, "white: cores; red: what the second window sees")


def frame(picture: Picture, window: tuple[slice, slice], colour: Colour) -> None:
    """Draw the edge of a window, in place."""
    rows, columns = window
    picture[rows.start : rows.start + 2, columns] = colour
    picture[rows.stop - 2 : rows.stop, columns] = colour
    picture[rows, columns.start : columns.start + 2] = colour
    picture[rows, columns.stop - 2 : columns.stop] = colour


def kinds() -> Picture:
    """Show kinds of images, each as it is and with the outlines found: first easy, then hard."""
    model = nucseg.load_model()
    rows = []
    for title, image, true in simulated():
        seg = model.segment(image)
        pictures = [
            titled(display_image(image), title),
            titled(draw_overlay(image, seg.labels), f"found {seg.count}, true {true}"),
        ]
        rows.append(row(pictures))
    half = -(-len(rows) // 2)
    return row([column(rows[:half]), column(rows[half:])])


def simulated() -> list[tuple[str, npt.NDArray[np.uint8], int]]:
    """Simulate kinds of images: a title, the image, and the number of its nuclei."""
    rng = np.random.default_rng(11)
    cells, in_cells = synthetic_image(rng, size=SIZE, nuclei=30)
    tissue, in_tissue = synthetic_image(rng, size=SIZE, nuclei=40, modality="histology")
    stained = immunostain(tissue / np.float32(255), in_tissue, rng, positive_share=0.5)
    large, in_large = synthetic_image(rng, size=(400, 400), nuclei=40)
    made = []
    for title, spacing, overlap in (("crowded section", 0.9, 0.2), ("overlapping", 0.7, 0.5)):
        field = crowded_field(large, in_large, rng, SIZE[1], spacing=spacing, overlap=overlap)
        assert field is not None
        part = np.s_[: SIZE[0], : SIZE[1]]
        made.append((title, field[0][part], count(field[1][part])))
    blurred = cv2.GaussianBlur(cells, (0, 0), 6)
    grey = np.repeat((255 - 0.6 * cells[..., :1]).astype(np.uint8), 3, axis=2)
    return [
        ("fluorescence", cells, count(in_cells)),
        made[0],
        ("H&E", tissue, count(in_tissue)),
        ("immunohistochemistry", (stained * 255).astype(np.uint8), count(in_tissue)),
        ("brightfield", grey, count(in_cells)),
        made[1],
        ("out of focus", blurred, count(in_cells)),
        ("at 5x", cv2.resize(large, None, fx=0.25, fy=0.25)[:64, :80].repeat(4, 0).repeat(4, 1),
         count(cv2.resize(in_large.astype(np.float32), None, fx=0.25, fy=0.25,
                          interpolation=cv2.INTER_NEAREST)[:64, :80])),
    ]  # fmt: skip


def count(labels: npt.NDArray[np.number]) -> int:
    """Count the nuclei of a label image."""
    return len(np.unique(labels[labels > 0]))


PICTURES = {
    "overview": overview,
    "maps": maps,
    "touching": touching,
    "windows": windows,
    "kinds": kinds,
}


def main() -> None:
    for name, draw in PICTURES.items():
        write_png(IMAGES / f"{name}.png", draw())


if __name__ == "__main__":
    main()
