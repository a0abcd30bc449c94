import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import roifile
import shapely
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools.coco import COCO

from nucseg.config import Segmenting
from nucseg.errors import InputError
from nucseg.export import FORMATS, LabelImage, check_formats, output_files, save_formats
from nucseg.images import read_image
from nucseg.inference.segmentation import Segmentation

OF_LABELS = [name for name, each in FORMATS.items() if each.from_labels]
# Few labels in few pixels, so that there are holes, pieces and pixels that meet in a corner.
LABELS = hnp.arrays(
    st.sampled_from([np.uint16, np.uint32]),
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
    elements=st.sampled_from([0, 1, 2, 30_000, 65_535]),
)


def segmentation(labels: np.ndarray, pixel_size: tuple[float, float] | None = None) -> Segmentation:
    count = len(np.unique(labels[labels > 0]))
    probability = (labels > 0).astype(np.float32)
    return Segmentation(labels * 3, labels, np.ones(count, np.float32), probability, pixel_size)


def fill(labels: np.ndarray, number: int, polygon: shapely.Geometry) -> None:
    """Label the pixels whose centres lie in a polygon."""
    left, top, right, bottom = map(int, polygon.bounds)
    y, x = np.mgrid[top:bottom, left:right] + 0.5
    inside = shapely.contains_xy(polygon, x, y)
    assert not labels[top:bottom, left:right][inside].any()
    labels[top:bottom, left:right][inside] = number


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def merged(numbered: Iterable[tuple[int, np.ndarray]], shape: tuple[int, int]) -> np.ndarray:
    labels = np.zeros(shape, np.int64)
    for number, mask in numbered:
        assert not labels[mask].any()
        labels[mask] = number
    return labels


def read_rois(path: Path, shape: tuple[int, int]) -> np.ndarray:
    labels = np.zeros(shape, np.int64)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    for name, roi in zip(names, roifile.roiread(path), strict=True):
        assert name == f"{roi.name}.roi"
        rings = roi.coordinates(multi=True) if roi.composite else [roi.coordinates()]
        polygon = shapely.Polygon()
        for ring in rings:  # a pixel is in a composite selection that lies in an odd number of them
            polygon = polygon.symmetric_difference(shapely.Polygon(ring))
        fill(labels, int(roi.name), polygon)
    return labels


def read_geojson(path: Path, shape: tuple[int, int]) -> np.ndarray:
    collection = json.loads(path.read_text(encoding="utf-8"))
    labels = np.zeros(shape, np.int64)
    for feature in collection["features"]:
        geometry = shapely.geometry.shape(feature["geometry"])
        assert geometry.is_valid
        fill(labels, int(feature["properties"]["name"]), geometry)
    return labels


def read_coco(path: Path, shape: tuple[int, int]) -> np.ndarray:
    coco = COCO(path)
    masks = ((each["id"], coco.annToMask(each) == 1) for each in coco.dataset["annotations"])
    return merged(masks, shape)


def read_masks(path: Path, shape: tuple[int, int]) -> np.ndarray:
    masks = []
    for file in path.iterdir():
        mask = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert (mask.shape, mask.dtype, set(np.unique(mask)) <= {0, 255}) == (shape, np.uint8, True)
        masks.append((int(file.stem), mask == 255))
    return merged(masks, shape)


