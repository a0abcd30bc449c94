"""Masks that are no masks: read as they were meant, or refused, alike in every command."""

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from case_images import discs, nucseg, rows_of

from nucseg.datasets.reading import open_dataset
from nucseg.errors import InputError
from nucseg.images import read_image
from nucseg.training.pipeline import labelled_samples

IMAGE, LABELS = discs()
MASK = ((LABELS > 0) * 255).astype(np.uint8)
COLOURS = np.vstack([[0, 0, 0], np.random.default_rng(3).integers(1, 255, (255, 3))])


def png(pixels: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        PIL.Image.fromarray(pixels).save(folder / "a.png")
        return folder / "a.png"

    return write


def jpeg(pixels: np.ndarray, quality: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        PIL.Image.fromarray(pixels).save(folder / "a.jpg", quality=quality)
        return folder / "a.jpg"

    return write


def tiff(pixels: np.ndarray, **options: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        tifffile.imwrite(folder / "a.tif", pixels, **options)
        return folder / "a.tif"

    return write


def palette(suffix: str, colours: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        picture = PIL.Image.fromarray(LABELS.astype(np.uint8), "L")
        picture.putpalette(colours.astype(np.uint8).ravel().tolist())
        picture.save(folder / f"a{suffix}")
        return folder / f"a{suffix}"

    return write


def fax(folder: Path) -> Path:
    """A mask of 1 bit as scanners save it: bright nuclei are 0, and 0 is white."""
    bits = np.packbits(LABELS == 0, axis=1)
    options = {"photometric": "miniswhite", "metadata": None}
    tifffile.imwrite(folder / "a.tif", LABELS == 0, **options)
    assert bits.tobytes() in (folder / "a.tif").read_bytes()
    return folder / "a.tif"


def compressed(pixels: np.ndarray) -> np.ndarray:
    """As JPEG gives them back."""
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return np.asarray(PIL.Image.open(file))


def resized(pixels: np.ndarray, how: PIL.Image.Resampling, between: int) -> np.ndarray:
    """To another size and back, so that it fits its image."""
    small = PIL.Image.fromarray(pixels).resize((between, between), how)
    return np.asarray(small.resize((256, 256), how))


def anti_aliased() -> np.ndarray:
    """Drawn four times as large and averaged."""
    large = ((discs(size=1024, radius=40)[1] > 0) * 255).astype(np.uint8)
    return np.asarray(PIL.Image.fromarray(large).resize((256, 256), PIL.Image.Resampling.BOX))


GREYS = np.repeat(np.arange(256)[::-1, None], 3, axis=1)

MEANT = {
    "bits, as tifffile writes them": tiff(LABELS > 0),
    "bits, compressed": tiff(LABELS > 0, compression="deflate"),
    "bits, 0 is black": tiff(LABELS > 0, photometric="minisblack"),
    "bits, 0 is white": fax,
    "inverted lookup table": tiff(MASK, photometric="miniswhite"),
    "labels, inverted lookup table": tiff(LABELS.astype(np.uint16), photometric="miniswhite"),
    "palette": palette(".png", COLOURS),
    "palette of greys": palette(".png", GREYS),
    "palette, BMP": palette(".bmp", COLOURS),
    "palette, TIFF": palette(".tif", COLOURS),
    "equal colours": png(np.dstack([LABELS.astype(np.uint8)] * 3)),
    "mask": png(MASK),
    "mask of 1": png(MASK // 255),
}
REFUSED = {
    "JPEG": (jpeg(MASK, 75), "JPEG"),
    "fine JPEG": (jpeg(MASK, 100), "JPEG"),
    "JPEG of labels": (jpeg(LABELS.astype(np.uint8), 95), "JPEG"),
    "JPEG saved again": (png(compressed(MASK)), "nearest neighbour"),
    "Lanczos": (png(resized(MASK, PIL.Image.Resampling.LANCZOS, 250)), "nearest neighbour"),
    "bilinear": (png(resized(MASK, PIL.Image.Resampling.BILINEAR, 200)), "nearest neighbour"),
    "cubic": (png(resized(MASK, PIL.Image.Resampling.BICUBIC, 128)), "nearest neighbour"),
    "anti-aliased": (png(anti_aliased()), "nearest neighbour"),
    "bilinear labels": (
        tiff(resized(LABELS.astype(np.uint8), PIL.Image.Resampling.BILINEAR, 128)),
        "nearest neighbour",
    ),
    "inverted": (png(255 - MASK), "inverted"),
    "inverted, 16 bits": (tiff((255 - MASK) * np.uint16(257)), "inverted"),
    "background 1": (tiff(LABELS.astype(np.uint16) + 1), "set 1 to 0"),
    "nuclei 1, background 2": (png(2 - MASK // 255), "set 2 to 0"),
    "colours of nuclei": (png(COLOURS[LABELS].astype(np.uint8)), "17 different colours"),
    "colours of classes": (png(COLOURS[LABELS % 3].astype(np.uint8)), "3 different colours"),
    "classes": (png((LABELS % 3 + (LABELS > 0)).astype(np.uint8)), "classes and not nuclei"),
    "nuclei and their edges": (
        png(((LABELS > 0) * 1 + (discs(radius=8)[1] > 0)).astype(np.uint8)),
        "classes and not nuclei",
    ),
}
meant = pytest.mark.parametrize("write", MEANT.values(), ids=MEANT)
refused = pytest.mark.parametrize(("write", "reason"), REFUSED.values(), ids=REFUSED)


def data_of(folder: Path, write: Callable[[Path], Path], labels: str = "labels") -> Path:
    """A data set of one image and what `write` writes as its label image."""
    for name in ("images", labels):
        (folder / name).mkdir(parents=True)
    tifffile.imwrite(folder / "images" / "a.tif", IMAGE)
    write(folder / labels)
    return folder


def info_of(data: Path, tmp_path: Path) -> dict:
    result = nucseg("data", "info", data, "--json", "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def same_nuclei(found: np.ndarray, nuclei: int = 16) -> bool:
    pairs = np.unique(np.stack([found.ravel(), LABELS.ravel()]), axis=1)
    return pairs.shape[1] == nuclei + 1 and np.array_equal(found > 0, LABELS > 0)


@meant
def test_a_mask_is_converted_as_it_was_meant(write, tmp_path: Path):
    result = nucseg("convert", write(tmp_path), "--to", "labels", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "converted: 1, with 16 nuclei" in result.stdout
    assert same_nuclei(read_image(tmp_path / "out" / "labels" / "a.tif").pixels)


@meant
def test_a_mask_is_read_from_a_data_set_as_it_was_meant(write, tmp_path: Path):
    data = data_of(tmp_path / "data", write)
    assert same_nuclei(open_dataset(data).read("a").labels)
    assert info_of(data, tmp_path)["nuclei"] == 16
    assert len(list(labelled_samples(open_dataset(data), ["a"]))) == 1


@meant
def test_a_mask_is_judged_as_it_was_meant(write, tmp_path: Path):
    data = data_of(tmp_path / "data", write)
    write_truth = tiff(LABELS.astype(np.uint16))
    truth = data_of(tmp_path / "truth", write_truth)
    for number, (known, found) in enumerate(((truth, data), (data, truth))):
        out = tmp_path / f"out{number}"
        result = nucseg("evaluate", known, "--labels", found / "labels", "-o", out, "--no-plots")
        assert result.exit_code == 0, result.output
        (row,) = rows_of(out / "images.csv")
        assert (row["true_nuclei"], row["predicted_nuclei"]) == ("16", "16")
        assert float(row["ap50"]) == float(row["aji"]) == 1


@refused
def test_what_is_no_mask_is_not_converted(write, reason: str, tmp_path: Path):
    path = write(tmp_path)
    result = nucseg("convert", path, "--to", "labels", "-o", tmp_path / "out")
    assert result.exit_code == 1, result.output
    assert "converted: 0, with 0 nuclei" in result.stdout
    assert f"Failed: {path}: " in result.stderr
    assert reason in result.stderr
    assert not list((tmp_path / "out").rglob("*.tif"))


@refused
def test_what_is_no_mask_is_a_problem_of_its_data_set(write, reason: str, tmp_path: Path, caplog):
    data = data_of(tmp_path / "data", write)
    info = info_of(data, tmp_path)
    assert info["nuclei"] == 0
    (problem,) = info["problems"]
    assert problem["kind"] == "unusable label image"
    assert reason in problem["message"]
    with caplog.at_level(logging.WARNING), pytest.raises(InputError, match="nothing to learn"):
        list(labelled_samples(open_dataset(data), ["a"]))
    assert "unusable label image (1)" in caplog.text


@refused
def test_what_is_no_mask_is_not_judged(write, reason: str, tmp_path: Path):
    data = data_of(tmp_path / "data", write)
    truth = data_of(tmp_path / "truth", tiff(LABELS.astype(np.uint16)))
    for number, (known, found) in enumerate(((truth, data), (data, truth))):
        out = tmp_path / f"out{number}"
        result = nucseg("evaluate", known, "--labels", found / "labels", "-o", out, "--no-plots")
        assert result.exit_code == 1, result.output
        (row,) = rows_of(out / "images.csv")
        assert row["status"] == "failed"
        assert reason in row["error"]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_small_mask_with_grey_edges_is_no_crowd_of_nuclei(suffix: str, tmp_path: Path):
    mask = PIL.Image.fromarray(MASK)
    if suffix == ".png":
        mask = mask.resize((200, 200), PIL.Image.Resampling.BILINEAR)
    mask.save(tmp_path / f"m{suffix}")
    result = nucseg("convert", tmp_path / f"m{suffix}", "--to", "rois", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "which are grey levels and not nuclei" in result.stderr
    assert "TIFF or PNG" in result.stderr


def test_doubts_are_said_alike(tmp_path: Path):
    pieces = LABELS.astype(np.uint16)
    pieces[pieces == 2] = 1
    truth = data_of(tmp_path / "truth", tiff(pieces))
    found = data_of(tmp_path / "found", fax)
    result = nucseg("convert", truth / "labels", "--to", "coco", "-o", tmp_path / "coco")
    assert "a.tif has 1 of 15 labels in several pieces (1 in 2)" in result.stderr
    assert "with 15 nuclei" in result.stdout
    result = nucseg("convert", found / "labels", "--to", "coco", "-o", tmp_path / "coco")
    assert "a.tif is a mask of 1 bit per pixel" in result.stderr
    out = tmp_path / "out"
    result = nucseg("evaluate", truth, "--labels", found / "labels", "-o", out, "--no-plots")
    assert "labels in pieces (1), prediction: mask turned over (1)" in result.stderr
    (row,) = rows_of(out / "images.csv")
    assert row["problems"] == (
        "labels in pieces; prediction: mask turned over; prediction: mask instead of labels"
    )
    assert info_of(truth, tmp_path)["problem_counts"] == {"labels in pieces": 1}
    kinds = {"mask instead of labels": 1, "mask turned over": 1}
    assert info_of(found, tmp_path)["problem_counts"] == kinds


def test_images_of_1_bit_and_of_palettes_are_shown_as_before(tmp_path: Path):
    shown = read_image(tiff(LABELS > 0)(tmp_path)).pixels
    assert np.array_equal(shown, 255 - MASK)  # as every viewer shows what tifffile wrote
    shown = read_image(tiff(MASK, photometric="miniswhite")(tmp_path)).pixels
    assert np.array_equal(shown, 255 - MASK)
    shown = read_image(palette(".png", COLOURS)(tmp_path)).pixels
    assert np.array_equal(shown, COLOURS[LABELS])


def kaggle(folder: Path, masks: dict[str, np.ndarray], image_id: str = "x") -> Path:
    for name in ("images", "masks"):
        (folder / image_id / name).mkdir(parents=True)
    PIL.Image.fromarray((IMAGE // 8).astype(np.uint8)).save(
        folder / image_id / "images" / f"{image_id}.png"
    )
    for name, mask in masks.items():
        if mask.dtype == bool:
            tifffile.imwrite(folder / image_id / "masks" / name, mask)
        else:
            PIL.Image.fromarray(mask).save(folder / image_id / "masks" / name)
    return folder


def one(number: int) -> np.ndarray:
    return ((number == LABELS) * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("masks", "nuclei", "kinds"),
    [
        ({"1.png": one(1), "2.png": 255 - one(2)}, 1, ["inverted mask"]),
        ({"1.jpg": one(1), "2.jpg": 255 - one(2)}, 1, ["inverted mask"]),
        ({"1.png": 255 - one(2)}, 0, ["inverted mask", "no masks"]),
        ({"1.tif": LABELS == 1, "2.tif": LABELS != 2}, 2, []),
        ({"1.jpg": one(1), "2.png": anti_aliased() * (LABELS == 2)}, 2, []),
        ({"all.png": MASK}, 16, ["mask instead of labels"]),
        ({"all.png": LABELS.astype(np.uint8)}, 16, ["label image as mask"]),
        ({"1.png": one(1), "rest.png": (LABELS * (LABELS > 1)).astype(np.uint8)}, 16,
         ["label image as mask"]),
        ({"classes.png": (LABELS % 3).astype(np.uint8)}, 0, ["unreadable mask", "no masks"]),
    ],
    ids=["inverted", "inverted JPEG", "inverted alone", "bits", "soft edges", "all in one mask",
         "label image", "label image beside a mask", "classes"],
)  # fmt: skip
def test_masks_of_single_nuclei(masks, nuclei: int, kinds: list[str], tmp_path: Path):
    data = kaggle(tmp_path / "data", masks)
    kaggle(data, {"1.png": one(1)}, "other")
    sample = open_dataset(data).read("x")
    assert sample.labels.max() == nuclei
    assert [problem.kind for problem in sample.problems] == kinds
    assert sample.labelled == (nuclei > 0)
    assert info_of(data, tmp_path)["nuclei"] == nuclei + 1


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_images_and_masks_of_the_same_names_are_label_images(count, suffix, tmp_path: Path):
    data = tmp_path / "train"
    for name in ("images", "masks"):
        (data / name).mkdir(parents=True)
    for number in range(count):
        tifffile.imwrite(data / "images" / f"{number}.tif", IMAGE)
        path = data / "masks" / f"{number}{suffix}"
        if suffix == ".tif":
            tifffile.imwrite(path, LABELS.astype(np.uint16))
        else:
            PIL.Image.fromarray(LABELS.astype(np.uint8)).save(path)
    for place in (data, tmp_path):
        dataset = open_dataset(place)
        assert dataset.layout == "folders"
        assert dataset.image_ids == tuple(map(str, range(count)))
        assert all(dataset.read(each).labels.max() == 16 for each in dataset.image_ids)
        guessed = [problem.kind for problem in dataset.read("0").problems]
        assert guessed == (["guessed layout"] if count == 1 else [])
    result = nucseg("evaluate", data, "--labels", data / "masks", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert f"Nuclei: {16 * count} found, {16 * count} true." in result.stdout
    assert ("guessed layout (1)" in result.stderr) == (count == 1)


def test_images_and_masks_tell_what_is_missing(tmp_path: Path):
    data = data_of(tmp_path, tiff(LABELS.astype(np.uint16)), "masks")
    tifffile.imwrite(data / "images" / "b.tif", IMAGE)
    tifffile.imwrite(data / "masks" / "c.tif", LABELS.astype(np.uint16))
    dataset = open_dataset(data)
    assert [problem.kind for problem in dataset.problems] == ["label image without image"]
    (problem,) = dataset.read("b").problems
    assert problem.message == "images/b.tif has no label image of the same name in masks/."


@pytest.mark.parametrize(
    ("folder", "mask", "layout", "nuclei"),
    [
        ("a", one(1), "kaggle", 1),
        ("a", MASK, "kaggle", 16),
        ("a", LABELS.astype(np.uint8), "folders", 16),
        ("set", MASK, "folders", 16),
        ("set", one(1), "folders", 1),
    ],
    ids=["a nucleus", "all in a mask", "label image", "mask of a set", "a nucleus of a set"],
)
def test_one_image_and_one_mask_of_its_name(folder, mask, layout, nuclei, tmp_path: Path):
    for name in ("images", "masks"):
        (tmp_path / folder / name).mkdir(parents=True)
    tifffile.imwrite(tmp_path / folder / "images" / "a.tif", IMAGE)
    PIL.Image.fromarray(mask).save(tmp_path / folder / "masks" / "a.png")
    for place in (tmp_path, tmp_path / folder):
        dataset = open_dataset(place)
        assert dataset.layout == layout
        assert dataset.read("a").labels.max() == nuclei
    messages = " ".join(problem.message for problem in dataset.read("a").problems)
    assert ("is taken for a label image of all nuclei" in messages) == (layout == "folders")


def test_samples_with_a_label_image_each_are_one_data_set(tmp_path: Path):
    for image_id in ("a", "b"):
        kaggle(tmp_path, {f"{image_id}.png": LABELS.astype(np.uint8)}, image_id)
    dataset = open_dataset(tmp_path)
    assert dataset.image_ids == ("a", "b")
    assert [dataset.read(each).labels.max() for each in dataset.image_ids] == [16, 16]
    assert [each.kind for each in dataset.read("a").problems] == ["label image as mask"]


def test_two_sets_of_images_and_masks_are_an_error(tmp_path: Path):
    for each in ("train", "test"):
        data = data_of(tmp_path / each, tiff(LABELS.astype(np.uint16)), "masks")
        tifffile.imwrite(data / "images" / "b.tif", IMAGE)
    with pytest.raises(InputError, match="several data sets"):
        open_dataset(tmp_path)
