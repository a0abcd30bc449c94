import pytest
from pydantic import ValidationError

from nucseg.config import Augmentation, Preprocessing, Training, UNet


def test_the_classic_recipe_is_the_default():
    settings = Training()
    assert (settings.epochs, settings.batch_size) == (40, 64)
    assert settings.preprocessing.size == (128, 128)
    assert settings.network.batch_norm_momentum == 0.9


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValidationError, match="epoch"):
        Training.model_validate({"epoch": 3})


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Training().epochs = 3


@pytest.mark.parametrize("percentiles", [(5, 5), (-1, 50), (10, 101), (90, 10)])
def test_percentiles_must_rise(percentiles):
    with pytest.raises(ValidationError, match="must rise from 0 to 100"):
        Preprocessing(percentiles=percentiles)


@pytest.mark.parametrize("size", [(100, 128), (0, 0), (16, 32)])
def test_the_network_size_must_be_multiples_of_32(size):
    with pytest.raises(ValidationError, match="multiples of 32"):
        Preprocessing(size=size)


@pytest.mark.parametrize("zoom", [(0, 1), (2, 1)])
def test_zoom_must_rise(zoom):
    with pytest.raises(ValidationError, match="two rising factors"):
        Augmentation(zoom=zoom)


def test_every_setting_has_a_help_text():
    for group in (Training, Preprocessing, UNet, Augmentation):
        for name, field in group.model_fields.items():
            nested = isinstance(field.default, (Preprocessing, UNet, Augmentation)) or (
                name == "postprocessing"
            )
            assert nested or field.description, name


def test_only_a_model_that_goes_on_can_learn_anew():
    with pytest.raises(ValidationError, match=r"Only a model that goes on \(--from\) can learn"):
        Training(relearn=True)
    assert Training(relearn=True, start_from="nuclei").relearn
