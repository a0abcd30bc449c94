import numpy as np
import pytest
from PIL import Image

from nucseg.errors import InputError
from nucseg.figures.pictures import write_png


def test_a_picture_is_written_or_the_reason_told(tmp_path):
    picture = np.full((3, 4, 3), 7, np.uint8)
    write_png(tmp_path / "new" / "a.png", picture)
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert np.array_equal(np.asarray(image), picture)
    with pytest.raises(InputError, match="Cannot write"):
        write_png(tmp_path / "new" / "a.png" / "b.png", picture)
