import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from nucseg.errors import InputError
from nucseg.export.report import ReportImage, thumbnail, write_report
from nucseg.export.report_batch import Evenly
from nucseg.figures.histogram import histogram_svg
from nucseg.figures.html import shortened

sys.path.append(str(Path(__file__).parent))
import itertools

from report_page import Page

JPEG = cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
OK = ReportImage("in/a.png", "", "ok", 2, thumbnail=JPEG, areas=np.array([40.0, 60.0]),
                 intensities=np.array([10.0, 30.0]))  # fmt: skip
EMPTY = ReportImage("in/none.png", "", "empty", 0, thumbnail=JPEG)
FAILED = ReportImage("in/bad.png", "", "failed", 0, error="in/bad.png is odd. Mend it.")


def written(tmp_path: Path, images, **facts: str) -> str:
    write_report(tmp_path / "report.html", images, facts=facts)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def page_of(tmp_path: Path, *images: ReportImage, **facts: str) -> Page:
    return Page(written(tmp_path, images, **facts))


def test_a_batch_is_counted_listed_and_shown(tmp_path: Path):
    blurred = replace(OK, path="in/b.png", nuclei=1, warnings=["Out of focus: it is."])
    page = page_of(tmp_path, OK, EMPTY, FAILED, blurred, Model="nuclei")
    assert page.texts("h1") == ["Nuclei in 4 images"]
    assert page.texts("dd") == ["nuclei"]
    assert page.numbers() == {"images": 4, "nuclei": 3, "failed": 1, "empty": 1, "to look at": 2}
    assert page.texts("h2") == [
        "Failed images",
        "Images that look wrong",
        "Areas and intensities",
        "Other images",
        "Folders",
        "Images",
    ]
    # What looks wrong comes first, and of that what is empty.
    assert page.texts("strong") == ["1 image:", "none.png", "b.png", "a.png"]
    assert page.texts("span", "warning") == ["No nucleus was found.", "Out of focus: it is."]
    assert page.texts("summary") == ["1 image: … is odd. Mend it."]
    assert [picture.shape for picture in page.pictures()] == [(8, 8, 3)] * 3
    assert page.rows("Counts of each image") == [
        ["Image", "Status", "Nuclei", "Median area (pixels)", "Remarks"],
        ["a.png", "ok", "2", "50", ""],
        ["none.png", "empty", "0", "", "No nucleus was found."],
        ["bad.png", "failed", "", "", "… is odd. Mend it."],
        ["b.png", "ok", "1", "50", "Out of focus: it is."],
    ]
    assert page.rows("Counts of each folder")[1] == [
        "in", "4", "3", "1", "0.5 to 1.5", "50", "50 to 50", "1", "1", "2"
    ]  # fmt: skip


def test_counts_of_each_folder(tmp_path: Path):
    other = [replace(OK, path=f"plate/{name}.png", nuclei=1500) for name in "xyz"]
    page = page_of(tmp_path, OK, FAILED, *other)
    assert page.rows("Counts of each folder") == [
        ["Folder", "Images", "Nuclei", "Per image", "Half of the images",
         "Area (pixels)", "Half of the images", "Failed", "Empty", "To look at"],
        ["in", "2", "2", "2", "2 to 2", "50", "50 to 50", "1", "0", "0"],
        ["plate", "3", "4,500", "1,500", "1,500 to 1,500", "50", "50 to 50", "0", "0", "0"],
    ]  # fmt: skip
    # The script sorts by the number, not by how it is written.
    assert "4500" in page.attributes("td", "data-value")


