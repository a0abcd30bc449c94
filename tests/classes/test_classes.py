import json
from pathlib import Path

import numpy as np
import pytest

from nucseg import classes
from nucseg.classes import Accuracy, Classifier
from nucseg.classes.classifier import ABOUT
from nucseg.classes.features import feature_names, feature_values
from nucseg.datasets.synthetic import synthetic_image
from nucseg.errors import InputError
from nucseg.measure import measure

Table = dict[str, np.ndarray]


def table(seed: int = 0, nuclei: int = 40) -> Table:
    """Nuclei of two sizes: those above 200 pixels, and smaller ones."""
    rng = np.random.default_rng(seed)
    area = np.where(
        rng.random(nuclei) < 0.5, rng.normal(100, 12, nuclei), rng.normal(400, 40, nuclei)
    )
    return {
        "label": np.arange(1, nuclei + 1),
        "centroid_row": rng.uniform(0, 500, nuclei),
        "area": area,
        "perimeter": 3.6 * np.sqrt(area) * rng.normal(1, 0.02, nuclei),
        "solidity": rng.uniform(0.9, 1, nuclei),
        "intensity_mean": rng.normal(120, 20, nuclei),
        "intensity_max": rng.normal(200, 20, nuclei),
    }


def truth(of: Table) -> np.ndarray:
    return np.where(of["area"] > 200, "large", "small")


def marks(of: Table, count: int = 10) -> list[str]:
    told = truth(of)
    return [str(told[place]) if place < count else "" for place in range(len(told))]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return classes.fit([table()], [marks(table())])


def test_marks_of_several_images_count_together(classifier):
    first, second = table(), table(1)
    alone = classes.fit([first, second], [marks(first, 9), [""] * 40])
    both = classes.fit([first, second], [marks(first, 9), marks(second, 5)])
    assert (alone.images, both.images) == (1, 2)
    assert (alone.accuracy.of, both.accuracy.of) == (9, 14)
    assert both.nuclei == 80
    unseen = table(2)
    assert (both.predict(unseen).classes == truth(unseen)).all()


def test_the_classes_keep_their_given_order():
    found = classes.fit([table()], [marks(table())], classes=("small", "large"))
    assert found.names == ("small", "large")
    assert [each.marks for each in found.classes] == [
        marks(table()).count("small"),
        marks(table()).count("large"),
    ]


def test_accuracy_has_an_interval_and_a_confusion(classifier):
    accuracy = classifier.accuracy
    assert (accuracy.right, accuracy.of) == (10, 10)
    assert accuracy.low == pytest.approx(0.722, abs=1e-3)
    assert np.trace(accuracy.confusion) == 10
    assert accuracy.commonest == max(each.marks for each in classifier.classes) / 10
    assert accuracy.told() == "10 of 10 marked nuclei right (100 %, 95 % interval 72 to 100 %)"


def test_accuracy_of_classes_without_a_difference_is_that_of_guessing():
    rng = np.random.default_rng(5)
    told = [str(each) for each in rng.choice(["a", "b"], 40)]
    found = classes.fit([table()], [told])
    assert found.accuracy.share < 0.75
    assert found.accuracy.low < 0.5 < found.accuracy.high
    assert "10-fold" in found.accuracy.method


def test_neither_positions_nor_labels_are_features():
    image, labels = synthetic_image(np.random.default_rng(0), size=(96, 96), nuclei=6)
    measured = measure(labels, image[..., 0], scores=np.ones(labels.max()), pixel_size=(0.5, 0.5))
    assert feature_names(measured) == [
        "area",
        "perimeter",
        "major_axis",
        "minor_axis",
        "eccentricity",
        "solidity",
        "form_factor",
        "intensity_mean",
        "intensity_std",
    ]
    three = measure(labels, image * np.array([1, 0.5, 0.25]))
    assert [name for name in feature_names(three) if "mean" in name] == [
        "intensity_mean_0",
        "intensity_mean_1",
        "intensity_mean_2",
    ]


