from pathlib import Path

import numpy as np
import pytest
import zarr

from nucseg.export import LabelImage, ome_zarr, save_formats
from nucseg.images import read_image


def written(labels: np.ndarray, folder: Path, **about: object) -> Path:
    (path,) = save_formats(LabelImage(labels, **about), folder, "a", ["zarr"])
    return path


@pytest.mark.parametrize("pixel_size", [None, (0.5, 0.25)])
@pytest.mark.parametrize("inside", ["", "labels/nuclei"])
def test_nucseg_reads_it_back(pixel_size, inside: str, tmp_path: Path):
    labels = np.array([[0, 1, 1], [70_000, 0, 1]], np.uint32)
    path = written(labels, tmp_path, pixel_size=pixel_size)
    assert path == tmp_path / "zarr" / "a.ome.zarr"
    if inside:
        path = (path / inside).rename(tmp_path / "inside.zarr")
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, labels)
    assert (image.pixels.dtype, image.pixel_size) == (np.uint32, pixel_size)


def test_resolutions_halve_until_one_is_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ome_zarr, "_CHUNK", 16)
    labels = np.random.default_rng(0).integers(0, 2**16, (37, 51), np.uint16)
    group = zarr.open_group(written(labels, tmp_path, pixel_size=(0.5, 0.25)), mode="r")
    (multiscale,) = group.attrs["multiscales"]
    levels = [group[each["path"]] for each in multiscale["datasets"]]
    assert [level.shape for level in levels] == [(37, 51), (19, 26), (10, 13)]
    for number, (level, about) in enumerate(zip(levels, multiscale["datasets"], strict=True)):
        every = 2**number
        np.testing.assert_array_equal(level[:], labels[::every, ::every])
        assert about["coordinateTransformations"] == [
            {"type": "scale", "scale": [0.5 * every, 0.25 * every]}
        ]
        assert level.chunks == (min(16, level.shape[0]), min(16, level.shape[1]))
    assert multiscale["axes"] == [
        {"name": name, "type": "space", "unit": "micrometer"} for name in "yx"
    ]


def test_every_nucleus_has_a_colour_of_its_own(tmp_path: Path):
    labels = np.array([[0, 5, 5], [40_000, 0, 7]], np.uint16)
    group = zarr.open_group(written(labels, tmp_path), mode="r")
    about = group["labels/nuclei"].attrs["image-label"]
    assert about["version"] == group.attrs["multiscales"][0]["version"] == "0.4"
    assert [each["label-value"] for each in about["colors"]] == [5, 7, 40_000]
    colours = {tuple(each["rgba"]) for each in about["colors"]}
    assert len(colours) == 3
    assert all(max(colour) == colour[3] == 255 for colour in colours)


def test_without_nuclei_or_with_very_many_there_are_no_colours(tmp_path: Path):
    for value in (0, 70_000):
        labels = np.full((2, 2), value, np.uint32)
        group = zarr.open_group(written(labels, tmp_path), mode="r")
        assert group.attrs["image-label"] == {"version": "0.4"}
