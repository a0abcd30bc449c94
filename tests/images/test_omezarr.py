import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import noise

from nucseg.errors import InputError, MissingExtraError
from nucseg.images import open_image

AXES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def write(
    folder: Path,
    pixels: np.ndarray,
    axes: str,
    *,
    version: str = "0.5",
    scale: tuple[float, float] = (0.5, 0.25),
    unit: str | None = "micrometer",
    names: tuple[str, ...] = (),
    **about,
) -> None:
    """Write OME-Zarr by its specification, with a second, smaller resolution."""
    group = zarr.create_group(folder, zarr_format=3 if version == "0.5" else 2, overwrite=True)
    datasets = []
    for level in range(2):
        level_pixels = pixels[..., :: 2**level, :: 2**level]
        chunks = tuple(min(n, 16) for n in level_pixels.shape)
        group.create_array(str(level), data=level_pixels, chunks=chunks)
        factors = [1.0] * (len(axes) - 2) + [size * 2**level for size in scale]
        transformation = {"type": "scale", "scale": factors}
        datasets.append({"path": str(level), "coordinateTransformations": [transformation]})
    described = [
        {"name": axis, "type": AXES[axis]} | ({"unit": unit} if unit and axis in "zyx" else {})
        for axis in axes
    ]
    ome = {"multiscales": [{"axes": described, "datasets": datasets, **about}]}
    if names:
        ome["omero"] = {"channels": [{"label": name} for name in names]}
    if version == "0.5":
        group.attrs["ome"] = {"version": version, **ome}
    else:
        ome["multiscales"][0]["version"] = version
        group.attrs.update(ome)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("dtype", ["u1", ">u2", "i4", "f4"])
def test_planes_channel_and_pixel_size(version: str, dtype: str, tmp_path: Path):
    pixels = noise(2, 2, 3, 20, 40, dtype=np.dtype(dtype).newbyteorder("=").str).astype(dtype)
    path = tmp_path / "a.ome.zarr"
    write(path, pixels, "tczyx", version=version, names=("GFP", "Hoechst"))
    found = open_image(path)
    assert [source.plane for source in found] == [
        f"t00{t}_z00{z}" for t in range(2) for z in range(3)
    ]
    assert {(source.channel, source.pixel_size, source.lazy) for source in found} == {
        ("Hoechst", (0.5, 0.25), True)
    }
    independent = zarr.open_array(path / "0", mode="r")[:]
    assert found[0].dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(found[4][3:19, 15:], independent[1, 1, 1, 3:19, 15:])
    (largest,) = open_image(path, project="max", channel=0)[1:]
    np.testing.assert_array_equal(largest[:, :], independent[1, 0].max(axis=0))


@settings(max_examples=30)
@given(window=st.tuples(*[st.integers(0, 39)] * 2, *[st.integers(1, 40)] * 2))
def test_any_window(window: tuple[int, int, int, int], tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.getbasetemp() / "any.zarr"
    pixels = noise(2, 40, 40)
    if not path.exists():
        write(path, pixels, "cyx")
    (source,) = open_image(path)
    top, left, height, width = window
    part = slice(top, top + height), slice(left, left + width)
    np.testing.assert_array_equal(source[part], np.moveaxis(pixels, 0, -1)[part])


def test_a_window_reads_no_more_chunks_than_it_needs(tmp_path: Path):
    path = tmp_path / "a.zarr"
    write(path, noise(64, 64), "yx", version="0.4")
    for chunk in (path / "0").glob("[0-9]*"):
        if chunk.name != "1.2" and not chunk.name.startswith("1"):
            chunk.write_bytes(b"damaged")
    (source,) = open_image(path)
    assert source[18:30, 34:40].any()
    with pytest.raises(InputError, match=r"a\.zarr is damaged or cut short"):
        source[:, :]


def write_blosc(path: Path, pixels: np.ndarray) -> list[Path]:
    """Write an image in chunks that Blosc compresses; returns their files, in order."""
    write(path, pixels, "yx")
    options = {"chunks": (16, 16), "compressors": zarr.codecs.BloscCodec(), "overwrite": True}
    zarr.open_group(path).create_array("0", data=pixels, **options)
    return sorted(each for each in (path / "0" / "c").rglob("*") if each.is_file())


@pytest.mark.parametrize("keep", [5, 200, -1])
def test_a_chunk_of_blosc_that_is_cut_short(keep: int, tmp_path: Path):
    path = tmp_path / "a.zarr"
    chunks = write_blosc(path, noise(40, 40))
    chunks[1].write_bytes(chunks[1].read_bytes()[:keep])
    (source,) = open_image(path)
    assert source[:16, :16].any()
    with pytest.raises(InputError, match=r"a\.zarr is damaged .*a chunk of it ends before its"):
        source[:16, :17]


def test_a_chunk_of_blosc_with_a_wrong_length(tmp_path: Path):
    path = tmp_path / "a.zarr"
    chunks = write_blosc(path, noise(40, 40))
    data = bytearray(chunks[0].read_bytes())
    data[4:8] = b"\xff" * 4
    chunks[0].write_bytes(data)
    (source,) = open_image(path)
    with pytest.raises(InputError, match=r"a\.zarr is damaged or cut short"):
        source[:16, :16]


def test_a_chunk_of_blosc_that_is_left_out_is_zero(tmp_path: Path):
    path, pixels = tmp_path / "a.zarr", noise(40, 40)
    chunks = write_blosc(path, pixels)
    chunks[0].unlink()
    pixels[:16, :16] = 0
    (source,) = open_image(path)
    np.testing.assert_array_equal(source[:, :], pixels)


def test_an_image_without_any_chunk(tmp_path: Path):
    path = tmp_path / "a.zarr"
    write(path, noise(20, 40), "yx")
    shutil.rmtree(path / "0" / "c")
    with pytest.raises(InputError, match=r"a\.zarr is damaged .*it has no chunks of pixels"):
        open_image(path)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("micrometer", 1), ("nanometer", 1e-3), ("millimeter", 1e3), (None, None), ("parsec", None)],
)
def test_units(unit: str | None, expected: float | None, tmp_path: Path):
    # So that it is plausible in any unit.
    grown = [{"type": "scale", "scale": [1 / (expected or 1)] * 2}]
    write(tmp_path / "a.zarr", noise(20, 40), "yx", unit=unit, coordinateTransformations=grown)
    expected = expected and 1
    (source,) = open_image(tmp_path / "a.zarr")
    size = None if expected is None else pytest.approx((0.5 * expected, 0.25 * expected))
    assert source.pixel_size == size


