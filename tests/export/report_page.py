"""Reads report.html as a browser would, so that tests can ask what it shows."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

import cv2
import numpy as np

_EMPTY = {"br", "hr", "img", "meta", "link", "input"}


class Page(HTMLParser):
    """Elements of a page: name, attributes, and all text in each."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))
        if tag not in _EMPTY:
            self._open.append((tag, self.elements[-1][2]))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        # Each is closed in the order in which it was opened.
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        for _, texts in self._open:
            texts.append(data)

    def texts(self, tag: str, kind: str | None = None) -> list[str]:
        """What stands in the elements of a name and, where given, a class."""
        return [
            "".join(texts).strip()
            for name, attributes, texts in self.elements
            if name == tag and (kind is None or attributes.get("class") == kind)
        ]

    def attributes(self, tag: str, name: str) -> list[str | None]:
        return [about[name] for found, about, _ in self.elements if found == tag and name in about]

    def rows(self, region: str) -> list[list[str]]:
        """Cells of the table in a region, its head first."""
        found: list[list[str]] = []
        inside = False
        for tag, about, texts in self.elements:
            if tag == "div":
                inside = about.get("aria-label") == region
            elif inside and tag == "tr":
                found.append([])
            elif inside and tag in ("th", "td"):
                found[-1].append("".join(texts).strip())
        return found

    def numbers(self) -> dict[str, int]:
        """The counts at the top, by what they count."""
        items = [text.split(None, 1) for text in self.texts("li")[:5]]
        return {text.split(":")[0]: int(number.replace(",", "")) for number, text in items}

    def pictures(self) -> list[np.ndarray]:
        sources = self.attributes("img", "src")
        start = "data:image/jpeg;base64,"
        assert all(source is not None and source.startswith(start) for source in sources)
        data = [base64.b64decode(str(source).removeprefix(start)) for source in sources]
        return [cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_COLOR) for each in data]
