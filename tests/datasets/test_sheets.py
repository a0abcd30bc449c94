"""Thumbnails and sheets: proportions, outlines and places checked on small pictures."""

import numpy as np

from nucseg.datasets.sheets import ALARM, OUTLINE, PAPER, sheet, thumbnail


def test_a_thumbnail_keeps_the_proportions_and_outlines_each_nucleus():
    labels = np.zeros((40, 80), int)
    labels[10:30, 10:20] = 1
    labels[10:30, 20:30] = 2
    picture = thumbnail(np.zeros((40, 80), np.uint16), labels, 80)
    assert picture.shape == (40, 80, 3)
    outlined = (picture == OUTLINE).all(axis=2)
    assert outlined[10, 10:30].all()
    assert outlined[10:30, 19:21].all()  # the border between the two
    assert not outlined[12:28, 12:18].any()
    assert not outlined[:9].any()


def test_a_small_image_is_enlarged_and_a_thin_one_keeps_a_pixel():
    assert thumbnail(np.zeros((1, 1)), np.ones((1, 1), int), 8).shape == (8, 8, 3)
    assert thumbnail(np.zeros((1, 500)), np.zeros((1, 500), int), 50).shape == (1, 50, 3)


def test_intensities_are_stretched_unless_told_otherwise():
    pixels = np.tile(np.linspace(0, 0.1, 20), (20, 1)).astype(np.float32)
    nothing = np.zeros((20, 20), int)
    assert thumbnail(pixels, nothing, 20).max() == 255
    assert thumbnail(pixels, nothing, 20, percentiles=None).max() in (25, 26)


def test_pictures_are_laid_out_in_rows_with_captions():
    red = np.zeros((10, 10, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    drawn = sheet([(red, "a", False), (red, "b", True), (red, "", False)], columns=2, side=20)
    assert drawn.shape == (2 * (20 + 16 + 4) + 4, 2 * 24 + 4, 3)
    assert (drawn[9:19, 9:19] == [255, 0, 0]).all()  # in the middle of its place
    assert (drawn[49:59, 9:19] == [255, 0, 0]).all()
    assert (drawn[44:, 28:] == PAPER).all()  # the fourth place is empty
    assert (drawn[24:40, 28:48] == ALARM).all(axis=2).any()
    assert not (drawn[24:40, 4:24] == ALARM).all(axis=2).any()


def test_a_long_caption_does_not_run_into_the_next_picture():
    nothing = np.zeros((20, 20, 3), np.uint8)
    drawn = sheet([(nothing, "W" * 50, False), (nothing, "", False)], columns=2, side=20)
    assert (drawn[25:, 26:] == PAPER).all()


def test_no_pictures_give_an_empty_sheet():
    assert (sheet([], columns=1, side=20) == PAPER).all()