HOSTILE = [
    "<script>alert(1)</script>.png",
    "\"onload='x' &amp;.png",
    "']]><!-- -->.png",
    "Zellkerne ÄÖ 核 🔬.png",
    "line\nbreak.png",
    "javascript:alert(1)",
    "$title.png",
    "http://example.org/a.png",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_as_they_are_and_do_nothing(name: str, tmp_path: Path):
    path = f"folder {name}/{name}"
    image = replace(OK, path=path, warnings=[f"It is {name}."], plane=name, link="overlays/x.png")
    failed = replace(FAILED, path=f"other/{name}", error=f"other/{name} is {name}; bad.")
    page = page_of(tmp_path, image, failed, Command=name)
    last = name.rsplit("/", 1)[-1]
    assert page.texts("dd") == [name.strip()]
    assert shortened(f"{last} ({name})") in page.texts("strong")
    assert f"{last} ({name})" in page.attributes("strong", "title")
    assert page.attributes("img", "alt") == [f"{last} ({name}): 2 nuclei outlined"]
    assert page.rows("Counts of each image")[1][:2] == [path, name]
    assert page.texts("span", "warning") == [f"It is {name}."]
    assert_harmless(page)


def assert_harmless(page: Page) -> None:
    """Nothing comes from elsewhere, and no script but the page's own runs."""
    assert len(page.texts("script")) == 1
    assert page.attributes("script", "src") == []
    for tag, about, _ in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert not [name for name in about if name.startswith("on")]
        for name in ("src", "href", "action", "data", "srcset"):
            value = about.get(name) or ""
            assert value.startswith(("data:image/jpeg;base64,", "#", "overlays/")) or not value
    (policy,) = [about["content"] for tag, about, _ in page.elements
                 if about.get("http-equiv") == "Content-Security-Policy"]  # fmt: skip
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    style = "".join(page.texts("style"))
    assert "url(" not in style
    assert "@import" not in style


def test_names_that_are_no_text(tmp_path: Path):
    page = page_of(tmp_path, replace(OK, path="in/\udcff.png"))
    assert page.rows("Counts of each image")[1][0] == r"\udcff.png"


def test_links_lead_from_pictures_and_names(tmp_path: Path):
    page = page_of(tmp_path, replace(OK, link="overlays/a%20b.png"), EMPTY)
    links = [link for link in page.attributes("a", "href") if link and not link.startswith("#")]
    assert links == ["overlays/a%20b.png"] * 2
    assert "A click on a picture" in " ".join(page.texts("p"))
    assert "A click on a picture" not in " ".join(page_of(tmp_path, OK).texts("p"))


def test_links_within_the_page_lead_somewhere(tmp_path: Path):
    page = page_of(tmp_path, OK, EMPTY, FAILED)
    inside = {link for link in page.attributes("a", "href") if link and link.startswith("#")}
    assert inside == {"#images", "#nuclei", "#failed", "#wrong"}
    assert inside <= {f"#{name}" for name in page.attributes("section", "id")}


def test_no_image_and_none_that_went_well(tmp_path: Path):
    assert page_of(tmp_path).texts("p") == ["No image was segmented."]
    page = page_of(tmp_path, FAILED, FAILED)
    assert page.texts("h2") == ["Failed images", "Folders", "Images"]
    assert page.texts("summary") == ["2 images: … is odd. Mend it."]
    assert page.rows("Counts of each folder")[1][3] == ""
    page = page_of(tmp_path, EMPTY)
    assert page.texts("h2") == ["Images that look wrong", "Folders", "Images"]
    assert page.texts("h1") == ["Nuclei in 1 image"]
    assert_harmless(page)


def test_failures_are_grouped_by_their_cause_the_most_first(tmp_path: Path):
    sizes = [
        replace(FAILED, path=f"in/{n}.png", error=f"in/{n}.png: {n} pixels") for n in range(11)
    ]
    page = page_of(tmp_path, FAILED, *sizes)
    assert page.texts("summary") == ["11 images: …: 0 pixels", "1 image: … is odd. Mend it."]
    # Long lists are shown when somebody asks for them.
    assert len(page.attributes("details", "open")) == 1
    assert "in/10.png" in page.texts("li")


def test_very_many_names_of_a_cause_are_cut(tmp_path: Path):
    page = page_of(tmp_path, *(replace(FAILED, path=f"in/{n}.png") for n in range(700)))
    assert "and 200 more" in page.texts("li")


def test_planes_are_told_apart(tmp_path: Path):
    page = page_of(tmp_path, *(replace(OK, plane=f"z00{n}") for n in range(2)), FAILED)
    rows = page.rows("Counts of each image")
    assert rows[0][:2] == ["Image", "Plane"]
    assert [row[:2] for row in rows[1:3]] == [["a.png", "z000"], ["a.png", "z001"]]
    assert "a.png (z001)" in page.texts("strong")
    failed = replace(FAILED, plane="z007")
    assert "in/bad.png (z007)" in page_of(tmp_path, failed).texts("li")


def test_areas_are_told_by_their_unit(tmp_path: Path):
    sized = replace(OK, path="in/b.png", unit="µm²", areas=np.array([8.0, 9.0, 30.0]))
    page = page_of(tmp_path, OK, sized)
    assert page.attributes("svg", "aria-label") == [
        "Histogram of area of a nucleus (pixels)",
        "Histogram of area of a nucleus (µm²)",
        "Histogram of mean intensity of a nucleus",
    ]
    rows = page.rows("Counts of each image")
    assert rows[0][3:5] == ["Median area (pixels)", "Median area (µm²)"]
    assert [row[3:5] for row in rows[1:]] == [["50", ""], ["", "9"]]
    captions = [text for text in page.texts("figcaption") if text.startswith("Median")]
    assert captions[1] == "Median 9 µm²; half of the nuclei lie between 8.5 and 19.5 µm²."


def bars(page: Page) -> list[str]:
    """What the bars of all histograms say when pointed at."""
    return [text for text in page.texts("title") if "nucle" in text and "to" in text.split()]


def test_bars_count_all_nuclei(tmp_path: Path):
    areas = np.random.default_rng(0).lognormal(5, 0.5, 2000)
    image = replace(OK, areas=areas, intensities=np.zeros(0), nuclei=2000)
    said = bars(page_of(tmp_path, image))
    assert sum(int(text.split(": ")[1].split()[0].replace(",", "")) for text in said) == 2000
    assert len(said) > 20


@pytest.mark.parametrize("values", [[5.0], [7.0] * 30, [0.0, 0.0], [1e-9, 1e9], [-3.0, 4.0]])
def test_any_intensities_give_a_histogram(values: list[float], tmp_path: Path):
    image = replace(OK, intensities=np.array([*values, np.nan, np.inf]))
    said = bars(page_of(tmp_path, image))
    counted = [int(text.split(": ")[1].split()[0]) for text in said]
    assert sum(counted) == len(values) + 2  # and two of the areas


def test_intensities_of_each_depth_have_a_histogram_of_their_own(tmp_path: Path):
    deep = replace(OK, depth="16 bits", intensities=np.array([9000.0, 30000.0]))
    page = page_of(tmp_path, replace(OK, depth="8 bits"), deep)
    svgs = page.attributes("svg", "aria-label")
    assert [each for each in svgs if "intensity" in each] == [
        "Histogram of mean intensity of a nucleus (16 bits)",
        "Histogram of mean intensity of a nucleus (8 bits)",
    ]


@pytest.mark.parametrize("high", [1.1e5, 9.7e6, 1.23e8])
def test_numbers_of_an_axis_do_not_run_into_each_other(high: float):
    svg = histogram_svg(np.linspace(0.9 * high, high, 50), "intensity")
    placed = re.findall(r'<text x="([\d.]+)" y="2\d\d" text-anchor="middle">([\d,.]+)<', svg)
    assert placed
    ends = [(float(x) - 3.6 * len(text), float(x) + 3.6 * len(text)) for x, text in placed]
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))


