from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from nucseg.config import Scoring
from nucseg.inference.confidence import (
    Confidence,
    View,
    clearly_better,
    confidence,
    confidence_from,
    median_is_low,
)
from nucseg.inference.loading import load_model


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_all_nuclei_found_count_whatever_the_filters_drop():
    found = confidence(scores(0.2, 0.9, 0.3, 0.95), 2, 0.74, View(0.5, "estimate", 60))
    assert found == Confidence(0.6, 0.5, 0.74, View(0.5, "estimate", 60))
    assert found.low
    (text,) = found.warnings()
    assert text.startswith("Low confidence: the median score of the nuclei found is 0.60, and")


@pytest.mark.parametrize(("values", "limit"), [((0.9, 0.8), 0.74), ((0.1, 0.2), None), ((), 0.74)])
def test_confident_images_and_those_that_cannot_be_told_get_no_warning(values, limit):
    found = confidence(scores(*values), len(values), limit, View())
    assert not found.low
    assert found.warnings() == []


def test_no_nuclei_have_no_median():
    assert confidence(scores(), 0, 0.74, View()).median_score is None
    assert not median_is_low(scores(), 0.74)


def test_what_is_written_is_read_back():
    found = confidence(scores(0.5), 1, 0.74, View(2.0, "scores", 7.5))
    assert confidence_from(asdict(found)) == found
    assert confidence_from(None) is None


@pytest.mark.parametrize(
    ("score", "area", "better"),
    [(0.8, 900, True), (0.54, 900, False), (0.8, 30, False), (0.3, 90_000, False)],
)
def test_a_scale_is_better_by_scores_and_by_area(score: float, area: int, better: bool):
    current = scores(0.5, 0.5, 0.5), np.array([20, 20, 20])
    found = clearly_better((scores(score, 0.1), np.array([area, 5])), current)
    assert (found is not None) == better


def test_any_credible_nucleus_is_better_than_none():
    none = scores(), np.zeros(0, int)
    assert clearly_better((scores(0.8), np.array([40])), none) is not None
    assert clearly_better(none, none) is None


def test_models_whose_scores_do_not_tell_have_no_limit(bright_model: Path):
    model = load_model(bright_model, threads=1)
    image = np.zeros((40, 40), np.uint8)
    image[10:20, 10:20] = 140
    found = model.segment(image).confidence
    assert (found.median_score, found.limit, found.low) == (
        pytest.approx(0.73, abs=0.1),
        None,
        False,
    )


def test_the_limit_is_in_the_card(bright_instance_model: Path):
    model = load_model(bright_instance_model, threads=1)
    scoring = Scoring(weights=(0.0,) * 7, bias=0.0, confident_from=0.6)
    sure = replace(model, card=model.card.model_copy(update={"scoring": scoring}))
    image = np.zeros((40, 40), np.uint8)
    image[10:20, 10:20] = 250
    found = sure.segment(image).confidence
    assert (found.median_score, found.limit, found.low) == (0.5, 0.6, True)
