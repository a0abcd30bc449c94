"""Going on from a trained model with a few images of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nucseg.config import FINE_TUNING, FINE_TUNING_CROPS, RECIPES, Training
from nucseg.datasets.samples import Dataset
from nucseg.errors import InputError
from nucseg.images.colours import has_bright_background
from nucseg.inference.keras_runtime import load_keras
from nucseg.models.zoo import KERAS, find_model, listed_file, read_card

if TYPE_CHECKING:
    import keras

# Of so many images at most it is told whether their background is bright.
_LOOKED_AT = 20


def fine_tuning(name: str, *, relearn: bool = False) -> Training:
    """Choose the settings by which a trained model goes on learning.

    Parameters
    ----------
    name : str
        Name of a bundled model, or the folder of a trained one.
    relearn : bool
        Train as the recipe would train a new network, rather than in small steps.

    Returns
    -------
    Training
        Its recipe with its own network, preprocessing and step from maps to nuclei, and the
        changes of `nucseg.config.FINE_TUNING` unless all is learned anew.

    Raises
    ------
    InputError
        The model came without its Keras file.
    ModelError
        There is no such model, or it is broken.
    """
    card = read_card(find_model(name))
    if KERAS not in card.files or card.network is None:
        raise InputError(
            f"The model {card.name} has no {KERAS} to go on from. Give the folder of a training "
            "run, or a bundled model that has one: nucseg models."
        )
    own: dict[str, Any] = {
        "start_from": name,
        "encoder_weights": "none",
        "network": card.network,
        "preprocessing": card.preprocessing,
        "postprocessing": card.postprocessing,
        "relearn": relearn,
    }
    recipe = RECIPES[card.recipe]
    if relearn:
        return recipe.model_copy(update=own)
    if recipe.crops is not None:
        own["crops"] = recipe.crops.model_copy(update={"per_epoch": FINE_TUNING_CROPS})
    return recipe.model_copy(update={**FINE_TUNING, **own})


def suited_start(name: str, dataset: Dataset) -> str:
    """Choose of two models in one, for dark and for bright backgrounds, that for some images.

    Parameters
    ----------
    name : str
        As for `fine_tuning`.
    dataset : Dataset
        A few of its images are looked at.

    Returns
    -------
    str
        `name`, or that of the model for bright backgrounds if most of the images have one.

    Raises
    ------
    InputError
        An image cannot be read.
    ModelError
        There is no such model, or it is broken.
    """
    bright = read_card(find_model(name)).bright
    if bright is None:
        return name
    step = -(-len(dataset.image_ids) // _LOOKED_AT)
    ids = dataset.image_ids[::step]
    seen = [has_bright_background(dataset.read(image_id).pixels) for image_id in ids]
    return f"{name}/{bright}" if sum(seen) * 2 > len(seen) else name


def blended(model: keras.Model, settings: Training) -> None:
    """Bring the weights of a network that has gone on part of the way back to where it began.

    Between the two lie networks that know nearly as much of the new and have forgotten less of the
    old (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv 2109.01903).

    Parameters
    ----------
    model : keras.Model
        Its weights are changed.
    settings : Training
        With a model to start from.
    """
    before = starting_network(settings).get_weights()
    share = settings.blend
    model.set_weights([
        share * after + (1 - share) * old
        for after, old in zip(model.get_weights(), before, strict=True)
    ])  # fmt: skip


def starting_network(settings: Training) -> keras.Model:
    """Load the network to go on from.

    Parameters
    ----------
    settings : Training
        With a model to start from.

    Returns
    -------
    keras.Model
        Unless all is learned anew, its normalizations keep their statistics: a few images say too
        little of them, and what the network knew of others would be lost.

    Raises
    ------
    InputError
        The settings describe another network than the model's.
    ModelError
        There is no such model, or it has no Keras file.
    MissingExtraError
        Keras is not installed.
    """
    folder = find_model(str(settings.start_from))
    card = read_card(folder)
    for name in ("network", "preprocessing"):
        if getattr(settings, name) != getattr(card, name):
            raise InputError(
                f"The settings of {name} are not those of the model {card.name} to go on from. "
                "Leave them out, or train a new model."
            )
    network = load_keras(listed_file(folder, card, KERAS))
    import keras

    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = settings.relearn
    return network
