"""Names of uploads, the command line, runs of labels, pictures, sessions."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.app.command import as_line, differences, segment_arguments
from nucseg.app.labels import runs
from nucseg.app.picture import png
from nucseg.app.requests import NetworkRun
from nucseg.app.sessions import Sessions
from nucseg.app.uploads import UPLOAD_SUFFIXES, TooLargeError, free_name, safe_name
from nucseg.config import App, ConnectedComponents, Filtering, Scaling
from nucseg.errors import InputError
from nucseg.export.overlay import display_image


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        ("a.png", "a.png"),
        ("../../etc/a.png", "a.png"),
        ("C:\\plates\\b.TIF", "b.TIF"),
        ('a"<b>\n|.png', "a__b___.png"),
        ("con.png", "_con.png"),
        ("ä" * 200 + ".tif", "ä" * 58 + ".tif"),
    ],
)
def test_names_are_made_safe(given_name, expected):
    assert safe_name(given_name) == expected


@pytest.mark.parametrize("name", ["list.csv", "a.mrxs", "a.vms", "a.txt", "png", "", "..", ".png"])
def test_names_that_are_not_taken(name):
    # A list of paths would make the server read files of its own.
    with pytest.raises(InputError, match="not taken"):
        safe_name(name)


@given(st.text(max_size=300))
def test_a_safe_name_is_a_name(text):
    name = safe_name(f"{text}a.png")
    assert 4 < len(name.encode()) <= 121
    assert not set(name) & set('/\\:*?"<>|\0')
    assert name[-4:] in UPLOAD_SUFFIXES


def test_no_two_files_have_one_name():
    assert free_name("A.png", {"a.png", "A (2).png"}) == "A (3).png"
    assert free_name("b.png", {"a.png"}) == "b.png"


def test_command_tells_what_differs_from_the_defaults(model):
    filters = Filtering(min_score=0.5, min_area=30, max_area=900, border_nuclei="drop")
    run = NetworkRun(channel="DAPI", project="max", diameter=30, tta=True)
    arguments = segment_arguments(
        ["my image.tif"],
        model.card,
        run,
        filters,
        model="my model",
        formats=("labels", "rois"),
        pixel_size=0.25,
    )
    assert as_line(arguments) == (
        "nucseg segment 'my image.tif' -o out --model 'my model' --save labels,rois "
        "--channel DAPI --project max --pixel-size 0.25 --diameter 30 --min-score 0.5 "
        "--min-area 30 --max-area 900 --drop-border --tta"
    )
    plain = segment_arguments(
        ["a.png"],
        model.card,
        NetworkRun(),
        Filtering(min_area=4),
        model="nuclei",
        formats=(),
        pixel_size=None,
    )
    assert plain == ["nucseg", "segment", "a.png", "-o", "out"]


def test_notes_tell_what_the_command_does_not_do(model):
    filters = Filtering(min_area=4)
    assert differences(model.card, filters) == []
    told = " ".join(differences(model.card, filters, edited=2, plane="z001", sample=True))
    assert "2 changes by hand" in told
    assert "z001" in told
    assert "nucseg demo" in told
    update = {"scaling": Scaling(), "postprocessing": ConnectedComponents(min_area=5)}
    card = model.card.model_copy(update=update)
    assert "another scale" in differences(card, filters, edited=1)[1]
    assert "only measures" not in " ".join(differences(card, filters, pixel_size=0.5))
    by_size = card.model_copy(update={"scaling": Scaling(pixel_size=0.25)})
    assert "only measures" in differences(by_size, filters, pixel_size=0.5)[-1]
    assert "1 change by hand" in differences(card, filters, edited=1)[0]


@given(
    arrays(np.int32, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 3))
)
def test_runs_give_the_labels_back(labels):
    encoded = runs(labels).reshape(-1, 2)
    assert (np.repeat(encoded[:, 0], encoded[:, 1]) == labels.ravel()).all()
    assert (encoded[1:, 0] != encoded[:-1, 0]).all()


@pytest.mark.parametrize("shape", [(700, 5), (600, 4, 3), (9, 9, 4), (9, 9, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pictures_are_those_of_overlays(shape, dtype):
    image = (np.random.default_rng(0).random(shape) * 200).astype(dtype)
    shown = cv2.imdecode(np.frombuffer(png(image), np.uint8), cv2.IMREAD_COLOR)
    assert (shown[..., ::-1] == display_image(image)).all()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_sessions_end_when_nobody_uses_them(temporary):
    clock = Clock()
    sessions = Sessions(temporary, App(idle=100), clock=clock)
    token, session = sessions.create()
    other, _ = sessions.create()
    (session.folder / "file").touch()
    clock.now = 90
    assert sessions.get(token) is session
    clock.now = 180
    assert sessions.get(other) is None
    assert sessions.end_idle() == 1
    assert list(temporary.iterdir()) == [session.folder]
    clock.now = 300
    assert sessions.get(token) is None
    assert sessions.end_idle() == 1
    assert list(temporary.iterdir()) == []


def test_tokens_are_secret(temporary):
    sessions = Sessions(temporary, App())
    tokens = {sessions.create()[0] for _ in range(20)}
    assert len(tokens) == 20
    assert min(map(len, tokens)) >= 40
    assert sessions.get("guess") is None
    assert sessions.get(None) is None
    # The place of the files does not tell the token.
    assert not any(token in folder.name for token in tokens for folder in temporary.iterdir())
    sessions.close()
    assert list(temporary.iterdir()) == []


def test_a_session_has_so_much_room(temporary):
    _, session = Sessions(temporary, App(max_session=0.001)).create()
    place = session.folder / "a"
    place.write_bytes(bytes(400))
    session.share.settle(place)
    with pytest.raises(TooLargeError, match=r"0\.001 MB"):
        session.share.hold(session.folder / "b", 601)
    session.share.hold(session.folder / "b", 600)
    assert session.share.used == 1000
    # What is there is counted in place of what was expected.
    session.share.settle(session.folder / "b")
    assert session.share.used == 400
    session.share.release(session.folder)
    assert session.share.used == 0
