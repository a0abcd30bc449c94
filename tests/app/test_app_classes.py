"""Classes of nuclei by clicks: what the server learns from marks."""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser_client import Browser, nuclei_image, png

from nucseg import classes
from nucseg.app.marking import Marking
from nucseg.app.server import create_app
from nucseg.config import App
from nucseg.inference.segmenter import Model


def squares(seed: int = 0) -> np.ndarray:
    """Bright squares of two sizes, twelve of either, with numbers along the rows."""
    rng = np.random.default_rng(seed)
    image = np.zeros((96, 96), np.uint8)
    for place, size in enumerate(rng.permutation([9, 4] * 12)):
        row, column = 3 + 18 * (place // 5), 3 + 18 * (place % 5)
        image[row : row + size, column : column + size + 1] = rng.integers(200, 255)
    return image


@pytest.fixture
def browser(model: Model) -> Iterator[Browser]:
    with Browser(create_app(model, App(model="bright", max_images=4))) as client:
        client.begin()
        yield client


def opened(browser: Browser, seed: int = 0, name: str = "a.png") -> tuple[str, dict[int, str]]:
    """Open an image; gives its id and which of its nuclei are large and small."""
    reply = browser.open(name, png(squares(seed)))
    columns = reply["columns"]
    kinds = ["large" if area > 50 else "small" for area in columns["area"]]
    return reply["image"]["id"], dict(zip(columns["label"], kinds, strict=True))


def post(browser: Browser, place: str, **json: object) -> dict:
    reply = browser.post(f"/api/classes{place}", json=json)
    assert reply.status_code == 200, reply.text
    return reply.json()


def refused(browser: Browser, place: str, **json: object) -> str:
    reply = browser.post(f"/api/classes{place}", json=json)
    assert reply.status_code == 422, reply.text
    return reply.json()["error"]


IDS = {"small": 1, "large": 2}


def named(browser: Browser, **kinds: int) -> dict:
    wanted = [{"id": number, "name": name} for name, number in (kinds or IDS).items()]
    return post(browser, "/names", classes=wanted)


def mark_some(browser: Browser, image: str, truth: dict[int, str], each: int = 3) -> dict:
    for kind, number in IDS.items():
        for label in [label for label, told in truth.items() if told == kind][:each]:
            told = post(browser, "/marks", image=image, number=label, kind=number)
    return told


def test_a_session_begins_with_two_classes_and_no_mark(browser):
    told = browser.get("/api/classes").json()
    assert [(each["id"], each["name"], each["marks"]) for each in told["classes"]] == [
        (1, "class 1", 0),
        (2, "class 2", 0),
    ]
    assert told["accuracy"] is None
    assert told["lacking"] == "Mark 3 more of class 1 and 3 more of class 2."
    assert not told["can_undo"]


def test_all_nuclei_get_classes_as_soon_as_each_class_has_three_marks(browser):
    image, truth = opened(browser)
    named(browser)
    told = mark_some(browser, image, truth, each=2)
    assert told["lacking"] == "Mark 1 more of small and 1 more of large."
    assert told["image"]["labels"] == []
    told = mark_some(browser, image, truth)
    assert told["lacking"] == ""
    names = list(IDS)
    found = {
        label: names[number]
        for label, number in zip(told["image"]["labels"], told["image"]["numbers"], strict=True)
    }
    assert found == truth
    assert all(0.5 <= each <= 1 for each in told["image"]["probabilities"])
    accuracy = told["accuracy"]
    assert (accuracy["right"], accuracy["of"], accuracy["commonest"]) == (6, 6, 0.5)
    assert accuracy["told"] == "6 of 6 marked nuclei right (100 %, 95 % interval 61 to 100 %)"
    assert len(told["image"]["marked"]) == 6


def test_marks_of_several_images_count_together(browser):
    first, truth = opened(browser)
    second, others = opened(browser, 1, "b.png")
    named(browser)
    mark_some(browser, first, {n: kind for n, kind in truth.items() if kind == "small"})
    told = mark_some(browser, second, {n: kind for n, kind in others.items() if kind == "large"})
    assert told["accuracy"]["of"] == 6
    assert [each["marks"] for each in told["classes"]] == [3, 3]
    assert len(told["image"]["marked"]) == 3
    shown = browser.get("/api/classes", params={"image": first}).json()
    assert len(shown["image"]["labels"]) == 24
    browser.delete(f"/api/images/{second}")
    told = browser.get("/api/classes", params={"image": first}).json()
    assert [each["marks"] for each in told["classes"]] == [3, 0]
    assert told["accuracy"] is None


def test_marks_are_changed_taken_away_and_taken_back(browser):
    image, truth = opened(browser)
    label = next(iter(truth))
    place = {"image": image, "number": label}
    post(browser, "/marks", **place, kind=1)
    told = post(browser, "/marks", **place, kind=2)
    assert told["image"]["marked"] == {str(label): 2}
    assert post(browser, "/marks", **place, kind=None)["image"]["marked"] == {}
    assert post(browser, "/undo", image=image)["image"]["marked"] == {str(label): 2}
    assert post(browser, "/undo", image=image)["image"]["marked"] == {str(label): 1}
    told = post(browser, "/undo", image=image)
    assert (told["image"]["marked"], told["can_undo"]) == ({}, False)
    assert refused(browser, "/undo", image=image) == "There is no mark to take back."


def test_marks_follow_changes_by_hand(browser):
    image, truth = opened(browser)
    named(browser)
    mark_some(browser, image, truth)
    label = next(label for label, kind in truth.items() if kind == "large")
    browser.post(f"/api/images/{image}/edits", json={"kind": "delete", "number": label})
    told = browser.get("/api/classes", params={"image": image}).json()
    assert [each["marks"] for each in told["classes"]] == [3, 2]
    assert told["lacking"] == "Mark 1 more of large."
    browser.post(f"/api/images/{image}/history/undo")
    told = browser.get("/api/classes", params={"image": image}).json()
    assert told["accuracy"]["of"] == 6
    box = [(60, 80), (90, 80), (90, 94), (60, 94)]
    browser.post(f"/api/images/{image}/edits", json={"kind": "draw", "points": box})
    told = browser.get("/api/classes", params={"image": image}).json()
    assert len(told["image"]["labels"]) == 25


def test_another_run_of_the_network_begins_without_marks(browser):
    image, truth = opened(browser)
    mark_some(browser, image, truth)
    browser.post(f"/api/images/{image}/segment", json={})
    told = browser.get("/api/classes", params={"image": image}).json()
    assert (told["image"]["marked"], told["accuracy"]) == ({}, None)


def test_classes_are_renamed_added_and_removed(browser):
    image, truth = opened(browser)
    named(browser)
    mark_some(browser, image, truth)
    told = named(browser, tiny=1, huge=2)
    assert [(each["name"], each["marks"]) for each in told["classes"]] == [("tiny", 3), ("huge", 3)]
    told = named(browser, tiny=1, huge=2, debris=3)
    assert told["lacking"] == "Mark 3 more of debris."
    assert len({tuple(each["colour"]) for each in told["classes"]}) == 3
    told = named(browser, tiny=1)
    assert told["lacking"] == "Name two classes or more."
    told = named(browser, tiny=1, huge=2)
    assert [each["marks"] for each in told["classes"]] == [3, 0]


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ([(1, "a"), (2, "A")], "Two classes are called"),
        ([(1, " ")], "cannot be called ''"),
        ([(1, "a"), (1, "b")], "the same id"),
        ([(n, f"c{n}") for n in range(1, 10)], "at most 8 classes"),
        ([(n, f"c{n}") for n in range(1, 30)], "at most 20 items"),
        ([(0, "a")], "greater than or equal to 1"),
    ],
)
def test_names_that_are_refused(browser, kinds, message):
    wanted = [{"id": number, "name": name} for number, name in kinds]
    assert message in refused(browser, "/names", classes=wanted)
    assert browser.get("/api/classes").json()["classes"][0]["name"] == "class 1"


