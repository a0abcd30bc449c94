"""What is an input: results, thumbnails and masks are not, and what was left out is said."""

import json
import logging
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from case_images import discs, nucseg, rows_of

from nucseg.batch.inputs import search_inputs
from nucseg.batch.plan import plan_files
from nucseg.batch.run import segment_files
from nucseg.config import Reading
from nucseg.errors import InputError
from nucseg.inference.loading import load_model

MASKS, RESULTS = "masks beside their images", "results of nucseg"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)


def searched(*inputs: object, out: str = "out", exclude=(), **options):
    """Names of images, and of files that were left out by kind."""
    found = search_inputs(list(map(str, inputs)), Path(out), Reading(exclude=exclude), **options)
    left_out = {kind: [path.name for path in paths] for kind, paths in found.left_out.items()}
    return [image.name for image in found.images], left_out


def test_results_in_the_folder_of_the_images(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    tifffile.imwrite(data / "a.tif", discs()[0])
    for name in ("first", "second"):
        result = nucseg("segment", data, "-o", data / name, "--json")
        assert json.loads(result.stdout)["images"] == 1
    run = json.loads((data / "second" / "run.json").read_text())
    assert set(run["left_out"]) == {RESULTS}
    assert str(data / "first" / "labels" / "a.tif") in run["left_out"][RESULTS]


def test_what_is_left_out_is_said_once(
    bright_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    touch(tmp_path / "in", "a.png", "a_masks.png", "a_thumb.png", "b.png", "b_seg.png")
    model = load_model(bright_model, threads=1)
    with caplog.at_level(logging.INFO, "nucseg"):
        segment_files([tmp_path / "in"], tmp_path / "out", model)
    (said,) = [each.message for each in caplog.records if "Left out" in each.message]
    assert "masks beside their images: 2 (a_masks.png, b_seg.png)" in said
    assert "thumbnails: 1 (a_thumb.png)" in said
    caplog.clear()
    with caplog.at_level(logging.INFO, "nucseg"):
        plan_files([tmp_path / "in"], tmp_path / "out", model, formats=["labels"])
    assert "Left out" in caplog.text


@pytest.mark.parametrize(
    "ending", ["_masks", "_mask", "_cp_masks", "_seg", "_labels", "_label", "_flows", "_MASKS"]
)
def test_masks_beside_their_image(ending: str, tmp_path: Path):
    touch(tmp_path, "a.png", f"a{ending}.tif", f"lonely{ending}.png", f"deep/a{ending}.png")
    names, left_out = searched(tmp_path)
    # Without an image of that name it may be one.
    assert sorted(names) == sorted(["a", f"lonely{ending}", f"deep/a{ending}"])
    assert left_out == {MASKS: [f"a{ending}.tif"]}
    assert searched(tmp_path / f"a{ending}.tif")[0] == [f"a{ending}"]
    names, left_out = searched(tmp_path / "*.*")
    assert (sorted(names), left_out[MASKS]) == (
        sorted(["a", f"lonely{ending}"]),
        [f"a{ending}.tif"],
    )


@pytest.mark.parametrize("name", ["a_thumb.png", "x/B_THUMB.jpg"])
def test_thumbnails(name: str, tmp_path: Path):
    touch(tmp_path, "a.png", name)
    assert searched(tmp_path) == (["a"], {"thumbnails": [Path(name).name]})
    assert searched(tmp_path / name)[0] == [Path(name).stem]


def test_own_images_beside_results_are_images(tmp_path: Path):
    touch(tmp_path, "a.png", "labels/a.png", "overlays/a.png", "mine/b.png")
    assert sorted(searched(tmp_path)[0]) == ["a", "labels/a", "mine/b", "overlays/a"]
    (tmp_path / ".nucseg").mkdir()
    names, left_out = searched(tmp_path)
    assert (sorted(names), len(left_out[RESULTS])) == (["a", "mine/b"], 2)
    names, left_out = searched(tmp_path / "**" / "*.png")
    assert (sorted(names), len(left_out[RESULTS])) == (["a", "mine/b"], 2)


def test_only_what_is_left_out_is_an_error_that_says_so(tmp_path: Path):
    touch(tmp_path, "run/labels/a.png")
    (tmp_path / "run" / ".nucseg").mkdir()
    with pytest.raises(
        InputError, match=r"holds no images but what is left out\. Left out - results of nucseg: 1"
    ):
        searched(tmp_path)
    assert searched(tmp_path / "run" / "labels" / "a.png")[0] == ["a"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*_raw.png", ["a", "old/b"]),
        ("old", ["a", "a_raw"]),
        ("old/*", ["a", "a_raw"]),
        ("a*", ["old/b"]),
    ],
)
def test_excluded(pattern: str, names: list[str], tmp_path: Path):
    touch(tmp_path, "a.png", "a_raw.png", "old/b.png")
    found, left_out = searched(tmp_path, exclude=(pattern,))
    assert sorted(found) == names
    assert len(left_out["excluded"]) == 3 - len(names)


def test_all_excluded_is_an_error(tmp_path: Path):
    touch(tmp_path, "a.png")
    with pytest.raises(InputError, match=r"No image is left\. Left out - excluded: 1 \(a\.png\)"):
        searched(tmp_path / "a.png", exclude=("*.png",))


def test_the_option(bright_model: Path, tmp_path: Path):
    touch(tmp_path / "in", "a.png", "b.png", "c.png")
    options = ("--model", bright_model, "--exclude", "b*", "--exclude", "c.png")
    arguments = ("segment", tmp_path / "in", "-o", tmp_path / "out", *options)
    assert nucseg(*arguments).exit_code == 0
    assert [Path(row["path"]).name for row in rows_of(tmp_path / "out" / "images.csv")] == ["a.png"]
    # Not what images depend on.
    assert (
        "1 image of an earlier run kept"
        in nucseg("segment", tmp_path / "in" / "a.png", *arguments[2:6], "--resume").stdout
    )


def test_converting_takes_results_and_masks(tmp_path: Path):
    labels = discs()[1].astype(np.uint16)
    for name in ("out/labels/a.tif", "out/labels/a_masks.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(tmp_path / name, labels)
    (tmp_path / "out" / ".nucseg").mkdir()
    result = nucseg("convert", tmp_path / "out", "--to", "rle", "-o", tmp_path / "converted")
    assert "Label images converted: 2, with 32 nuclei." in result.stdout
