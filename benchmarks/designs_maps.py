"""Three ways to say in maps which nucleus a pixel is of, and to read it back from maps.

For benchmarks/designs.py. What each design gives a network to learn is drawn from label images;
what a network gives is turned into label images. Foreground, the smallest area of a nucleus and
the filling of holes are those of the product in every design.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import sparse
from scipy.spatial import KDTree
from skimage.measure import label

from nucseg.config import OFFSET_RANGE, Watershed
from nucseg.inference.instances import _fill_holes, watershed
from nucseg.training.targets import training_targets

SETTINGS = Watershed()
RAYS = 32
# Rays are from half a pixel to 256 pixels long, on a scale of octaves.
SHORTEST, OCTAVES = 0.5, 9
# A polygon is dropped where others cover more than this share of it.
OVERLAP = 0.4
# How often a pixel's vote is passed on to what the pixel under it votes for.
PASSES = 2
# Clusters of votes nearer than this share of the radius of their nuclei are one.
TOO_NEAR = 0.5

ANGLES = 2 * np.pi * np.arange(RAYS) / RAYS


def watershed_labels(maps):
    """Read a label image from nucleus, border, distance and, where they are given, offsets.

    Without offsets each pixel votes for the nucleus that it is in, so that none are joined.
    """
    missing = 5 - maps.shape[-1]
    filled = np.pad(maps, [(0, 0), (0, 0), (0, missing)], constant_values=0.5)
    return watershed(filled, SETTINGS)


def offset_labels(maps):
    """Read a label image from the nucleus and its offsets: a pixel votes for where its centre is.

    A vote is passed on by the pixel that it falls on, which is nearer to the centre and knows
    better; so votes gather in a few pixels whatever the size of the nucleus.
    """
    nuclei = maps[..., 0] >= SETTINGS.threshold
    away = np.where(nuclei[..., None], (maps[..., 1:3] - 0.5) * (2 * OFFSET_RANGE), 0)
    away = np.ascontiguousarray(away, np.float32)
    start = np.moveaxis(np.indices(nuclei.shape, np.float32), 0, -1)
    votes = start + away
    for _ in range(PASSES):
        votes += cv2.remap(
            away, votes[..., 1], votes[..., 0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    height, width = nuclei.shape
    rows, columns = np.rint(votes[nuclei]).astype(np.intp).T
    places = np.clip(rows, 0, height - 1) * width + np.clip(columns, 0, width - 1)
    counts = np.bincount(places, minlength=nuclei.size).reshape(nuclei.shape)
    dense = cv2.boxFilter(counts.astype(np.float32), -1, (3, 3), normalize=False)
    clusters = nearest(label(dense >= SETTINGS.min_area / 2, connectivity=2))
    voted = clusters.ravel()[places]
    labels = np.zeros(nuclei.shape, np.int32)
    labels[nuclei] = joined(voted, votes[nuclei])[voted]
    return finished(labels, nuclei)


def joined(voted, votes):
    """Renumber clusters, so that those that are too near for their sizes are one.

    A cluster is as large as the disc of all pixels that voted for it.
    """
    sizes = np.bincount(voted, minlength=1)
    sums = [np.bincount(voted, weights=axis, minlength=1) for axis in votes.T]
    centres = np.stack(sums, axis=-1) / np.maximum(sizes, 1)[:, None]
    radii = np.sqrt(sizes / np.pi)
    # Number 0 is no cluster; where there are clusters nobody votes for it.
    pairs = 1 + KDTree(centres[1:]).query_pairs(TOO_NEAR * radii.max(), output_type="ndarray")
    one, other = pairs.T
    apart = np.linalg.norm(centres[one] - centres[other], axis=1)
    same = apart < TOO_NEAR * np.maximum(radii[one], radii[other])
    links = sparse.coo_array((same[same], (one[same], other[same])), shape=(len(sizes),) * 2)
    return sparse.csgraph.connected_components(links, directed=False)[1].astype(np.int32)


def star_targets(labels):
    """Draw nucleus, relative distance to the outline, and the lengths of rays to it."""
    drawn = training_targets(labels, ("nucleus", "distance"))[..., :2]
    return np.concatenate([drawn, star_rays(labels)], axis=-1)


def star_rays(labels):
    """Draw how far it is from each pixel to the end of its nucleus along rays, on a log scale.

    A line of pixels along a ray becomes a column by shifting rows (or columns, for flat rays)
    against each other; there a nucleus is a run of equal numbers, whose ends are quickly found.

    Returns
    -------
    ndarray, shape (H, W, RAYS), float32, in [0, 1]
        From `SHORTEST` to the length `OCTAVES` above; 0 outside nuclei.
    """
    upright = np.pad(labels, 1).astype(np.int32)
    flat = np.ascontiguousarray(upright.T)
    rows, columns = np.stack(np.nonzero(upright)).astype(np.int32)
    steps = np.arange(max(upright.shape))
    rays = np.empty((RAYS, len(rows)), np.float32)
    for ray in range(RAYS // 2):
        down, right = np.sin(ANGLES[ray]), np.cos(ANGLES[ray])
        if abs(down) > abs(right):
            ends = run_ends(upright, rows, columns, right / down)
        else:
            ends = run_ends(flat, columns, rows, down / right)
        # Pixels to either end, and half a pixel to the outline.
        lengths = (steps + 0.5) / max(abs(down), abs(right))
        scaled = np.clip(np.log2(lengths / SHORTEST) / OCTAVES, 0, 1).astype(np.float32)
        onwards, back = ends if abs(down) > abs(right) or right > 0 else ends[::-1]
        rays[ray], rays[ray + RAYS // 2] = scaled.take(onwards), scaled.take(back)
    maps = np.zeros((*labels.shape, RAYS), np.float32)
    maps[rows - 1, columns - 1] = rays.T
    return maps


def run_ends(numbers, along, across, slope):
    """Count the pixels from given ones to both ends of the run of their number along a line.

    Lines go down one row at a time and sideways by the slope, of at most 1. They wrap around, but
    the frame of zeros ends every run there.
    """
    height, width = numbers.shape
    places = np.arange(height, dtype=np.int32)[:, None]
    shift = np.rint(slope * places).astype(np.int32)
    lines = numbers.take(places * width + (np.arange(width, dtype=np.int32) + shift) % width)
    begins = np.zeros((height + 1, width), bool)
    begins[1:height] = lines[1:] != lines[:-1]
    begin = np.maximum.accumulate(np.where(begins[:-1], places, 0), axis=0)
    end = np.where(begins[1:], places, height - 1)
    end = np.ascontiguousarray(np.minimum.accumulate(end[::-1], axis=0)[::-1])
    pixels = along * width + (across - shift.ravel()[along]) % width
    return end.take(pixels) - along, along - begin.take(pixels)


def star_labels(maps):
    """Read a label image from nucleus, centre and rays: the best polygons, refined by the mask.

    Polygons begin where the distance map peaks, the highest first; one whose centre is taken or of
    which too much is covered is dropped. Schmidt et al. 2018, "Cell Detection with Star-convex
    Polygons".
    """
    nuclei, centre = maps[..., 0] >= SETTINGS.threshold, np.ascontiguousarray(maps[..., 1])
    peaks = nuclei & (centre >= SETTINGS.seed_threshold)
    peaks &= centre >= cv2.dilate(centre, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-centre[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    # To the middle of the last pixel, since outlines are painted too.
    lengths = SHORTEST * 2 ** (OCTAVES * maps[rows, columns, 2:]) - 0.5
    outlines = np.stack([
        columns[:, None] + lengths * np.cos(ANGLES), rows[:, None] + lengths * np.sin(ANGLES)
    ], axis=-1)  # fmt: skip
    labels = np.zeros(nuclei.shape, np.int32)
    polygons = zip(rows, columns, np.rint(outlines).astype(np.int32), strict=True)
    for number, (row, column, outline) in enumerate(polygons, start=1):
        if not labels[row, column]:
            paint(labels, outline, number)
    return finished(labels, nuclei)


def paint(labels, outline, number):
    """Paint a polygon where nothing is yet, unless too much of it is covered."""
    first = np.maximum(outline.min(axis=0), 0)
    last = np.minimum(outline.max(axis=0) + 1, labels.shape[::-1])
    polygon = np.zeros((last - first)[::-1], np.uint8)
    cv2.fillPoly(polygon, [outline - first], 1)
    below = labels[first[1] : last[1], first[0] : last[0]]
    free = (polygon > 0) & (below == 0)
    if np.count_nonzero(free) >= (1 - OVERLAP) * np.count_nonzero(polygon):
        below[free] = number


def finished(labels, nuclei):
    """Make each nucleus one connected piece, and of all pieces together the foreground.

    What is not of the largest piece of its nucleus goes to the nearest nucleus in the same part of
    the foreground; parts without any are nuclei of their own. Holes are filled.
    """
    pieces = label(np.where(nuclei, labels, 0), connectivity=1)
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    of_piece = np.zeros(len(areas), np.int32)
    of_piece[pieces.ravel()] = labels.ravel()
    largest = np.zeros(labels.max() + 1, np.intp)
    by_area = np.argsort(areas, kind="stable")
    largest[of_piece[by_area]] = by_area
    kept = (largest[of_piece] == np.arange(len(areas))) & (areas >= SETTINGS.min_area)
    parts = label(nuclei, connectivity=1)
    whole = nearest(np.where(kept[pieces], pieces, 0), within=parts)
    alone = nuclei & (whole == 0)
    whole[alone] = len(areas) + parts[alone]
    framed = np.pad(whole, 1)
    _fill_holes(framed)
    whole = framed[1:-1, 1:-1]
    keep = np.bincount(whole.ravel()) >= SETTINGS.min_area
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[whole]


def nearest(labels, within=None):
    """Give each pixel the label nearest to it, or 0 where that is in another of the parts."""
    labels = labels.astype(np.int32)
    if not labels.any():
        return labels
    _, number = cv2.distanceTransformWithLabels(
        (labels == 0).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    held = np.flatnonzero(labels)
    place = np.zeros(number.max() + 1, np.intp)
    place[number.ravel()[held]] = held
    place = place[number]
    found = labels.ravel()[place]
    if within is not None:
        found[(within == 0) | (within.ravel()[place] != within)] = 0
    return found
