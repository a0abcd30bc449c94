"""Classes by clicks, in a real browser."""

import csv
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from browser_client import png
from class_clicks import Teacher
from typer.testing import CliRunner

from nucseg import classes
from nucseg.cli.main import app

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
expect.set_options(timeout=60_000)

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
CLICKS = 20

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

Pages = Callable[..., object]


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    """Start the app with a model, and give pages of it; what goes wrong on them fails the test."""
    started, wrong = [], []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)

        def make(model: str | Path, **options: object):
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "nucseg",
                    "app",
                    "--port",
                    "0",
                    *("--no-browser", "--model"),
                    str(model),
                ],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
            )
            started.append(process)
            address = re.search(r"http://\S+", process.stdout.readline()).group()
            viewport = {"width": 1300, "height": 950}
            page = browser.new_context(**{"viewport": viewport, **options}).new_page()
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", note)
            page.goto(address)
            expect(page.locator("#model")).to_contain_text("Model")
            return page

        def note(message) -> None:
            if message.type == "error" and "status of 4" not in message.text:
                wrong.append(message.text)

        yield make
        browser.close()
    for process in started:
        process.terminate()
        process.communicate(timeout=30)
    assert wrong == []


def squares(seed: int) -> np.ndarray:
    """Bright squares of sizes from 3 to 12 pixels, of many brightnesses."""
    rng = np.random.default_rng(seed)
    image = np.zeros((150, 200), np.uint8)
    for row in range(4, 140, 17):
        for column in range(4, 190, 17):
            down, across = rng.integers(3, 13, 2)
            image[row : row + down, column : column + across] = rng.integers(160, 255)
    return image


def upload(page, files: dict[str, bytes]) -> None:
    page.set_input_files(
        "#files",
        [{"name": n, "mimeType": "image/png", "buffer": data} for n, data in files.items()],
    )
    expect(page.locator("#images .number").filter(has_text=re.compile(r"^\d+$"))).to_have_count(
        len(files)
    )
    # The first of them is shown.
    expect(page.locator("#table tr.data").first).to_be_visible()


def above(column: str, limit: float):
    return lambda columns: {
        label: value > limit for label, value in zip(columns["label"], columns[column], strict=True)
    }


def taught(page, names: tuple[str, str], column: str) -> Teacher:
    """Teach classes above and below the median by 20 clicks: three of each, then as asked."""
    everything = Teacher(page, names, lambda _columns: {}).columns.values()
    limit = float(np.median(np.concatenate([columns[column] for columns in everything])))
    teacher = Teacher(page, names, above(column, limit))
    teacher.begin()
    # What a person begins with: nuclei that are clearly of either class.
    for second in (False, True):
        image, labels = teacher.clear_ones(column, second=second)
        teacher.open(image)
        for label in labels:
            teacher.click(image, label)
    asked = teacher.ask()
    while teacher.marks < CLICKS - 1:
        asked = teacher.answer(asked)
    teacher.answer(asked)
    return teacher


