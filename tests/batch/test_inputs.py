from pathlib import Path

import numpy as np
import pytest
import tifffile

from nucseg.batch.inputs import find_inputs
from nucseg.config import Reading
from nucseg.errors import InputError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*inputs: str, output: str = "out") -> dict[str, str]:
    return {image.path.as_posix(): image.name for image in find_inputs(inputs, Path(output))}


def test_a_folder_keeps_its_structure_and_leaves_out_what_is_no_image(here: Path):
    touch(here, "in/b/y.TIF", "in/a.ome.tif", "in/x.png", "in/notes.txt", "in/.hidden.png")
    touch(here, "in/.cache/z.png")
    assert names("in") == {"in/a.ome.tif": "a.ome", "in/b/y.TIF": "b/y", "in/x.png": "x"}


def test_a_file_goes_by_its_own_name_whatever_its_suffix(here: Path):
    touch(here, "in/deep/x.image")
    assert names("in/deep/x.image") == {"in/deep/x.image": "x"}


def test_a_pattern_is_named_from_its_first_wildcard(here: Path):
    touch(here, "p/1/dapi.png", "p/1/gfp.png", "p/2/dapi.png", "p/2/dapi.txt", "p/.3/dapi.png")
    assert names("p/*/dapi.*") == {"p/1/dapi.png": "1/dapi", "p/2/dapi.png": "2/dapi"}
    assert names("p/[12]") == {
        "p/1/dapi.png": "1/dapi",
        "p/1/gfp.png": "1/gfp",
        "p/2/dapi.png": "2/dapi",
    }
    assert list(names("p/**/*.png")) == ["p/1/dapi.png", "p/1/gfp.png", "p/2/dapi.png"]
    assert list(names(str(here / "p/2/*"))) == [(here / "p/2/dapi.png").as_posix()]


def test_a_file_whose_name_looks_like_a_pattern(here: Path):
    touch(here, "x[1].png")
    assert names("x[1].png") == {"x[1].png": "x[1]"}


def test_each_file_once_in_the_given_order(here: Path):
    touch(here, "in/a.png", "in/b.png")
    assert list(names("in/b.png", "in", "./in/a.png")) == ["in/b.png", "in/a.png"]


def test_two_of_the_same_name_keep_their_suffix(here: Path):
    touch(here, "in/a.png", "in/a.tif", "in/b.png")
    assert names("in") == {"in/a.png": "a.png", "in/a.tif": "a.tif", "in/b.png": "b"}


def test_names_that_differ_in_case_alone_are_the_same(here: Path):
    touch(here, "in/a.tif", "in/A.png")
    assert set(names("in").values()) == {"A.png", "a.tif"}


# Of a label image, and of the small picture that a run keeps for its report.
@pytest.mark.parametrize("suffix", [".tif", ".jpg"])
def test_a_result_named_as_the_folder_of_others_keeps_its_suffix(suffix: str, here: Path):
    touch(here, "in/a.png", f"in/a{suffix}/b.png")
    assert names("in") == {"in/a.png": "a.png", f"in/a{suffix}/b.png": f"a{suffix}/b"}


def test_two_of_the_same_file_name_keep_their_folders(here: Path):
    touch(here, "one/a.png", "two/a.png", "two/b.png")
    expected = {"one/a.png": "one/a.png", "two/a.png": "two/a.png", "two/b.png": "b"}
    assert names("one", "two") == expected


def test_longer_names_that_are_names_of_others_in_turn(here: Path):
    touch(here, "a/x.png", "b/x.png", "c/b/x.png.png")
    found = names("a/x.png", "b/x.png", "c")
    assert len(set(found.values())) == 3


def test_results_of_an_earlier_run_are_no_images(here: Path):
    touch(here, "in/a.png", "in/out/labels/a.tif", "in/out/overlays/a.png")
    assert names("in", output="in/out") == {"in/a.png": "a"}
    touch(here, "in/labels/a.tif", "in/overlays/a.png")
    assert "in/labels/a.tif" not in names("in", output="in")
    assert names("in/*.png", output="in") == {"in/a.png": "a"}
    assert "in/overlays/a.png" not in names("in/**/*.png", output="in")


def test_annotations_beside_images_are_no_images(here: Path):
    touch(here, "in/1/images/1.png", "in/1/masks/a.png", "in/1/masks/b.png")
    assert names("in") == {"in/1/images/1.png": "1/images/1"}
    touch(here, "other/masks/a.png")
    assert names("other") == {"other/masks/a.png": "masks/a"}


def test_names_never_lead_out_of_the_results(here: Path, monkeypatch: pytest.MonkeyPatch):
    touch(here, "a/x.png", "b/x.png")
    monkeypatch.chdir(here / "a")
    assert names("x.png", "../b/x.png") == {"x.png": "a/x.png", "../b/x.png": "b/x.png"}
    assert names("x.png", "../a/x.png") == {"x.png": "x"}
    assert names("../*/x.png") == {"../a/x.png": "a/x", "../b/x.png": "b/x"}
    with pytest.raises(InputError, match=r"goes up \(\.\.\) behind a wildcard.*before the first"):
        names("../*/../b/x.png")


def test_an_image_where_results_go_is_refused_before_it_is_replaced(here: Path):
    touch(here, "data/labels/a.tif")
    for given in ("data/labels", "data/labels/a.tif"):
        with pytest.raises(InputError, match=r"a\.tif lies where the results go.*another output"):
            names(given, output="data")


