"""Crowded fields for training, made by packing the nuclei of an image by their masks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects

from nucseg.core.labelling import UNKNOWN
from nucseg.training.augment.layouts import LAYOUT_CHANCES, LAYOUTS, Place

FloatArray = npt.NDArray[np.float32]

# Side of the part of the image from which nuclei and background are taken, in pixels.
WINDOW = 384
# Nuclei below this number of pixels say too little of how a nucleus looks.
LEAST_AREA = 40
# A window with fewer nuclei than this gives no field.
LEAST_NUCLEI = 3
# Diameters of packed nuclei, in pixels, and how far nuclei are scaled to have them.
DIAMETERS = (14.0, 40.0)
SCALES = (0.4, 1.6)
MOST_NUCLEI = 300
# A nucleus of which others cover more than this share is not asked for.
COVERED = 0.6
# The largest share of a nucleus that may lie over others, in the field with least and most.
OVERLAPS = (0.05, 0.4)
# Nuclei that change the background by less than this share of what the median nucleus does, or by
# less than so much of 255, are too faint to be packed or asked for.
FAINT, FAINTEST = 0.3, 8.0


@dataclass(frozen=True)
class Nucleus:
    """A nucleus cut out of an image, with a rim of background.

    Attributes
    ----------
    layers : ndarray, shape (h, w, C + 1), float32
        What it adds to the background of fluorescence, or the share of light that it takes away
        from a bright one, in one channel or three; and last its mask, 0 or 1.
    angle : float
        Direction of its long axis, in radians.
    diameter : float
        Of a disc of its area, in pixels.
    """

    layers: FloatArray
    angle: float
    diameter: float

    @property
    def mask(self) -> FloatArray:
        """Its mask, shape (h, w), float32, 0 or 1."""
        return self.layers[..., -1]


def crowded_field(
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
    rng: np.random.Generator,
    size: int,
    *,
    spacing: float | None = None,
    overlap: float | None = None,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]] | None:
    """Pack the nuclei of an image into a field where most of them touch.

    Each nucleus is turned, stretched and bent, and has its own brightness and focus. Where nuclei
    overlap, light of fluorescence adds up or the brighter one is seen, and stained nuclei hide what
    is below. A pixel of several nuclei belongs to that in which it lies deeper.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8
    labels : ndarray, shape (H, W), integer
        0 background, below 0 not known.
    rng : Generator
        The only source of randomness: the same state gives the same field.
    size : int
        Side of the field, in pixels.
    spacing : float, optional
        Distance of nuclei as a share of their diameter, about .6 to 1.5; by default drawn.
    overlap : float, optional
        The largest share of a nucleus that may lie over others; by default drawn from `OVERLAPS`.

    Returns
    -------
    field : ndarray, shape (size, size, 3), uint8
    labels : ndarray, shape (size, size), int32
        `UNKNOWN` where a nucleus is that others cover or that is too faint.
    None where the image has too few nuclei to pack.
    """
    window, numbered = _window(image, labels, rng)
    grey = np.array_equal(window[..., 0], window[..., 1])
    pixels = window[..., : 1 if grey else 3].astype(np.float32)
    filled = without_nuclei(pixels, numbered != 0)
    absorbing = float(np.median(filled)) > 127
    nuclei = _cut_out(pixels, filled, numbered, absorbing)
    if len(nuclei) < LEAST_NUCLEI:
        return None
    median = float(np.median([nucleus.diameter for nucleus in nuclei]))
    wanted = float(np.exp(rng.uniform(*np.log(DIAMETERS))))
    scale = float(np.clip(wanted / median, *SCALES))
    distance = spacing or float(rng.uniform(0.62, 1.25))
    layout = LAYOUTS[rng.choice(len(LAYOUTS), p=LAYOUT_CHANCES)]
    places = layout(rng, size, max(median * scale * distance, 8.0))
    rng.shuffle(places)
    colour = np.median(filled, axis=(0, 1)).astype(np.float32)
    look = _look(rng, scale, colour if absorbing else None)
    if overlap is not None:
        look = replace(look, most_over=overlap)
    ground = _background(filled, pixels, numbered != 0, rng, size)
    canvas = _Canvas(ground.copy(), np.zeros((size, size), np.int32), np.zeros((size, size)))
    areas = [0]
    for place in places[:MOST_NUCLEI]:
        nucleus = nuclei[int(rng.integers(len(nuclei)))]
        area = _add(canvas, nucleus, place, look, len(areas), rng)
        if area:
            areas.append(area)
    field, factor = _finished(canvas.pixels, rng, absorbing=absorbing)
    changed = np.abs(canvas.pixels - ground).mean(axis=-1) * factor
    owner = _asked_for(canvas.owner, np.array(areas), changed)
    return np.repeat(field, 3, axis=-1) if grey else field, owner


@dataclass(frozen=True)
class _Canvas:
    """A field that grows: its pixels, whose each is, and how deep it lies in that nucleus."""

    pixels: FloatArray
    owner: npt.NDArray[np.int32]
    depth: npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Look:
    """What the nuclei of a field have in common.

    Attributes
    ----------
    scale : float
        Of nuclei, compared with those of the image.
    colour : ndarray, shape (3,), or None
        Of the ground where stains absorb light; None in fluorescence.
    adds : bool
        Whether light adds up, or the brighter nucleus hides the other.
    most_over : float
        The largest share of a nucleus that lies over others.
    spread, blurred : float
        Deviation of the logarithm of the brightness, and share of the nuclei out of focus.
    """

    scale: float
    colour: FloatArray | None
    adds: bool
    most_over: float
    spread: float
    blurred: float


def _look(rng: np.random.Generator, scale: float, colour: FloatArray | None) -> _Look:
    return _Look(
        scale,
        colour,
        adds=bool(rng.random() < 0.7),
        most_over=float(rng.uniform(*OVERLAPS)),
        spread=float(rng.uniform(0.1, 0.5)),
        blurred=float(rng.uniform(0, 0.5)),
    )


def _add(
    canvas: _Canvas,
    nucleus: Nucleus,
    place: Place,
    look: _Look,
    number: int,
    rng: np.random.Generator,
) -> int:
    """Draw a nucleus into a field; give its pixels, 0 where there is no room for it."""
    middle = np.clip([round(place.row), round(place.column)], 0, len(canvas.depth) - 1)
    if canvas.depth[tuple(middle)] > 0.7:
        return 0  # in the middle of another
    change, soft = _shaped(nucleus, place, rng, look.scale)
    brightness = float(np.clip(np.exp(rng.normal(0, look.spread)), 0.35, 2.5))
    if rng.random() < look.blurred:
        sigma = float(rng.uniform(0.5, max(0.12 * nucleus.diameter * look.scale, 0.6)))
        change = _blurred(change, sigma)
    mask = soft > 0.5
    inside = _inside(place, mask.shape, len(canvas.owner))
    if inside is None:
        return 0
    there, part = inside
    owner, pixels, depth = canvas.owner[there], canvas.pixels[there], canvas.depth[there]
    area = int(np.count_nonzero(mask[part]))
    if np.count_nonzero(mask[part] & (owner > 0)) > look.most_over * area:
        return 0
    if look.colour is not None:
        let_through = np.clip(1 - change[part], 0.02, 1.3)
        stained = look.colour * np.power(let_through, np.float32(brightness**0.7))
        pixels += (stained - pixels) * soft[part][..., None]
    elif look.adds:
        pixels += change[part] * np.float32(brightness)
    else:
        np.maximum(pixels, change[part] * np.float32(brightness), out=pixels)
    deep = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    share = deep[part] / max(float(deep.max()), 1)
    won = share > depth
    owner[won], depth[won] = number, share[won]
    return area


def _asked_for(
    owner: npt.NDArray[np.int32], areas: npt.NDArray[np.int64], changed: FloatArray
) -> npt.NDArray[np.int32]:
    """Mark nuclei that are covered, or too faint to be seen, as unknown."""
    shown = np.maximum(np.bincount(owner.ravel(), minlength=len(areas)), 1)
    strength = np.bincount(owner.ravel(), weights=changed.ravel(), minlength=len(areas)) / shown
    kept = (shown >= (1 - COVERED) * areas) & (strength >= FAINTEST)
    kept[0] = True
    return np.where(kept[owner], owner, UNKNOWN).astype(np.int32)


def without_nuclei(pixels: FloatArray, nuclei: npt.NDArray[np.bool_]) -> FloatArray:
    """Fill nuclei in with the background around them.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, C), float32
    nuclei : ndarray, shape (H, W), bool

    Returns
    -------
    ndarray, shape (H, W, C), float32
        The mean of the background nearby, smooth; the background itself is smoothed too.
    """
    known = np.asarray(~_with_halo(nuclei), np.float32)
    if not known.any():
        known[:] = 1
    middle = np.median(pixels[known > 0], axis=0)
    small = tuple(max(side // 4, 1) for side in nuclei.shape[::-1])
    weight = cv2.resize(known, small, interpolation=cv2.INTER_AREA)
    colour = cv2.resize(pixels * known[..., None], small, interpolation=cv2.INTER_AREA)
    colour = colour.reshape(*weight.shape, -1)
    weight, colour = (cv2.GaussianBlur(each, (0, 0), 4) for each in (weight, colour))
    # Where no background is near, that of the whole counts.
    least = np.float32(0.02)
    colour = colour.reshape(*weight.shape, -1)
    mixed = (colour + least * middle) / (weight + least)[..., None]
    filled = cv2.resize(np.asarray(mixed, np.float32), nuclei.shape[::-1])
    return np.asarray(filled, np.float32).reshape(pixels.shape)


def _with_halo(nuclei: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Take the soft rims of nuclei in, which outlines leave out."""
    return cv2.dilate(nuclei.astype(np.uint8), np.ones((11, 11), np.uint8)) > 0


