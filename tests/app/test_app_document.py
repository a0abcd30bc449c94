from pathlib import Path

import numpy as np
import pytest
from browser_client import nuclei_image

from nucseg.app.document import Document
from nucseg.config import Filtering
from nucseg.errors import InputError
from nucseg.inference.segmentation import Segmentation
from nucseg.inference.segmenter import Model
from nucseg.measure import measure

KEEP = Filtering(min_area=4)


@pytest.fixture
def image() -> np.ndarray:
    return nuclei_image()


@pytest.fixture
def found(model: Model, image: np.ndarray) -> Segmentation:
    return model.segment(image)


@pytest.fixture
def document(found: Segmentation, tmp_path: Path) -> Document:
    return Document(tmp_path / "pixels", found)


def check_table(document: Document) -> None:
    """The table that changes kept up to date is the one that measuring anew gives."""
    scores = document.table["score"]
    anew = measure(document.labels(), document.image(), scores=scores)
    for name, values in document.table.items():
        np.testing.assert_allclose(values, anew[name], err_msg=name)


def test_unfiltered_it_is_what_was_found(document: Document, found: Segmentation):
    result = document.segmentation(KEEP, pixel_size=(0.5, 0.5))
    assert (result.labels == found.labels).all()
    assert result.labels.dtype == found.labels.dtype
    assert (result.scores == found.scores).all()
    assert (result.probability == found.probability).all()
    assert result.measurements()["area_um2"].tolist() == (found.measurements()["area"] / 4).tolist()


@pytest.mark.parametrize(
    "changes",
    [
        {"min_area": 50},
        {"max_area": 60},
        {"border_nuclei": "drop"},
        {"min_score": 0.99999},
        {"min_area": 20, "max_area": 60, "border_nuclei": "drop"},
        {"min_area": 1000},
    ],
)
def test_filters_do_what_the_model_does(document: Document, model: Model, image, changes):
    direct = model.with_postprocessing(**changes).segment(image)
    result = document.segmentation(Filtering(**{"min_area": 4, **changes}), pixel_size=None)
    assert (result.labels == direct.labels).all()
    assert (result.scores == direct.scores).all()


def test_every_change_can_be_undone_and_done_again(document: Document):
    before = document.labels().copy()
    document.edit("delete", number=1)
    document.edit("draw", points=[(12, 2), (18, 2), (18, 8), (12, 8)])
    document.edit("split", points=[(26, 10), (26, 22)])
    check_table(document)
    after = document.labels().copy()
    assert document.edited == 3
    assert set(np.unique(after)) == {0, 2, 4, 5, 6}
    for _ in range(3):
        document.undo()
        check_table(document)
    assert (document.labels() == before).all()
    assert (document.can_undo, document.can_redo, document.edited) == (False, True, 0)
    for _ in range(3):
        document.redo()
    assert (document.labels() == after).all()
    assert (document.can_undo, document.can_redo) == (True, False)
    check_table(document)


def test_a_new_change_forgets_what_was_undone(document: Document):
    document.edit("delete", number=1)
    document.undo()
    document.edit("delete", number=2)
    with pytest.raises(InputError, match="no change to do again"):
        document.redo()


def test_there_is_nothing_to_undo(document: Document):
    with pytest.raises(InputError, match="no change to undo"):
        document.undo()


def test_a_change_that_fails_changes_nothing(document: Document):
    before = document.labels().copy()
    with pytest.raises(InputError):
        document.edit("split", points=[(0, 0), (1, 1)])
    assert (document.labels() == before).all()
    assert not document.can_undo


def test_what_is_made_by_hand_is_never_dropped(document: Document):
    document.edit("draw", points=[(38, 20), (40, 20), (40, 22), (38, 22)])
    strict = Filtering(min_score=1, min_area=500, max_area=501, border_nuclei="drop")
    result = document.segmentation(strict, pixel_size=None)
    assert result.count == 1
    assert result.scores.tolist() == [1]
    assert (result.labels[20:22, 38:40] == 1).all()


def test_deleting_all_leaves_no_nuclei(document: Document):
    for number in (1, 2, 3):
        document.edit("delete", number=number)
    result = document.segmentation(KEEP, pixel_size=None)
    assert result.count == 0
    assert not result.labels.any()
    assert len(result.measurements()["area"]) == 0
