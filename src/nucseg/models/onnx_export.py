"""Write a functional Keras model as ONNX, layer by layer.

Keras's own exporter needs the TensorFlow backend and fails on bilinear upsampling of inputs of
free size. A U-Net is a dozen kinds of stock layers, so nucseg writes them itself, from any Keras
backend, in the channels-first order that inference runtimes are fastest in, with each batch
normalization folded into the convolution before it. Kernels that half precision holds exactly are
stored in it; the runtime widens and folds them when it loads the file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nucseg.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    import keras

OPSET = 17
Weights = npt.NDArray[np.float32]


def write_onnx(model: keras.Model, path: Path, output_names: tuple[str, ...]) -> None:
    """Write a model of one input and one output as an ONNX file.

    Parameters
    ----------
    model : keras.Model
        Functional, channels last, made of stock convolution, normalization, activation,
        upsampling, padding, addition and concatenation layers.
    path : Path
        The file to write.
    output_names : tuple of str
        Names of the output channels, kept in the file's metadata.

    Raises
    ------
    MissingExtraError
        The onnx package is not installed.
    ModelError
        The model holds a layer that this writer does not know.

    Notes
    -----
    The graph takes ``image`` of shape (N, H, W, 3) and gives ``maps`` of shape (N, H, W, C), as
    the Keras model does; N, H and W are free where they are free in Keras.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("Writing ONNX", "train") from error
    graph = _Graph()
    graph.add("Transpose", ["image"], "image_nchw", perm=[0, 3, 1, 2])
    graph.names[id(model.inputs[0])] = "image_nchw"
    for layer in _in_order(model):
        graph.add_layer(layer)
    graph.add("Transpose", [graph.names[id(model.outputs[0])]], "maps", perm=[0, 2, 3, 1])

    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    sides = [side or name for side, name in zip(model.inputs[0].shape[1:3], "HW", strict=True)]
    channels = int(model.outputs[0].shape[-1])
    proto = helper.make_graph(
        [helper.make_node(**node) for node in graph.nodes],
        "nucseg",
        [helper.make_tensor_value_info("image", float32, ["N", *sides, 3])],
        [helper.make_tensor_value_info("maps", float32, ["N", *sides, channels])],
        [onnx.numpy_helper.from_array(value, name) for name, value in graph.weights.items()],
    )
    result = helper.make_model(
        proto, producer_name="nucseg", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8
    )
    helper.set_model_props(result, {"outputs": ",".join(output_names)})
    onnx.checker.check_model(result, full_check=True)
    onnx.save(result, str(path))


def _in_order(model: keras.Model) -> list[Any]:
    """Layers after the input, each behind those it reads from."""
    import keras

    by_depth = sorted(model._nodes_by_depth.items(), reverse=True)
    layers = [node.operation for _, nodes in by_depth for node in nodes]
    return [layer for layer in layers if not isinstance(layer, keras.layers.InputLayer)]


