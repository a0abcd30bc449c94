import struct
import zipfile
from pathlib import Path

import numpy as np

from nucseg.core.outlines import outlines
from nucseg.export import LabelImage, save_formats
from nucseg.export.rois import roi_bytes

RECTANGLE, TRACED = 1, 8
MOVE, LINE, CLOSE = 0, 1, 4


def decoded(data: bytes) -> dict[str, object]:
    """Take an ImageJ ROI file apart as ImageJ does: all numbers big-endian, at fixed places."""
    assert data[:4] == b"Iout"
    version, kind = struct.unpack(">hB", data[4:7])
    top, left, bottom, right, count = struct.unpack(">hhhhH", data[8:18])
    assert data[18:36] == bytes(18)  # a line's ends, the width of the stroke
    (floats,) = struct.unpack(">i", data[36:40])
    assert data[40:60] == bytes(20)  # colours, subtype, options, position
    (second,) = struct.unpack(">i", data[60:64])
    assert second == 64 + 4 * (floats or count)
    name_at, name_length = struct.unpack(">ii", data[second + 16 : second + 24])
    assert name_at == second + 64
    assert len(data) == name_at + 2 * name_length
    found = {
        "kind": kind,
        "box": (top, left, bottom, right),
        "name": data[name_at:].decode("utf-16-be"),
    }
    assert version >= 217
    if floats:
        found["path"] = struct.unpack(f">{floats}f", data[64:second])
    else:
        numbers = struct.unpack(f">{2 * count}h", data[64:second])
        found["x"], found["y"] = numbers[:count], numbers[count:]
    return found


def roi_of(labels: np.ndarray) -> dict[str, object]:
    ((number, polygons),) = outlines(labels)
    return decoded(roi_bytes(polygons, f"{number}"))


def test_a_nucleus_is_a_traced_selection():
    labels = np.zeros((9, 9), np.uint16)
    labels[3, 2:5] = labels[4, 2] = 12
    assert roi_of(labels) == {
        "kind": TRACED,
        "box": (3, 2, 5, 5),
        "name": "12",
        # From the upper left corner of the box.
        "x": (0, 3, 3, 1, 1, 0),
        "y": (0, 0, 1, 1, 2, 2),
    }


def test_holes_and_pieces_are_a_composite_selection():
    labels = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [1, 1, 1, 0, 0]], np.uint16)
    found = roi_of(labels)
    assert (found["kind"], found["box"]) == (RECTANGLE, (0, 0, 3, 5))
    path = list(found["path"])
    rings = []
    while path:
        kind = path.pop(0)
        if kind == MOVE:
            rings.append([])
        if kind == CLOSE:
            continue
        assert kind in (MOVE, LINE)
        rings[-1].append((path.pop(0), path.pop(0)))
    assert rings[0] == [(0, 0), (3, 0), (3, 3), (0, 3)]
    assert sorted(rings[1]) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert rings[2] == [(4, 1), (5, 1), (5, 2), (4, 2)]


def test_far_corners_of_large_images():
    labels = np.zeros((1, 70_000), np.uint16)
    labels[0, 40_000:40_002] = 1
    found = roi_of(labels)
    # ImageJ takes numbers below -5000 for those above 32,767.
    assert [edge % 65_536 for edge in found["box"]] == [0, 40_000, 1, 40_002]
    labels[:] = 0
    labels[0, 66_000] = 1
    found = roi_of(labels)
    assert found["path"][:3] == (MOVE, 66_000, 0)


def test_names_sort_as_the_labels_do(tmp_path: Path):
    labels = LabelImage(np.array([[1, 0, 20, 300]], np.uint16))
    (path,) = save_formats(labels, tmp_path, "a", ["rois"])
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["001.roi", "020.roi", "300.roi"]
        assert [decoded(archive.read(name))["name"] for name in archive.namelist()] == [
            "001",
            "020",
            "300",
        ]
