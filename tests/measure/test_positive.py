import csv
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from nucseg.batch.measuring import write_positive
from nucseg.cli.main import app
from nucseg.core.stains import DAB, HAEMATOXYLIN, light, stain_matrix
from nucseg.errors import InputError
from nucseg.inference.confidence import Confidence, View
from nucseg.measure.positive import (
    measure_dab,
    positivity,
    stain_densities,
    threshold_from_control,
    wilson,
)
from nucseg.training.augment.stains import immunostain, immunostain_with_truth

# Optical densities of DAB of the nuclei, decimal logarithms; one of each class.
DENSITIES = (0.05, 0.3, 0.5, 0.9)


def labels() -> np.ndarray:
    drawn = np.zeros((20, 50), np.uint16)
    for number in range(4):
        drawn[5:15, 12 * number + 1 : 12 * number + 11] = number + 1
    return drawn


def stained() -> np.ndarray:
    dab = np.array([0.0, *DENSITIES])[labels()]
    amounts = np.stack([np.full(dab.shape, 0.1), dab, np.zeros(dab.shape)], axis=-1)
    vectors = stain_matrix(HAEMATOXYLIN, DAB)
    return np.asarray(light((amounts * np.log(10) @ vectors).astype(np.float32)))


def test_densities_come_back_of_any_depth():
    for image, tolerance in (
        (stained(), 1e-5),
        ((stained() * 65535 + 0.5).astype(np.uint16), 1e-3),
        ((stained() * 255 + 0.5).astype(np.uint8), 0.03),
    ):
        haematoxylin, dab = stain_densities(image)
        np.testing.assert_allclose(haematoxylin, 0.1, atol=tolerance)
        np.testing.assert_allclose(dab[labels() > 0].min(), 0.05, atol=tolerance)
        table, _ = measure_dab(labels(), image)
        np.testing.assert_allclose(table["dab_mean"], DENSITIES, atol=tolerance)
        assert table["dab_class"].tolist() == [0, 1, 2, 3]
    assert measure_dab(labels(), stained(), (0.6, 0.7, 0.8))[0]["dab_class"].tolist() == [
        0,
        0,
        0,
        3,
    ]


def test_a_dark_slide_is_doubted():
    assert measure_dab(labels(), stained())[1] == []
    (doubt,) = measure_dab(labels(), stained() * np.float32(0.5))[1]
    assert doubt.startswith("Densities doubtful: the brightest places have ")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.ones((4, 5)), r"this image has none: its shape is \(4, 5\)"),
        (np.ones((4, 5, 3), np.uint8), "this image has none"),
        (np.arange(60.0).reshape(4, 5, 3), "need light from 0 to 1"),
        (np.arange(60).reshape(4, 5, 3), "need light from 0 to 1"),
    ],
)
def test_what_is_no_light_in_colours_is_refused(image: np.ndarray, message: str):
    with pytest.raises(InputError, match=message):
        stain_densities(image)


def test_h_score_and_share_by_hand():
    found = positivity([np.repeat([0, 1, 2, 3], [40, 30, 20, 10])])
    assert found.counts == (40, 30, 20, 10)
    assert found.share == pytest.approx(0.6)
    assert found.h_score == pytest.approx(30 + 2 * 20 + 3 * 10)
    nothing = positivity([np.zeros(0, int)])
    assert nothing.nuclei == 0
    assert np.isnan([nothing.share, nothing.h_score, nothing.low, nothing.high]).all()


def test_wilson_is_that_of_statsmodels():
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for positive, total in ((0, 10), (3, 10), (60, 100), (10, 10)):
        theirs = proportion.proportion_confint(positive, total, method="wilson")
        np.testing.assert_allclose(wilson(positive, total), theirs, atol=1e-12)


def test_fields_that_differ_widen_the_interval():
    alike = positivity([np.repeat([0, 1], [50, 50])] * 4)
    assert (alike.low, alike.high) == wilson(200, 400), "never narrower than Wilson's"
    found = positivity([np.repeat([0, 1], [90, 10]), np.repeat([0, 1], [10, 90])])
    assert (found.low, found.high) == (0, 1)
    # By hand: hits off by 15, 5, 5 and 15, and Student's t of 3 degrees of freedom.
    fields = [np.repeat([0, 1], [100 - hits, hits]) for hits in (10, 20, 30, 40)]
    half = 3.182446 * np.sqrt((15**2 + 5**2 + 5**2 + 15**2) * 4 / 3) / 400
    found = positivity([*fields, np.zeros(0, int)])
    assert (found.low, found.high) == pytest.approx((0.25 - half, 0.25 + half), abs=1e-6)


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        shares = np.clip(rng.normal(0.3, 0.1, 8), 0, 1)
        found = positivity([(rng.random(150) < share).astype(int) for share in shares])
        covered += found.low <= 0.3 <= found.high
    assert covered / 400 > 0.92


def test_the_image_with_truth_is_that_without():
    image = np.random.default_rng(1).uniform(0.3, 1, (20, 50, 3)).astype(np.float32)
    for seed in range(6):
        made = immunostain_with_truth(image, labels(), np.random.default_rng(seed))
        same = immunostain(image, labels(), np.random.default_rng(seed))
        np.testing.assert_array_equal(made.image, same)
        assert made.positive.shape == (5,)
        assert not made.positive[0]
        negative = ~made.positive[labels()] & (labels() > 0)
        inside = np.isin(labels(), np.flatnonzero(made.positive))
        if inside.any() and negative.any():
            assert made.dab[inside].mean() > made.dab[negative].mean()
    none = immunostain_with_truth(image, labels(), np.random.default_rng(0), positive_share=0)
    assert not none.positive.any()


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("strength", [0.4, 1, 1.8])
def test_auto_tells_brown_from_blue_however_pale_the_staining_is(strength: float):
    # No nucleus, and of those one that is brown.
    blue = np.array([0, 0.4, 0.3, 0.05, 0.2])
    brown = np.array([0, 0.05, 0.02, 0.15, 0.1])
    amounts = np.stack([each[labels()] for each in (blue, brown, 0 * blue)], axis=-1) * strength
    image = light(np.float32(amounts * np.log(10)) @ stain_matrix(HAEMATOXYLIN, DAB)).astype("f4")
    table, _ = measure_dab(labels(), image, "auto")
    np.testing.assert_allclose(table["dab_share"], [1 / 9, 1 / 16, 3 / 4, 1 / 3], atol=0.01)
    assert (table["dab_class"] > 0).tolist() == [False, False, True, False]


