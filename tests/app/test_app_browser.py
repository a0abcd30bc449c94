"""The page, in a real browser."""

import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from browser_client import nuclei_image, png

from nucseg.datasets.synthetic import synthetic_image

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
expect.set_options(timeout=60_000)

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def address(bright_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    command = [sys.executable, "-m", "nucseg", "app", "--port", "0", "--no-browser"]
    process = subprocess.Popen(
        [*command, "--model", str(bright_model), "--max-upload", "5"],
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "TMPDIR": str(tmp_path_factory.mktemp("server")),
            "PYTHONUNBUFFERED": "1",
        },
    )
    try:
        yield re.search(r"http://\S+", process.stdout.readline()).group()
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium, address: str):
    """Make pages, each in a browser context of its own; what goes wrong on them fails the test."""
    contexts, wrong = [], []

    def make(**options):
        context = chromium.new_context(viewport={"width": 1300, "height": 950}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: check(request.url))
        page.on("console", note)
        page.goto(address)
        expect(page.locator("#model")).to_contain_text("bright")
        return page

    def check(url: str) -> None:
        if not url.startswith((address, f"blob:{address}")):
            wrong.append(f"request to {url}")

    def note(message) -> None:
        # Refusals are told on the page; the browser tells them in its console too.
        if message.type == "error" and "status of 4" not in message.text:
            wrong.append(message.text)

    yield make
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def page(new_page):
    return new_page()


