import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nucseg.app import serving
from nucseg.cli.main import app
from nucseg.config import App
from nucseg.errors import InputError


def run(*arguments: object):
    return CliRunner().invoke(app, ["app", *map(str, arguments)])


def test_a_port_in_use(bright_model: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("--port", port, "--model", bright_model, "--no-browser")
    assert result.exit_code == 2
    assert f"Cannot listen at 127.0.0.1, port {port}" in result.stderr
    assert "Give another --port" in result.stderr


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
def test_an_address_of_another_computer(host: str):
    with pytest.raises(InputError, match=f"Cannot listen at {host}"):
        serving.listen(App(host=host))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--port", 70000), "Wrong value of --port"),
        (("--max-upload", 0), "Wrong value of --max-upload"),
        (("--idle", -1), "Wrong value of --idle"),
        (("--host", ""), "Wrong value of --host"),
        (("--model", "nothing"), "Unknown model 'nothing'"),
    ],
)
def test_wrong_options(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "nucseg.app.serving")
    monkeypatch.delattr("nucseg.app.serving", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = run()
    assert result.exit_code == 2
    assert 'pip install "nucseg[app]"' in result.stderr


def test_addresses():
    for host, expected in [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://localhost:")]:
        with serving.listen(App(host=host, port=0)) as listening:
            assert serving.address(listening).startswith(expected)
            assert serving.is_open_to_others(listening) == (host == "0.0.0.0")
            assert bool(serving.secured(App(host=host), listening).token) == (host == "0.0.0.0")


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
@pytest.mark.parametrize(("host", "place"), [("::1", "[::1]"), ("::", "localhost")])
def test_addresses_of_the_longer_kind(host: str, place: str):
    try:
        listening = serving.listen(App(host=host, port=0))
    except InputError:
        pytest.skip("this computer has no IPv6")
    with listening:
        settings = serving.secured(App(host=host), listening)
        assert bool(settings.token) == (host == "::")
        assert serving.address(listening, settings.token).startswith(f"http://{place}:")


def test_others_are_warned_of(bright_model: Path, monkeypatch: pytest.MonkeyPatch):
    served = []
    monkeypatch.setattr(serving, "serve", lambda *args, browser: served.append(browser))
    result = run("--host", "0.0.0.0", "--port", 0, "--model", bright_model)
    assert result.exit_code == 0, result.output
    assert "The connection is not encrypted" in result.stderr
    assert served == [True]
    token = re.search(r"http://localhost:\d+/\?token=([\w-]{43}) ", result.stdout).group(1)
    name = re.escape(socket.gethostname())
    assert re.search(rf"From other computers: http://{name}:\d+/\?token={token}\n", result.stdout)


@pytest.mark.skipif(os.name == "nt", reason="sends a signal as terminals of Unix do")
def test_it_serves_until_it_is_interrupted(bright_model: Path, tmp_path: Path):
    command = [sys.executable, "-m", "nucseg", "app", "--port", "0", "--no-browser"]
    process = subprocess.Popen(
        [*command, "--model", str(bright_model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )
    try:
        line = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/", line).group()
        with urllib.request.urlopen(address) as page:
            assert "<title>nucseg</title>" in page.read().decode()
        assert len(list(tmp_path.glob("nucseg-app-*"))) == 1
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, errors) == (0, "")
    assert not list(tmp_path.glob("nucseg-app-*"))