def test_outlines_of_large_nuclei_are_thick_and_those_of_small_ones_thin():
    def share(radius: int) -> float:
        rows, columns = np.mgrid[:320, :320]
        labels = ((rows - 160) ** 2 + (columns - 160) ** 2 < radius**2).astype(np.int32)
        image = np.full((320, 320), 255, np.uint8)
        picture = cv2.imdecode(np.frombuffer(thumbnail(image, labels), np.uint8), 1)
        coloured = np.ptp(picture.astype(int), axis=2) > 40
        return np.count_nonzero(coloured) / (2 * np.pi * radius)

    assert share(40) > 1.5 * share(5)


def test_images_are_filtered_by_score_and_remarks(tmp_path: Path):
    playwright = pytest.importorskip("playwright.sync_api")
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    chromium = next(filter(None, found), None)
    if chromium is None:
        pytest.skip("needs Chromium")
    low = replace(OK, path="in/low.png", median_score=0.5, warnings=["Low."], low_confidence=True)
    page_of(tmp_path, replace(OK, median_score=0.9), low, FAILED)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((tmp_path / "report.html").as_uri())

        def shown() -> list[str]:
            rows = page.locator("#images tbody tr:visible th")
            return rows.all_inner_texts()

        assert shown() == ["a.png", "low.png", "bad.png"]
        page.get_by_label("Only images to look at").check()
        assert shown() == ["low.png", "bad.png"]
        page.get_by_label("Only images to look at").uncheck()
        page.get_by_label("Median score up to").fill("0.7")
        assert shown() == ["low.png"]
        assert page.locator(".filters output").inner_text() == "1 of 3 shown"
        page.get_by_label("Median score up to").fill("")
        # What has no score is last either way.
        for order in (["a.png", "low.png", "bad.png"], ["low.png", "a.png", "bad.png"]):
            page.locator("#images thead").get_by_role("button", name="Median score").click()
            assert shown() == order
        browser.close()


def test_of_very_many_nuclei_a_part_is_drawn_and_that_is_said(tmp_path: Path):
    image = replace(OK, areas=np.full(60_000, 100.0), intensities=np.zeros(0))
    page = page_of(tmp_path, *[image] * 4)
    assert any("Drawn from one nucleus in 4." in text for text in page.texts("figcaption"))


