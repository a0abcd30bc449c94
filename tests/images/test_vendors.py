import sys
from pathlib import Path

import czifile
import liffile
import nd2
import numpy as np
import pytest
from image_files import noise, write_lif, write_nd2

from nucseg.errors import InputError, MissingExtraError
from nucseg.images import open_image

try:
    from pylibCZIrw import czi
except ImportError:  # no wheels for the newest Python
    czi = None

METRES = {"scale_x": 0.25e-6, "scale_y": 0.5e-6, "scale_z": 1e-6}


@pytest.fixture(autouse=True)
def _czi_can_be_read(request: pytest.FixtureRequest) -> None:
    if "czi" in request.node.name and czi is None:
        pytest.skip("pylibCZIrw is not installed")


def write_czi(path: Path, pixels: np.ndarray, names: tuple[str, ...] = (), **about) -> None:
    """Write pixels of axes (T, Z, C, Y, X, samples) through libCZI."""
    times, slices, channels = pixels.shape[:3]
    with czi.create_czi(str(path)) as file:
        for t, z, c in np.ndindex(times, slices, channels):
            file.write(pixels[t, z, c], plane={"T": t, "Z": z, "C": c})
        file.write_metadata(channel_names=dict(enumerate(names)), **METRES, **about)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_czi_planes_are_those_of_czifile(dtype: str, tmp_path: Path):
    pixels = noise(2, 3, 4, 40, 50, 1, dtype=dtype)
    write_czi(tmp_path / "a.czi", pixels, ("GFP", "DAPI", "RFP", "Cy5"))
    independent = czifile.imread(tmp_path / "a.czi").squeeze()
    # All axes differ in length, which tells them apart whatever their order.
    independent = independent.transpose([independent.shape.index(n) for n in pixels.shape[:5]])
    np.testing.assert_array_equal(independent, pixels[..., 0])
    found = open_image(tmp_path / "a.czi")
    assert [source.plane for source in found] == [
        f"t00{t}_z00{z}" for t in range(2) for z in range(3)
    ]
    assert {(source.channel, source.pixel_size) for source in found} == {("DAPI", (0.5, 0.25))}
    for source, (t, z) in zip(found, np.ndindex(2, 3), strict=True):
        np.testing.assert_array_equal(source[5:30, 7:], independent[t, z, 1, 5:30, 7:])
    first, _ = open_image(tmp_path / "a.czi", channel=0, project="max")
    np.testing.assert_array_equal(first[:, :], independent[0, :, 0].max(axis=0))


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_colours_of_czi_are_red_green_blue(dtype: str, tmp_path: Path):
    pixels = noise(1, 1, 1, 40, 50, 3, dtype=dtype)
    write_czi(tmp_path / "a.czi", pixels)
    (source,) = open_image(tmp_path / "a.czi")
    independent = czifile.imread(tmp_path / "a.czi").reshape(40, 50, 3)
    np.testing.assert_array_equal(source[:, :], independent)
    np.testing.assert_array_equal(source[:, :], pixels[0, 0, 0, :, :, ::-1])


def test_mosaic_and_scenes_of_czi(tmp_path: Path):
    pixels = noise(40, 100, 1)
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        for left in (0, 50):
            part = np.ascontiguousarray(pixels[:, left : left + 50])
            file.write(part, location=(1000 + left, -20), plane={"C": 0}, scene=0)
        file.write(pixels[:30, :30].copy(), location=(5000, 7), plane={"C": 0}, scene=1)
        file.write_metadata(**METRES)
    first, second = open_image(tmp_path / "a.czi")
    assert [(s.plane, s.shape) for s in (first, second)] == [("s0", (40, 100)), ("s1", (30, 30))]
    np.testing.assert_array_equal(first[3:20, 30:80], pixels[3:20, 30:80, 0])
    np.testing.assert_array_equal(second[:, :], pixels[:30, :30, 0])