def _window(
    image: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer], rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer]]:
    """Take a part of the image, at random."""
    top, left = (int(rng.integers(max(side - WINDOW, 0) + 1)) for side in labels.shape)
    part = np.s_[top : top + WINDOW, left : left + WINDOW]
    return image[part], labels[part]


def _cut_out(
    pixels: FloatArray,
    filled: FloatArray,
    labels: npt.NDArray[np.integer],
    absorbing: bool,
) -> list[Nucleus]:
    """Cut out the nuclei that lie whole in the window."""
    height, width = labels.shape
    nuclei = []
    for number, box in enumerate(find_objects(np.maximum(labels, 0)), start=1):
        if box is None:
            continue
        rows, columns = box
        if not (rows.start and columns.start and rows.stop < height and columns.stop < width):
            continue
        rim = (slice(rows.start - 1, rows.stop + 1), slice(columns.start - 1, columns.stop + 1))
        mask = np.asarray(labels[rim] == number, np.float32)
        area = float(mask.sum())
        if area < LEAST_AREA:
            continue
        change = pixels[rim] - filled[rim]
        if absorbing:
            change = -change / np.maximum(filled[rim], 8)
        moments = cv2.moments(mask, binaryImage=True)
        angle = 0.5 * np.arctan2(2 * moments["mu11"], moments["mu20"] - moments["mu02"])
        layers = np.concatenate([change, mask[..., None]], axis=-1)
        nuclei.append(Nucleus(layers, float(angle), float(np.sqrt(4 * area / np.pi))))
    seen = np.array([_contrast(nucleus, absorbing) for nucleus in nuclei])
    least = max(FAINT * float(np.median(seen)), FAINTEST) if len(seen) else 0
    return [nucleus for nucleus, contrast in zip(nuclei, seen, strict=True) if contrast >= least]


