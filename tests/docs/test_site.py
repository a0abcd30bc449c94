"""The site: links, what it fills in itself, and that nothing in it comes from elsewhere."""

import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from pages import DOCS, PAGES, ROOT, anchors, blocks, name, without_code

from nucseg.models.zoo import bundled_models

LINK = re.compile(r"\]\(([^)\s]+)\)")
# Names of what SVG pictures are, which no browser fetches.
# Addresses that no browser fetches: names of XML, and of a scheduler in an example.
NOT_FETCHED = re.compile(r'xmlns(:\w+)?="[^"]*"|tcp://(?:host|node1):8786')
FETCHED = re.compile(r"@import|url\(\s*[\"']?(?:https?:)?//")


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path):
    for link in LINK.findall(without_code(page)):
        assert not link.startswith(("http:", "https:", "//", "/")), link
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_links_that_lead_nowhere_are_found():
    assert LINK.findall("see [here](a.md#b), ![picture](c.png)") == ["a.md#b", "c.png"]
    assert "where-the-outlines-are-wrong" in anchors(DOCS / "guides" / "count.md")
    assert "no-such-heading" not in anchors(DOCS / "guides" / "count.md")


def test_every_page_is_in_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in sorted(DOCS.rglob("*.md")):
        assert f": {page.relative_to(DOCS).as_posix()}\n" in menu


def test_commands_are_filled_in(hooks: ModuleType):
    page = hooks.on_page_markdown((DOCS / "commands.md").read_text(encoding="utf-8"))
    sections = dict(re.findall(r"^## (nucseg [\w ]+)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    assert {"nucseg segment", "nucseg data info", "nucseg doctor"} <= set(sections)
    rows = sections["nucseg segment"].splitlines()
    assert "nucseg segment INPUT... [OPTIONS]" in rows
    assert (
        "| `--output`, `-o` `PATH` | needed | Folder for the results; made where missing. |" in rows
    )
    assert any(row.startswith("| `--project` `none|max` | none |") for row in rows)
    assert any(row.startswith("| `--threads` `NUMBER` |  |") for row in rows)
    assert any(row.startswith("| `--resume` |  |") for row in rows)
    assert "    nucseg segment image.png -o out" in rows
    assert "| `--seed` `NUMBER` | `0` |" in sections["nucseg data synthetic"]
    assert (
        "| `--format` `onnx|keras|saved-model|litert|openvino|bioimageio` | needed |"
        in sections["nucseg export"]
    )
    assert "&lt;id&gt;/images" in sections["nucseg data info"]


def test_model_cards_are_filled_in(hooks: ModuleType):
    page = hooks.on_page_markdown((DOCS / "models.md").read_text(encoding="utf-8"))
    assert "<!--" not in page
    for model in bundled_models():
        assert f"## {model}\n" in page
    assert "images at 128 × 128 pixels" in page
    assert "| fluorescence | 0.5429 | 0.754 |" in page
    assert "BBBC038 (CC0)" in page


def test_benchmarks_are_filled_in(hooks: ModuleType):
    page = hooks.on_page_markdown((DOCS / "benchmarks.md").read_text(encoding="utf-8"))
    for path in (ROOT / "benchmarks").glob("*.py"):
        called = f"python benchmarks/{path.name}" in path.read_text(encoding="utf-8")
        assert called == (f"`python benchmarks/{path.name} " in page)


def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    for page in DOCS.rglob("*.md"):
        html = tmp_path / page.relative_to(DOCS).with_suffix(".html")
        assert "://" not in NOT_FETCHED.sub("", html.read_text(encoding="utf-8")), html
    for style in tmp_path.rglob("*.css"):
        assert not FETCHED.search(style.read_text(encoding="utf-8")), style
    assert not list(tmp_path.rglob("*.py"))


def test_the_way_of_an_image_names_what_there_is():
    text = (DOCS / "code.md").read_text(encoding="utf-8")
    steps = re.findall(r"^\| \d+ \| `([\w.]+)` \|", text, flags=re.MULTILINE)
    assert 10 <= len(steps) <= 15
    for step in steps:
        place, _, attribute = step.rpartition(".")
        try:
            found = importlib.import_module(f"nucseg.{place}")
        except ModuleNotFoundError:  # a method
            place, _, kind = place.rpartition(".")
            found = getattr(importlib.import_module(f"nucseg.{place}"), kind)
        assert callable(getattr(found, attribute)), step


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_extras_are_those_of_the_package(page: Path):
    text = page.read_text(encoding="utf-8")
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = known["optional-dependencies"]
    named = {
        extra.strip()
        for given in re.findall(r"nucseg\[([\w, ]+)\]", text)
        for extra in given.split(",")
    }
    assert named <= set(extras)
    if any("import pandas" in block.code for block in blocks(page)):
        assert "analysis" in named
