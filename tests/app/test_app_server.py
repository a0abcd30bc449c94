import csv
import io
import json
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from browser_client import Browser, nuclei_image, png
from typer.testing import CliRunner

from nucseg.app.server import STATIC, create_app
from nucseg.cli.main import app as command_line
from nucseg.config import App
from nucseg.datasets.reading import open_dataset
from nucseg.export import FORMATS
from nucseg.inference.segmenter import Model

OWN = {"min_score": 0, "min_area": 4, "max_area": None, "border_nuclei": "keep"}


def results(browser: Browser, image: str, filters: dict = OWN, **wanted) -> zipfile.ZipFile:
    formats = wanted.pop("formats", ["labels"])
    images = [{"image": image, "filters": filters, **wanted}]
    reply = browser.post("/api/results", json={"images": images, "formats": formats})
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-disposition"] == 'attachment; filename="nucseg-results.zip"'
    return zipfile.ZipFile(io.BytesIO(reply.content))


def labels_in(archive: zipfile.ZipFile, name: str = "a") -> np.ndarray:
    return tifffile.imread(io.BytesIO(archive.read(f"labels/{name}.tif")))


def decoded(data: bytes, shape: tuple[int, int]) -> np.ndarray:
    runs = np.frombuffer(data, "<u4").reshape(-1, 2)
    return np.repeat(runs[:, 0], runs[:, 1]).reshape(shape)


def test_a_session_tells_what_there_is(model: Model):
    with Browser(create_app(model, App(idle=50))) as client:
        reply = client.post("/api/session")
        cookie = reply.headers["set-cookie"]
        assert re.match(r"nucseg-8765=[\w-]{43}; HttpOnly; Path=/; SameSite=strict$", cookie)
        told = reply.json()
        assert told["model"]["name"] == "bright"
        assert told["filters"] == OWN
        assert [each["name"] for each in told["formats"]] == list(FORMATS)
        assert told["limits"]["idle"] == 50
        assert told["images"] == []
        # A page that is loaded again goes on with its session.
        image = client.upload()
        again = client.post("/api/session")
        assert "set-cookie" not in again.headers
        assert again.json()["images"] == [image]
        assert client.get("/api/session").json() == {"images": 1}


def test_nothing_is_there_without_a_session(model: Model):
    with Browser(create_app(model)) as client:
        for method, path in [
            ("GET", "/api/session"),
            ("DELETE", "/api/session"),
            ("POST", "/api/images?name=a.png"),
            ("GET", "/api/images/x"),
            ("POST", "/api/batch"),
            ("GET", "/api/batch/results.zip"),
        ]:
            reply = client.request(method, path)
            assert reply.status_code == 401, path
            assert "session has ended" in reply.json()["error"]


def test_the_app_finds_what_the_model_finds(browser: Browser, model: Model):
    image = nuclei_image()
    told = browser.open()
    assert told["found"] == 3
    assert told["shape"] == [24, 40]
    assert told["columns"]["area"] == [49, 12, 96]
    direct = model.segment(image)
    place = f"/api/images/{told['image']['id']}"
    sent = browser.get(f"{place}/labels")
    assert (decoded(sent.content, image.shape) == direct.labels).all()
    assert (labels_in(results(browser, told["image"]["id"])) == direct.labels).all()
    assert browser.get(place).json() == told
    shown = cv2.imdecode(np.frombuffer(browser.get(f"{place}/picture").content, np.uint8), 0)
    assert shown.shape == image.shape


def test_a_sample_is_segmented(browser: Browser):
    image = browser.post("/api/samples/tissue").json()
    assert image["name"] == "tissue.png"
    assert browser.post(f"/api/images/{image['id']}/segment", json={}).json()["shape"] == [256, 320]
    reply = browser.post("/api/samples/moon")
    assert reply.status_code == 422
    assert "tissue, fluorescence" in reply.json()["error"]


