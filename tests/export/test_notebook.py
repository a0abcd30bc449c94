"""What a notebook shows of a segmentation."""

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from nucseg.export.notebook import notebook_html, reduced_overlay
from nucseg.export.overlay import draw_overlay
from nucseg.inference.segmentation import Segmentation


def squares(count: int, shape: tuple[int, int] = (60, 200)) -> Segmentation:
    labels = np.zeros(shape, np.uint16)
    for number in range(count):
        labels[5:25, 4 + 25 * number : 20 + 25 * number] = number + 1
    image = np.where(labels > 0, 200, 10).astype(np.uint8)
    scores = np.full(count, 0.75, np.float32)
    return Segmentation(image, labels, scores, (labels > 0).astype(np.float32), (0.5, 0.25))


def picture_in(html: str) -> np.ndarray:
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    return decoded[:, :, ::-1]


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.rows, self.open, self.inside = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        if tag not in {"img"}:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.inside = ""

    def handle_data(self, data):
        if self.inside in {"td", "th"}:
            self.rows[-1].append(data)


def test_picture_count_and_head_of_the_table_are_shown():
    seg = squares(7)
    html = seg._repr_html_()
    assert html == notebook_html(seg)
    assert "<strong>7 nuclei</strong> in 200 × 60 pixels of 0.25 × 0.5 µm" in html
    np.testing.assert_array_equal(picture_in(html), seg.overlay())
    cells = Cells()
    cells.feed(html)
    assert cells.open == []
    head, *rows = cells.rows
    assert head == list(seg.measurements())
    assert len(rows) == 5
    assert rows[1][:2] == ["2", "0.75"]
    assert rows[0][head.index("touches_border")] == "no"
    assert rows[0][head.index("area")] == "320"
    assert "and 2 more rows" in html


def test_one_and_no_nuclei():
    one = squares(1)._repr_html_()
    assert "<strong>1 nucleus</strong>" in one
    assert "more rows" not in one
    none = squares(0)._repr_html_()
    assert "<strong>0 nuclei</strong>" in none
    assert "<table" not in none


def test_nothing_but_the_base_install_is_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    assert "data:image/png" in squares(3)._repr_html_()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float64])
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_large_images_are_made_small_before_outlines_are_drawn(dtype, channels):
    seg = squares(7)
    labels = np.kron(seg.labels, np.ones((8, 8), np.uint16))
    image = (labels > 0).astype(dtype).reshape(*labels.shape, *[1] * len(channels))
    image = np.broadcast_to(image, (*labels.shape, *channels))
    picture = reduced_overlay(image, labels, side=400)
    assert picture.shape == (120, 400, 3)
    # Lines of one pixel, which would be lost had they been drawn before.
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 3


def test_small_images_stay_as_they_are():
    seg = squares(4)
    expected = draw_overlay(seg.image, seg.labels)
    np.testing.assert_array_equal(reduced_overlay(seg.image, seg.labels, side=512), expected)
    np.testing.assert_array_equal(seg.overlay(), expected)