def _contrast(nucleus: Nucleus, absorbing: bool) -> float:
    """Tell by how much of 255 a nucleus is brighter or darker than the ground, on average."""
    strength = nucleus.layers[..., :-1].mean(axis=-1) * (255 if absorbing else 1)
    return float((strength * nucleus.mask).sum() / nucleus.mask.sum())


def _shaped(
    nucleus: Nucleus, place: Place, rng: np.random.Generator, scale: float
) -> tuple[FloatArray, FloatArray]:
    """Turn, scale, stretch and bend a nucleus; give its change, 0 around it, and a soft mask."""
    height, width = nucleus.mask.shape
    along = scale * float(np.exp(rng.normal(0, 0.18)))
    across = scale * float(np.exp(rng.normal(0, 0.12))) * (1 if rng.random() < 0.5 else -1)
    bend = float(rng.normal(0, 0.25)) if rng.random() < 0.4 else 0.0
    turned = float(rng.uniform(0, 2 * np.pi)) if place.angle is None else place.angle
    reach = int(np.ceil(np.hypot(height, width) / 2 * max(along, abs(across)))) + 4
    # Backwards: from the field's pixels to the nucleus's long axis, and on to those of its image.
    to_axes = np.diag([1 / along, 1 / across]) @ _turn(-turned)
    to_image = _turn(nucleus.angle)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    side = 2 * reach + 1
    if bend:
        rows, columns = np.indices((side, side), np.float32) - np.float32(reach)
        lengthwise, crosswise = (row[0] * columns + row[1] * rows for row in to_axes)
        crosswise = crosswise + bend * lengthwise**2 / max(nucleus.diameter, 1)
        maps = [
            np.asarray(row[0] * lengthwise + row[1] * crosswise + shift, np.float32)
            for row, shift in zip(to_image, middle, strict=True)
        ]
        moved = cv2.remap(nucleus.layers, maps[0], maps[1], cv2.INTER_LINEAR)
    else:
        matrix = to_image @ to_axes
        shift = middle - matrix @ np.array([reach, reach])
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        matrix = np.column_stack([matrix, shift])
        moved = cv2.warpAffine(nucleus.layers, matrix, (side, side), flags=how)
    soft = np.asarray(cv2.GaussianBlur(moved[..., -1], (0, 0), 0.8), np.float32)
    return np.asarray(moved[..., :-1] * soft[..., None], np.float32), soft