def read_rle(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Nuclei have no names there, so that they are numbered by their rows."""
    columns = np.zeros(shape[0] * shape[1], np.int64)
    texts = pd.read_csv(path, keep_default_na=False)["EncodedPixels"]
    for number, text in enumerate(texts, start=1):
        for start, length in np.array(text.split(), int).reshape(-1, 2):
            assert not columns[start - 1 : start - 1 + length].any()
            columns[start - 1 : start - 1 + length] = number
    return columns.reshape(shape, order="F")


def read_zarr(path: Path, _shape: tuple[int, int]) -> np.ndarray:
    """Follow what the folder tells of itself, as viewers do."""
    root = zarr.open_group(path, mode="r")
    (name,) = root["labels"].attrs["labels"]
    found = [
        group[group.attrs["multiscales"][0]["datasets"][0]["path"]][:]
        for group in (root, root[f"labels/{name}"])
    ]
    np.testing.assert_array_equal(*found)
    return found[0]


# What other programs read from the files: the label image.
READERS = {
    "labels": lambda path, _shape: tifffile.imread(path),
    "rois": read_rois,
    "geojson": read_geojson,
    "coco": read_coco,
    "masks": read_masks,
    "rle": read_rle,
    "zarr": read_zarr,
}


def test_every_format_of_labels_is_read_by_another_program():
    assert list(READERS) == OF_LABELS


@pytest.mark.parametrize("name", OF_LABELS)
@settings(max_examples=40)
@given(labels=LABELS)
def test_other_programs_read_the_same_nuclei(name, labels, tmp_path_factory):
    (path,) = save_formats(LabelImage(labels), tmp_path_factory.mktemp("a"), "a", [name])
    read = READERS[name](path, labels.shape)
    if name == "rle":
        labels = np.unique(np.append(labels, 0), return_inverse=True)[1][:-1].reshape(labels.shape)
    np.testing.assert_array_equal(read, labels)


@pytest.mark.parametrize("name", OF_LABELS)
def test_labels_above_16_bits(name: str, tmp_path: Path):
    labels = np.array([[0, 65_535, 65_536], [70_000, 4_294_967_295, 0]], np.uint32)
    (path,) = save_formats(LabelImage(labels), tmp_path, "a", [name])
    read = READERS[name](path, labels.shape)
    np.testing.assert_array_equal(read, [[0, 1, 2], [3, 4, 0]] if name == "rle" else labels)


def test_more_nuclei_than_16_bits_can_number(tmp_path: Path):
    labels = np.arange(1, 66_001, dtype=np.uint32).reshape(250, 264)
    formats = [name for name in OF_LABELS if name != "masks"]  # so many files take long
    tiff, rois, geojson, coco, rle, ome_zarr = save_formats(
        LabelImage(labels), tmp_path, "a", formats
    )
    np.testing.assert_array_equal(tifffile.imread(tiff), labels)
    assert tifffile.imread(tiff).dtype == np.uint32
    with zipfile.ZipFile(rois) as archive:
        assert archive.namelist() == [f"{number:05}.roi" for number in range(1, 66_001)]
        last = roifile.ImagejRoi.frombytes(archive.read("66000.roi"))
    assert (last.left, last.top, last.right, last.bottom) == (263, 249, 264, 250)
    features = json.loads(geojson.read_text())["features"]
    assert [int(each["properties"]["name"]) for each in features] == labels.ravel().tolist()
    annotations = json.loads(coco.read_text())["annotations"]
    assert [each["id"] for each in annotations] == labels.ravel().tolist()
    assert annotations[-1]["bbox"] == [263, 249, 1, 1]
    assert pd.read_csv(rle)["EncodedPixels"].iloc[-1] == "66000 1"
    np.testing.assert_array_equal(read_zarr(ome_zarr, labels.shape), labels)


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (40, 3)])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_every_format_writes_any_labels_and_nothing_else(name, shape, dtype, tmp_path: Path):
    for labels in (np.ones(shape, dtype), np.zeros(shape, dtype)):
        seg = segmentation(labels, (0.5, 0.5))
        (written,) = save_formats(seg, tmp_path, "a/b.c", [name])
        assert written == tmp_path / name / f"a/b.c{FORMATS[name].suffix}"
        assert written.exists()
        assert files_in(tmp_path) == ([written] if written.is_file() else files_in(written))
        if name in READERS:
            np.testing.assert_array_equal(READERS[name](written, shape), labels)
        assert FORMATS[name].description


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_gives_the_same_bytes_again(name: str, tmp_path: Path):
    seg = segmentation(np.array([[1, 1, 0], [0, 2, 2]], np.uint16))
    for folder in ("first", "second"):
        save_formats(seg, tmp_path / folder, "a", [name])
    first, second = (
        {file.relative_to(folder): file.read_bytes() for file in files_in(folder)}
        for folder in (tmp_path / "first", tmp_path / "second")
    )
    assert first == second
    assert first


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_says_when_it_cannot_write(name: str, tmp_path: Path):
    (tmp_path / name).write_text("a file where the folder should be")
    with pytest.raises(InputError, match="Cannot write"):
        save_formats(segmentation(np.ones((4, 4), np.uint16)), tmp_path, "a", [name])
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "what"), [("overlays", "the image"), ("probability", "the probability map")]
)
def test_formats_that_need_more_than_labels(name: str, what: str, tmp_path: Path):
    assert not FORMATS[name].from_labels
    with pytest.raises(InputError, match=f"needs {what}, which a label image does not hold"):
        save_formats(LabelImage(np.ones((4, 4), np.uint16)), tmp_path, "a", [name])
    assert list(tmp_path.iterdir()) == []


def test_unknown_format():
    with pytest.raises(InputError, match=r"Unknown format 'svg'\. Give any of labels, overlays, "):
        check_formats(["labels", "svg"])


def test_a_format_given_twice_is_written_once(tmp_path: Path):
    assert output_files(tmp_path, "a", ["labels", "labels"]) == [tmp_path / "labels" / "a.tif"]


def test_the_help_and_the_guide_name_every_format():
    guide = (Path(__file__).parents[2] / "docs" / "outputs.md").read_text(encoding="utf-8")
    for name in FORMATS:
        assert name in Segmenting.model_fields["save"].description
        assert f"`{name}`" in guide


def test_the_code_in_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    guide = (Path(__file__).parents[2] / "docs" / "outputs.md").read_text(encoding="utf-8")
    labels = np.array([[0, 1, 1], [2, 2, 1]], np.uint16)
    save_formats(LabelImage(labels), tmp_path / "out", "image", OF_LABELS)
    monkeypatch.chdir(tmp_path)
    names: dict[str, np.ndarray] = {}
    exec(guide.split("```python")[1].split("```")[0], names)
    np.testing.assert_array_equal(names["first"], labels == 1)
    np.testing.assert_array_equal(names["masks"][1], labels == 2)


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


@pytest.mark.parametrize("name", ["labels", "probability"])
def test_tiff_is_compressed_so_that_the_base_install_reads_it(name: str, tmp_path: Path):
    (path,) = save_formats(segmentation(np.ones((200, 200), np.uint16)), tmp_path, "a", [name])
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages[0].compression.name == "ADOBE_DEFLATE"
    assert path.stat().st_size < 4000


@pytest.mark.parametrize("name", ["labels", "probability"])
def test_imagej_measures_tiff_in_micrometres(name: str, tmp_path: Path):
    seg = segmentation(np.ones((4, 4), np.uint16), (0.5, 0.25))
    (path,) = save_formats(seg, tmp_path, "a", [name])
    with tifffile.TiffFile(path) as tiff:
        assert tiff.imagej_metadata["unit"] == "um"
        assert tiff.pages[0].tags["XResolution"].value == (4, 1)


@pytest.mark.parametrize("pixel_size", [None, (0.5, 0.25)])
def test_probability_loses_nothing(pixel_size, tmp_path: Path):
    probability = np.random.default_rng(0).random((20, 30), np.float32)
    labels = np.zeros((20, 30), np.uint16)
    seg = Segmentation(labels, labels, np.zeros(0, np.float32), probability, pixel_size)
    (path,) = save_formats(seg, tmp_path, "a", ["probability"])
    read = tifffile.imread(path)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, probability)
    assert read_image(path).pixel_size == pixel_size