def test_a_large_batch_gives_a_page_that_opens(tmp_path: Path):
    heavy = JPEG + bytes(30_000)
    images = (
        replace(OK, path=f"in/{n}.png", thumbnail=heavy, warnings=["Odd."] * (n % 2))
        for n in range(6000)
    )
    text = written(tmp_path, images)
    assert len(text) < 12e6
    page = Page(text)
    assert page.numbers()["images"] == 6000
    notes = " ".join(page.texts("p"))
    assert "of 3,000 images that look wrong, evenly spaced" in notes
    assert "of 3,000 other images, evenly spaced" in notes
    assert "Listed are 5,000 of 6,000 images" in notes
    rows = page.rows("Counts of each image")
    assert len(rows) == 5001
    assert [row[-1] for row in rows[1:3001]] == ["Odd."] * 3000


def test_very_many_folders_are_cut(tmp_path: Path):
    page = page_of(tmp_path, *(replace(FAILED, path=f"{n}/bad.png") for n in range(5100)))
    assert "Listed are the first 5,000 of 5,100 folders." in page.texts("p")


def test_images_of_no_shared_folder(tmp_path: Path):
    for paths in (("/in/a.png", "b.png"), ("a.png", "b.png")):
        page = page_of(tmp_path, *(replace(OK, path=path) for path in paths))
        assert [row[0] for row in page.rows("Counts of each image")[1:]] == list(paths)


def test_a_report_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Cannot write"):
        write_report(tmp_path / "file" / "report.html", [OK], facts={})


def test_items_are_kept_evenly():
    kept: Evenly[int] = Evenly(10)
    for number in range(100):
        kept.add([number])
    assert kept.items == list(range(0, 100, 16))
    assert (kept.step, kept.seen) == (16, 100)
    at_once: Evenly[int] = Evenly(10)
    at_once.add(range(100))
    assert at_once.items == kept.items


def square(shape, dtype=np.uint8, value=200):
    image, labels = np.zeros(shape, dtype), np.zeros(shape[:2], np.uint16)
    image[4:12, 6:16] = value
    labels[4:12, 6:16] = 1
    return image, labels


def decoded(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1].astype(int)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((40, 40), (320, 320)),
        ((24, 100), (72, 300)),
        ((320, 200), (320, 200)),
        ((520, 696), (239, 320)),
        ((20, 3000), (2, 320)),
        ((3000, 17), (320, 2)),
    ],
)
def test_thumbnails_fit_and_keep_the_proportions(shape, size):
    assert decoded(thumbnail(*square(shape))).shape[:2] == size


@pytest.mark.parametrize(
    ("shape", "dtype", "value"),
    [
        ((40, 60), np.uint8, 200),
        ((40, 60), np.uint16, 900),
        ((40, 60), np.int32, -5),
        ((40, 60), np.float64, 0.1),
        ((40, 60), bool, True),
        ((40, 60, 1), np.uint8, 200),
        ((40, 60, 2), np.uint8, 200),
        ((40, 60, 3), np.uint16, 200),
        ((40, 60, 4), np.uint8, 200),
        ((800, 1200, 4), np.float32, 7),
    ],
)
def test_thumbnails_show_outlines_whatever_the_pixels(shape, dtype, value):
    image, labels = square(shape, dtype, value)
    step = max(shape) // 60
    labels[:] = 0
    labels[4 * step : 30 * step, 6 * step : 40 * step] = 1
    picture = decoded(thumbnail(image, labels))
    colourful = np.ptp(picture, axis=2) > 60
    assert 200 < colourful.sum() < 0.1 * colourful.size
    rows, columns = np.nonzero(colourful)
    factor = picture.shape[0] / 40
    assert rows.min() == pytest.approx(4 * factor, abs=4)
    assert columns.max() == pytest.approx(40 * factor, abs=4)


class Windows:
    """An array that is read by windows alone."""

    def __init__(self, array):
        self._array, self.shape, self.dtype = array, array.shape, array.dtype
        self.largest = 0

    def __getitem__(self, window):
        part = self._array[window]
        self.largest = max(self.largest, part.size)
        return part


def test_thumbnails_of_images_that_are_not_in_memory():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 60, (6000, 3000), np.uint8)
    labels = np.zeros(image.shape, np.uint16)
    for number in range(20):
        at = 100 + 280 * number
        image[at : at + 200, 500:2500] = 200
        labels[at : at + 200, 500:2500] = number + 1
    seen, numbers = Windows(image), Windows(labels)
    by_windows, whole = decoded(thumbnail(seen, numbers)), decoded(thumbnail(image, labels))
    assert max(seen.largest, numbers.largest) < image.size / 8
    assert by_windows.shape == whole.shape == (320, 160, 3)
    assert np.abs(by_windows - whole).mean() < 12


def test_thumbnails_of_what_is_no_image():
    image, labels = square((40, 60))
    with pytest.raises(InputError, match=r"labels of the image's size \(40, 60\), got \(40, 59\)"):
        thumbnail(image, labels[:, :-1])
    with pytest.raises(InputError, match="1 to 4 channels"):
        thumbnail(np.zeros((40, 60, 7)), labels)
