"""Convert the maps of a network to a label image."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph
from skimage.measure import label as connected_pieces

from nucseg.config import OFFSET_RANGE, ConnectedComponents, Watershed
from nucseg.core.filters import Labels, renumbered
from nucseg.images.preprocess import FloatImage

Indices = npt.NDArray[np.intp]

# A hole is filled if its area is below this fraction of the area of its nucleus.
_HOLE = 0.5
# Levels of the flood, as fractions of the seed threshold.
_STEPS = (0.5, 0.0, -np.inf)


def label_image(maps: FloatImage, settings: ConnectedComponents | Watershed) -> Labels:
    """Convert the maps of a network to a label image with the method of the settings.

    Parameters
    ----------
    maps : ndarray, shape (H, W, C), float32, in [0, 1]
        The first map is the nucleus probability. `watershed` needs all of
        `nucseg.config.INSTANCE_MAPS`.
    settings : ConnectedComponents or Watershed

    Returns
    -------
    ndarray, shape (H, W), int32
        0 background, 1…N nuclei.

    Examples
    --------
    >>> import numpy as np
    >>> label_image(np.ones((1, 2, 1), np.float32), ConnectedComponents(min_area=0)).tolist()
    [[1, 1]]
    """
    if isinstance(settings, Watershed):
        return watershed(maps, settings)
    return connected_components(np.ascontiguousarray(maps[..., 0]), settings)


def connected_components(probability: FloatImage, settings: ConnectedComponents) -> Labels:
    """Label connected pixels at or above a threshold.

    Parameters
    ----------
    probability : ndarray, shape (H, W), float32, in [0, 1]
    settings : ConnectedComponents

    Returns
    -------
    ndarray, shape (H, W), int32
        0 background, 1…N nuclei in the order of their first pixels.

    Examples
    --------
    >>> import numpy as np
    >>> probability = np.array([[0.9, 0.8, 0.1, 0.2], [0.9, 0.1, 0.7, 0.7]], np.float32)
    >>> connected_components(probability, ConnectedComponents(min_area=2)).tolist()
    [[1, 1, 0, 0], [1, 0, 2, 2]]
    """
    nuclei = (probability >= settings.threshold).astype(np.uint8)
    # Pixels that share only a corner are not connected: the gap between touching nuclei is often
    # thin, and 8-connectivity would bridge it where it is diagonal.
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(
        nuclei, connectivity=4, ltype=cv2.CV_32S
    )
    areas = statistics[:, cv2.CC_STAT_AREA]
    return renumbered(np.asarray(labels, np.int32), areas >= settings.min_area)


def watershed(maps: FloatImage, settings: Watershed) -> Labels:
    """Separate nuclei by a seeded watershed on distance minus border, then join fragments.

    Each connected region of the foreground above the seed threshold is a seed. A part of the
    foreground with several seeds is flooded from high to low values until the nuclei meet. A part
    with one seed is one nucleus, and a part without a seed is a nucleus of its own. Each pixel
    votes for the centre of its nucleus with its centre offset: a fragment whose votes are in a
    touching fragment is joined to it. Pixels are removed from a nucleus if their probability is
    below a fraction of its mean probability. Holes inside a nucleus are filled.

    Parameters
    ----------
    maps : ndarray, shape (H, W, 5), float32, in [0, 1]
        Maps in the order of `nucseg.config.INSTANCE_MAPS`, which describes them.
    settings : Watershed

    Returns
    -------
    ndarray, shape (H, W), int32
        0 background, 1…N nuclei. The pixels of each nucleus are 4-connected.

    Examples
    --------
    >>> import numpy as np
    >>> distance = np.array([[0.2, 1, 0.6, 0.2, 0.5, 0.9, 0.1]], np.float32)
    >>> one, middle = np.ones_like(distance), np.full_like(distance, 0.5)
    >>> maps = np.stack([one, 0 * one, distance, middle, middle], axis=-1)
    >>> watershed(maps, Watershed(min_area=0)).tolist()
    [[1, 1, 1, 1, 2, 2, 2]]
    """
    nucleus, border, distance = np.moveaxis(maps, 2, 0)[:3]
    # With a frame of background, the steps below need not handle the edges of the image.
    height = np.pad(distance - border, 1)
    foreground = np.pad(nucleus >= settings.threshold, 1)
    n_seeds, seeds = _connected(foreground & (height >= settings.seed_threshold))
    pixel_of_seed = _pixel_of_each(seeds, n_seeds)
    n_parts, parts = _connected(foreground)
    seed_in, several = _seeds_of_parts(parts, n_parts, pixel_of_seed)
    without = (seed_in == 0) & ~several
    without[0] = False  # the background
    seed_in[without] = n_seeds + 1 + np.arange(np.count_nonzero(without))
    pixels = np.flatnonzero(foreground)
    part = parts.ravel()[pixels]
    labels = np.zeros(parts.shape, np.int32)
    labels.ravel()[pixels] = seed_in[part]
    contested = pixels[several[part]]
    if len(contested):
        labels.ravel()[contested] = seeds.ravel()[contested]
        heights = height.ravel()[contested]
        for share in _STEPS:
            high = contested[heights >= share * settings.seed_threshold]
            _flood(labels, height, high, pixel_of_seed)
        _join(labels, maps[..., 3:], contested, settings.join_votes)
    _trim(labels, pixels, np.pad(nucleus, 1), settings.relative_threshold)
    areas = _fill_holes(labels)
    return renumbered(labels[1:-1, 1:-1], areas >= max(settings.min_area, 1))


def _connected(region: npt.NDArray[np.bool_]) -> tuple[int, Labels]:
    """Count and label the 4-connected parts of a region."""
    count, parts = cv2.connectedComponents(region.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    return count - 1, np.asarray(parts, np.int32)


def _pixel_of_each(labels: Labels, count: int) -> Indices:
    """Return the index of one pixel of each label from 1 on; for label 0 it is 0, in the frame."""
    pixel = np.zeros(count + 1, np.intp)
    pixels = np.flatnonzero(labels > 0)
    pixel[labels.ravel()[pixels]] = pixels
    return pixel


def _seeds_of_parts(
    parts: Labels, n_parts: int, pixel_of_seed: Indices
) -> tuple[Labels, npt.NDArray[np.bool_]]:
    """Return the seed of each part, 0 for none or several, and whether it has several seeds."""
    part_of = parts.ravel()[pixel_of_seed]
    several = np.bincount(part_of, minlength=n_parts + 1) > 1
    seed_in = np.zeros(n_parts + 1, np.int32)
    seed_in[part_of] = np.arange(len(pixel_of_seed))
    # Part 0 is outside: it has seeds that are not in any part, and the frame pixel of label 0.
    several[0] = False
    seed_in[several] = 0
    seed_in[0] = 0
    return seed_in, several


def _flood(labels: Labels, height: FloatImage, high: Indices, pixel_of_seed: Indices) -> None:
    """Assign contested pixels above some height to the seeds, in place."""
    ground = np.zeros(labels.shape, bool)
    ground.ravel()[high] = True
    n_parts, parts = _connected(ground)
    seed_in, several = _seeds_of_parts(parts, n_parts, pixel_of_seed)
    # A part with one seed belongs to it: no other seed can reach the part before it is full.
    flat = labels.ravel()
    part, now = parts.ravel()[high], flat[high]
    shared = several[part]
    flat[high] = np.where(shared, now, seed_in[part])
    _meet(labels, height, ground, high[shared & (now == 0)])


def _meet(labels: Labels, height: FloatImage, ground: npt.NDArray[np.bool_], free: Indices) -> None:
    """Grow nuclei over pixels that several can reach, one pixel per round, in place.

    A free pixel beside several nuclei goes to the nucleus whose adjacent pixel is highest.
    """
    flat, heights, place = labels.ravel(), height.ravel(), np.empty(labels.size, np.int32)
    open_ = ground & (labels == 0)
    is_open = open_.ravel()
    steps = np.array([[1], [-1], [labels.shape[1]], [-labels.shape[1]]])
    while len(free):
        around = free + steps
        taken = flat[around]
        best = np.where(taken > 0, heights[around], -np.inf).argmax(axis=0)
        chosen = taken[best, np.arange(len(free))]
        flat[free] = chosen
        reached = chosen > 0
        is_open[free[reached]] = False
        near = around[:, reached].ravel()
        near = near[is_open[near]]
        # Keep each pixel once.
        place[near] = np.arange(len(near))
        free = near[place[near] == np.arange(len(near))]


def _join(labels: Labels, offsets: FloatImage, contested: Indices, share: float) -> None:
    """Join two fragments if one gives this fraction of its votes to the other, in place."""
    flat, (height, width) = labels.ravel(), labels.shape
    row, column = np.divmod(contested, width)
    # The offsets have no frame.
    away = (offsets[row - 1, column - 1] - 0.5) * (2 * OFFSET_RANGE)
    voted_row, voted_column = np.rint(away).astype(np.intp).T
    voted_row = np.clip(voted_row + row, 0, height - 1)
    voted_column = np.clip(voted_column + column, 0, width - 1)
    giver, taker = flat[contested], flat[voted_row * width + voted_column]
    count = int(flat.max()) + 1
    votes = np.bincount(giver, minlength=count)
    abroad = (taker != giver) & (taker > 0)
    pairs, given = np.unique(giver[abroad] * np.int64(count) + taker[abroad], return_counts=True)
    first, second = np.divmod(pairs[given >= share * votes[pairs // count]], count)
    touching = _touching(flat, contested, width, count)
    near = np.isin(np.minimum(first, second) * count + np.maximum(first, second), touching)
    links = sparse.coo_array(
        (np.ones(np.count_nonzero(near), bool), (first[near], second[near])), shape=(count, count)
    )
    _, group = csgraph.connected_components(links, directed=False)
    _, first_of_group = np.unique(group, return_index=True)
    flat[contested] = first_of_group[group[giver]]


def _touching(flat: npt.NDArray[np.int32], pixels: Indices, width: int, count: int) -> Indices:
    """Return pairs of labels that share a pixel edge, as lower label × count + higher label."""
    keys = []
    for step in (1, width):
        here, there = flat[pixels], flat[pixels + step]
        differ = (here != there) & (there > 0)
        here, there = here[differ].astype(np.int64), there[differ].astype(np.int64)
        keys.append(np.minimum(here, there) * count + np.maximum(here, there))
    return np.unique(np.concatenate(keys))


def _trim(labels: Labels, pixels: Indices, probability: FloatImage, share: float) -> None:
    """Remove pixels below a fraction of the mean probability of their nucleus, in place.

    If a nucleus falls apart, its largest fragment is kept.
    """
    if share == 0:
        return
    flat = labels.ravel()
    label, value = flat[pixels], probability.ravel()[pixels]
    means = np.bincount(label, weights=value) / np.maximum(np.bincount(label), 1)
    low = value < (share * means).astype(np.float32)[label]
    flat[pixels[low]] = 0
    pixels, label = pixels[~low], label[~low]
    pieces = np.asarray(connected_pieces(labels, connectivity=1))  # type: ignore[no-untyped-call]
    piece = pieces.ravel()[pixels]
    areas = np.bincount(piece)
    label_of = np.zeros(len(areas), np.int32)
    label_of[piece] = label
    # The largest fragment of each label comes last, and is kept.
    order = np.argsort(areas, kind="stable")
    largest = np.zeros(len(means), np.intp)
    largest[label_of[order]] = order
    flat[pixels[largest[label] != piece]] = 0


def _fill_holes(labels: Labels) -> Indices:
    """Fill background that a single nucleus encloses, unless the hole is large, in place.

    Return the number of pixels of each label afterwards.
    """
    background = labels == 0
    count, holes = cv2.connectedComponents(
        background.view(np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    flat = labels.ravel()
    areas = np.bincount(flat)
    if count == 2:  # the background around the nuclei, and label 0 for the nuclei
        return areas
    pixels = np.flatnonzero(background & (holes != holes[0, 0]))
    which = holes.ravel()[pixels]
    around = flat[pixels + np.array([[1], [-1], [labels.shape[1]], [-labels.shape[1]]])]
    largest = np.zeros(count, np.int32)
    np.maximum.at(largest, which, around.max(axis=0))
    no_label = np.iinfo(np.int32).max
    smallest = np.full(count, no_label, np.int32)
    np.minimum.at(smallest, which, np.where(around > 0, around, no_label).min(axis=0))
    sizes = np.bincount(which, minlength=count)
    filled = (largest == smallest) & (sizes < _HOLE * areas[largest])
    flat[pixels] = np.where(filled, largest, 0)[which]
    np.add.at(areas, largest[filled], sizes[filled])
    return areas
