import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from nucseg.batch.inputs import Input
from nucseg.batch.label_files import pair
from nucseg.cli.main import app
from nucseg.datasets.synthetic import synthetic_image
from nucseg.errors import InputError
from nucseg.images.channels import read_channels

SIDE = 40


def run(*arguments: object):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def rows(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def drawn() -> np.ndarray:
    labels = np.zeros((SIDE, SIDE), np.uint16)
    labels[5:15, 5:15], labels[20:30, 22:32] = 1, 2
    return labels


def two_channels(path: Path, **about: object) -> None:
    """DAPI 100 in the nuclei; GFP 50 in them, 30 around, 10 elsewhere."""
    labels = drawn()
    gfp = np.full(labels.shape, 10, np.uint8)
    gfp[2:18, 2:18] = gfp[17:33, 19:35] = 30
    gfp[labels > 0] = 50
    dapi = np.where(labels > 0, 100, 5).astype(np.uint8)
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}, **about}
    tifffile.imwrite(path, np.stack([dapi, gfp]), ome=True, metadata=metadata)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("labels", "images"):
        (tmp_path / name).mkdir()
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / "labels" / f"{name}_cp_masks.tif", drawn())
        two_channels(tmp_path / "images" / f"{name}.tif", **size)
    return tmp_path


def test_every_channel_in_nucleus_ring_and_cell(folder: Path):
    out = folder / "out"
    options = ("--measure", "all", "--ring", "1um", "--expand", "3")
    result = run("measure", folder / "labels", folder / "images", "-o", out, *options)
    assert result.exit_code == 0, result.output
    assert "Images measured: 2, with 4 nuclei." in result.stdout
    table = rows(out / "measurements.csv")
    assert [Path(each["image"]).name for each in table] == ["a.tif"] * 2 + ["b.tif"] * 2
    for each in table:
        assert (each["area"], each["area_um2"], each["intensity_mean"]) == ("100", "25", "100")
        assert (each["nucleus_mean_DAPI"], each["nucleus_mean_GFP"]) == ("100", "50")
        assert (each["background_GFP"], each["ring_above_GFP"]) == ("10", "20")
        assert each["nucleus_to_ring_GFP"] == "2"
        assert int(each["ring_area"]) == 4 * 10 * 2 + 4, "of each corner one pixel is within 2"
    images = rows(out / "images.csv")
    assert [(each["status"], each["nuclei"]) for each in images] == [("ok", "2")] * 2
    about = json.loads((out / "run.json").read_text())
    assert about["reading"]["measuring"]["ring"] == {"value": 1.0, "unit": "um"}
    assert all(len(each) == 64 for each in about["labels"].values())
    again = run("measure", folder / "labels", folder / "images", "-o", out, "--ring", "2")
    assert again.exit_code == 0, again.output
    assert "ring_mean_DAPI" in rows(out / "measurements.csv")[0]


def test_one_of_each_whatever_their_names(folder: Path):
    out = folder / "out"
    label, image = folder / "labels" / "a_cp_masks.tif", folder / "images" / "b.tif"
    result = run(
        "measure", label, image, "-o", out, "--channel", "GFP", "--csv-dialect", "excel-eu"
    )
    assert result.exit_code == 0, result.output
    table = rows(out / "measurements.csv", ";")
    assert [each["intensity_mean"] for each in table] == ["50", "50"]


def test_colours_are_channels_and_grey_is_one(tmp_path: Path):
    tifffile.imwrite(tmp_path / "l.tif", drawn())
    colours = np.dstack([drawn() * 3, drawn() * 2, drawn(), drawn() * 0 + 255]).astype(np.uint8)
    for pixels, ends in ((colours, ["_red", "_green", "_blue"]), (colours[..., [0, 0, 0]], [""])):
        Image.fromarray(pixels).save(tmp_path / "i.png")
        result = run("measure", tmp_path / "l.tif", tmp_path / "i.png", "-o", tmp_path / "o",
                     "--ring", "2")  # fmt: skip
        assert result.exit_code == 0, result.output
        names = rows(tmp_path / "o" / "measurements.csv")[0]
        assert [name for name in names if name.startswith("ring_mean")] == [
            f"ring_mean{end}" for end in ends
        ]
    Image.fromarray(colours).save(tmp_path / "i.png")
    found = read_channels(tmp_path / "i.png", "", ["all"])
    assert list(found) == ["red", "green", "blue"]


def test_failures_are_told_and_others_go_on(folder: Path):
    tifffile.imwrite(folder / "labels" / "a_cp_masks.tif", drawn()[:30])
    out = folder / "out"
    result = run("measure", folder / "labels", folder / "images", "-o", out)
    assert result.exit_code == 1
    assert "has 30 by 40 pixels" in result.stderr
    assert [each["status"] for each in rows(out / "images.csv")] == ["failed", "ok"]
    assert len(rows(out / "measurements.csv")) == 2


def test_micrometres_without_a_pixel_size_fail_unless_it_is_given(folder: Path):
    two_channels(folder / "images" / "a.tif")
    arguments = ("measure", folder / "labels", folder / "images", "-o", folder / "out")
    result = run(*arguments, "--ring", "2um")
    assert result.exit_code == 1
    assert "A length of 2um needs the pixel size" in result.stderr
    assert run(*arguments, "--ring", "2um", "--pixel-size", "0.5").exit_code == 0


