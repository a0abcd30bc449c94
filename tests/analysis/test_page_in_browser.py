"""The page of an analysis in a real browser: nothing is cut off, and it follows light and dark."""

import shutil
from pathlib import Path

import pytest
from test_analyze import plate_table

from nucseg.analysis.analyze import analyze

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = tmp_path_factory.mktemp("plate")
    images, nuclei, plate = plate_table()
    images.to_csv(given / "images.csv", index=False)
    nuclei.to_csv(given / "measurements.csv", index=False)
    (given / "plate.csv").write_text(plate)
    return analyze(given, plate_map=given / "plate.csv") / "analysis.html"


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_the_window_and_shows_its_figures(chromium, page_file, width, scheme):
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    wrong = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(page_file.as_uri())
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    page.evaluate("document.querySelectorAll('img').forEach(each => each.loading = 'eager')")
    page.wait_for_function(
        "[...document.querySelectorAll('img')].every(each => each.complete && each.naturalWidth)"
    )
    assert page.locator("img.drawn").count() >= 7
    widths = page.evaluate("[...document.querySelectorAll('img')].map(each => each.clientWidth)")
    assert min(widths) >= 300
    # Pixels of dark ink in a figure: none where the page is dark.
    dark = page.evaluate(
        """async () => {
          const source = document.querySelector('img.drawn');
          const canvas = document.createElement('canvas');
          canvas.width = source.naturalWidth; canvas.height = source.naturalHeight;
          const context = canvas.getContext('2d');
          context.drawImage(source, 0, 0);
          const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
          let dark = 0;
          for (let k = 0; k < pixels.length; k += 4) {
            const grey = Math.max(...pixels.slice(k, k + 3)) - Math.min(...pixels.slice(k, k + 3));
            if (pixels[k + 3] > 250 && grey < 12 && pixels[k] < 80) dark += 1;
          }
          return dark;
        }"""
    )
    assert dark == 0 if scheme == "dark" else dark > 300
    assert wrong == []
    page.close()


def test_a_print_holds_all_columns(chromium, page_file):
    page = chromium.new_page(viewport={"width": 700, "height": 1000})
    page.emulate_media(media="print")
    page.goto(page_file.as_uri())
    too_wide = page.evaluate(
        "[...document.querySelectorAll('table')].filter("
        "each => each.scrollWidth > document.body.clientWidth).length"
    )
    assert too_wide == 0
    page.close()