class _Graph:
    """Nodes and weights of the ONNX graph as they grow, and the name of each Keras tensor."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.weights: dict[str, npt.NDArray[Any]] = {}
        self.names: dict[int, str] = {}
        # Input and widths of each padding that is left to the convolution behind it.
        self.padded: dict[str, tuple[str, list[int]]] = {}

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(
            {"op_type": op, "inputs": inputs, "outputs": [output], "name": output, **attributes}
        )
        return output

    def constant(self, name: str, value: npt.ArrayLike, dtype: type = np.float32) -> str:
        self.weights[name] = np.ascontiguousarray(value, dtype)
        return name

    def kernel(self, name: str, value: npt.NDArray[Any]) -> str:
        half = value.astype(np.float16)
        if not np.array_equal(half, value):
            return self.constant(name, value)
        # 1 is TensorProto.FLOAT.
        return self.add("Cast", [self.constant(f"{name}_half", half, np.float16)], name, to=1)

    def add_layer(self, layer: Any) -> None:
        kind = type(layer).__name__
        writer = _WRITERS.get(kind)
        if writer is None:
            raise ModelError(
                f"The layer {layer.name} of type {kind} cannot be written as ONNX. "
                f"Known types: {', '.join(sorted(_WRITERS))}."
            )
        tensors = layer.input if isinstance(layer.input, list) else [layer.input]
        inputs = [self.names[id(tensor)] for tensor in tensors]
        self.names[id(layer.output)] = writer(self, layer, inputs)


def _activate(graph: _Graph, name: str, function: Any, x: str) -> str:
    import keras

    activation = keras.activations.serialize(function) if callable(function) else function
    if activation == "linear":
        return x
    if activation == "sigmoid":
        return graph.add("Sigmoid", [x], f"{name}_sigmoid")
    if activation == "relu":
        return graph.add("Relu", [x], f"{name}_relu")
    raise ModelError(f"The activation {activation} of {name} cannot be written as ONNX.")


def _convolution(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    depthwise = type(layer).__name__ == "DepthwiseConv2D"
    kernel = np.asarray(layer.get_weights()[0])
    # Keras: (rows, columns, in, out), depthwise (rows, columns, in, 1); ONNX: (out, in, …).
    kernel = kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(3, 2, 0, 1)
    bias = layer.get_weights()[1] if layer.use_bias else np.zeros(kernel.shape[0])
    if layer.data_format != "channels_last" or tuple(layer.dilation_rate) != (1, 1):
        raise ModelError(f"The convolution {layer.name} cannot be written as ONNX.")
    stride = list(layer.strides)
    source, pads = graph.padded.get(inputs[0], (inputs[0], None))
    padding = {"auto_pad": "SAME_UPPER" if layer.padding == "same" else "VALID"}
    x = graph.add(
        "Conv",
        [
            source,
            graph.kernel(f"{layer.name}_kernel", kernel),
            graph.constant(f"{layer.name}_bias", bias),
        ],
        layer.name,
        group=kernel.shape[0] if depthwise else 1,
        strides=stride,
        kernel_shape=list(kernel.shape[2:]),
        **({"pads": pads} if pads else padding),
    )
    return _activate(graph, layer.name, layer.activation, x)


def _transposed_convolution(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    tiles = tuple(layer.strides) == tuple(layer.kernel_size) and layer.use_bias
    if not tiles or layer.data_format != "channels_last":
        raise ModelError(f"The transposed convolution {layer.name} cannot be written as ONNX.")
    kernel, bias = (np.asarray(weights) for weights in layer.get_weights())
    x = graph.add(
        "ConvTranspose",
        [
            *inputs,
            # Keras: (rows, columns, out, in); ONNX: (in, out, rows, columns).
            graph.kernel(f"{layer.name}_kernel", kernel.transpose(3, 2, 0, 1)),
            graph.constant(f"{layer.name}_bias", bias),
        ],
        layer.name,
        strides=list(layer.strides),
        kernel_shape=list(kernel.shape[:2]),
    )
    return _activate(graph, layer.name, layer.activation, x)


def _normalization(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    """Fold the normalization into the convolution that it follows, or write scale and shift."""
    mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    gamma = np.asarray(layer.gamma) if layer.scale else np.ones_like(mean)
    beta = np.asarray(layer.beta) if layer.center else np.zeros_like(mean)
    scale = gamma / np.sqrt(variance + layer.epsilon)
    shift = beta - mean * scale
    before = graph.nodes[-1]
    if before["op_type"] == "Conv" and before["outputs"] == inputs:
        source, kernel, bias = before["inputs"]
        graph.weights[bias] = (graph.weights[bias] * scale + shift).astype("f4")
        factors = scale[:, None, None, None]
        if kernel in graph.weights:
            graph.weights[kernel] = (graph.weights[kernel] * factors).astype("f4")
            return inputs[0]
        graph.nodes.pop()
        factors_name = graph.constant(f"{layer.name}_scale", factors)
        scaled = graph.add("Mul", [kernel, factors_name], f"{kernel}_scaled")
        graph.nodes.append({**before, "inputs": [source, scaled, bias]})
        return inputs[0]
    scaled = graph.add(
        "Mul",
        [*inputs, graph.constant(f"{layer.name}_scale", scale[:, None, None])],
        f"{layer.name}_scaled",
    )
    return graph.add(
        "Add", [scaled, graph.constant(f"{layer.name}_shift", shift[:, None, None])], layer.name
    )


def _relu(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    if getattr(layer, "negative_slope", 0) or getattr(layer, "threshold", 0):
        raise ModelError(f"The activation {layer.name} cannot be written as ONNX.")
    if layer.max_value is None:
        return graph.add("Relu", inputs, layer.name)
    low = graph.constant(f"{layer.name}_low", 0.0)
    high = graph.constant(f"{layer.name}_high", layer.max_value)
    return graph.add("Clip", [*inputs, low, high], layer.name)


def _activation(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    return _activate(graph, layer.name, layer.activation, inputs[0])


def _padding(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    (top, bottom), (left, right) = layer.padding
    readers = [node.operation for node in layer._outbound_nodes]
    if readers and all(
        _WRITERS.get(type(reader).__name__) is _convolution and reader.padding == "valid"
        for reader in readers
    ):
        # A convolution pads by itself, without a copy of its input.
        graph.padded[layer.name] = (inputs[0], [top, left, bottom, right])
        return str(layer.name)
    pads = graph.constant(f"{layer.name}_pads", [0, 0, top, left, 0, 0, bottom, right], np.int64)
    return graph.add("Pad", [*inputs, pads], layer.name)


def _upsampling(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    linear = layer.interpolation == "bilinear"
    scales = graph.constant(f"{layer.name}_scales", [1, 1, *layer.size])
    return graph.add(
        "Resize",
        [*inputs, "", scales],
        layer.name,
        mode="linear" if linear else "nearest",
        coordinate_transformation_mode="half_pixel" if linear else "asymmetric",
        nearest_mode="floor",
    )


def _rescaling(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    scale = graph.constant(f"{layer.name}_scale", np.asarray(layer.scale))
    offset = graph.constant(f"{layer.name}_offset", np.asarray(layer.offset))
    return graph.add(
        "Add", [graph.add("Mul", [*inputs, scale], f"{layer.name}_x"), offset], layer.name
    )


def _addition(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    return graph.add("Add", inputs, layer.name)


def _concatenation(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    return graph.add("Concat", inputs, layer.name, axis=1)


_WRITERS: dict[str, Callable[[_Graph, Any, list[str]], str]] = {
    "Activation": _activation,
    "Add": _addition,
    "BatchNormalization": _normalization,
    "Concatenate": _concatenation,
    "Conv2D": _convolution,
    "Conv2DTranspose": _transposed_convolution,
    "DepthwiseConv2D": _convolution,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "UpSampling2D": _upsampling,
    "ZeroPadding2D": _padding,
}