def test_marks_that_are_refused(browser):
    image, _ = opened(browser)
    assert "no nucleus 999" in refused(browser, "/marks", image=image, number=999, kind=1)
    assert "no such class" in refused(browser, "/marks", image=image, number=1, kind=7)
    waiting = browser.upload("b.png", png(squares()))["id"]
    assert "no nucleus 1" in refused(browser, "/marks", image=waiting, number=1, kind=1)
    reply = browser.post("/api/classes/marks", json={"image": "none", "number": 1, "kind": 1})
    assert reply.status_code == 404
    assert "Nothing is learned yet. Mark 3 more" in refused(browser, "/next", filters={})
    reply = browser.get("/api/classes/file")
    assert reply.status_code == 422
    assert "Nothing is learned yet." in reply.json()["error"]


def test_other_sites_and_other_sessions_mark_nothing(browser, model):
    image, _ = opened(browser)
    place = {"image": image, "number": 1, "kind": 1}
    foreign = browser.post(
        "/api/classes/marks", json=place, headers={"origin": "http://evil.example"}
    )
    assert foreign.status_code == 403
    browser.cookies.clear()
    assert browser.post("/api/classes/marks", json=place).status_code == 401
    browser.begin()
    assert browser.post("/api/classes/marks", json=place).status_code == 404