def test_edits_reach_the_results(browser: Browser):
    told = browser.open()
    place = f"/api/images/{told['image']['id']}"
    step = browser.post(f"{place}/edits", json={"kind": "delete", "number": 1}).json()
    assert step["removed"] == [1]
    assert step["window"] == [2, 3, 7, 7]
    assert (step["edited"], step["can_undo"], step["can_redo"]) == (1, True, False)
    square = [[12, 2], [18, 2], [18, 8], [12, 8]]
    step = browser.post(f"{place}/edits", json={"kind": "draw", "points": square}).json()
    assert (step["columns"]["label"], step["columns"]["area"]) == ([4], [36])
    step = browser.post(f"{place}/edits", json={"kind": "split", "points": [[26, 9], [26, 22]]})
    assert step.json()["columns"]["label"] == [5, 6]
    labels = labels_in(results(browser, told["image"]["id"]))
    assert np.unique(labels).tolist() == [0, 1, 2, 3, 4]
    assert (labels[2:8, 12:18] == 2).all()
    undone = browser.post(f"{place}/history/undo").json()
    assert (undone["removed"], undone["columns"]["label"]) == ([5, 6], [3])
    assert browser.post(f"{place}/history/redo").json()["removed"] == [3]
    # What the page has is what the server has.
    shown = decoded(browser.get(f"{place}/labels").content, (24, 40))
    assert np.unique(shown).tolist() == [0, 2, 4, 5, 6]
    assert browser.get(place).json()["columns"]["label"] == [2, 4, 5, 6]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"kind": "delete", "number": 9}, "no nucleus 9"),
        ({"kind": "draw", "points": [[0, 0]]}, "three corners"),
        ({"kind": "split", "points": [[0, 0], [1, 1]]}, "crosses no nucleus"),
        ({"kind": "melt"}, "Unusable value of kind"),
        ({"kind": "draw", "points": [[1e99, 0]]}, "Unusable value of points"),
        ({"kind": "delete", "number": 1, "more": 2}, "Unusable value of more"),
    ],
)
def test_edits_that_cannot_be_done(browser: Browser, edit: dict, message: str):
    place = f"/api/images/{browser.open()['image']['id']}"
    reply = browser.post(f"{place}/edits", json=edit)
    assert reply.status_code == 422
    assert message in reply.json()["error"]
    assert browser.post(f"{place}/history/undo").status_code == 422


def test_corrections_become_training_data(browser: Browser, tmp_path: Path):
    images = [browser.open(f"{name}.png")["image"]["id"] for name in "ab"]
    browser.post(f"/api/images/{images[0]}/edits", json={"kind": "delete", "number": 1})
    wanted = [{"image": image, "filters": OWN} for image in images]
    json = {"images": wanted, "formats": ["labels"], "to_train": True}
    reply = browser.post("/api/results", json=json)
    zipfile.ZipFile(io.BytesIO(reply.content)).extractall(tmp_path)
    dataset = open_dataset(tmp_path / "training")
    assert dataset.image_ids == ("a", "b")
    assert [dataset.read(name).labels.max() for name in "ab"] == [2, 3]
    assert (dataset.read("b").pixels[..., 0] == nuclei_image()).all()
    plain = browser.post("/api/results", json={**json, "to_train": False})
    assert not [n for n in zipfile.ZipFile(io.BytesIO(plain.content)).namelist() if "train" in n]


def test_results_hold_all_that_segment_writes(browser: Browser):
    image = browser.open("my image.png")["image"]["id"]
    archive = results(browser, image, {**OWN, "min_area": 20}, formats=list(FORMATS))
    names = archive.namelist()
    for each in FORMATS.values():
        found = [name for name in names if name.startswith(f"{each.name}/my image")]
        assert found, each.name
    table = pd.read_csv(io.BytesIO(archive.read("measurements.csv")))
    assert table["area"].tolist() == [49, 96]
    assert table["image"].unique().tolist() == ["my image.png"]
    rows = list(csv.DictReader(io.StringIO(archive.read("images.csv").decode())))
    assert (rows[0]["path"], rows[0]["status"], rows[0]["nuclei"]) == ("my image.png", "ok", "2")
    record = json.loads(archive.read("run.json"))["images"]["my image"]
    assert record["filters"]["min_area"] == 20
    assert record["changes_by_hand"] == 0
    assert len(json.loads(archive.read("coco/my image.json"))["annotations"]) == 2


def test_results_of_several_images_with_one_name(browser: Browser):
    ids = [browser.open()["image"]["id"] for _ in range(2)]
    images = [{"image": each, "filters": OWN} for each in ids]
    reply = browser.post("/api/results", json={"images": images, "formats": ["labels"]})
    archive = zipfile.ZipFile(io.BytesIO(reply.content))
    assert {"labels/a.tif", "labels/a (2).tif"} <= set(archive.namelist())
    assert len(pd.read_csv(io.BytesIO(archive.read("measurements.csv")))) == 6