def test_measure_writes_positive_csv(tmp_path: Path):
    for folder in ("labels", "images"):
        (tmp_path / folder).mkdir()
    for name in "ab":
        tifffile.imwrite(tmp_path / "labels" / f"{name}.tif", labels())
        pixels = (stained() * 255 + 0.5).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
    arguments = ["measure", str(tmp_path / "labels"), str(tmp_path / "images"), "-o",
                 str(tmp_path / "out")]  # fmt: skip
    result = CliRunner().invoke(app, [*arguments, "--dab"])
    assert result.exit_code == 0, result.output
    assert "Positive nuclei: 75.0% of 8" in result.stdout
    assert "H-score: 150 of 300." in result.stdout
    table = rows(tmp_path / "out" / "positive.csv")
    assert [(each["nuclei"], each["positive_share"], each["h_score"]) for each in table] == [
        ("4", "0.75", "150"), ("4", "0.75", "150"), ("8", "0.75", "150"),
    ]  # fmt: skip
    assert table[-1]["image"] == "all"
    result = CliRunner().invoke(app, [*arguments, "--dab", "--dab-thresholds", ".7,.8,.95"])
    assert "Positive nuclei: 25.0% of 8" in result.stdout
    result = CliRunner().invoke(app, [*arguments, "--dab", "--dab-thresholds", ".2,.4,.6"])
    assert "Positive nuclei: 75.0% of 8" in result.stdout
    result = CliRunner().invoke(app, [*arguments, "--dab", "--dab-thresholds", "otsu"])
    assert result.exit_code == 2
    assert "Wrong value of --dab-thresholds" in result.stderr
    result = CliRunner().invoke(app, [*arguments, "--dab", "--dab-thresholds", ".7,.7,.9"])
    assert result.exit_code == 2
    assert "dab_thresholds must rise" in result.stderr
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert not (tmp_path / "out" / "positive.csv").exists()


def test_images_of_mostly_false_nuclei_do_not_count_in_the_total(tmp_path: Path):
    fields = [np.array([0, 3]), np.array([3, 3, 3])]
    whole = write_positive(tmp_path, ["a", "b"], fields, left_out=[False, True])
    assert (whole.nuclei, whole.share) == (2, 0.5)
    table = rows(tmp_path / "positive.csv")
    assert [(each["nuclei"], each["in_total"]) for each in table] == [
        ("2", "yes"), ("3", "no"), ("2", ""),
    ]  # fmt: skip
    nothing = write_positive(tmp_path, ["a", "b"], fields, left_out=[True, True])
    assert nothing.nuclei == 0


@pytest.mark.parametrize(("median", "expected"), [(0.49, True), (0.5, False), (None, False)])
def test_nuclei_are_mostly_false_below_the_iou_of_a_hit(median: float | None, expected: bool):
    assert Confidence(median, 0, 0.74, View()).mostly_false is expected
    assert not Confidence(median, 0, None, View()).mostly_false


def test_segment_says_what_it_leaves_out_of_the_total(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("nucseg.inference.confidence.RIGHT_IOU", 1.0)
    pixels = np.full((160, 160, 3), (235, 225, 230), np.uint8)
    down, across = np.mgrid[:160, :160]
    for row, column in ((40, 40), (40, 120), (120, 40), (120, 120)):
        pixels[np.hypot(down - row, across - column) < 11] = (90, 80, 140)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    arguments = ["segment", str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--dab"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "1 image left out of the total" in result.stderr
    assert [each["in_total"] for each in rows(tmp_path / "out" / "positive.csv")] == ["no", ""]


def test_segment_writes_positive_csv(tmp_path: Path):
    pixels = (stained() * 255 + 0.5).astype(np.uint8)
    Image.fromarray(np.kron(pixels, np.ones((3, 3, 1), np.uint8))).save(tmp_path / "a.png")
    arguments = ["segment", str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--no-report"]
    result = CliRunner().invoke(app, [*arguments, "--dab"])
    assert result.exit_code == 0, result.output
    assert "Positive nuclei and H-scores: " in result.stdout
    table = rows(tmp_path / "out" / "positive.csv")
    nuclei = rows(tmp_path / "out" / "measurements.csv")
    assert [each["nuclei"] for each in table] == [str(len(nuclei))] * 2
    grey = CliRunner().invoke(app, [*arguments, "--dab", "--channel", "red"])
    assert grey.exit_code == 1
    assert "told apart by colours, and this image has none" in " ".join(grey.stderr.split())
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert not (tmp_path / "out" / "positive.csv").exists()


def test_a_control_gives_the_threshold():
    means = np.random.default_rng(0).normal(0.05, 0.02, 1000)
    found = threshold_from_control(means)
    assert (means > found).sum() == 10
    assert threshold_from_control(np.zeros(100)) == 0.05
    with pytest.raises(InputError, match="The control has 99 nuclei, expected at least 100"):
        threshold_from_control(means[:99])
