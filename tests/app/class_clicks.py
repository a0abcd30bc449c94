"""Teaching classes on the page of the app, as a person does: click by click."""

from collections.abc import Callable
from typing import Any

Truth = Callable[[dict[str, Any]], dict[int, bool]]


class Teacher:
    """Knows the class of each nucleus and tells the page, in a real browser.

    Parameters
    ----------
    page : playwright Page
        On which images are open.
    names : (str, str)
        Of the classes.
    truth : callable
        From the columns of an image's table to whether each nucleus is of the second class.
    """

    def __init__(self, page: Any, names: tuple[str, str], truth: Truth) -> None:
        self.page = page
        self.names = names
        session = page.evaluate(
            "async () => (await fetch('api/session', { method: 'POST' })).json()"
        )
        self.images = session["images"]
        self.filters = session["filters"]
        replies = {each["id"]: self.fetch(f"api/images/{each['id']}") for each in self.images}
        self.columns = {image: reply["columns"] for image, reply in replies.items()}
        self.shapes = {image: reply["shape"] for image, reply in replies.items()}
        self.truth = {
            image: {n: told for n, told in truth(columns).items() if self._is_kept(columns, n)}
            for image, columns in self.columns.items()
        }
        self.marks = 0

    def _is_kept(self, columns: dict[str, Any], label: int) -> bool:
        """Whether a nucleus is shown with the filters of the model."""
        row = columns["label"].index(label)
        enough = columns["score"][row] >= self.filters["min_score"]
        return enough and columns["area"][row] >= self.filters["min_area"]

    def fetch(self, place: str) -> dict[str, Any]:
        return self.page.evaluate("async (place) => (await fetch(place)).json()", place)

    def begin(self) -> None:
        """Take the tool, and name the classes."""
        self.page.locator("#tools").get_by_role("button", name="Mark").click()
        for place, name in enumerate(self.names, start=1):
            with self.page.expect_response("**/api/classes/names"):
                field = self.page.get_by_label(f"Name of class {place}")
                field.fill(name)
                field.press("Tab")

    def place_of(self, image: str, label: int) -> tuple[float, float]:
        """Where the middle of a nucleus is on the screen, when the whole image is shown."""
        height, width = self.shapes[image]
        columns = self.columns[image]
        row = columns["label"].index(label)
        box = self.page.locator("#canvas").bounding_box()
        scale = min(box["width"] / width, box["height"] / height)
        left = box["x"] + (box["width"] - width * scale) / 2
        top = box["y"] + (box["height"] - height * scale) / 2
        across, down = columns["centroid_column"][row] + 0.5, columns["centroid_row"][row] + 0.5
        return left + across * scale, top + down * scale

    def open(self, image: str) -> None:
        """Show an image of the list."""
        place = [each["id"] for each in self.images].index(image)
        button = self.page.locator("#images button.open").nth(place)
        if button.get_attribute("aria-current") != "true":
            with self.page.expect_response(f"**/api/classes?image={image}"):
                button.click()

    def clear_ones(self, column: str, *, second: bool) -> tuple[str, list[int]]:
        """Three nuclei of an image that are clearly of a class: around the middle of it."""
        found = {
            image: [label for label, told in truth.items() if told is second]
            for image, truth in self.truth.items()
        }
        image = max(found, key=lambda each: len(found[each]))
        rows = {label: row for row, label in enumerate(self.columns[image]["label"])}
        values = self.columns[image][column]
        ordered = sorted(found[image], key=lambda label: values[rows[label]])
        middle = len(ordered) // 2
        return image, ordered[middle - 1 : middle + 2]

    def click(self, image: str, label: int) -> None:
        """Choose the right class by its key, and click the nucleus."""
        self.page.locator("#canvas").scroll_into_view_if_needed()
        self.page.click("#fit")
        self.page.locator("#canvas").focus()
        self.page.keyboard.press("2" if self.truth[image][label] else "1")
        with self.page.expect_response("**/api/classes/marks") as waiting:
            self.page.mouse.click(*self.place_of(image, label))
        assert waiting.value.ok, waiting.value.text()
        assert str(label) in waiting.value.json()["image"]["marked"], label
        self.marks += 1

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Press the number of the class of the nucleus that the page asks about."""
        self.page.locator("#canvas").focus()
        with self.page.expect_response("**/api/classes/next") as waiting:
            self.page.keyboard.press("2" if self.truth[asked["image"]][asked["number"]] else "1")
        self.marks += 1
        return self._shown(waiting.value.json())

    def ask(self) -> dict[str, Any]:
        with self.page.expect_response("**/api/classes/next") as waiting:
            self.page.click("#class-next")
        return self._shown(waiting.value.json())

    def _shown(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Wait until the nucleus is on the screen."""
        self.page.locator("#status").filter(has_text="Uncertain").wait_for()
        return asked

    def accuracy(self) -> tuple[float, int]:
        """Share of all nuclei, but those that were marked, that have the right class."""
        right = of = 0
        for image, truth in self.truth.items():
            told = self.fetch(f"api/classes?image={image}")["image"]
            for label, number in zip(told["labels"], told["numbers"], strict=True):
                if label in truth and str(label) not in told["marked"]:
                    of += 1
                    right += (number == 1) == truth[label]
        return right / of, of