def test_results_leave_nothing_behind(browser: Browser, temporary: Path):
    image = browser.open()["image"]["id"]
    results(browser, image)
    bad = {"images": [{"image": image, "filters": OWN}], "formats": ["gif"]}
    assert "Unknown format" in browser.post("/api/results", json=bad).json()["error"]
    left = [path for path in temporary.rglob("*") if path.is_file()]
    assert sorted(path.name for path in left) == [
        "a.png",
        "image.npy",
        "labels.npy",
        "probability.npy",
    ]


def test_what_is_not_segmented_has_no_results(browser: Browser):
    image = browser.upload()["id"]
    body = {"images": [{"image": image, "filters": OWN}], "formats": []}
    assert "not segmented yet" in browser.post("/api/results", json=body).json()["error"]
    for path in ("", "/picture", "/labels"):
        assert browser.get(f"/api/images/{image}{path}").status_code == 422


def test_the_pixel_size_reaches_the_measurements(browser: Browser):
    image = browser.open()["image"]["id"]
    archive = results(browser, image, pixel_size=0.5)
    table = pd.read_csv(io.BytesIO(archive.read("measurements.csv")))
    assert table["area_um2"].tolist() == (table["area"] / 4).tolist()


def test_the_command_does_the_same(
    browser: Browser, bright_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told = browser.open("my image.png")
    filters = {"min_score": 0.2, "min_area": 20, "max_area": 500, "border_nuclei": "drop"}
    chosen = {"filters": filters, "formats": ["labels"], "pixel_size": 0.5}
    reply = browser.post(f"/api/images/{told['image']['id']}/command", json=chosen).json()
    assert reply["notes"] == []
    assert reply["command"].startswith("nucseg segment 'my image.png' -o out --model bright ")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my image.png").write_bytes(png(nuclei_image()))
    (tmp_path / "bright").symlink_to(bright_model)
    words = reply["command"].replace("'my image.png'", "my%image.png").split()[1:]
    done = CliRunner().invoke(command_line, [word.replace("%", " ") for word in words])
    assert done.exit_code == 0, done.output
    archive = results(browser, told["image"]["id"], filters, pixel_size=0.5)
    written = tifffile.imread(tmp_path / "out" / "labels" / "my image.tif")
    assert (labels_in(archive, "my image") == written).all()
    ours = pd.read_csv(io.BytesIO(archive.read("measurements.csv"))).drop(columns="plane")
    theirs = pd.read_csv(tmp_path / "out" / "measurements.csv")
    pd.testing.assert_frame_equal(ours, theirs)


def test_channels_planes_and_projection(browser: Browser):
    image = nuclei_image()
    stack = np.stack([np.stack([np.full_like(image, 255), image])] * 2)
    stack[1, 1] = stack[1, 1] // 4
    file = io.BytesIO()
    about = {"axes": "ZCYX", "Channel": {"Name": ["Actin", "DAPI"]}}
    tifffile.imwrite(file, stack, ome=True, metadata=about)
    info = browser.upload("stack.ome.tif", file.getvalue())
    assert (info["channels"], info["planes"]) == (["Actin", "DAPI"], ["z000", "z001"])
    place = f"/api/images/{info['id']}"
    run = {"plane": "z000"}
    assert browser.post(f"{place}/segment", json=run).json()["found"] == 3
    run = {"plane": "z001"}
    assert browser.post(f"{place}/segment", json=run).json()["found"] == 0
    run = {"plane": "z001", "channel": "Actin"}
    assert browser.post(f"{place}/segment", json=run).json()["found"] == 1
    run = {"plane": "", "project": "max"}
    told = browser.post(f"{place}/segment", json=run).json()
    assert (told["found"], told["image"]["planes"]) == (3, [""])
    told = browser.post(f"{place}/segment", json={}).json()
    assert (told["found"], told["image"]["run"]["plane"]) == (3, "z000")
    reply = browser.post(f"{place}/segment", json={"plane": "z007"})
    assert "has no plane 'z007'. Choose one of z000, z001" in reply.json()["error"]
    reply = browser.post(f"{place}/segment", json={"channel": "GFP"})
    assert "no channel 'GFP'" in reply.json()["error"]
    assert "/" not in reply.json()["error"]
    browser.post(f"{place}/segment", json={"plane": "z000"})
    assert "labels/stack.ome_z000.tif" in results(browser, info["id"]).namelist()
    reply = browser.post(f"{place}/command", json={"filters": OWN}).json()
    assert "all planes" in reply["notes"][0]


def test_many_channels_without_a_nuclear_one_begin_with_the_first(browser: Browser):
    file = io.BytesIO()
    pixels = np.stack([nuclei_image()] * 6)
    tifffile.imwrite(file, pixels, ome=True, metadata={"axes": "CYX"})
    info = browser.upload("many.ome.tif", file.getvalue())
    assert (len(info["channels"]), info["channel"]) == (6, "0")


def test_the_network_runs_again_with_other_settings(browser: Browser):
    told = browser.open()
    place = f"/api/images/{told['image']['id']}"
    browser.post(f"{place}/edits", json={"kind": "delete", "number": 1})
    again = browser.post(f"{place}/segment", json={"diameter": 60, "tta": True}).json()
    assert again["edited"] == 0
    assert again["image"]["run"]["diameter"] == 60
    reply = browser.post(f"{place}/command", json={"filters": OWN}).json()
    assert reply["command"].endswith("--diameter 60 --tta")


def test_a_model_of_one_size_takes_no_diameter(bright_model_32: Path):
    from nucseg.inference.loading import load_model

    with Browser(create_app(load_model(bright_model_32))) as client:
        assert not client.begin()["takes_diameter"]
        image = client.upload()
        reply = client.post(f"/api/images/{image['id']}/segment", json={"diameter": 9})
        assert reply.status_code == 422
        assert "Leave the diameter out" in reply.json()["error"]


@pytest.mark.parametrize(
    ("name", "data", "status", "message"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n but no more", 422, "a.png is not a PNG"),
        ("a.tif", b"II*\0", 422, "a.tif is damaged"),
        ("a.png", b"just text", 422, "a.png"),
        ("a.png", b"", 422, "a.png is empty"),
        ("a.txt", b"text", 422, "'a.txt' is not taken"),
        ("a.csv", b"path\n/etc/passwd\n", 422, "'a.csv' is not taken"),
        ("a.png", bytes(100_001), 413, "a.png is too large: at most 0.1 MB"),
    ],
)
def test_files_that_are_refused(browser: Browser, temporary: Path, name, data, status, message):
    reply = browser.post("/api/images", params={"name": name}, content=data)
    assert reply.status_code == status
    assert message in reply.json()["error"]
    assert str(temporary) not in reply.text
    assert not [path for path in temporary.rglob("*") if path.is_file()]
    assert browser.begin()["images"] == []


def test_an_oversized_file_is_refused_while_it_comes(browser: Browser, temporary: Path):
    def pieces():
        for _ in range(200):
            yield bytes(1000)

    reply = browser.post("/api/images", params={"name": "a.png"}, content=pieces())
    assert reply.status_code == 413
    assert not [path for path in temporary.rglob("*") if path.is_file()]


def test_images_of_too_many_pixels_are_refused_by_their_header(model: Model):
    with Browser(create_app(model, App(max_pixels=0.0005))) as client:
        client.begin()
        params = {"name": "a.png"}
        reply = client.post("/api/images", params=params, content=png(nuclei_image()))
        assert reply.status_code == 413
        assert "24 by 40 pixels, at most 0.0005 megapixels" in reply.json()["error"]


def test_there_is_room_for_so_many_images(browser: Browser):
    for _ in range(3):
        browser.upload()
    reply = browser.post("/api/images", params={"name": "a.png"}, content=png(nuclei_image()))
    assert "3 images already" in reply.json()["error"]
    assert browser.post("/api/samples/tissue").status_code == 422
    first = browser.begin()["images"][0]["id"]
    assert browser.delete(f"/api/images/{first}").json() == {}
    assert browser.get(f"/api/images/{first}").status_code == 404
    browser.upload()


def test_a_session_has_so_much_room_for_pixels(model: Model):
    with Browser(create_app(model, App(max_session=0.005))) as client:
        client.begin()
        image = client.upload()
        reply = client.post(f"/api/images/{image['id']}/segment", json={})
        assert reply.status_code == 413
        assert "There is no room" in reply.json()["error"]
        reply = client.post("/api/images", params={"name": "b.png"}, content=bytes(4900))
        assert reply.status_code == 413


def test_sessions_do_not_see_each_other(browser: Browser):
    image = browser.open()["image"]["id"]
    browser.post("/api/batch")
    other = Browser(browser.app)
    assert other.begin()["images"] == []
    for method, path, body in [
        ("GET", "", None),
        ("GET", "/picture", None),
        ("GET", "/labels", None),
        ("POST", "/segment", {}),
        ("POST", "/edits", {"kind": "delete", "number": 1}),
        ("POST", "/history/undo", None),
        ("POST", "/command", {"filters": OWN}),
        ("DELETE", "", None),
    ]:
        reply = other.request(method, f"/api/images/{image}{path}", json=body)
        assert reply.status_code == 404, path
    body = {"images": [{"image": image, "filters": OWN}], "formats": []}
    assert other.post("/api/results", json=body).status_code == 404
    assert other.get("/api/batch").status_code == 404
    # Its own end does not touch the other.
    other.delete("/api/session")
    assert browser.get(f"/api/images/{image}").status_code == 200


def test_ending_a_session_deletes_its_files(browser: Browser, temporary: Path):
    browser.open()
    assert len(list(temporary.rglob("*.npy"))) == 3
    assert browser.delete("/api/session").json() == {"deleted": 1}
    assert not [path for path in temporary.rglob("*") if path.is_file()]
    assert browser.get("/api/session").status_code == 401


def test_an_idle_session_is_deleted(model: Model, temporary: Path):
    import time

    with Browser(create_app(model, App(idle=0.2))) as client:
        client.begin()
        client.upload()
        deadline = time.monotonic() + 20
        while [path for path in temporary.rglob("*") if path.is_file()]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.get("/api/session").status_code == 401


def test_stopping_deletes_all_files(model: Model, temporary: Path):
    with Browser(create_app(model)) as client:
        client.begin()
        client.open()
        assert list(temporary.iterdir())
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8765", "localhost:8765", "[::1]:8765", "192.168.0.7:8765"]
)
def test_own_names(browser: Browser, host: str):
    headers = {"host": host, "origin": f"http://{host}"}
    assert browser.post("/api/session", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "headers", "message"),
    [
        ("GET", "/", {"host": "evil.example"}, "not the app's"),
        ("GET", "/", {"host": "127.0.0.1.evil.example:8765"}, "not the app's"),
        ("GET", "/", {"host": "["}, "not the app's"),
        ("POST", "/api/session", {"origin": "http://evil.example"}, "another site"),
        ("POST", "/api/session", {"origin": "http://127.0.0.1:9999"}, "another site"),
        ("POST", "/api/session", {"origin": "null"}, "another site"),
        ("GET", "/api/session", {"sec-fetch-site": "same-site"}, "another site"),
        ("GET", "/api/session", {"sec-fetch-site": "cross-site"}, "another site"),
    ],
)
def test_other_sites_are_kept_out(browser: Browser, method, path, headers, message):
    reply = browser.request(method, path, headers=headers)
    assert reply.status_code == 403
    assert message in reply.json()["error"]