def test_czi_that_tells_of_more_channels_than_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_czi(tmp_path / "a.czi", noise(1, 1, 1, 40, 50, 1))
    monkeypatch.setattr(czi.CziReader, "total_bounding_box", {"C": (0, 2**31), "X": (0, 50)})
    with pytest.raises(InputError, match=r"a\.czi is damaged .*it tells of 2147483648 planes"):
        open_image(tmp_path / "a.czi")


def test_czi_without_a_scale(tmp_path: Path):
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        file.write(noise(40, 50, 1), plane={"C": 0})
    (source,) = open_image(tmp_path / "a.czi")
    assert source.pixel_size is None
    assert source.channel == "all"


def test_czi_that_says_nothing_of_scenes_and_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pixels = noise(1, 1, 2, 40, 50, 1)
    write_czi(tmp_path / "a.czi", pixels, ("GFP", "DAPI"))
    # libCZI writes scenes and metadata always.
    monkeypatch.setattr(czi.CziReader, "scenes_bounding_rectangle_no_pyramid", {})
    monkeypatch.setattr(czi.CziReader, "metadata", {"ImageDocument": {"Metadata": None}})
    (source,) = open_image(tmp_path / "a.czi")
    assert (source.channel, source.pixel_size) == ("all", None)
    np.testing.assert_array_equal(source[:, 5:], np.moveaxis(pixels[0, 0, :, :, 5:, 0], 0, -1))


def test_dye_names_a_czi_channel_whose_name_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_czi(tmp_path / "a.czi", noise(1, 1, 2, 40, 50, 1))
    channels = [{"@Name": "Ch1", "Fluor": "Cy5"}, {"@Name": "Ch2", "Fluor": "DAPI"}]
    dimensions = {"Image": {"Dimensions": {"Channels": {"Channel": channels}}}}
    about = {"ImageDocument": {"Metadata": {"Information": dimensions}}}
    monkeypatch.setattr(czi.CziReader, "metadata", about)
    (source,) = open_image(tmp_path / "a.czi")
    assert source.channel == "DAPI"
    assert open_image(tmp_path / "a.czi", channel="Ch1")[0].channel == "Ch1"


def test_czi_of_different_kinds_of_pixels(tmp_path: Path):
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        file.write(noise(40, 50, 1), plane={"C": 0})
        file.write(noise(40, 50, 1, dtype="u2"), plane={"C": 1})
    with pytest.raises(InputError, match="has pixels of the kinds Gray16, Gray8, expected one of"):
        open_image(tmp_path / "a.czi")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_nd2_planes_are_those_that_were_written(dtype: str, compressed: bool, tmp_path: Path):
    pixels = noise(2, 4, 30, 40, 2, dtype=dtype)
    write_nd2(tmp_path / "a.nd2", pixels, ["GFP", "DAPI"], 0.325, compressed=compressed)
    with nd2.ND2File(tmp_path / "a.nd2") as file:
        assert file.sizes == {"T": 2, "Z": 4, "C": 2, "Y": 30, "X": 40}
    found = open_image(tmp_path / "a.nd2")
    assert [source.plane for source in found[2:5]] == ["t000_z002", "t000_z003", "t001_z000"]
    assert {(s.channel, s.pixel_size, s.lazy) for s in found} == {
        ("DAPI", (0.325, 0.325), not compressed)
    }
    for source, (t, z) in zip(found, np.ndindex(2, 4), strict=True):
        np.testing.assert_array_equal(source[5:20, 7:], pixels[t, z, 5:20, 7:, 1])
    first, _ = open_image(tmp_path / "a.nd2", channel="GFP", project="max")
    np.testing.assert_array_equal(first[:, :], pixels[0, ..., 0].max(axis=0))


