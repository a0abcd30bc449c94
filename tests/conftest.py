import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from nucseg.config import (
    INSTANCE_MAPS,
    ConnectedComponents,
    Postprocessing,
    Preprocessing,
    UNet,
    Watershed,
)
from nucseg.models.zoo import ONNX, ModelCard, write_card

# Labels of this can be repeated; tests of devices choose others.
os.environ["NUCSEG_DEVICE"] = "cpu"
os.environ["NUCSEG_PRECISION"] = "f32"


# What a computer does besides decides how long an example takes.
settings.register_profile("nucseg", deadline=None)
settings.load_profile("nucseg")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the trainings: the longest last would leave the other workers idle."""
    items.sort(key=lambda item: "training" not in item.path.parts)


def write_bright_model(
    folder: Path,
    *,
    size: tuple[int, int] | None = None,
    channels: int = 1,
    name: str = "bright",
    postprocessing: Postprocessing | None = None,
    sign: int = 1,
) -> Path:
    """Write a model folder whose network is sigmoid(20 · (mean of the channels − 0.5)).

    Every map of it, of which there are `channels`, is the same. With the sign -1 dark pixels are
    nuclei.
    """
    from onnx import TensorProto, checker, helper, save

    folder.mkdir(parents=True, exist_ok=True)
    weights = np.full((channels, 3, 1, 1), sign * 20 / 3, np.float32)
    bias = np.full(channels, sign * -10, np.float32)
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "weights", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probability"]),
        helper.make_node("Transpose", ["probability"], ["maps"], perm=[0, 2, 3, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["n", "h", "w", channels])],
        [
            helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.ravel()),
            helper.make_tensor("bias", TensorProto.FLOAT, bias.shape, bias),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    save(model, folder / ONNX)
    card = ModelCard(
        name=name,
        description="Calls bright pixels nuclei.",
        network=UNet(outputs=INSTANCE_MAPS[:channels]),
        preprocessing=Preprocessing(size=size, percentiles=None),
        postprocessing=postprocessing or ConnectedComponents(min_area=4),
        licence="BSD-3-Clause",
        figures={"dice": 0.5},
        files={ONNX: ""},
    )
    write_card(folder, card)
    return folder


@pytest.fixture(scope="session")
def bright_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folder that calls pixels brighter than half their range nuclei, at full size."""
    return write_bright_model(tmp_path_factory.mktemp("models") / "bright")


@pytest.fixture(scope="session")
def bright_instance_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folder as `bright_model` that gives the maps of the instance recipe."""
    folder = tmp_path_factory.mktemp("models") / "bright-instance"
    return write_bright_model(
        folder, channels=5, name="bright-instance", postprocessing=Watershed(min_area=4)
    )


@pytest.fixture(scope="session")
def bright_model_32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folder as `bright_model` that resizes images to 32 by 32."""
    return write_bright_model(tmp_path_factory.mktemp("models") / "bright32", size=(32, 32))