def test_missing_values_count_as_the_median(classifier):
    odd = table()
    odd["solidity"] = np.full(40, np.nan)
    odd["perimeter"][3] = np.inf
    odd["area"][4] = 0
    predicted = classifier.predict(odd)
    assert np.isfinite(predicted.probabilities).all()
    assert (predicted.classes == truth(table()))[5:].all()
    found = classes.fit([odd], [marks(table())])
    assert np.isfinite(found.predict(odd).probabilities).all()
    assert [each.spread for each in found.features if each.name == "solidity"] == [1.0]


def test_no_nuclei_have_no_classes(classifier):
    empty = {name: values[:0] for name, values in table().items()}
    predicted = classifier.predict(empty)
    assert len(predicted.classes) == 0
    assert predicted.counts() == {"small": 0, "large": 0}
    assert predicted.warnings() == []


def test_sizes_follow_the_pixel_size():
    half = table()
    half |= {"area": half["area"] / 4, "perimeter": half["perimeter"] / 2}
    found = classes.fit([table()], [marks(table())], pixel_sizes=[(0.25, 0.25)])
    assert found.pixel_size == (0.25, 0.25)
    same = found.predict(half, pixel_size=(0.5, 0.5))
    assert np.allclose(same.probabilities, found.predict(table()).probabilities)
    # Where a pixel size is not known, sizes are pixels.
    assert (found.predict(half).classes == "small").all()


def test_marks_at_two_pixel_sizes_are_brought_to_the_first():
    half = table()
    half |= {"area": half["area"] / 4, "perimeter": half["perimeter"] / 2}
    tables, told = [table(), half], [marks(table()), marks(table())]
    found = classes.fit(tables, told, pixel_sizes=[(0.25, 0.25), (0.5, 0.5)])
    assert found.accuracy.share == 1
    assert (found.predict(half, pixel_size=(0.5, 0.5)).classes == truth(table())).all()


def test_nuclei_unlike_those_of_the_training_are_a_warning(classifier):
    assert classifier.predict(table(7)).warnings() == []
    larger = table(7)
    larger |= {"area": larger["area"] * 60, "perimeter": larger["perimeter"] * 8}
    (told,) = classifier.predict(larger).warnings()
    assert told.startswith("Classes: perimeter of these nuclei is far from")
    assert "Mark nuclei of such images too." in told
    few = {name: values[:4] for name, values in larger.items()}
    assert classifier.predict(few).warnings() == []


def test_columns_counts_and_margins_say_the_same(classifier):
    predicted = classifier.predict(table())
    columns = predicted.columns()
    assert list(columns) == ["class", "class_probability"]
    assert (columns["class_probability"] == predicted.probabilities.max(axis=1)).all()
    assert sum(predicted.counts().values()) == 40
    assert predicted.counts()["large"] == np.count_nonzero(columns["class"] == "large")
    assert np.allclose(predicted.margin, 2 * predicted.probability - 1)


def test_a_file_gives_the_same_classes_and_explains_itself(classifier, tmp_path: Path):
    path = tmp_path / "classes.json"
    classes.save(classifier, path)
    assert classes.load(path) == classifier
    held = json.loads(path.read_text(encoding="utf-8"))
    assert held["about"] == ABOUT
    assert {each["name"]: each["marks"] for each in held["classes"]}.keys() == {"small", "large"}
    assert held["accuracy"]["of"] == 10
    assert held["versions"].keys() == {"nucseg", "numpy", "scipy", "python"}


def test_what_the_file_explains_is_what_is_done(classifier, tmp_path: Path):
    """Its sentence on how classes follow, by hand."""
    classes.save(classifier, tmp_path / "classes.json")
    held = json.loads((tmp_path / "classes.json").read_text())
    unseen = table(3)
    sums = np.tile(held["intercepts"], (40, 1))
    for feature in held["features"]:
        values = unseen[feature["name"]]
        values = np.log(values) if feature["transform"] == "log" else values
        values = (values - feature["median"]) / feature["spread"]
        sums += values[:, None] * np.array(feature["weights"])
    by_hand = np.exp(sums) / np.exp(sums).sum(axis=1, keepdims=True)
    assert np.allclose(by_hand, classifier.predict(unseen).probabilities)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ([["a"] * 40], "two classes or more, got 1"),
        ([[""] * 40], "two classes or more, got 0"),
        ([["a", "b", "b", "b", "a"] + [""] * 35], "'a' has 2 marked nuclei. Mark 3 or more"),
        ([["a"] * 4 + ["b"] * 4], "for each of 40 nuclei, got 8"),
        ([], "for each of 1 tables, got 0"),
        ([["a "] * 20 + ["b"] * 20], "cannot be called 'a '"),
    ],
)
def test_marks_that_teach_nothing(told, message):
    with pytest.raises(InputError, match=message):
        classes.fit([table()], told)