def test_twenty_clicks_teach_classes_that_a_batch_gets_too(pages, bright_model, tmp_path):
    page = pages(bright_model)
    files = {f"{name}.png": png(squares(seed)) for seed, name in enumerate("ab")}
    upload(page, files)
    teacher = taught(page, ("small", "large"), "area")
    share, of = teacher.accuracy()
    assert of > 150
    assert share >= 0.95
    expect(page.locator("#class-accuracy")).to_contain_text(f"of {CLICKS} marked nuclei right (")
    expect(page.locator("#table")).to_contain_text("Probability")
    with page.expect_download() as waiting:
        page.click("#class-save")
    assert waiting.value.suggested_filename == "classes.json"
    file = Path(waiting.value.path())
    assert classes.load(file).names == ("small", "large")
    assert sum(each.marks for each in classes.load(file).classes) == CLICKS

    # Another session takes the file back: its names, and classes of all nuclei without a mark.
    later = pages(bright_model)
    upload(later, files)
    later.locator("#tools").get_by_role("button", name="Mark").click()
    with later.expect_response("**/api/classes/file"):
        later.set_input_files("#class-load", file)
    expect(later.get_by_label("Name of class 2")).to_have_value("large")
    expect(later.locator("#class-lacking")).to_contain_text("These classes are from a file.")
    expect(later.locator("#table")).to_contain_text("Probability")
    wrong = {"name": "no.json", "mimeType": "application/json", "buffer": b"{}"}
    later.set_input_files("#class-load", wrong)
    expect(later.locator("#errors")).to_contain_text("no.json is no file of classes")

    folder = tmp_path / "in"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    command = ["segment", folder, "-o", tmp_path / "out", "--model", bright_model]
    result = CliRunner().invoke(app, [*map(str, command), "--classes", str(file)])
    assert result.exit_code == 0, result.output
    with (tmp_path / "out" / "measurements.csv").open() as table:
        written = [row["class"] for row in csv.DictReader(table)]
    shown = []
    for image in teacher.images:
        told = teacher.fetch(f"api/classes?image={image['id']}")["image"]
        shown += [("small", "large")[number] for number in told["numbers"]]
    assert written == shown


