"""Runtime for OpenVINO, which runs networks on processors of Intel and others."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nucseg.errors import DeviceError, MissingExtraError, ModelError, first_line
from nucseg.images.preprocess import FloatImage
from nucseg.inference.runtimes import named, usable_cores

_TELEMETRY = "openvino_telemetry"


class OpenVinoRuntime:
    """A network in OpenVINO on the CPU.

    Parameters
    ----------
    path : Path
        ONNX file. It is read as bytes, so that it cannot refer to other files.
    threads : int, optional
        Number of threads. Default: one per core that this process may use.
    precision : {"f32", "bf16", "int8"}
        For ``int8`` the file must contain a quantized network.
    names : (str or None, str or None)
        Names of the input and the output. Default: the first of each.
    streams : int
        Number of parallel calls, each on its share of the threads. Further calls wait.

    Raises
    ------
    ModelError
        OpenVINO cannot run the file.
    DeviceError
        The processor does not support the precision.
    MissingExtraError
        OpenVINO is not installed.
    """

    device = "openvino"

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        precision: str = "f32",
        names: tuple[str | None, str | None] = (None, None),
        *,
        streams: int = 1,
    ) -> None:
        openvino = import_openvino()
        self._path, self._threads, self._names, self._streams = path, threads, names, streams
        self.precision, self.threads = precision, threads or usable_cores()
        if precision == "bf16" and not has_bf16():
            raise DeviceError(
                "This processor has no instructions for bf16. Use --precision f32 or auto."
            )
        settings = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": streams,
            # Threads pinned to cores wait if another program uses the core.
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        core = openvino.Core()
        try:
            network = core.read_model(path.read_bytes())
            self._network = core.compile_model(network, "CPU", settings)
        except (OSError, RuntimeError) as error:
            raise ModelError(
                f"{path} cannot be loaded in OpenVINO ({first_line(error)}). "
                "Use --device cpu, or export the model again."
            ) from error
        self._input, self._output = (
            _port(path, name, ports)
            for name, ports in zip(
                names, (self._network.inputs, self._network.outputs), strict=True
            )
        )
        self._of_thread = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        """Load the same network again after unpickling, for example in another process."""
        same = partial(OpenVinoRuntime, streams=self._streams)
        return same, (self._path, self._threads, self.precision, self._names)

    def on_one_thread(self) -> OpenVinoRuntime:
        """Load the same network for as many parallel calls as there are threads."""
        return OpenVinoRuntime(
            self._path, self._threads, self.precision, self._names, streams=self.threads
        )

    def __call__(self, batch: FloatImage) -> FloatImage:
        """Run the network; see `Runtime`."""
        try:
            # Only one thread at a time can use a request.
            if not hasattr(self._of_thread, "request"):
                self._of_thread.request = self._network.create_infer_request()
            given = np.ascontiguousarray(batch)
            maps = self._of_thread.request.infer(
                {self._input: given}, share_inputs=True, share_outputs=True
            )[self._output]
        except RuntimeError as error:
            raise ModelError(
                f"{self._path} cannot run in OpenVINO on a batch of shape {batch.shape} "
                f"({first_line(error)}). Use --device cpu."
            ) from error
        # A copy, because the next call overwrites these arrays.
        return np.array(maps, np.float32)


def has_openvino() -> bool:
    """Return whether OpenVINO is installed, without importing it."""
    return find_spec("openvino") is not None


def has_bf16() -> bool:
    """Return whether the processor has instructions for bf16, as reported by OpenVINO."""
    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in capabilities


def import_openvino(feature: str = "The device openvino") -> Any:
    """Import OpenVINO without its telemetry.

    Raises
    ------
    MissingExtraError
        OpenVINO is not installed.
    """
    try:
        with _without_telemetry():
            import openvino
    except ImportError as error:
        raise MissingExtraError(feature, "openvino") from error
    return openvino


def write_openvino(source: Path, folder: Path) -> None:
    """Write a network in OpenVINO's own format: ``model.xml``, and its weights in ``model.bin``.

    Parameters
    ----------
    source : Path
        An ONNX file; it is read as bytes, so that it cannot name other files.
    folder : Path
        Gets the files.

    Raises
    ------
    ModelError
        OpenVINO does not take the network.
    MissingExtraError
        OpenVINO is not installed.
    """
    openvino = import_openvino("Writing OpenVINO's format")
    try:
        network = openvino.Core().read_model(source.read_bytes())
        openvino.save_model(network, folder / "model.xml", compress_to_fp16=False)
    except RuntimeError as error:
        raise ModelError(f"OpenVINO cannot convert {source}: {first_line(error)}.") from error


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Block the import of the telemetry package while OpenVINO is imported."""
    if _TELEMETRY in sys.modules:
        yield
        return
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.pop(_TELEMETRY, None)


def _port(path: Path, name: str | None, ports: Any) -> Any:
    """Return an input or output by its name in the description of the network."""
    by_name = {each: port for port in ports for each in sorted(port.get_names())}
    return ports[0] if name is None else by_name[named(path, name, list(by_name))]
