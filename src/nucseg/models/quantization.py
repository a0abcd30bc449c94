"""Write a network in whole numbers of eight bits, by the ranges that its values take on images.

Convolutions work on eight bits, with a scale for each channel of their weights; those that see the
image itself and those that make the maps stay as they are, as does all that is no convolution:
numbers of different ranges that are put together would share one scale. The file holds the steps
between both kinds of numbers as nodes of ONNX (QuantizeLinear, DequantizeLinear), for which ONNX
Runtime and OpenVINO have kernels of eight bits.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from nucseg.errors import InputError, MissingExtraError
from nucseg.files import atomic_write
from nucseg.images.preprocess import FloatImage

_CONVOLUTIONS = ("Conv", "ConvTranspose")


def quantize(
    source: Path, target: Path, batches: Iterable[FloatImage], *, keep: Collection[str] = ()
) -> list[str]:
    """Write the network of an ONNX file in eight bits.

    Parameters
    ----------
    source, target : Path
        ONNX files, to read and to write.
    batches : iterable of ndarray, shape (N, H, W, C), float32
        What the network is given of typical images: some dozen, of all kinds that it shall see,
        none of those that it is judged on.
    keep : collection of str
        Names of further convolutions that stay as they are.

    Returns
    -------
    list of str
        Names of the convolutions that work on eight bits now.

    Raises
    ------
    InputError
        There are no batches, or there is no convolution of a name in `keep`, or none is left; or
        the file cannot be written.
    MissingExtraError
        The onnx package is not installed.

    Notes
    -----
    Static quantization as in Jacob et al., CVPR 2018: activations by the least and largest value
    seen, weights by the largest of each channel.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("Writing a network of eight bits", "train") from error
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # see nucseg.inference.runtimes
    from onnxruntime import quantization

    with tempfile.TemporaryDirectory() as folder:
        folded = Path(folder, "folded.onnx")
        _fold(source, folded)
        graph = onnx.load(folded).graph
        names = {node.name for node in graph.node if node.op_type in _CONVOLUTIONS}
        if unknown := sorted(set(keep) - names):
            raise InputError(
                f"{source} has no convolution {', '.join(unknown)}. Give names of: "
                f"{', '.join(sorted(names))}."
            )
        chosen = inner_convolutions(graph, set(keep))
        if not chosen:
            raise InputError(f"{source} has no convolution that can work on eight bits.")
        reader = _reader(quantization, graph.input[0].name, batches)
        with atomic_write(target) as partial:
            quantization.quantize_static(
                folded,
                partial,
                reader,
                nodes_to_quantize=chosen,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
            )
    return chosen


def inner_convolutions(graph: Any, keep: Collection[str] = ()) -> list[str]:
    """List convolutions of an ONNX graph that neither see the input itself nor make the output.

    Parameters
    ----------
    graph : onnx.GraphProto
    keep : collection of str
        Names to leave out.
    """
    maker = {name: node for node in graph.node for name in node.output}
    first = _next(graph.output, lambda name: [maker[name]] if name in maker else [], _inputs)
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    last = _next(graph.input, lambda name: readers.get(name, []), _outputs)
    outer = first | last | set(keep)
    return [node.name for node in graph.node if node.op_type == "Conv" and node.name not in outer]


def _next(ends: Any, beside: Any, onwards: Any) -> set[str]:
    """Names of the convolutions that are met first on all ways from the ends of a graph."""
    found, seen, names = set(), set(), [each.name for each in ends]
    while names:
        name = names.pop()
        if name in seen:
            continue
        seen.add(name)
        for node in beside(name):
            if node.op_type in _CONVOLUTIONS:
                found.add(node.name)
            else:
                names.extend(onwards(node))
    return found


def _inputs(node: Any) -> list[str]:
    return list(node.input)


def _outputs(node: Any) -> list[str]:
    return list(node.output)


def _fold(source: Path, target: Path) -> None:
    """Write a network with all that does not depend on its input worked out."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(source.read_bytes(), options, providers=["CPUExecutionProvider"])


def _reader(quantization: Any, name: str, batches: Iterable[FloatImage]) -> Any:
    """Give batches as ONNX Runtime's calibration asks for them."""
    given: Iterator[FloatImage] = iter(batches)
    first = next(given, None)
    if first is None:
        raise InputError("Expected some images to find the ranges of values, got none.")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """Batches one after the other, then None."""

        def __init__(self) -> None:
            self._next: FloatImage | None = first

        def get_next(self) -> dict[str, FloatImage] | None:
            now, self._next = self._next, next(given, None)
            return None if now is None else {name: now}

    return Reader()