def test_nd2_of_one_plane_and_of_colours(tmp_path: Path):
    for count, name in ((1, "DAPI"), (3, "Brightfield")):
        pixels = noise(1, 1, 30, 40, count)
        write_nd2(tmp_path / "a.nd2", pixels, [name], None, colours=count == 3)
        (source,) = open_image(tmp_path / "a.nd2")
        assert (source.plane, source.pixel_size) == ("", None)
        np.testing.assert_array_equal(source[:, 3:], pixels[0, 0, :, 3:].squeeze())


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_lif_images_are_those_of_liffile(dtype: str, tmp_path: Path):
    stack, other = noise(2, 3, 2, 20, 30, dtype=dtype), noise(1, 1, 2, 10, 12, dtype=dtype)
    path = tmp_path / "a.lif"
    write_lif(path, {"Series 1": stack, "Series 2": other}, ["GFP", "DAPI"])
    with liffile.LifFile(path) as file:
        independent = [image.asarray() for image in file.images]
    np.testing.assert_array_equal(independent[0], stack)
    found = open_image(path)
    assert [source.plane for source in found] == [
        *(f"Series-1_t00{t}_z00{z}" for t in range(2) for z in range(3)),
        "Series-2",
    ]
    for source in found:
        assert (source.channel, source.lazy) == ("DAPI", True)
        assert source.pixel_size == pytest.approx((0.5, 0.25))
    np.testing.assert_array_equal(found[4][3:9, 5:20], independent[0][1, 1, 1, 3:9, 5:20])
    np.testing.assert_array_equal(found[6][:, :], other[0, 0, 1])


def test_colours_of_lif_are_red_green_blue(tmp_path: Path):
    pixels = noise(20, 30, 3)
    write_lif(tmp_path / "a.lif", {"colours": pixels})
    (source,) = open_image(tmp_path / "a.lif")
    assert (source.channel, source.lazy) == ("all", False)
    np.testing.assert_array_equal(source[3:9, 5:20], pixels[3:9, 5:20])


def test_lif_without_dyes_names_channels_by_their_colours(tmp_path: Path):
    path = tmp_path / "a.lif"
    write_lif(path, {"two": noise(1, 1, 2, 20, 30)})
    with pytest.raises(InputError, match=r"Give --channel one of: 0 \(Gray\), 1 \(Gray\)"):
        open_image(path, channel="DAPI")


def test_lif_without_a_length_has_no_pixel_size(tmp_path: Path):
    path = tmp_path / "a.lif"
    write_lif(path, {"one": noise(1, 1, 1, 20, 30)}, micrometres=(0, 0.25))
    (source,) = open_image(path)
    assert (source.shape, source.pixel_size) == ((20, 30), None)


def test_lif_of_which_rows_and_columns_do_not_lie_together(tmp_path: Path):
    path = tmp_path / "a.lif"
    write_lif(path, {"across": noise(1, 5, 1, 20, 30)})
    data = path.read_bytes()
    # Call slices rows and rows slices.
    rows, slices, other = (f'DimID="{n}"'.encode("utf-16-le") for n in (2, 3, 9))
    path.write_bytes(data.replace(rows, other).replace(slices, rows).replace(other, slices))
    with pytest.raises(InputError, match=r"has an image, across, with the axes YZX, expected rows"):
        open_image(path)


def test_lif_without_an_image(tmp_path: Path):
    write_lif(tmp_path / "a.lif", {"line": noise(1, 1, 1, 1, 30)})
    with pytest.raises(InputError, match=r"a\.lif is a LIF file without an image"):
        open_image(tmp_path / "a.lif")


WRITERS = {
    "czi": lambda path: write_czi(path, noise(1, 1, 1, 20, 30, 1)),
    "nd2": lambda path: write_nd2(path, noise(1, 1, 20, 30, 1), ["DAPI"], 1.0),
    "lif": lambda path: write_lif(path, {"one": noise(1, 1, 1, 20, 30)}),
}


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_a_file_cut_short(kind: str, share: float, tmp_path: Path):
    path = tmp_path / f"a.{kind}"
    WRITERS[kind](path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=rf"a\.{kind} is "):
        open_image(path)


@pytest.mark.parametrize(
    ("kind", "package"), [("czi", "pylibCZIrw"), ("nd2", "nd2"), ("lif", "liffile")]
)
def test_without_the_package_that_reads_it(
    kind: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / f"a.{kind}"
    WRITERS[kind](path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingExtraError, match=rf"a\.{kind} is an? {kind.upper()} file.*\[formats"
    ):
        open_image(path)