@pytest.mark.skipif("NUCSEG_TEST_DATA" not in os.environ, reason="needs the real data set")
@pytest.mark.parametrize(
    ("names", "column"), [(("small", "large"), "area"), (("dim", "bright"), "intensity_mean")]
)
def test_twenty_clicks_on_real_images(pages, names, column):
    data = Path(os.environ["NUCSEG_TEST_DATA"]) / "dsb2018"
    with (data / "split.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["modality"] == "fluorescence"]
    # Larger fields of one kind of image, each a field of view of its own.
    wanted = [row for row in rows if (row["height"], row["width"]) == ("520", "696")]
    few = list({row["source_field"]: row for row in wanted}.values())[:4]
    with zipfile.ZipFile(data / "stage1_train.zip") as archive:
        names_in = [name for name in archive.namelist() if "/images/" in name]
        files = {
            f"{place}.png": archive.read(next(n for n in names_in if row["image_id"] in n))
            for place, row in enumerate(few)
        }
    page = pages("nuclei")
    upload(page, files)
    share, of = taught(page, names, column).accuracy()
    assert of > 100
    assert share >= 0.95


def marks(page) -> list[str]:
    return page.locator("#class-list .number").all_inner_texts()


def test_classes_are_named_chosen_marked_and_taken_back(pages, bright_model):
    page = pages(bright_model)
    upload(page, {"a.png": png(squares(0))})
    teacher = Teacher(page, ("small", "large"), above("area", 60))
    image = teacher.images[0]["id"]
    expect(page.locator("#classes")).not_to_have_attribute("open", "")
    page.locator("#canvas").focus()
    page.keyboard.press("c")
    expect(page.locator("#classes")).to_have_attribute("open", "")
    expect(page.locator("[data-tool=mark]").first).to_be_visible()
    teacher.begin()
    expect(page.get_by_label("Name of class 2")).to_have_value("large")
    first = next(label for label, large in teacher.truth[image].items() if large)
    teacher.click(image, first)
    expect(page.locator("#class-list li").nth(1).locator(".number")).to_have_text("1")
    expect(page.locator("#class-lacking")).to_have_text("Mark 3 more of small and 2 more of large.")
    expect(page.locator("#class-next")).to_be_disabled()
    expect(page.locator("#class-save")).to_be_disabled()
    # A second click takes the mark away, Ctrl Z brings it back.
    with page.expect_response("**/api/classes/marks"):
        page.mouse.click(*teacher.place_of(image, first))
    expect(page.locator("#class-list li").nth(1).locator(".number")).to_have_text("0")
    page.keyboard.press("Control+z")
    expect(page.locator("#class-list li").nth(1).locator(".number")).to_have_text("1")
    page.click("#class-undo")
    expect(page.locator("#class-list li").nth(1).locator(".number")).to_have_text("0")
    # N selects a nucleus and Enter marks it, without a mouse.
    page.locator("#canvas").focus()
    page.keyboard.press("1")
    page.keyboard.press("n")
    with page.expect_response("**/api/classes/marks"):
        page.keyboard.press("Enter")
    expect(page.locator("#class-list li").nth(0).locator(".number")).to_have_text("1")
    page.click("#class-add")
    expect(page.locator("#class-list li")).to_have_count(3)
    expect(page.get_by_label("Name of class 3")).to_be_focused()
    page.get_by_label("Remove class 3").click()
    expect(page.locator("#class-list li")).to_have_count(2)
    page.get_by_label("Name of class 2").fill("Small")
    page.keyboard.press("Tab")
    expect(page.locator("#errors")).to_contain_text("Two classes are called 'Small'")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_label("Remove class 1").click()
    expect(page.locator("#class-lacking")).to_have_text("Name two classes or more.")


def colours(page) -> np.ndarray:
    shot = PIL.Image.open(io.BytesIO(page.locator("#canvas").screenshot()))
    return np.asarray(shot.convert("RGB")).reshape(-1, 3)


def test_outlines_have_the_colours_of_classes_and_marks_stay(pages, bright_model):
    page = pages(bright_model)
    upload(page, {"a.png": png(squares(0))})
    teacher = Teacher(page, ("small", "large"), above("area", 60))
    teacher.begin()
    image = teacher.images[0]["id"]
    for large in (False, True):
        some = [label for label, told in teacher.truth[image].items() if told is large]
        for label in some[:3]:
            teacher.click(image, label)
    expect(page.locator("#class-accuracy")).to_contain_text("6 marked nuclei right")
    page.click("[data-tool=select]")
    for blue in ((86, 180, 233), (230, 159, 0)):
        assert (colours(page) == blue).all(axis=1).sum() > 300
    page.uncheck("#show-classes")
    page.wait_for_timeout(300)
    assert (colours(page) == (0, 158, 115)).all(axis=1).sum() == 0
    page.reload()
    expect(page.locator("#class-accuracy")).to_contain_text("6 marked nuclei right")
    assert marks(page) == ["3", "3"]
    page.click("#table th:has-text('Class') button")
    expect(page.locator("#table tr.data").first.locator("td").nth(2)).to_have_text("large")
    expect(page.locator("#command")).to_contain_text("--classes classes.json")


def test_on_a_telephone_classes_are_beside_the_image(pages, bright_model):
    page = pages(bright_model, viewport={"width": 390, "height": 844}, has_touch=True)
    upload(page, {"a.png": png(squares(0))})
    teacher = Teacher(page, ("small", "large"), above("area", 60))
    expect(page.locator("#class-bar")).to_be_hidden()
    teacher.begin()
    expect(page.locator("#class-bar")).to_be_visible()
    image = teacher.images[0]["id"]
    for large, name in ((False, "small"), (True, "large")):
        some = [label for label, told in teacher.truth[image].items() if told is large][:3]
        page.locator("#class-bar").get_by_role("button", name=name).tap()
        for label in some:
            page.locator("#canvas").scroll_into_view_if_needed()
            with page.expect_response("**/api/classes/marks"):
                page.touchscreen.tap(*teacher.place_of(image, label))
    with page.expect_response("**/api/classes/next") as waiting:
        page.locator("#class-bar").get_by_role("button", name="Next uncertain").tap()
    asked = waiting.value.json()
    expect(page.locator("#status")).to_contain_text("Uncertain")
    large = teacher.truth[asked["image"]][asked["number"]]
    with page.expect_response("**/api/classes/next"):
        page.locator("#class-bar").get_by_role("button", name=("small", "large")[large]).tap()
    expect(page.locator("#class-accuracy")).to_contain_text("of 7 marked nuclei right")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
