"""Downloads from a server on loopback: whole, cut and resumed, wrong, refused, and offline."""

import hashlib
import io
import json
import os
import shutil
import socket
import stat
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nucseg.datasets import download
from nucseg.datasets.download import REGISTRY, RemoteDataset, download_dataset, unpack_zip
from nucseg.errors import InputError


def make_zip(members=None):
    members = members or [("a/images/a.png", os.urandom(50_000)), ("a/masks/1.png", b"mask")]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return content.getvalue()


class Server(ThreadingHTTPServer):
    """Serves `content` with ranges; `cut`, `statuses` and `etag` make it misbehave."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = make_zip()
        self.etag = '"one"'
        self.last_modified = None
        self.cuts = []  # for each answer the bytes to send before the connection breaks
        self.statuses = []  # for each answer the status to send instead
        self.range_shift = 0
        self.states_length = True
        self.kind = None
        self.asked = []  # Range header of each request

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/set.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, content = self.server, self.server.content
        server.asked.append(self.headers.get("Range"))
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        start = 0
        if self.headers.get("Range") and self.headers.get("If-Range") in (
            server.etag,
            server.last_modified,
        ):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            shown = start + server.range_shift
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if server.states_length:
            self.send_header("Content-Length", str(len(content) - start))
        if server.kind:
            self.send_header("Content-Type", server.kind)
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.last_modified:
            self.send_header("Last-Modified", server.last_modified)
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else len(content)
        self.wfile.write(content[start : start + cut])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "CHUNK", 500)  # what is received of a piece that is cut is lost
    register(monkeypatch)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(server, to, **options):
    return download_dataset("dsb2018", to, url=server.url, pause=0, **options)


def register(monkeypatch, **changes):
    remote = RemoteDataset(url="", file="stage1_train.zip", about="", **changes)
    monkeypatch.setitem(REGISTRY, "dsb2018", remote)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_whole_download_is_unpacked(server, tmp_path):
    calls = []
    got = fetch(server, tmp_path / "new", progress=lambda *call: calls.append(call))
    assert got.path == tmp_path / "new" / "stage1_train"
    assert got.sha256 == hashlib.sha256(server.content).hexdigest()
    assert not got.hash_known
    assert files(tmp_path / "new") == [
        "stage1_train",
        "stage1_train/a",
        "stage1_train/a/images",
        "stage1_train/a/images/a.png",
        "stage1_train/a/masks",
        "stage1_train/a/masks/1.png",
    ]
    assert calls[-1] == (len(server.content), len(server.content))


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    first = fetch(server, tmp_path, unpack=False)
    assert first.path.read_bytes() == server.content
    assert fetch(server, tmp_path, unpack=False) == first
    assert fetch(server, tmp_path).path.is_dir()
    assert first.path.is_file()  # it was there before, so it stays
    assert fetch(server, tmp_path).sha256 is None
    assert len(server.asked) == 1


def test_a_cut_transfer_goes_on_where_it_ended(server, tmp_path):
    server.cuts = [10_000, 20_000]
    got = fetch(server, tmp_path, unpack=False)
    assert got.path.read_bytes() == server.content
    assert server.asked == [None, "bytes=10000-", "bytes=30000-"]
    assert files(tmp_path) == ["stage1_train.zip"]


def test_a_later_command_goes_on_too(server, tmp_path):
    server.cuts = [1000] + [0] * 3
    with pytest.raises(InputError, match="goes on from the 1000 bytes"):
        fetch(server, tmp_path)
    server.asked.clear()
    assert fetch(server, tmp_path, unpack=False).path.read_bytes() == server.content
    assert server.asked == ["bytes=1000-"]


def test_another_file_under_the_same_address_is_fetched_from_the_start(server, tmp_path):
    server.cuts = [1000] + [0] * 3
    with pytest.raises(InputError):
        fetch(server, tmp_path)
    server.content, server.etag = make_zip(), '"two"'
    assert fetch(server, tmp_path, unpack=False).path.read_bytes() == server.content


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_validator_a_cut_transfer_starts_anew(server, tmp_path, etag):
    server.etag = '"strong"'
    server.cuts = [1000, 0, 0, 0]
    with pytest.raises(InputError):
        fetch(server, tmp_path)
    server.etag, server.cuts, server.asked = etag, [1500], []
    assert fetch(server, tmp_path, unpack=False).path.read_bytes() == server.content
    assert server.asked == ["bytes=1000-", None]


def test_the_date_serves_where_there_is_no_tag(server, tmp_path):
    server.etag, server.last_modified = None, "Mon, 01 Jan 2024 00:00:00 GMT"
    server.cuts = [1000]
    assert fetch(server, tmp_path, unpack=False).path.read_bytes() == server.content
    assert server.asked == [None, "bytes=1000-"]


def test_a_part_that_is_too_long_is_dropped(server, tmp_path):
    (tmp_path / "stage1_train.zip.part").write_bytes(b"x" * 100_000)
    (tmp_path / "stage1_train.zip.part.json").write_text(json.dumps(server.etag))
    assert fetch(server, tmp_path, unpack=False).path.read_bytes() == server.content


def test_an_answer_with_another_part_is_an_error(server, tmp_path):
    server.cuts, server.range_shift = [1000], 1
    with pytest.raises(InputError, match="another part than asked for"):
        fetch(server, tmp_path)


def test_a_server_in_trouble_is_asked_again(server, tmp_path):
    server.statuses = [500, 503]
    assert fetch(server, tmp_path).path.is_dir()
    server.statuses = [503] * 4
    shutil.rmtree(tmp_path / "stage1_train")
    with pytest.raises(InputError, match="the server answers 503"):
        fetch(server, tmp_path)


def test_a_file_that_is_not_there_is_an_error_at_once(server, tmp_path):
    server.statuses = [404]
    with pytest.raises(InputError, match=r"answers 404.*--url"):
        fetch(server, tmp_path)
    assert len(server.asked) == 1


def test_offline_is_said_plainly(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/set.zip"
    with pytest.raises(InputError, match=r"refused.*Check the network connection.*zip file itself"):
        download_dataset("dsb2018", tmp_path, url=url, pause=0)


def test_a_senseless_address_is_an_error(tmp_path):
    with pytest.raises(InputError, match="Check the address"):
        download_dataset("dsb2018", tmp_path, url="file-on-disk.zip", pause=0)


def test_an_unknown_data_set_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"Unknown data set 'dsb2019'.*dsb2018"):
        download_dataset("dsb2019", tmp_path)


def test_the_known_size_and_hash_are_checked(server, tmp_path, monkeypatch):
    good = hashlib.sha256(server.content).hexdigest()
    register(monkeypatch, size=len(server.content) + 1)
    with pytest.raises(InputError, match=r"bytes, expected .*another file"):
        fetch(server, tmp_path)
    register(monkeypatch, sha256="0" * 64)
    with pytest.raises(InputError, match=f"SHA-256 is {good}, expected 000.*deleted"):
        fetch(server, tmp_path)
    assert files(tmp_path) == []
    register(monkeypatch, size=len(server.content), sha256=good)
    assert fetch(server, tmp_path).hash_known


def test_a_wrong_file_that_was_there_is_not_deleted(server, tmp_path, monkeypatch):
    (tmp_path / "stage1_train.zip").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"no sound zip file.*there already: delete it"):
        fetch(server, tmp_path)
    register(monkeypatch, size=5)
    with pytest.raises(InputError, match="it has 4 bytes, expected 5"):
        fetch(server, tmp_path)
    assert (tmp_path / "stage1_train.zip").read_bytes() == b"mine"


def test_a_page_in_place_of_the_file_is_refused(server, tmp_path):
    server.content = b"<html>Please log in</html>"
    with pytest.raises(InputError, match="no sound zip file"):
        fetch(server, tmp_path)
    assert files(tmp_path) == []


def test_a_damaged_member_is_refused(server, tmp_path):
    content = bytearray(server.content)
    content[500] ^= 255
    server.content = bytes(content)
    with pytest.raises(InputError, match=r"its member a/images/a\.png is damaged"):
        fetch(server, tmp_path)


def test_a_member_that_points_outside_is_refused(server, tmp_path):
    server.content = make_zip([("../evil.txt", b"evil")])
    with pytest.raises(InputError, match="points outside"):
        fetch(server, tmp_path / "to")
    assert not (tmp_path / "evil.txt").exists()
    assert files(tmp_path / "to") == ["stage1_train.zip"]


def test_a_link_is_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = tmp_path / "a.zip"
    path.write_bytes(make_zip([(link, "/etc/passwd")]))
    with pytest.raises(InputError, match="'link' is a link"):
        unpack_zip(path, tmp_path / "a")


def test_an_archive_that_swells_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(make_zip([("a", b"\0" * 1000)]))
    with pytest.raises(InputError, match="would unpack to 1000 bytes, at most 999"):
        unpack_zip(path, tmp_path / "a", max_bytes=999)
    assert files(tmp_path) == ["a.zip"]


def test_an_archive_that_breaks_while_unpacking_leaves_nothing(tmp_path):
    content = bytearray(make_zip())
    content[500] ^= 255
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpack_zip(path, tmp_path / "a")
    assert files(tmp_path) == ["a.zip"]


def test_too_little_space_is_said_before_the_transfer(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=r"Not enough space.*10 are free"):
        fetch(server, tmp_path)
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_an_error(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write to"):
        fetch(server, tmp_path / "file")
    (tmp_path / "stage1_train.zip.part").mkdir()
    with pytest.raises(InputError, match="Cannot write to"):
        fetch(server, tmp_path)


def test_the_data_set_has_a_known_hash():
    known = REGISTRY["dsb2018"]
    assert known.size == 82_923_446
    assert len(known.sha256) == 64


def test_a_web_page_is_told_as_one(server, tmp_path):
    server.content, server.kind = b"<html>Please log in</html>", "text/html; charset=utf-8"
    with pytest.raises(InputError, match=r"web page and not with a zip file.*--url"):
        fetch(server, tmp_path)
    assert files(tmp_path) == []


def test_another_zip_file_of_the_right_length_is_refused_and_deleted(server, tmp_path, monkeypatch):
    register(monkeypatch, size=len(server.content), sha256="0" * 64)
    with pytest.raises(InputError, match="It was deleted"):
        fetch(server, tmp_path)
    assert files(tmp_path) == []


def test_a_transfer_of_no_stated_length_that_ends_early_goes_on(server, tmp_path, monkeypatch):
    register(monkeypatch, size=len(server.content))
    server.states_length, server.cuts = False, [1000]
    assert fetch(server, tmp_path, unpack=False).path.read_bytes() == server.content
    assert server.asked == [None, "bytes=1000-"]


def test_a_transfer_without_end_is_stopped(server, tmp_path, monkeypatch):
    register(monkeypatch, size=1000)
    server.states_length = False
    with pytest.raises(InputError, match="sends more than 1000 bytes"):
        fetch(server, tmp_path)
    assert files(tmp_path) == []


def test_an_unverified_file_never_has_the_name_of_the_data_set(server, tmp_path, monkeypatch):
    seen = []
    checked = download.sha256
    monkeypatch.setattr(
        download, "sha256", lambda path: seen.append(files(tmp_path)) or checked(path)
    )
    fetch(server, tmp_path, unpack=False)
    assert seen == [["stage1_train.zip.part"]]


def test_an_archive_of_a_method_without_a_limit_is_refused(server, tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a/images/a.png", bytes(1000))
    server.content = content.getvalue()
    with pytest.raises(InputError, match="compressed by bzip2"):
        fetch(server, tmp_path)
    (tmp_path / "a.zip").write_bytes(server.content)
    with pytest.raises(InputError, match="compressed by bzip2"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "a")
    assert files(tmp_path) == ["a.zip"]
