import io
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.export import LabelImage, save_formats
from nucseg.export import masks as module
from nucseg.export.masks import MaskEncoder
from nucseg.files import png_fault


@given(st.data(), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 50, 2**20]))
def test_other_programs_read_the_mask(data, height: int, width: int, at_once: int):
    rows, columns = (
        sorted(data.draw(st.tuples(st.integers(0, side - 1), st.integers(1, side))))
        for side in (height, width)
    )
    expected = np.zeros((height, width), bool)
    crop = expected[rows[0] : max(rows[1], rows[0] + 1), columns[0] : max(columns[1], 1)]
    crop[:] = np.random.default_rng(0).random(crop.shape) < 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_COMPRESSED_AT_ONCE", at_once)
        encoder = MaskEncoder((height, width))
    png = encoder.png(crop, row=rows[0], column=columns[0])
    assert png_fault(png) is None
    with PIL.Image.open(io.BytesIO(png)) as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), expected * 255)
    read = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read, expected * 255)


def test_the_pixels_have_the_right_checksum():
    """Which many readers do not look at: Adler's, of all rows with their filters."""
    png = MaskEncoder((70_001, 3)).png(np.ones((2, 2), bool), row=65_600, column=1)
    start = png.index(b"IDAT")
    pixels = zlib.decompress(png[start + 4 : start + 4 + int.from_bytes(png[start - 4 : start])])
    assert len(pixels) == 4 * 70_001
    assert sum(pixels) == 4 * 255


def test_masks_of_a_wide_image_are_small(tmp_path: Path):
    labels = np.zeros((300, 5000), np.uint16)
    labels[100:120, 4000:4030] = 1
    (folder,) = save_formats(LabelImage(labels), tmp_path, "a", ["masks"])
    (mask,) = folder.iterdir()
    assert mask.stat().st_size < 3000
    np.testing.assert_array_equal(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED), labels * 255)
