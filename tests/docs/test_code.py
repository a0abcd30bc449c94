"""Each block of code in the README and the docs is run, or says why it is not."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from pages import PAGES, SHOWN, Block, blocks, name
from typer.main import get_command
from typer.testing import CliRunner

from nucseg.cli.main import app

pytestmark = pytest.mark.slow


def check_command(line: str) -> None:
    """Parse a command of nucseg without running it: it has these options, with such values."""
    command, words = (
        get_command(app),
        shlex.split(re.sub(r"\$\{?\w+\}?", "1", line), comments=True)[1:],
    )
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(line, words)


def run_command(line: str, place: str) -> None:
    assert line.startswith("nucseg "), f"{place}: mark the block as not run, or leave out: {line}"
    result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
    assert result.exit_code == 0, f"{place}: {line}\n{result.output}\n{result.exception!r}"


def readers_names() -> dict[str, object]:
    """What blocks of Python take for granted: arrays of the reader's own."""
    image = np.zeros((64, 64), np.uint8)
    image[10:30, 10:30] = 200
    labels = (image > 100).astype(int)
    return {"image": image, "truth": labels, "prediction": labels}


def run_python(block: Block, names: dict[str, object]) -> None:
    # Lines in a traceback are then those of the page.
    code = compile("\n" * block.line + block.code, name(block.page), "exec")
    exec(code, names)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_runs_or_says_why_not(
    page: Path, at_the_readers: Path, request: pytest.FixtureRequest
):
    found = blocks(page)
    code = "\n".join(block.code for block in found)
    if re.search(r"\brun\b", code) and not re.search(r"-o run\b", code):
        shutil.copytree(request.getfixturevalue("trained"), at_the_readers / "run")
    names = readers_names()
    for block in found:
        if block.not_run or block.language in SHOWN:
            continue
        if block.language == "bash":
            for line in block.commands:
                run_command(line, block.place)
        elif block.language == "python":
            run_python(block, names)
        else:
            pytest.fail(f"{block.place}: {block.language or 'a block without language'} is not run")


NUCSEG = [
    pytest.param(line, id=f"{block.place} {line}")
    for page in PAGES
    for block in blocks(page)
    for line in block.commands
    if block.language == "bash" and line.startswith("nucseg ")
]


@pytest.mark.parametrize("line", NUCSEG)
def test_commands_exist_with_their_options(line: str):
    check_command(line)


def test_a_command_that_is_not_there_is_found():
    with pytest.raises(Exception, match="--no-such-option"):
        check_command("nucseg segment a.png -o out --no-such-option 3")
