"""What sessions may take together, and who may ask at all."""

import shutil
from pathlib import Path

import pytest
from browser_client import ADDRESS, Browser, nuclei_image, png

from nucseg.app import batches, room
from nucseg.app.guard import is_loopback, token_for
from nucseg.app.room import BusyError, SessionOverError
from nucseg.app.server import create_app
from nucseg.app.sessions import Session, Sessions
from nucseg.app.uploads import TooLargeError
from nucseg.config import App
from nucseg.inference.segmenter import Model

OWN = {"min_score": 0, "min_area": 4, "max_area": None, "border_nuclei": "keep"}
TOKEN = "one-token-for-the-tests"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_oldest_session_without_files_ends_for_a_new_one(temporary: Path):
    clock = Clock()
    sessions = Sessions(temporary, App(max_sessions=3, idle=1000), clock=clock)
    (full, with_files), (older, _), (newer, _) = (sessions.create() for _ in range(3))
    with with_files.new_image("a.png") as path:
        path.touch()
        clock.now = 100  # pages that are open may have missed a request or two
        with pytest.raises(BusyError, match=r"at most 3 may be open.*--max-sessions"):
            sessions.create()
        clock.now = 150
        sessions.get(newer)
        clock.now = 200
        token, _ = sessions.create()
        assert sessions.get(older) is None
        assert sessions.get(newer)
        assert sessions.get(full) is with_files  # an image is on its way
        with pytest.raises(BusyError):
            sessions.create()
    assert len(list(temporary.iterdir())) == 3
    assert sessions.get(token)


def test_a_session_with_files_stays_until_it_is_idle(temporary: Path):
    clock = Clock()
    sessions = Sessions(temporary, App(max_sessions=1, idle=1000), clock=clock)
    token, session = sessions.create()
    session.batch = batches.Batch(session.new_place("batch"), session.settings, session.share)
    clock.now = 999
    with pytest.raises(BusyError):
        sessions.create()
    assert sessions.get(token) is session
    clock.now = 2500
    sessions.create()
    assert sessions.get(token) is None


def opened(temporary: Path, **settings: float) -> Session:
    return Sessions(temporary, App(**settings)).create()[1]


def test_sessions_share_what_there_is(temporary: Path):
    sessions = Sessions(temporary, App(max_session=1, max_total=1.5))
    (_, one), (token, two) = sessions.create(), sessions.create()
    one.share.hold(one.folder / "a", 1_000_000)
    with pytest.raises(TooLargeError, match="all your images may take 1 MB"):
        one.share.hold(one.folder / "b", 1)
    with pytest.raises(BusyError, match=r"all sessions may take 1\.5 MB.*--max-total"):
        two.share.hold(two.folder / "a", 500_001)
    two.share.hold(two.folder / "a", 500_000)
    one.share.hold(one.folder / "a", 999_999)  # less is always taken
    two.share.hold(two.folder / "a", 500_001)
    sessions.end(token)
    with pytest.raises(SessionOverError, match="has ended"):
        two.share.hold(two.folder / "a", 1)
    _, three = sessions.create()
    three.share.hold(three.folder / "a", 500_001)


def test_no_more_is_taken_than_the_disk_has(temporary: Path, monkeypatch: pytest.MonkeyPatch):
    session = opened(temporary)
    usage = shutil.disk_usage(temporary)._replace(free=3_000_000)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage)
    session.share.hold(session.folder / "a", 3_000_000)
    with pytest.raises(BusyError, match="the disk has 3 MB left"):
        session.share.hold(session.folder / "b", 3_000_001)


def test_what_grows_is_counted(temporary: Path):
    session = opened(temporary, max_session=0.001)
    folder = session.folder / "results"
    folder.mkdir()
    (folder / "a").write_bytes(bytes(600))
    session.share.check_growth(folder)
    (folder / "b").write_bytes(bytes(600))
    with pytest.raises(TooLargeError):
        session.share.check_growth(folder)
    session.delete(folder)
    assert session.share.used == 0
    session.share.settle(folder)
    assert session.share.places == {}


def test_results_stop_where_there_is_no_room(model: Model, temporary: Path):
    with Browser(create_app(model, App(model="bright", max_session=0.015))) as client:
        client.begin()
        image = client.open()["image"]["id"]
        body = {"images": [{"image": image, "filters": OWN}] * 20, "formats": ["overlays", "masks"]}
        reply = client.post("/api/results", json=body)
        assert reply.status_code == 413
        assert "There is no room" in reply.json()["error"]
        assert not list(temporary.rglob("*results*"))
        assert client.delete(f"/api/images/{image}").status_code == 200
        client.open()