def test_what_is_left_out_is_said(folder: Path, caplog: pytest.LogCaptureFixture):
    (folder / "labels" / "a_cp_masks.tif").unlink()
    tifffile.imwrite(folder / "labels" / "c.tif", drawn())
    result = run("measure", folder / "labels", folder / "images", "-o", folder / "out")
    assert result.exit_code == 0, result.output
    assert "Images without a label image: 1 (a)" in caplog.text
    assert "Label images without an image: 1 (c)" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ring", "wide"), "Wrong value of --ring: expected a length above 0 as 2um, or 8"),
        (("--expand", "0um"), "Wrong value of --expand: expected a length above 0"),
        (("--measure", "RFP"), "has no channel 'RFP'"),
    ],
)
def test_wrong_options(folder: Path, options: tuple[str, ...], message: str):
    result = run("measure", folder / "labels", folder / "images", "-o", folder / "o", *options)
    assert result.exit_code in (1, 2)
    assert message in result.stderr


def test_results_of_others_are_not_replaced(folder: Path):
    out = folder / "out"
    out.mkdir()
    (out / "measurements.csv").write_text("mine")
    result = run("measure", folder / "labels", folder / "images", "-o", out)
    assert result.exit_code == 2
    assert "not of an earlier run of nucseg measure" in result.stderr
    assert (out / "measurements.csv").read_text() == "mine"
    (out / "run.json").write_text("[]")
    assert run("measure", folder / "labels", folder / "images", "-o", out).exit_code == 2


def inputs(*names: str) -> list[Input]:
    return [Input(Path(name), name) for name in names]


def test_pairs_need_the_same_names():
    with pytest.raises(InputError, match=r"labels are called c, d, images a, b"):
        pair(inputs("c", "d"), inputs("a", "b"))
    with pytest.raises(InputError, match=r"Both a and a_masks are label images of a"):
        pair(inputs("a", "a_masks"), inputs("a", "b"))
    found = pair(inputs("x/a_seg", "b"), inputs("b", "x/a"))
    assert [(label.name, image.name) for label, image in found] == [("b", "b"), ("x/a_seg", "x/a")]


def test_no_such_plane_and_colours_in_a_channel(tmp_path: Path):
    two_channels(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"has no plane 'z003' of the channel 'GFP'"):
        read_channels(tmp_path / "a.tif", "z003", ["GFP"])
    pixels = np.zeros((2, 8, 9, 3), np.uint8)
    about = {"axes": "CYXS", "Channel": {"Name": ["one", "two"]}}
    tifffile.imwrite(tmp_path / "b.ome.tif", pixels, photometric="rgb", metadata=about)
    with pytest.raises(InputError, match=r"has colours of its own"):
        read_channels(tmp_path / "b.ome.tif", "", ["all"])


def test_segment_measures_the_same(folder: Path):
    options = ("--measure", "all", "--ring", "2", "--expand", "3um", "--no-report")
    image, _ = synthetic_image(np.random.default_rng(0), size=(96, 96), nuclei=8)
    about = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}, "PhysicalSizeX": 0.5}
    two = np.stack([image[..., 0], image[..., 0] // 2])
    path = folder / "images" / "a.tif"
    tifffile.imwrite(path, two, ome=True, metadata={**about, "PhysicalSizeY": 0.5})
    first = run("segment", path, "-o", folder / "s", *options)
    assert first.exit_code == 0, first.output
    label = folder / "s" / "labels" / "a.tif"
    run("measure", label, path, "-o", folder / "m", *options[:-1])
    segmented, measured = (rows(folder / name / "measurements.csv") for name in "sm")
    assert len(segmented) > 3
    assert [{**each, "score": ""} for each in segmented] == [
        {**each, "score": ""} for each in measured
    ]
    # Asked for other things, images are done again; for the same, they are kept.
    for changed, kept in ((options, 1), (("--measure", "GFP", "--no-report"), 0)):
        result = run("segment", folder / "images" / "a.tif", "-o", folder / "s", "--resume",
                     "--json", *changed)  # fmt: skip
        assert json.loads(result.stdout)["kept"] == kept
    assert "nucleus_mean_DAPI" not in rows(folder / "s" / "measurements.csv")[0]


def test_segment_says_what_is_too_large(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nucseg.inference.segmenter.Model.fits_memory", lambda *_: False)
    command = ("segment", folder / "images" / "a.tif", "-o", folder / "out", "--ring", "3")
    result = run(*command)
    assert result.exit_code == 1
    options = (
        "--measure, --ring, --expand, --dab, --texture, --radial, --granularity, --dna, "
        "--candidates and --flat-field"
    )
    message = f"too large to be held in memory, which {options} need"
    assert message in " ".join(result.stderr.split())
    assert "1 would fail" in run(*command, "--dry-run").stdout
    # Room enough by the setting, but more pixels than are read at once.
    monkeypatch.undo()
    monkeypatch.setattr("nucseg.inference.planes._MOST_PIXELS", 100)
    result = run(*command)
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())


def test_texture_and_radial_distribution_of_each_channel(folder: Path):
    out = folder / "out"
    options = ("--measure", "all", "--texture", "--radial")
    result = run("measure", folder / "labels", folder / "images", "-o", out, *options)
    assert result.exit_code == 0, result.output
    for each in rows(out / "measurements.csv"):
        for channel in ("DAPI", "GFP"):
            assert each[f"texture_contrast_{channel}"] == "0", "even nuclei"
            assert each[f"radial_mean_4_{channel}"] == "1"
    assert "GFP: Texture doubtful: the nuclei have 1 of 256 grey levels." in result.stderr
    assert run("measure", folder / "labels" / "a_cp_masks.tif", folder / "images" / "a.tif",
               "-o", out, "--radial").exit_code == 0  # fmt: skip
    row = rows(out / "measurements.csv")[0]
    assert "radial_cv_1_DAPI" in row
    assert not any(name.startswith(("texture", "nucleus_")) for name in row)
