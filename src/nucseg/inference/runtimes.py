"""What runs a network: each turns a batch of images into a batch of maps."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np

from nucseg.errors import DeviceError, InputError, ModelError, first_line
from nucseg.images.preprocess import FloatImage
from nucseg.inference.keras_runtime import KerasRuntime
from nucseg.models.zoo import CARD, KERAS, ONNX, ModelCard, listed_file, read_card

# `M_MMAP_THRESHOLD` of glibc's malloc.h.
_MMAP_THRESHOLD = -3
# Execution providers of ONNX Runtime that are used, by device; any other one that is installed is
# ignored, such as AzureExecutionProvider of the base wheel.
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
# CUDA without the short mantissas of tensor cores, and without a search for the fastest kernel for
# each new size of an image.
_PROVIDER_OPTIONS: dict[str, dict[str, str]] = {
    "cuda": {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
    "coreml": {"ModelFormat": "MLProgram"},
    "openvino": {"load_config": '{"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}'},
}


class Runtime(Protocol):
    """A loaded network, which several threads may call at the same time."""

    @property
    def device(self) -> str:
        """What it runs on, one of `nucseg.config.DEVICES` or ``keras``."""
        ...

    @property
    def precision(self) -> str:
        """Numbers that it works with, one of `nucseg.config.PRECISIONS`."""
        ...

    @property
    def threads(self) -> int:
        """Threads that it works with, 1 where it does not tell."""
        ...

    def on_one_thread(self) -> Runtime:
        """Return the same network on the calling thread alone, where it can work so."""
        ...

    def __call__(self, batch: FloatImage) -> FloatImage:
        """Run the network.

        Parameters
        ----------
        batch : ndarray, shape (N, H, W, 3), float32, in [0, 1]

        Returns
        -------
        ndarray, shape (N, H, W, C), float32
        """
        ...


def load_runtime(
    folder: Path,
    name: str = "onnx",
    *,
    card: ModelCard | None = None,
    threads: int | None = None,
    arena: bool = True,
) -> Runtime:
    """Load the network of a model folder.

    Parameters
    ----------
    folder : Path
        A model folder.
    name : {"onnx", "keras"}
        ONNX Runtime, which the base install has, or Keras of the ``train`` extra.
    card : ModelCard, optional
        Its description, if it was read and checked before.
    threads : int, optional
        Threads of ONNX Runtime; by default one for each physical core that may be used.
    arena : bool
        Whether ONNX Runtime keeps memory for the next image, which takes twice as much and is a
        little faster. The results are the same.

    Raises
    ------
    InputError
        There is no such runtime, or fewer than one thread was asked for.
    ModelError
        The file of the network is missing, broken, or not listed in the description.
    MissingExtraError
        Keras is not installed.
    """
    check_threads(threads)
    if name == "onnx":
        described = card or read_card(folder)
        names = described.interface.input, described.interface.output
        return OnnxRuntime(listed_file(folder, described, ONNX), threads, arena, names)
    if name == "keras":
        return KerasRuntime(listed_file(folder, card or read_card(folder), KERAS))
    raise InputError(f"Unknown runtime {name!r}. Give onnx or keras.")


def check_threads(threads: int | None) -> None:
    """Refuse fewer threads than one.

    Raises
    ------
    InputError
        There are fewer.
    """
    if threads is not None and threads < 1:
        raise InputError(f"Expected at least 1 thread, got {threads}.")


class LoadedLater:
    """A network that is loaded when it is first called: of two, a run may need one alone.

    Parameters
    ----------
    load : callable
        Loads it; it can be pickled.
    """

    def __init__(self, load: Callable[[], Runtime]) -> None:
        self._load, self._lock = load, Lock()
        self._loaded: Runtime | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Load the same network where this is sent to, such as another process."""
        return LoadedLater, (self._load,)

    @property
    def is_loaded(self) -> bool:
        """Whether it was needed by now."""
        return self._loaded is not None

    @property
    def device(self) -> str:
        """What it runs on."""
        return self._now().device

    @property
    def precision(self) -> str:
        """Numbers that it works with."""
        return self._now().precision

    @property
    def threads(self) -> int:
        """Threads that it works with."""
        return self._now().threads

    def on_one_thread(self) -> LoadedLater:
        """Return the same network for calls side by side."""
        return LoadedLater(partial(_on_one_thread, self._load))

    def __call__(self, batch: FloatImage) -> FloatImage:
        """Run the network; see `Runtime`."""
        return self._now()(batch)

    def _now(self) -> Runtime:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded


def _on_one_thread(load: Callable[[], Runtime]) -> Runtime:
    return load().on_one_thread()