def _turn(angle: float) -> npt.NDArray[np.float64]:
    """Give the matrix that turns (column, row) by an angle."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _inside(place: Place, shape: tuple[int, ...], size: int) -> tuple[Any, Any] | None:
    """Give the part of the field that a cut-out covers, and the part of it that lies inside."""
    there, part = [], []
    for at, side in zip((place.row, place.column), shape, strict=True):
        begin = round(at) - side // 2
        low, high = max(begin, 0), min(begin + side, size)
        if low >= high:
            return None
        there.append(slice(low, high))
        part.append(slice(low - begin, high - begin))
    return tuple(there), tuple(part)


def _background(
    filled: FloatArray,
    pixels: FloatArray,
    nuclei: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    size: int,
) -> FloatArray:
    """Make a background of the image's own: what lies between nuclei, and its grain everywhere."""
    hidden = _with_halo(nuclei)[..., None]
    grain = np.where(hidden, 0, pixels - filled)
    shift = tuple(int(rng.integers(side)) for side in nuclei.shape)
    other = np.roll(grain[::-1, ::-1], shift, axis=(0, 1))
    whole = filled + np.where(hidden, other, grain)
    missing = [max(size - side, 0) for side in nuclei.shape]
    large = cv2.copyMakeBorder(whole, 0, missing[0], 0, missing[1], cv2.BORDER_REFLECT)
    return np.array(large[:size, :size], np.float32).reshape(size, size, -1)


def _finished(
    canvas: FloatArray, rng: np.random.Generator, *, absorbing: bool
) -> tuple[npt.NDArray[np.uint8], float]:
    """Add haze, bring the field to the range of a stretched image, and tell by what factor."""
    factor = 1.0
    if not absorbing:
        if rng.random() < 0.4:
            haze = _blurred(canvas, float(rng.uniform(6, 25)))
            canvas = canvas + np.float32(rng.uniform(0.1, 0.7)) * haze
        low, high = np.percentile(canvas, (1, 99.8))
        factor = 255 / max(float(high - low), 1)
        canvas = (canvas - low) * np.float32(factor)
    return np.asarray(np.clip(canvas + 0.5, 0, 255), np.uint8), factor


def _blurred(pixels: FloatArray, sigma: float) -> FloatArray:
    """Blur an image of any number of channels."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.float32).reshape(pixels.shape)