def test_a_batch_stops_where_there_is_no_room(
    model: Model, temporary: Path, monkeypatch: pytest.MonkeyPatch
):
    def write(_images, output: Path, *_args, progress, **_options):
        output.mkdir()
        for number in range(100):
            (output / str(number)).write_bytes(bytes(1000))
            progress(number, 100)

    monkeypatch.setattr(batches, "segment_files", write)
    monkeypatch.setattr(batches, "_COUNT", -1)
    with Browser(create_app(model, App(model="bright", max_session=0.02))) as client:
        client.begin()
        client.post("/api/batch")
        client.post("/api/batch/files", params={"name": "a.png"}, content=png(nuclei_image()))
        client.post("/api/batch/start", json={"filters": OWN, "formats": ["labels"]})
        while (report := client.get("/api/batch").json())["state"] in ("waiting", "running"):
            pass
        assert report["state"] == "failed"
        assert "There is no room" in report["error"]
        assert len(list(temporary.rglob("results/*"))) < 25
        # Another batch has the room again.
        client.post("/api/batch")
        reply = client.post("/api/batch/files", params={"name": "a.png"}, content=bytes(15_000))
        assert reply.status_code == 200


def test_a_file_that_cannot_be_written_is_told(browser: Browser, monkeypatch: pytest.MonkeyPatch):
    def full(self: Path, *_args, **_options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        reply = browser.post("/api/images", params={"name": "a.png"}, content=png(nuclei_image()))
    assert reply.status_code == 503
    assert "a.png cannot be written here: No space left" in reply.json()["error"]
    browser.upload()


def test_a_length_that_is_no_number_is_counted_as_it_comes(browser: Browser):
    headers = {"content-length": "many"}
    params = {"name": "a.png"}
    reply = browser.post("/api/images", params=params, content=bytes(200_000), headers=headers)
    assert reply.status_code == 413


def test_a_request_that_is_no_file_is_not_read_without_end(browser: Browser):
    place = f"/api/images/{browser.open()['image']['id']}/edits"
    reply = browser.post(place, content=b"[" * (17 << 20))
    assert reply.status_code == 413
    assert "at most 16777216 bytes" in reply.json()["error"]


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.7", False),
        ("no.such.host.invalid", False),
    ],
)
def test_where_a_token_is_needed(host: str, alone: bool):
    assert is_loopback(host) == alone
    assert (token_for(host, None) is None) == alone
    assert token_for(host, TOKEN) == TOKEN
    assert alone or token_for(host, None) != token_for(host, None)


def test_an_app_that_others_reach_answers_nobody_without_a_token(model: Model):
    with Browser(create_app(model, App(host="0.0.0.0"))) as client:
        assert client.get("/").status_code == 403
        assert client.post("/api/session").status_code == 403


def test_what_counts_is_the_address_that_a_name_has(model: Model):
    settings = App(host="no.such.host.invalid")
    with Browser(create_app(model, settings, bound="127.0.0.1")) as client:
        assert client.get("/").status_code == 200


def test_the_token_becomes_a_cookie(model: Model):
    with Browser(create_app(model, App(host="0.0.0.0", token=TOKEN))) as client:
        reply = client.get(f"/?token={TOKEN}")
        assert reply.status_code == 200
        cookie = reply.headers["set-cookie"]
        assert cookie.startswith("nucseg-token-8765=")
        assert cookie.endswith("; HttpOnly; Path=/; SameSite=strict")
        assert TOKEN not in cookie
        client.begin()
        client.upload()
        assert client.get("/static/main.js").status_code == 200
        # The cookie is no token, and the token no cookie.
        value = cookie.split(";")[0].split("=")[1]
        other = Browser(client.app)
        assert other.get(f"/?token={value}").status_code == 403
        other.cookies.set("nucseg-token-8765", TOKEN)
        assert other.get("/").status_code == 403


def test_a_person_is_told_in_plain_text(model: Model):
    with Browser(create_app(model, App(token=TOKEN))) as client:
        reply = client.get("/", headers={"accept": "text/html,*/*;q=0.8"})
        assert reply.status_code == 403
        assert reply.headers["content-type"].startswith("text/plain")
        assert "nucseg app printed in the terminal" in reply.text


def test_with_a_token_the_app_goes_by_any_name(model: Model):
    # Such as that of a proxy; a page of another name has not its cookie.
    with Browser(create_app(model, App(token=TOKEN)), "http://nuclei.lab.example") as client:
        assert client.get("/").status_code == 403
        assert client.get("/", params={"token": TOKEN}).status_code == 200
        client.begin()
        client.upload()
        reply = client.post("/api/session", headers={"origin": ADDRESS})
        assert reply.status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:port", "127.0.0.1:99999", "127.0.0.1:0", ""])
def test_names_that_are_none(model: Model, host: str):
    with Browser(create_app(model)) as client:
        reply = client.get("/", headers={"host": host})
        assert reply.status_code == 403