def test_a_request_has_to_say_where_it_comes_from(browser: Browser):
    del browser.headers["origin"]
    assert browser.get("/api/session").status_code == 200
    assert browser.post("/api/session").status_code == 403


def test_nothing_comes_from_elsewhere(browser: Browser):
    reply = browser.get("/")
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert browser.get("/api/session").headers["cache-control"] == "no-store"
    for file in STATIC.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.|\bstyle=|\bon\w+=\"", text), file.name
        sent = browser.get(f"/static/{file.name}")
        assert sent.status_code == 200
    for path in re.findall(r'(?:href|src)="(static/[^"]+)"', reply.text):
        assert (STATIC.parent / path).is_file(), path


def test_no_pages_on_the_interface(browser: Browser):
    for path in ("/docs", "/redoc", "/openapi.json", "/static/../server.py", "/api/nothing"):
        reply = browser.get(path)
        assert reply.status_code == 404
        assert reply.json() == {"error": "Not Found"}


def test_no_telemetry_whatever_the_environment(model: Model, monkeypatch: pytest.MonkeyPatch):
    # With these the framework would look for exporters, and fail at this address.
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "no address")
    with Browser(create_app(model)) as client:
        assert client.post("/api/session").status_code == 200


def test_what_nobody_thought_of_is_told(browser: Browser, monkeypatch: pytest.MonkeyPatch, caplog):
    def fail(*_args):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("nucseg.app.image_routes.png", fail)
    image = browser.open()["image"]["id"]
    reply = browser.get(f"/api/images/{image}/picture")
    assert reply.status_code == 500
    assert "unforeseen went wrong (ZeroDivisionError)" in reply.json()["error"]
    assert "picture failed" in caplog.text


def test_low_confidence_is_said_with_the_nuclei(browser: Browser):
    image = browser.upload()["id"]
    told = browser.post(f"/api/images/{image}/segment", json={}).json()["confidence"]
    # The scores of this model do not tell.
    assert 0 < told["median_score"] <= 1
    assert (told["scale"], told["scale_source"], told["warnings"]) == (1, "none", [])