def test_loops_of_links_are_no_stop(here: Path):
    touch(here, "in/a.png")
    (here / "in/loop.png").symlink_to("loop.png")
    (here / "in/self").symlink_to(".")
    assert names("in") == names("in/*.png") == {"in/a.png": "a", "in/loop.png": "loop"}


def test_a_link_to_a_folder_is_followed(here: Path):
    touch(here, "elsewhere/a.png", "in/b/b.png")
    (here / "in/a").symlink_to(here / "elsewhere")
    (here / "in/also-b").symlink_to("b")
    assert names("in") == {"in/a/a.png": "a/a", "in/b/b.png": "b/b"}


def test_input_that_names_nothing(here: Path):
    with pytest.raises(InputError, match="An input is empty"):
        names("")
    # What is wrong with it depends on the version of Python.
    with pytest.raises(InputError, match=r"\*\*x"):
        names("**x")


def test_nothing_there(here: Path):
    with pytest.raises(InputError, match=r"There is no file or folder none\.png"):
        names("none.png")
    (here / "empty").mkdir()
    with pytest.raises(InputError, match=r"folder empty holds no images\. Expected files that end"):
        names("empty")
    with pytest.raises(InputError, match=r"No image matches empty/\*\.png\."):
        names("empty/*.png")


def test_a_zarr_folder_is_one_image_and_is_not_searched(here: Path):
    touch(here, "in/a.ome.zarr/0/c/0/0", "in/a.ome.zarr/labels/b.png", "in/c.png", "in/.d.zarr/x")
    expected = {"in/a.ome.zarr": "a.ome", "in/c.png": "c"}
    assert names("in") == names("in/*") == expected
    assert names("i*") == {path: f"in/{name}" for path, name in expected.items()}
    assert names("in/a.ome.zarr") == {"in/a.ome.zarr": "a.ome"}


def test_formats_of_slides_and_microscopes_are_images(here: Path):
    touch(here, "in/a.svs", "in/b.ndpi", "in/c.mrxs", "in/c/Data.dat", "in/d.CZI", "in/e.nd2")
    touch(here, "in/f.lif", "in/g.zarr", "in/h.xml")
    assert sorted(names("in").values()) == ["a", "b", "c", "d", "e", "f"]


def stack(path: Path, axes: str = "TZYX", shape: tuple[int, ...] = (2, 2, 5, 7)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.zeros(shape, np.uint8), metadata={"axes": axes}, ome=True)


def planes(*inputs: str, **reading: str) -> list[tuple[str, str]]:
    images = find_inputs(inputs, Path("out"), Reading(**reading))
    return [(image.name, image.plane) for image in images]


def test_planes_of_a_file_are_images_after_each_other(here: Path):
    stack(here / "in/b/stack.tif")
    touch(here, "in/a.png", "in/c.png")
    assert planes("in") == [
        ("a", ""),
        ("b/stack_t000_z000", "t000_z000"),
        ("b/stack_t000_z001", "t000_z001"),
        ("b/stack_t001_z000", "t001_z000"),
        ("b/stack_t001_z001", "t001_z001"),
        ("c", ""),
    ]
    assert planes("in", project="max")[1:3] == [
        ("b/stack_t000", "t000"),
        ("b/stack_t001", "t001"),
    ]


def test_planes_whose_names_are_those_of_others(here: Path):
    stack(here / "in/a.tif", "ZYX", (2, 5, 7))
    touch(here, "in/a_z000.png")
    assert planes("in") == [
        ("a.tif_z000", "z000"),
        ("a_z001", "z001"),
        ("a_z000.png", ""),
    ]


def test_a_file_that_cannot_be_opened_counts_as_one(here: Path):
    stack(here / "many.tif", "CYX", (7, 5, 7))
    assert planes("many.tif") == planes("many.tif", channel="DAPI") == [("many", "")]


def test_a_list_of_paths(here: Path):
    touch(here, "lists/in/a.png", "lists/in/deep/b.tif", "c.png")
    (here / "lists" / "plate.csv").write_text(
        "well,Path\nA1,in/a.png\nA2,in/deep/b.tif\nA3,\nA4,../c.png\nA5,in/gone.png\nA1,in/a.png\n"
    )
    assert names("lists/plate.csv") == {
        "lists/in/a.png": "in/a",
        "lists/in/deep/b.tif": "in/deep/b",
        "lists/../c.png": "c",
        "lists/in/gone.png": "in/gone",
    }


def test_a_list_without_a_header_and_one_from_the_working_folder(here: Path):
    touch(here, "in/a.png", "in/b.png")
    (here / "bare.csv").write_text("in/a.png\nin/b.png\n")
    assert names("bare.csv") == {"in/a.png": "in/a", "in/b.png": "in/b"}
    (here / "old").mkdir()
    (here / "old" / "images.csv").write_text("path,status\nin/b.png,ok\n", encoding="utf-8-sig")
    assert names("old/images.csv") == {"in/b.png": "in/b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no images"),
        ("path\n\n", "names no images. Expected a path in each row"),
        ("well,dose\nA1,3\n", "has the columns well, dose, and none tells which .* Call it path"),
    ],
)
def test_lists_that_name_nothing(text: str, message: str, here: Path):
    (here / "plate.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        names("plate.csv")


def test_a_list_that_cannot_be_read(here: Path):
    (here / "plate.csv").write_bytes(b"path\n" + b"x" * 200_000 + b"\n")
    with pytest.raises(InputError, match=r"The list plate\.csv cannot be read: field larger"):
        names("plate.csv")