def test_the_token_leaves_the_address(chromium, bright_model: Path, tmp_path: Path):
    command = [sys.executable, "-m", "nucseg", "app", "--host", "0.0.0.0", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--no-browser", "--model", str(bright_model), "--max-sessions", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )
    context, other = chromium.new_context(), chromium.new_context()
    try:
        address = re.search(r"http://\S+", process.stdout.readline()).group()
        page = context.new_page()
        page.goto(address.partition("?")[0])
        expect(page.locator("body")).to_contain_text("This app needs its token.")
        # A link on a page of another site.
        page.set_content(f'<a href="{address}">here</a>')
        page.click("a")
        expect(page.locator("#model")).to_contain_text("bright")
        assert page.url == address.partition("?")[0]
        page.reload()
        expect(page.locator("#model")).to_contain_text("bright")
        opened(page)
        count(page, 3)
        late = other.new_page()
        late.goto(address)
        expect(late.locator("#errors")).to_contain_text("No session can begin")
        late.set_input_files("#files", {"name": "a.png", "mimeType": "image/png", "buffer": b"a"})
        expect(late.locator("#errors")).to_contain_text("There is no session yet.")
    finally:
        context.close()
        other.close()
        process.terminate()
        process.communicate(timeout=30)


def upload(page, name: str = "a.png", data: bytes | None = None) -> None:
    data = png(nuclei_image()) if data is None else data
    page.set_input_files("#files", {"name": name, "mimeType": "image/png", "buffer": data})


def opened(page, name: str = "a.png", data: bytes | None = None) -> None:
    upload(page, name, data)
    expect(page.locator("#status")).to_contain_text(f"{name}: ")


def place_of(page, x: float, y: float) -> tuple[float, float]:
    """Where a place of the image is on the screen, when the whole image is shown."""
    box = page.locator("#canvas").bounding_box()
    scale = min(box["width"] / 40, box["height"] / 24)
    left = box["x"] + (box["width"] - 40 * scale) / 2
    top = box["y"] + (box["height"] - 24 * scale) / 2
    return left + x * scale, top + y * scale


def drag(page, *places: tuple[float, float]) -> None:
    page.locator("#canvas").scroll_into_view_if_needed()
    spots = [place_of(page, *place) for place in places]
    page.mouse.move(*spots[0])
    page.mouse.down()
    for spot in spots[1:]:
        page.mouse.move(*spot, steps=4)
    page.mouse.up()


def click(page, x: float, y: float) -> None:
    page.locator("#canvas").scroll_into_view_if_needed()
    page.mouse.click(*place_of(page, x, y))


def count(page, number: int) -> None:
    expect(page.locator("#count")).to_have_text(str(number))


def rows(page):
    return page.locator("#table tr.data")


def downloaded(page) -> zipfile.ZipFile:
    with page.expect_download() as waiting:
        page.click("#download")
    return zipfile.ZipFile(io.BytesIO(Path(waiting.value.path()).read_bytes()))


def set_range(page, name: str, value: float) -> None:
    page.locator(name).evaluate(
        "(field, value) => { field.value = value; "
        "field.dispatchEvent(new Event('input', { bubbles: true })); }",
        value,
    )


def test_from_upload_to_table(page):
    opened(page)
    count(page, 3)
    expect(rows(page)).to_have_count(3)
    expect(page.locator("#image-name")).to_have_text("a.png")
    expect(page.locator("#command")).to_contain_text("nucseg segment a.png -o out --model")
    expect(page.get_by_role("img", name=re.compile("From 12 to 96 px, median 49"))).to_be_visible()
    # The outlines are drawn: there is yellow or another of their colours on a grey image.
    shot = np.asarray(PIL.Image.open(io.BytesIO(page.locator("#canvas").screenshot())))[..., :3]
    assert (np.ptp(shot.astype(int), axis=-1) > 80).sum() > 200


def test_a_sample_and_a_dropped_file(page):
    page.get_by_role("button", name="fluorescence").click()
    expect(page.locator("#status")).to_contain_text("fluorescence.png: ")
    data = page.evaluate_handle(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png"));
            return transfer;
        }""",
        list(png(nuclei_image())),
    )
    page.dispatch_event("#view", "drop", {"dataTransfer": data})
    expect(page.locator("#images li")).to_have_count(2)
    page.get_by_role("button", name=re.compile("^dropped.png")).click()
    expect(page.locator("#image-name")).to_have_text("dropped.png")
    count(page, 3)
    page.get_by_role("button", name="Remove dropped.png").click()
    expect(page.locator("#images li")).to_have_count(1)
    expect(page.locator("#image-name")).to_have_text("fluorescence.png")


def test_filters_act_at_once_and_without_the_network(page):
    opened(page)
    runs = []
    page.on("request", lambda request: "segment" in request.url and runs.append(request.url))
    set_range(page, "#min-area", 20)
    count(page, 2)
    expect(page.locator("#min-area-number")).to_have_value("20")
    page.fill("#max-area-number", "60")
    count(page, 1)
    expect(page.locator("#command")).to_contain_text("--min-area 20 --max-area 60")
    page.click("#reset")
    count(page, 3)
    page.check("#drop-border")
    count(page, 2)
    expect(page.locator("#count-more")).to_contain_text("1 dropped")
    set_range(page, "#min-score", 1)
    count(page, 0)
    expect(page.locator("#table")).to_contain_text("No nuclei")
    assert runs == []


def test_nucleus_and_row_go_together(page):
    opened(page)
    click(page, 26, 16)
    expect(page.locator("#table tr[aria-selected=true] td").nth(2)).to_have_text("96")
    expect(page.locator("#status")).to_contain_text("Nucleus 3: 96 pixels")
    page.mouse.move(*place_of(page, 6, 5))
    expect(page.locator("#table tr.hover td").nth(2)).to_have_text("49")
    page.get_by_role("button", name="Area (px)").click()
    expect(rows(page).first.locator("td").nth(2)).to_have_text("96")
    page.get_by_role("button", name="Area (px)").click()
    expect(rows(page).first.locator("td").nth(2)).to_have_text("12")
    rows(page).nth(1).click()
    expect(page.locator("#status")).to_contain_text("49 pixels")
    page.locator("#table").press("ArrowDown")
    expect(page.locator("#status")).to_contain_text("96 pixels")


def test_editing_and_undoing(page):
    opened(page)
    click(page, 6, 5)
    page.keyboard.press("Delete")
    count(page, 2)
    page.keyboard.press("d")
    drag(page, (12, 2), (18, 2), (18, 8), (12, 8))
    count(page, 3)
    expect(page.locator("#table")).to_contain_text("by hand")
    page.get_by_role("button", name="Split").click()
    drag(page, (26, 10), (26, 22))
    count(page, 4)
    labels = tifffile.imread(io.BytesIO(downloaded(page).read("labels/a.tif")))
    assert labels.max() == 4
    assert labels[5, 6] == 0
    assert labels[5, 15] > 0
    assert labels[15, 22] != labels[15, 30]
    expect(page.locator("#command-notes")).to_contain_text("3 changes by hand")
    for number in (3, 2, 3):
        page.get_by_role("button", name="Undo").click()
        count(page, number)
    expect(page.locator("#undo")).to_be_disabled()
    page.locator("#canvas").press("Control+Shift+Z")
    count(page, 2)
    page.get_by_role("button", name="Redo").click()
    count(page, 3)


def test_splitting_and_merging_painting_and_erasing(page):
    opened(page)
    page.keyboard.press("s")
    drag(page, (26, 10), (26, 22))
    count(page, 4)
    page.keyboard.press("m")
    drag(page, (22, 16), (30, 16))
    count(page, 3)
    expect(page.locator("#status")).to_contain_text("Joined")
    page.keyboard.press("v")
    click(page, 6, 5)
    expect(page.locator("#status")).to_contain_text("49 pixels")
    page.fill("#radius", "2")
    page.keyboard.press("Tab")
    page.keyboard.press("b")
    expect(page.locator("#canvas")).to_have_attribute("data-tool", "brush")
    drag(page, (6, 5), (12, 5))
    expect(page.locator("#status")).to_contain_text("Painted")
    page.get_by_role("button", name="Erase").click()
    drag(page, (12, 5), (10, 5))
    expect(page.locator("#status")).to_contain_text("Erased")
    count(page, 3)


def test_letters_work_wherever_the_focus_is_but_in_fields(page):
    opened(page)
    page.locator("#show-dropped").focus()
    page.keyboard.press("d")
    expect(page.locator("#canvas")).to_have_attribute("data-tool", "draw")
    page.locator("#min-area-number").focus()
    page.keyboard.press("s")
    expect(page.locator("#canvas")).to_have_attribute("data-tool", "draw")


def test_a_key_zooms_as_far_wherever_the_focus_is(page):
    opened(page)
    zoom = page.locator("#zoom")
    fitted = zoom.inner_text()
    zoomed = []
    for place in ("#canvas", "#show-dropped"):
        page.click("#fit")
        expect(zoom).to_have_text(fitted)
        page.locator(place).focus()
        page.keyboard.press("+")
        expect(zoom).not_to_have_text(fitted)
        zoomed.append(zoom.inner_text())
    assert zoomed[0] == zoomed[1]


def test_doubtful_nuclei_come_by_their_scores(page):
    opened(page)
    scores = []
    for _ in range(3):
        page.get_by_role("button", name="Next doubtful").click()
        cell = page.locator("#table tr[aria-selected=true] td").nth(1)
        scores.append(float(cell.inner_text()))
    assert scores == sorted(scores)
    page.keyboard.press("l")
    expect(cell).to_have_text(re.compile(f"^{scores[0]:g}"))


def test_a_message_goes_with_its_tab_and_long_names_keep_their_ends(page):
    opened(page)
    page.get_by_role("button", name="Split").click()
    drag(page, (12, 2), (16, 6))
    expect(page.get_by_role("alert")).to_contain_text("crosses no nucleus")
    page.get_by_role("tab", name="Batch").click()
    expect(page.get_by_role("alert")).not_to_contain_text("crosses no nucleus")
    page.get_by_role("tab", name="Images").click()
    name = "plate_0001_well_A01_field_1_channel_DAPI_time_0001.png"
    page.set_input_files(
        "#files", {"name": name, "mimeType": "image/png", "buffer": png(nuclei_image())}
    )
    item = page.locator("#images li").nth(1)
    expect(item.locator(".number")).to_have_text("3")
    # In one step, since the list is made anew whenever something in it changes.
    right, left, edge, end = page.evaluate(
        """() => {
            const item = document.querySelector("#images li:nth-child(2)");
            const box = (name) => item.querySelector(name).getBoundingClientRect();
            return [
                box(".end").right, box(".number").left,
                box(".number").right - item.parentElement.getBoundingClientRect().right,
                item.querySelector(".end").textContent,
            ];
        }"""
    )
    assert right <= left
    assert edge <= 0
    assert name.endswith(end)
    assert end


def test_a_line_that_divides_nothing_is_told(page):
    opened(page)
    page.get_by_role("button", name="Split").click()
    drag(page, (12, 2), (16, 6))
    expect(page.get_by_role("alert")).to_contain_text("crosses no nucleus")
    page.get_by_role("button", name="Close this message").click()
    expect(page.get_by_role("alert")).to_have_text("")


def test_zoom_and_pan_by_keys_wheel_and_buttons(page):
    opened(page)
    zoom = page.locator("#zoom")
    whole = zoom.text_content()
    canvas = page.locator("#canvas")
    for key in ("+", "ArrowLeft", "ArrowDown"):
        canvas.press(key)
    expect(zoom).not_to_have_text(whole)
    canvas.press("0")
    expect(zoom).to_have_text(whole)
    page.get_by_role("button", name="Zoom in").click()
    expect(zoom).not_to_have_text(whole)
    page.get_by_role("button", name="Fit").click()
    expect(zoom).to_have_text(whole)
    canvas.scroll_into_view_if_needed()
    page.mouse.move(*place_of(page, 26, 16))
    page.mouse.wheel(0, -400)
    expect(zoom).not_to_have_text(whole)
    # The place under the mouse stays there.
    page.mouse.click(*place_of(page, 26, 16))
    expect(page.locator("#status")).to_contain_text("96 pixels")


def test_download_reflects_the_filters(page):
    opened(page, "my image.png")
    page.check("#drop-border")
    count(page, 2)
    page.get_by_role("checkbox", name=re.compile("^rois")).check()
    page.fill("#pixel-size", "0.5")
    archive = downloaded(page)
    assert {"labels/my image.tif", "overlays/my image.png", "rois/my image.zip"} <= set(
        archive.namelist()
    )
    table = archive.read("measurements.csv").decode().splitlines()
    assert len(table) == 3
    assert "area_um2" in table[0]


def test_the_network_runs_again(page):
    file = io.BytesIO()
    colours = np.zeros((24, 40, 3), np.uint8)
    colours[..., 1] = nuclei_image()
    PIL.Image.fromarray(colours).save(file, "PNG")
    opened(page, "c.png", file.getvalue())
    count(page, 0)
    page.get_by_text("Run the network again").click()
    page.select_option("#channel", label="1: green")
    page.get_by_role("button", name="Run", exact=True).click()
    count(page, 3)
    expect(page.locator("#command")).to_contain_text("--channel 1")


def test_a_page_that_is_loaded_again_goes_on(page):
    opened(page)
    click(page, 6, 5)
    page.click("#delete")
    count(page, 2)
    page.reload()
    expect(page.locator("#images li")).to_have_count(1)
    count(page, 2)
    expect(page.locator("#undo")).to_be_enabled()


def test_bad_files_are_told(page):
    upload(page, "broken.png", b"no image")
    expect(page.get_by_role("alert")).to_contain_text("broken.png is not a PNG")
    upload(page, "large.png", bytes(5_000_001))
    expect(page.get_by_role("alert")).to_contain_text("large.png is too large")
    upload(page, "text.txt", b"text")
    expect(page.get_by_role("alert")).to_contain_text("text.txt is not taken")
    upload(page, "cut.png", png(nuclei_image())[:-300])
    expect(page.get_by_role("alert")).to_contain_text("cut.png is damaged")
    opened(page)
    count(page, 3)


def test_two_browsers_do_not_see_each_other(new_page):
    one, other = new_page(), new_page()
    opened(one, "mine.png")
    other.reload()
    expect(other.locator("#model")).to_contain_text("bright")
    expect(other.locator("#images li")).to_have_count(0)
    opened(other, "yours.png")
    one.reload()
    expect(one.locator("#images li")).to_have_count(1)
    expect(one.locator("#images")).to_contain_text("mine.png")


def test_all_can_be_deleted(page):
    opened(page)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete all").click()
    expect(page.locator("#status")).to_contain_text("deleted")
    expect(page.locator("#images li")).to_have_count(0)
    page.reload()
    expect(page.locator("#model")).to_contain_text("bright")
    expect(page.locator("#images li")).to_have_count(0)


def files(number: int, data: bytes) -> list[dict]:
    return [{"name": f"{i}.png", "mimeType": "image/png", "buffer": data} for i in range(number)]


def test_batch(page):
    page.get_by_role("tab", name="Batch").click()
    broken = {"name": "broken.png", "mimeType": "image/png", "buffer": b"no image"}
    page.set_input_files("#batch-files", [*files(2, png(nuclei_image())), broken])
    expect(page.locator("#batch-count")).to_contain_text("3 files")
    page.check("#batch-drop-border")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#batch-state")).to_contain_text("Done: 4 nuclei in 2 images, 1 failed.")
    expect(page.locator("#batch-table")).to_contain_text("Failed: broken.png is not a PNG")
    expect(page.locator("#batch-command")).to_contain_text("--drop-border")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download results").click()
    archive = zipfile.ZipFile(io.BytesIO(Path(waiting.value.path()).read_bytes()))
    assert {"labels/0.tif", "labels/1.tif", "images.csv", "run.json"} <= set(archive.namelist())


def test_batch_is_cancelled_and_gone_on_with(page):
    image, _ = synthetic_image(np.random.default_rng(0), size=(700, 700), nuclei=20)
    page.get_by_role("tab", name="Batch").click()
    page.set_input_files("#batch-files", files(60, png(image)))
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#batch-state")).to_contain_text(re.compile("Segmenting|Waiting"))
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#batch-state")).to_contain_text("Cancelled")
    expect(page.locator("#batch-download")).to_be_hidden()
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#batch-state")).to_contain_text("in 60 images")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1440])
def test_it_fits_and_follows_the_colour_scheme(new_page, width, scheme):
    page = new_page(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 850})
    opened(page)
    expect(page.locator("#command")).to_contain_text("nucseg segment")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("tab", name="Batch").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width

    def light() -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    before = light()
    assert (before > 384) == (scheme == "light")
    page.get_by_role("button", name="Dark").click()
    assert (light() > 384) != (before > 384)
    page.reload()
    expect(page.locator("#model")).to_contain_text("bright")
    assert (light() > 384) != (before > 384)


def test_tabs_by_keys(page):
    page.get_by_role("tab", name="Images").press("ArrowRight")
    expect(page.get_by_role("tabpanel", name="Batch")).to_be_visible()
    expect(page.get_by_role("tab", name="Batch")).to_be_focused()