class OnnxRuntime:
    """A network in ONNX Runtime, by default on the CPU.

    Operations run one after the other, each over all threads, and by deterministic kernels: the
    same input gives the same output. Its reports to its makers are off, unless the environment
    variable ``ORT_DISABLE_TELEMETRY`` is set to another value than 1.
    """

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        arena: bool = True,
        names: tuple[str | None, str | None] = (None, None),
        *,
        device: str = "cpu",
        precision: str = "f32",
    ) -> None:
        onnxruntime = import_onnxruntime()
        self._path, self._arena, self._names = path, arena, names
        self._threads = threads
        self.device, self.precision = device, precision
        # DirectML runs one image at a time; on any other device they would only wait in another
        # place, each with memory of its own.
        self._turn = nullcontext() if device == "cpu" else Lock()
        if not arena:
            _give_memory_back()
        self.threads = threads or usable_cores()
        self._errors = _errors_of(device)
        unusable: tuple[type[Exception], ...] = (OSError, *self._errors)
        options = _options(device, threads, arena=arena)
        try:
            # From its bytes, so that the network cannot open other files, which nobody has checked.
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=_providers(device)
            )
        except unusable as error:
            if device != "cpu":
                raise _device_error(device, error) from error
            raise ModelError(
                f"{path} cannot be loaded as an ONNX network ({first_line(error)}). "
                "Copy the model folder again, or export the model again."
            ) from error
        if PROVIDERS[device] not in self._session.get_providers():
            # Where a driver is missing, ONNX Runtime takes the CPU without an error.
            raise DeviceError(
                f"ONNX Runtime did not take the device {device}: its driver or its libraries are "
                "missing or too old. Install them, or use --device cpu."
            )
        self._input, self._output = (
            named(path, name, [each.name for each in there])
            for name, there in zip(
                names, (self._session.get_inputs(), self._session.get_outputs()), strict=True
            )
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Load the same network where this is sent to, such as another process."""
        same = partial(OnnxRuntime, device=self.device, precision=self.precision)
        return same, (self._path, self._threads, self._arena, self._names)

    def on_one_thread(self) -> OnnxRuntime:
        """Load the same network for the calling thread alone; another device is shared."""
        if self.device != "cpu":
            return self
        return OnnxRuntime(self._path, 1, self._arena, self._names, precision=self.precision)

    def __call__(self, batch: FloatImage) -> FloatImage:
        """Run the network; see `Runtime`."""
        try:
            with self._turn:
                (maps,) = self._session.run([self._output], {self._input: batch})
        except self._errors as error:
            if self.device != "cpu":
                raise _device_error(self.device, error) from error
            raise ModelError(
                f"{self._path} cannot run on a batch of shape {batch.shape} "
                f"({first_line(error)}). Expected images of (height, width, 3)."
            ) from error
        return np.asarray(maps, np.float32)


def import_onnxruntime() -> Any:
    """Import ONNX Runtime without its reports to its makers."""
    # It looks at this when it is imported; a call after that would come too late. From version
    # 1.29 on it would otherwise tell of each loaded model over the network.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def _errors_of(device: str) -> tuple[type[Exception], ...]:
    """List what ONNX Runtime raises on a device."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    errors: tuple[type[Exception], ...] = (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    )
    if device != "cpu":
        errors += (state.EPFail, RuntimeError, MemoryError, ValueError)
    return errors


def _options(device: str, threads: int | None, *, arena: bool) -> Any:
    """Operations one after the other, each over all threads, by deterministic kernels."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or _restricted_cores()
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.use_deterministic_compute = True
    options.enable_cpu_mem_arena = arena
    options.log_severity_level = 3  # errors alone: its warnings mean nothing to a user
    if device != "cpu":
        options.enable_mem_pattern = device != "directml"
    return options


def _providers(device: str) -> list[Any]:
    """List what ONNX Runtime shall run a network by, the CPU for what the device cannot do."""
    onnxruntime = import_onnxruntime()
    provider = PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise DeviceError(
            f"The installed ONNX Runtime cannot use the device {device}: it has no {provider}. "
            "The guide on speed says which package has it; or use --device cpu."
        )
    if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # of CUDA that pip has installed
    chosen = provider, _PROVIDER_OPTIONS.get(device, {})
    return [PROVIDERS["cpu"]] if device == "cpu" else [chosen, PROVIDERS["cpu"]]


def _device_error(device: str, error: Exception) -> DeviceError:
    return DeviceError(
        f"The device {device} failed ({first_line(error)}). Where its memory is full, end other "
        "programs that use it; or use --device cpu."
    )


def named(path: Path, name: str | None, there: list[str]) -> str:
    """Find an input or output of a network by the name that its description gives."""
    if name is None:
        return there[0]
    if name not in there:
        raise ModelError(
            f"{path} has no input or output {name!r}, but {', '.join(there)}. Correct the names of "
            f"interface in {CARD}."
        )
    return name


def _give_memory_back() -> None:
    """Have the C library give large blocks back to the system, where it is one that keeps them.

    glibc takes them from its heap after a while, which then grows to twice of what is in use.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 2**18)


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _restricted_cores() -> int:
    """Threads for ONNX Runtime; 0 lets it take one for each physical core.

    It does not know when a process may use only some of the cores, as in many containers and on
    clusters, and then starts more threads than can run at once.
    """
    usable = usable_cores()
    return usable if usable < (os.cpu_count() or usable) else 0