def test_a_mark_of_an_unknown_class():
    with pytest.raises(InputError, match="'large', which is none of the classes small, big"):
        classes.fit([table()], [marks(table())], classes=("small", "big"))


def test_a_table_without_features():
    with pytest.raises(InputError, match="none of the measurements that are features"):
        classes.fit([{"label": np.arange(6)}], [list("aaabbb")])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("",), "cannot be called ''"),
        (("a" * 41,), "1 to 40 characters"),
        (("a\nb",), "1 to 40 characters"),
        (("None",), "read as a missing value"),
        (("Mitotic", "mitotic"), "Two classes are called 'mitotic'"),
        (tuple("abcdefghi"), "at most 8 classes, got 9"),
    ],
)
def test_names_that_cannot_be_used(names, message):
    with pytest.raises(InputError, match=message):
        classes.check_names(names)


def test_another_number_of_channels_is_refused(classifier):
    two = table()
    two["intensity_mean_0"] = two["intensity_mean_1"] = two.pop("intensity_mean")
    with pytest.raises(
        InputError, match="images with 1 channel, and of this image 2 channels were measured"
    ):
        classifier.predict(two)
    found = classes.fit([two], [marks(table())])
    with pytest.raises(
        InputError, match="images with 2 channels, and of this image 1 channel was measured"
    ):
        found.predict(table())


def test_a_measurement_that_is_missing_is_refused(classifier):
    less = table()
    del less["solidity"]
    with pytest.raises(InputError, match="need the measurement solidity, .* area, perimeter"):
        classifier.predict(less)
    with pytest.raises(InputError, match="none that is a feature"):
        feature_values({"label": np.arange(3)}, ["area"])


def changed(classifier: Classifier, **changes: object) -> str:
    return json.dumps(classifier.model_dump(mode="json") | changes)


def test_files_that_are_none_of_classes(classifier, tmp_path: Path):
    path = tmp_path / "classes.json"
    weights = [
        {**each, "weights": [1.0]} for each in classifier.model_dump(mode="json")["features"]
    ]
    feature = classifier.model_dump(mode="json")["features"][0]
    twice = [{"name": "a", "marks": 3}, {"name": "A", "marks": 3}]
    for text, message in (
        ("{", "is no file of classes"),
        ("[]", "is no file of classes. Give a file"),
        ("{}", "is no file of classes. Give a file"),
        (changed(classifier, version=2), "version: Input should be 1"),
        (changed(classifier, extra=1), "extra: Extra inputs are not permitted"),
        (changed(classifier, features=weights), "needs 2 weights, one for each class"),
        (changed(classifier, features=[feature] * 2), "unknown or repeated features"),
        (changed(classifier, features=[{**feature, "name": "label"}]), "unknown or repeated"),
        (changed(classifier, features=[{**feature, "transform": "none"}]), "must be log"),
        (changed(classifier, features=[{**feature, "spread": 0}]), "greater than 0"),
        (changed(classifier, pixel_size=[0, 1]), "pixel_size must be above 0"),
        (changed(classifier, classes=twice), "Two classes are called"),
        (changed(classifier, intercepts=[float("nan"), 0]), "finite number"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            classes.load(path)
    with pytest.raises(InputError, match="Cannot read the classes .*: No such file"):
        classes.load(tmp_path / "missing.json")
    with pytest.raises(InputError, match="Cannot write"):
        classes.save(classifier, path / "below")


def test_accuracy_says_its_share():
    told = Accuracy(
        right=1, of=4, low=0.05, high=0.7, commonest=0.5, confusion=((1, 1), (2, 0)), method=""
    )
    assert told.share == 0.25
