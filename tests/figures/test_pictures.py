import numpy as np
import pytest
from PIL import Image

from nucseg.errors import InputError
from nucseg.figures.pictures import titled, write_png


def test_a_picture_is_written_or_the_reason_told(tmp_path):
    picture = np.full((3, 4, 3), 7, np.uint8)
    write_png(tmp_path / "new" / "a.png", picture)
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert np.array_equal(np.asarray(image), picture)
    with pytest.raises(InputError, match="Cannot write"):
        write_png(tmp_path / "new" / "a.png" / "b.png", picture)


def test_a_title_grows_with_its_picture():
    heights = [titled(np.zeros((8, side, 3), np.uint8), "Title").shape[0] - 8 for side in (64, 512)]
    assert heights == [26, 104]
    narrow = titled(np.zeros((300, 2, 3), np.uint8), "Title")
    assert narrow.shape[1] > 40
