"""The pages of the documentation, and the code in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

FENCE = re.compile(r"^ *```(?P<language>\w*)\n(?P<code>.*?)^ *```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- not run: (.+) -->\s*\Z")
# Blocks to look at, not to run.
SHOWN = {"text", "toml"}
# Blocks whose page does not say it, by what is in them.
NOT_RUN = {"docs/instance-recipe.md": {"--epochs 85": "hours of training"}}


@dataclass(frozen=True)
class Block:
    """A fenced block of code, and why it is not run, where that is said above it."""

    page: Path
    line: int
    language: str
    code: str
    not_run: str

    @property
    def place(self) -> str:
        return f"{name(self.page)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Lines of a shell, those that go on in the next one joined."""
        joined = self.code.replace("\\\n", " ")
        return [line for line in joined.splitlines() if line and not line.startswith("#")]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        before = text[: match.start()]
        mark = MARK.search(before)
        known = NOT_RUN.get(name(page), {}).items()
        elsewhere = "".join(reason for part, reason in known if part in match["code"])
        reason = mark[1] if mark else elsewhere
        found.append(Block(page, before.count("\n") + 1, match["language"], match["code"], reason))
    return found


def without_code(page: Path) -> str:
    """Text of a page whose blocks and spans of code are taken out."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """What links can point to: the headings, as the site and code hosts name them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}