def test_scale_of_all_resolutions_counts_too(tmp_path: Path):
    both = [{"type": "scale", "scale": [2.0, 4.0]}, {"type": "translation", "translation": [1, 1]}]
    write(tmp_path / "a.zarr", noise(20, 40), "yx", coordinateTransformations=both)
    (source,) = open_image(tmp_path / "a.zarr")
    assert source.pixel_size == (1.0, 1.0)


def test_versions_that_name_axes_otherwise_or_not(tmp_path: Path):
    pixels = noise(1, 2, 1, 20, 40)
    for axes in (list("tczyx"), None):
        write(tmp_path / "a.zarr", pixels, "tczyx", version="0.3")
        group = zarr.open_group(tmp_path / "a.zarr")
        scales = group.attrs["multiscales"][0]
        scales = {"datasets": [{"path": "0"}]} | ({"axes": axes} if axes else {})
        group.attrs["multiscales"] = [scales]
        (source,) = open_image(tmp_path / "a.zarr", channel=1)
        assert source.pixel_size is None
        np.testing.assert_array_equal(source[:, :], pixels[0, 1, 0])


def test_images_as_bioformats2raw_writes_them(tmp_path: Path):
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    pixels = noise(11, 20, 40)
    for number in range(11):
        write(tmp_path / "a.zarr" / str(number), pixels[number], "yx", version="0.4")
    root.create_group("OME")
    found = open_image(tmp_path / "a.zarr")
    assert [source.plane for source in found] == [f"s{number:02}" for number in range(11)]
    np.testing.assert_array_equal(found[10][:, :], pixels[10])


def test_fields_of_a_plate(tmp_path: Path):
    root = zarr.create_group(tmp_path / "p.zarr")
    wells = [{"path": "A/1"}, {"path": "B/12"}]
    root.attrs["ome"] = {"version": "0.5", "plate": {"wells": wells}}
    for well in wells:
        group = root.create_group(well["path"])
        group.attrs["ome"] = {"well": {"images": [{"path": "0"}, {"path": "1"}]}}
        for field in "01":
            write(tmp_path / "p.zarr" / well["path"] / field, noise(20, 40), "yx")
    planes = [source.plane for source in open_image(tmp_path / "p.zarr")]
    assert planes == ["A1_0", "A1_1", "B12_0", "B12_1"]


def test_folders_that_are_no_image(tmp_path: Path):
    (tmp_path / "empty.zarr").mkdir()
    zarr.create_group(tmp_path / "group.zarr")
    zarr.create_array(tmp_path / "array.zarr", data=noise(4, 4))
    root = zarr.create_group(tmp_path / "layout.zarr")
    root.attrs["bioformats2raw.layout"] = 3
    root.create_group("0")
    for name in ("empty", "group", "array", "layout"):
        with pytest.raises(InputError, match=rf"{name}\.zarr is no OME-Zarr image"):
            open_image(tmp_path / f"{name}.zarr")


def test_axes_in_an_order_that_is_none_of_ome_zarr(tmp_path: Path):
    write(tmp_path / "a.zarr", noise(20, 40, 3), "yxc")
    with pytest.raises(InputError, match="has the axes y, x, c, expected rows and columns"):
        open_image(tmp_path / "a.zarr")


def test_metadata_that_are_damaged(tmp_path: Path):
    write(tmp_path / "a.zarr", noise(20, 40), "yx")
    (tmp_path / "a.zarr" / "zarr.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.zarr is damaged"):
        open_image(tmp_path / "a.zarr")


def test_an_axis_longer_than_any_image(tmp_path: Path):
    write(tmp_path / "a.zarr", noise(20, 40), "yx")
    about = tmp_path / "a.zarr" / "0" / "zarr.json"
    text = json.loads(about.read_text())
    about.write_text(json.dumps(text | {"shape": [10**30, 40]}))
    with pytest.raises(InputError, match=r"a\.zarr is damaged .*the shape \(1000+, 40\)"):
        open_image(tmp_path / "a.zarr")


def test_without_zarr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "a.zarr", noise(20, 40), "yx")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingExtraError, match=r"a\.zarr is an OME-Zarr.*nucseg\[formats\]"):
        open_image(tmp_path / "a.zarr")
