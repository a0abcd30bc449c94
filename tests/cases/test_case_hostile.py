"""Archives and requests that are made to do harm, and more users than there is room for."""

import http.client
import io
import json
import os
import re
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
from case_images import discs, nucseg

from nucseg.datasets import storage
from nucseg.datasets.storage import open_files, read_member
from nucseg.errors import InputError

# ---- zip files


def png(image: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def data_set(path: Path, bomb: bytes, *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Zip file in Kaggle's layout whose first image is something else."""
    image, labels = discs()
    good = png((image // 8).clip(0, 255).astype(np.uint8))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/images/a.png", bomb, method)
        archive.writestr("b/images/b.png", good)
        for name in "ab":
            mask = (labels == 1).astype(np.uint8) * 255
            archive.writestr(f"{name}/masks/1.png", png(mask))
    return path


def claim(path: Path, name: str, size: int) -> None:
    """Let an archive say that a member has another size than it has."""
    content = bytearray(path.read_bytes())
    for mark, place, length in ((b"PK\1\2", 24, 46), (b"PK\3\4", 22, 30)):
        start = content.index(mark)
        while content[start + length : start + length + len(name)] != name.encode():
            start = content.index(mark, start + 1)
        content[start + place : start + place + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)


def peak(read) -> int:
    """Largest memory that Python takes while something is read and refused."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_member_that_claims_a_kilobyte_and_unpacks_to_gigabytes(tmp_path):
    path = data_set(tmp_path / "bomb.zip", bytes(300 << 20))
    claim(path, "a/images/a.png", 1000)
    files = open_files(path)
    with pytest.raises(InputError, match=r"a/images/a\.png in .*bomb\.zip is damaged"):
        files.read("a/images/a.png")
    assert peak(lambda: files.read("a/images/a.png")) < 20 << 20
    # What else is in the archive is read all the same, and the command says what is wrong.
    result = nucseg("data", "info", path, "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0, result.output
    assert "unreadable image: a" in result.stdout


def test_a_member_that_claims_more_than_any_image(tmp_path):
    path = data_set(tmp_path / "bomb.zip", b"no image")
    claim(path, "a/images/a.png", 3 << 30)
    files = open_files(path)
    message = r"a/images/a\.png in .*bomb\.zip is refused: it would unpack to 3221225472 bytes, at"
    with pytest.raises(InputError, match=message):
        files.read("a/images/a.png")


def test_a_member_of_a_method_that_unpacks_without_limit(tmp_path):
    # A kilobyte of these turns into a gigabyte in one step, whatever size it claims.
    for method, name in ((zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA")):
        path = data_set(tmp_path / f"{name}.zip", bytes(100 << 20), method=method)
        claim(path, "a/images/a.png", 1000)
        files = open_files(path)
        assert peak(lambda files=files: files.read("a/images/a.png")) < 20 << 20
        with pytest.raises(InputError, match=f"compressed by {name}: expected .* Unpack it"):
            files.read("a/images/a.png")


def test_a_limit_is_kept_by_the_byte(tmp_path):
    path = data_set(tmp_path / "a.zip", bytes(1000))
    with zipfile.ZipFile(path) as archive:
        assert read_member(archive, "a/images/a.png", 1000) == bytes(1000)
        with pytest.raises(InputError, match="would unpack to 1000 bytes, at most 999 are read"):
            read_member(archive, "a/images/a.png", 999)


def test_a_member_larger_than_a_piece_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_CHUNK", 7)
    content = np.random.default_rng(0).bytes(1000)
    assert open_files(data_set(tmp_path / "a.zip", content)).read("a/images/a.png") == content


def test_evaluating_on_a_bomb_names_the_member(tmp_path):
    path = data_set(tmp_path / "bomb.zip", bytes(64 << 20))
    claim(path, "a/images/a.png", 1000)
    result = nucseg("evaluate", path, "--model", "nuclei", "-o", tmp_path / "out")
    assert result.exit_code in (1, 2)
    assert "a/images/a.png" in result.output.replace("\n", "")


# ---- the app

ORIGIN = "origin"


class Client:
    """A browser of its own, for a server on this computer."""

    def __init__(self, port: int, query: str = "") -> None:
        self.port, self.query = port, query
        self.cookies: dict[str, str] = {}

    def begun(
        self, method: str, path: str, headers: dict[str, str] | None = None
    ) -> http.client.HTTPConnection:
        """Send all of a request but its body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(method, path)
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        own = {ORIGIN: f"http://127.0.0.1:{self.port}"} if method != "GET" else {}
        for name, value in {**own, "Cookie": cookies, **(headers or {})}.items():
            if value:
                connection.putheader(name, value)
        connection.endheaders()
        return connection

    def answer(self, connection: http.client.HTTPConnection) -> tuple[int, str]:
        """Read the answer."""
        reply = connection.getresponse()
        for cookie in reply.headers.get_all("Set-Cookie", []):
            name, value = cookie.split(";")[0].split("=", 1)
            self.cookies[name] = value
        text = reply.read().decode(errors="replace")
        connection.close()
        return reply.status, text

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        length = {"Content-Length": str(len(body))} if body or method == "POST" else {}
        connection = self.begun(method, path, {**length, **(headers or {})})
        connection.send(body)
        return self.answer(connection)


@contextmanager
def served(model: Path, folder: Path, *options: object, **environment: str) -> Iterator[list[str]]:
    """Run the app; gives the lines that it prints."""
    command = [sys.executable, "-m", "nucseg", "app", "--port", "0", "--no-browser"]
    process = subprocess.Popen(
        [*command, "--model", str(model), *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", **environment},
    )
    try:
        lines = [process.stdout.readline()]
        if "token" in lines[0] and "127.0.0.1" not in lines[0]:
            lines.append(process.stdout.readline())
        yield lines
    finally:
        process.terminate()
        process.communicate(timeout=60)


def port_of(line: str) -> int:
    return int(re.search(r":(\d+)/", line).group(1))


def noise(side: int) -> bytes:
    """A TIFF file of about side² bytes."""
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 90, (side, side), np.uint8)
    tifffile.imwrite(file, pixels)
    return file.getvalue()


def in_parallel(clients: list[Client], path: str, body: bytes) -> list[tuple[int, str]]:
    """Send bodies at the same time: none ends before all have begun."""
    length = {"Content-Length": str(len(body))}
    connections = [
        client.begun("POST", path.format(number), length) for number, client in enumerate(clients)
    ]
    for connection in connections:
        connection.send(body[:1000])
    for connection in connections:
        try:
            connection.send(body[1000:])
        except ConnectionError:  # it is refused already
            continue
    return [client.answer(each) for client, each in zip(clients, connections, strict=True)]


def test_uploads_at_the_same_time_stay_within_the_limit_of_a_session(bright_model, tmp_path):
    with served(bright_model, tmp_path, "--max-session", 0.5) as lines:
        client = Client(port_of(lines[0]))
        client.ask("POST", "/api/session")
        answers = in_parallel([client] * 6, "/api/images?name={}.tif", noise(400))
        assert sorted(status for status, _ in answers) == [200] * 3 + [413] * 3
        assert {json.loads(text)["error"] for status, text in answers if status == 413} == {
            "There is no room: all your images may take 0.5 MB here. Remove some, or start the "
            "app with a larger --max-session."
        }
        # The files of a batch are counted with them.
        client.ask("POST", "/api/batch")
        assert client.ask("POST", "/api/batch/files?name=b.tif", noise(400))[0] == 413
        # What is removed gives its room back.
        first = json.loads(client.ask("POST", "/api/session")[1])["images"][0]["id"]
        assert client.ask("DELETE", f"/api/images/{first}")[0] == 200
        assert client.ask("POST", "/api/batch/files?name=b.tif", noise(400))[0] == 200
        assert client.ask("POST", "/api/batch/files?name=c.tif", noise(400))[0] == 413
        files = [file for file in tmp_path.rglob("*") if file.is_file()]
        assert sum(file.stat().st_size for file in files) <= 500_000


def test_uploads_of_several_sessions_stay_within_the_limit_of_all(bright_model, tmp_path):
    with served(bright_model, tmp_path, "--max-total", 0.5) as lines:
        clients = [Client(port_of(lines[0])) for _ in range(5)]
        for client in clients:
            assert client.ask("POST", "/api/session")[0] == 200
        answers = in_parallel(clients, "/api/images?name={}.tif", noise(400))
        assert sorted(status for status, _ in answers) == [200] * 3 + [503] * 2
        told = next(text for status, text in answers if status == 503)
        assert "the images of all sessions may take 0.5 MB here" in told
        assert "--max-total" in told
        done = next(
            client for client, (status, _) in zip(clients, answers, strict=True) if status == 200
        )
        assert done.ask("DELETE", "/api/session")[0] == 200
        other = next(
            client for client, (status, _) in zip(clients, answers, strict=True) if status == 503
        )
        assert other.ask("POST", "/api/images?name=a.tif", noise(400))[0] == 200


def test_images_at_the_same_time_stay_within_their_number(bright_model, tmp_path):
    with served(bright_model, tmp_path, "--max-images", 2) as lines:
        client = Client(port_of(lines[0]))
        client.ask("POST", "/api/session")
        answers = in_parallel([client] * 5, "/api/images?name={}.tif", noise(400))
        assert sorted(status for status, _ in answers) == [200] * 2 + [422] * 3
        client.ask("DELETE", "/api/session")
        client.ask("POST", "/api/session")
        length = {"Content-Length": "1000000"}
        coming = [client.begun("POST", f"/api/images?name={n}.tif", length) for n in range(2)]
        time.sleep(1)
        # It is refused at once: nothing of it is sent.
        late = client.begun("POST", "/api/images?name=late.tif", length)
        assert client.answer(late)[0] == 422
        for connection in coming:
            connection.close()
        assert in_parallel([client] * 2, "/api/images?name={}.tif", noise(400))[1][0] == 200
        assert len(json.loads(client.ask("POST", "/api/session")[1])["images"]) == 2


def test_there_are_so_many_sessions(bright_model, tmp_path):
    with served(bright_model, tmp_path, "--max-sessions", 2) as lines:
        clients = [Client(port_of(lines[0])) for _ in range(3)]
        answers = [client.ask("POST", "/api/session") for client in clients]
        assert [status for status, _ in answers] == [200, 200, 503]
        assert "at most 2 may be open" in answers[2][1]
        assert "--max-sessions" in answers[2][1]
        clients[0].ask("DELETE", "/api/session")
        assert clients[2].ask("POST", "/api/session")[0] == 200
        assert clients[1].ask("GET", "/api/session")[0] == 200


def test_another_site_makes_no_session_and_no_page_of_the_name_of_another_site(
    bright_model, tmp_path
):
    with served(bright_model, tmp_path, "--max-sessions", 1) as lines:
        client = Client(port_of(lines[0]))
        for headers in (
            {ORIGIN: "http://evil.example"},
            {ORIGIN: "null"},
            {ORIGIN: ""},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            status, told = client.ask("POST", "/api/session", headers=headers)
            assert status == 403, (headers, told)
        assert client.ask("POST", "/api/session")[0] == 200


TOKEN = "a-word-of-ones-own"


@pytest.mark.parametrize("how", ["random", "option", "environment"])
def test_other_computers_need_the_token(bright_model, tmp_path, how):
    options = ("--token", TOKEN) if how == "option" else ()
    environment = {"NUCSEG_TOKEN": TOKEN} if how == "environment" else {}
    with served(bright_model, tmp_path, "--host", "0.0.0.0", *options, **environment) as lines:
        token = re.search(r"\?token=(\S+)", lines[0]).group(1)
        assert (token == TOKEN) == (how != "random")
        assert f"?token={token}\n" in lines[1]
        client = Client(port_of(lines[0]))
        for method, path in [
            ("GET", "/"),
            ("GET", "/static/main.js"),
            ("GET", "/nothing"),
            ("POST", "/api/session"),
            ("GET", "/api/batch/results.zip"),
            ("POST", "/api/results"),
            ("GET", "/?token="),
            ("GET", f"/?token={token[:-1]}"),
            ("GET", f"/?token={token}%00"),
            ("GET", "/?token=%ff%C3%A4"),
        ]:
            status, told = client.ask(method, path)
            assert status == 403, path
            assert "that nucseg app printed in the terminal" in told, path
            assert token not in told
        assert not client.cookies
        assert client.ask("GET", f"/?token={token}")[0] == 200
        assert token not in str(client.cookies)
        for method, path in [("GET", "/"), ("GET", "/static/main.js"), ("POST", "/api/session")]:
            assert client.ask(method, path)[0] == 200, path
        assert client.ask("POST", "/api/images?name=a.tif", noise(20))[0] == 200
        # The token does not let other sites in.
        assert client.ask("POST", "/api/session", headers={ORIGIN: "http://evil.example"})[0] == 403


def test_this_computer_needs_no_token(bright_model, tmp_path):
    with served(bright_model, tmp_path, "--host", "localhost") as lines:
        assert "token" not in lines[0]


@pytest.mark.parametrize("token", ["short", "with a space in the word", "with/a/slash&and=more"])
def test_tokens_that_fit_no_address(bright_model, token):
    result = nucseg("app", "--model", bright_model, "--port", 0, "--no-browser", "--token", token)
    assert result.exit_code == 2
    assert "Wrong value of --token" in result.stderr