def test_uncertain_nuclei_come_first_and_not_twice(browser):
    image, truth = opened(browser)
    named(browser)
    mark_some(browser, image, truth)
    other, _ = opened(browser, 1, "b.png")
    seen, margins = [], []
    for _ in range(5):
        found = post(browser, "/next", filters={}, seen=seen)
        shown = browser.get("/api/classes", params={"image": found["image"]}).json()["image"]
        assert str(found["number"]) not in shown["marked"]
        margins.append(shown["probabilities"][shown["labels"].index(found["number"])])
        seen.append((found["image"], found["number"]))
    assert len(set(seen)) == 5
    assert margins == sorted(margins)
    # Those that the filters drop are not shown.
    found = post(browser, "/next", filters={"max_area": 30}, seen=[])
    assert (
        browser.get(f"/api/images/{found['image']}").json()["columns"]["area"][found["number"] - 1]
        <= 30
    )
    everything = [(name, number) for name in (image, other) for number in range(1, 25)]
    assert post(browser, "/next", filters={}, seen=everything) == {"image": None, "number": 0}


def test_an_image_with_other_channels_gets_no_classes_but_says_why(browser):
    image, truth = opened(browser)
    named(browser)
    mark_some(browser, image, truth)
    colour = np.stack([squares(), squares() // 2 + 100, squares()], axis=-1)
    other = browser.open("colour.png", png(colour))["image"]["id"]
    told = browser.get("/api/classes", params={"image": other}).json()
    assert told["image"]["labels"] == []
    assert "trained on images with 1 channel" in told["image"]["warnings"][0]
    assert told["accuracy"]["of"] == 6
    # Marks in both cannot be learned from together.
    for number in (1, 2):
        told = post(browser, "/marks", image=other, number=1, kind=number)
    assert "trained on images with" in told["lacking"]
    assert told["accuracy"] is None


def test_the_file_is_what_the_command_line_applies(browser, tmp_path: Path):
    image, truth = opened(browser)
    named(browser)
    mark_some(browser, image, truth)
    reply = browser.get("/api/classes/file")
    assert reply.headers["content-type"].startswith("application/json")
    (tmp_path / "classes.json").write_text(reply.text, encoding="utf-8")
    classifier = classes.load(tmp_path / "classes.json")
    assert classifier.names == ("small", "large")
    assert classifier.accuracy.of == 6
    told = browser.post(f"/api/images/{image}/command", json={"filters": {}}).json()
    assert "--classes classes.json" in told["command"]
    assert "Save the classes as classes.json first." in told["notes"]


def test_results_have_the_classes(browser):
    image, truth = opened(browser)
    named(browser)
    mark_some(browser, image, truth)
    other = browser.open(
        "three.png", png(np.stack([nuclei_image()] * 2 + [nuclei_image() // 2], -1))
    )
    wanted = [{"image": each, "filters": {}} for each in (image, other["image"]["id"])]
    reply = browser.post("/api/results", json={"images": wanted, "formats": ["overlays"]})
    assert reply.status_code == 200, reply.text
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        table = list(csv.DictReader(archive.read("measurements.csv").decode().splitlines()))
        images = list(csv.DictReader(archive.read("images.csv").decode().splitlines()))
        record = json.loads(archive.read("run.json"))
    mine = [row for row in table if row["image"] == "a.png"]
    assert [row["class"] for row in mine] == list(truth.values())
    assert {row["class"] for row in table if row["image"] != "a.png"} == {""}
    assert (images[0]["class_small"], images[0]["class_large"]) == ("12", "12")
    assert images[1]["class_small"] == ""
    assert [each["name"] for each in record["classes"]["classes"]] == ["small", "large"]
    assert "1 channel" in record["images"]["three"]["without_classes"]


def test_pixel_sizes_of_files_are_learned(browser):
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(
        file,
        squares(),
        metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5},
        ome=True,
    )
    reply = browser.open("a.ome.tif", file.getvalue())
    image, columns = reply["image"]["id"], reply["columns"]
    truth = {
        label: "large" if area > 50 else "small"
        for label, area in zip(columns["label"], columns["area"], strict=True)
    }
    named(browser)
    mark_some(browser, image, truth)
    assert browser.get("/api/classes/file").json()["pixel_size"] == [0.5, 0.5]


def test_nothing_is_learned_twice(browser, monkeypatch: pytest.MonkeyPatch):
    image, truth = opened(browser)
    named(browser)
    mark_some(browser, image, truth)
    learned = []
    learn = Marking._learn
    monkeypatch.setattr(Marking, "_learn", lambda *given: learned.append(1) or learn(*given))
    for _ in range(3):
        browser.get("/api/classes", params={"image": image})
    assert learned == []
    post(browser, "/undo", image=image)
    assert learned == [1]


def test_a_saved_file_is_loaded_back_until_marks_teach_others(browser):
    image, truth = opened(browser)
    named(browser)
    mark_some(browser, image, truth)
    text = browser.get("/api/classes/file").text
    other, others = opened(browser, 1, "b.png")
    named(browser, first=4, second=5)
    told = post(browser, "/file", image=other, name="classes.json", text=text)
    assert [(each["id"], each["name"], each["marks"]) for each in told["classes"]] == [
        (1, "small", 0),
        (2, "large", 0),
    ]
    assert told["accuracy"]["told"].startswith("6 of 6 marked nuclei right")
    assert told["lacking"].startswith("These classes are from a file. To learn others: Mark 3 more")
    pairs = zip(told["image"]["labels"], told["image"]["numbers"], strict=True)
    assert {label: list(IDS)[number] for label, number in pairs} == others
    assert browser.get("/api/classes/file").text == text
    # Marks of each class teach others; other names have learned nothing.
    told = mark_some(browser, other, others, each=4)
    assert told["accuracy"]["of"] == 8
    assert told["lacking"] == ""
    told = named(browser, tiny=1, huge=2)
    assert told["accuracy"]["of"] == 8
    post(browser, "/file", text=text)
    assert named(browser, tiny=1, huge=2)["accuracy"] is None


def test_what_is_no_file_of_classes_is_refused_and_changes_nothing(browser):
    assert "x.json is no file of classes" in refused(browser, "/file", name="x.json", text="{")
    assert "is no file of classes" in refused(browser, "/file", text='{"format": "other"}')
    wrong = '{"format": "nucseg classes"}'
    assert "is no usable file of classes" in refused(browser, "/file", text=wrong)
    assert browser.get("/api/classes").json()["classes"][0]["name"] == "class 1"
