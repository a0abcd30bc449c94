from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucseg.errors import InputError
from nucseg.export import FORMATS, check_formats, output_files, save_formats
from nucseg.images import read_image
from nucseg.inference.segmenter import Segmentation


def segmentation(labels: np.ndarray, pixel_size: tuple[float, float] | None = None) -> Segmentation:
    count = len(np.unique(labels[labels > 0]))
    probability = (labels > 0).astype(np.float32)
    return Segmentation(labels * 3, labels, np.ones(count, np.float32), probability, pixel_size)


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (40, 3)])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_every_format_writes_any_labels_and_nothing_else(name, shape, dtype, tmp_path: Path):
    for labels in (np.zeros(shape, dtype), np.ones(shape, dtype)):
        seg = segmentation(labels, (0.5, 0.5))
        (written,) = save_formats(seg, tmp_path, "a/b.c", [name])
        assert written == tmp_path / name / f"a/b.c{FORMATS[name].suffix}"
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [written]
        assert read_image(written).pixels.shape[:2] == shape
        assert FORMATS[name].description


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_says_when_it_cannot_write(name: str, tmp_path: Path):
    (tmp_path / name).write_text("a file where the folder should be")
    with pytest.raises(InputError, match="Cannot write"):
        save_formats(segmentation(np.ones((4, 4), np.uint16)), tmp_path, "a", [name])
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_unknown_format():
    with pytest.raises(InputError, match=r"Unknown format 'svg'\. Give any of labels, overlays\."):
        check_formats(["labels", "svg"])


def test_a_format_given_twice_is_written_once(tmp_path: Path):
    assert output_files(tmp_path, "a", ["labels", "labels"]) == [tmp_path / "labels" / "a.tif"]


@settings(max_examples=25)
@given(
    hnp.arrays(st.sampled_from([np.uint16, np.uint32]), hnp.array_shapes(min_dims=2, max_dims=2)),
    st.none() | st.tuples(st.floats(0.02, 9), st.floats(0.02, 9)),
)
def test_label_tiff_comes_back_as_it_was(tmp_path_factory, labels, pixel_size):
    folder = tmp_path_factory.mktemp("tiff")
    (path,) = save_formats(segmentation(labels, pixel_size), folder, "a", ["labels"])
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, labels)
    assert image.pixels.dtype == labels.dtype
    assert image.pixel_size == (pixel_size and pytest.approx(pixel_size, rel=1e-4))


def test_label_tiff_is_compressed_so_that_the_base_install_reads_it(tmp_path: Path):
    save_formats(segmentation(np.ones((200, 200), np.uint16)), tmp_path, "a", ["labels"])
    with tifffile.TiffFile(tmp_path / "labels" / "a.tif") as tiff:
        assert tiff.pages[0].compression.name == "ADOBE_DEFLATE"
    assert (tmp_path / "labels" / "a.tif").stat().st_size < 4000


def test_imagej_measures_label_tiff_in_micrometres(tmp_path: Path):
    save_formats(segmentation(np.ones((4, 4), np.uint16), (0.5, 0.25)), tmp_path, "a", ["labels"])
    with tifffile.TiffFile(tmp_path / "labels" / "a.tif") as tiff:
        assert tiff.imagej_metadata["unit"] == "um"
        assert tiff.pages[0].tags["XResolution"].value == (4, 1)
