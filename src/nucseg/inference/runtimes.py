"""Runtimes of a network: each turns a batch of images into a batch of maps."""

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
# Execution providers of ONNX Runtime, by device. Other installed providers are ignored, such as
# AzureExecutionProvider of the base wheel.
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
# CUDA without TF32, whose mantissas are short, and without a search for the fastest kernel for each
# new image size.
_PROVIDER_OPTIONS: dict[str, dict[str, str]] = {
    "cuda": {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
    "coreml": {"ModelFormat": "MLProgram"},
    "openvino": {"load_config": '{"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}'},
}


class Runtime(Protocol):
    """A loaded network that several threads may call at the same time."""

    @property
    def device(self) -> str:
        """Device of the network, one of `nucseg.config.DEVICES` or ``keras``."""
        ...

    @property
    def precision(self) -> str:
        """Number format of the network, one of `nucseg.config.PRECISIONS`."""
        ...

    @property
    def threads(self) -> int:
        """Number of threads, 1 if the runtime does not report it."""
        ...

    def on_one_thread(self) -> Runtime:
        """Return the same network on the calling thread only, if the runtime supports it."""
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
        ONNX Runtime, part of the base install, or Keras, part of the ``train`` extra.
    card : ModelCard, optional
        Description of the model, if it was already read and checked.
    threads : int, optional
        Number of threads of ONNX Runtime. Default: one per physical core that the process may use.
    arena : bool
        Whether ONNX Runtime keeps its memory for the next image. This takes twice as much memory
        and is slightly faster. The results are the same.

    Raises
    ------
    InputError
        The runtime does not exist, or the number of threads is below one.
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
    """Check that the number of threads is at least one.

    Raises
    ------
    InputError
        The number is below one.
    """
    if threads is not None and threads < 1:
        raise InputError(f"Expected at least 1 thread, got {threads}.")


class LoadedLater:
    """A network that is loaded on its first call; of two networks, a run may need only one.

    Parameters
    ----------
    load : callable
        Loads the network. It must be picklable.
    """

    def __init__(self, load: Callable[[], Runtime]) -> None:
        self._load, self._lock = load, Lock()
        self._loaded: Runtime | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Load the same network again after unpickling, for example in another process."""
        return LoadedLater, (self._load,)

    @property
    def is_loaded(self) -> bool:
        """Whether the network has been loaded."""
        return self._loaded is not None

    @property
    def device(self) -> str:
        """Device of the network."""
        return self._now().device

    @property
    def precision(self) -> str:
        """Number format of the network."""
        return self._now().precision

    @property
    def threads(self) -> int:
        """Number of threads."""
        return self._now().threads

    def on_one_thread(self) -> LoadedLater:
        """Return the same network for parallel calls."""
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

    Operations run one after the other, each on all threads, with deterministic kernels: the same
    input gives the same output. The telemetry of ONNX Runtime is off, unless the environment
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
        # DirectML runs one image at a time. On other devices, parallel calls would only wait
        # elsewhere, each with its own memory.
        self._turn = nullcontext() if device == "cpu" else Lock()
        if not arena:
            _give_memory_back()
        self.threads = threads or usable_cores()
        self._errors = _errors_of(device)
        unusable: tuple[type[Exception], ...] = (OSError, *self._errors)
        options = _options(device, threads, arena=arena)
        try:
            # Loaded from bytes, so that the network cannot open other, unchecked files.
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
            # If a driver is missing, ONNX Runtime uses the CPU without an error.
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
        """Load the same network again after unpickling, for example in another process."""
        same = partial(OnnxRuntime, device=self.device, precision=self.precision)
        return same, (self._path, self._threads, self._arena, self._names)

    def on_one_thread(self) -> OnnxRuntime:
        """Load the same network for the calling thread only; devices except the CPU are shared."""
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
    """Import ONNX Runtime without its telemetry."""
    # ONNX Runtime reads the variable on import; setting it later has no effect. From version 1.29
    # on, ONNX Runtime would otherwise report each loaded model over the network.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def _errors_of(device: str) -> tuple[type[Exception], ...]:
    """Return the exceptions that ONNX Runtime raises on a device."""
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
    """Return session options: sequential operations on all threads, deterministic kernels."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or _restricted_cores()
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.use_deterministic_compute = True
    options.enable_cpu_mem_arena = arena
    options.log_severity_level = 3  # errors only: its warnings do not help users
    if device != "cpu":
        options.enable_mem_pattern = device != "directml"
    return options


def _providers(device: str) -> list[Any]:
    """Return the execution providers for a device; the CPU runs what the device cannot."""
    onnxruntime = import_onnxruntime()
    provider = PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise DeviceError(
            f"The installed ONNX Runtime cannot use the device {device}: it has no {provider}. "
            "The guide on speed says which package has it; or use --device cpu."
        )
    if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # CUDA libraries installed by pip
    chosen = provider, _PROVIDER_OPTIONS.get(device, {})
    return [PROVIDERS["cpu"]] if device == "cpu" else [chosen, PROVIDERS["cpu"]]


def _device_error(device: str, error: Exception) -> DeviceError:
    return DeviceError(
        f"The device {device} failed ({first_line(error)}). Where its memory is full, end other "
        "programs that use it; or use --device cpu."
    )


def named(path: Path, name: str | None, there: list[str]) -> str:
    """Return the name of an input or output, checked against those of the network."""
    if name is None:
        return there[0]
    if name not in there:
        raise ModelError(
            f"{path} has no input or output {name!r}, but {', '.join(there)}. Correct the names of "
            f"interface in {CARD}."
        )
    return name


def _give_memory_back() -> None:
    """Make the C library return large blocks to the system, if it is glibc.

    By default, glibc soon serves large blocks from its heap, which then grows to twice the memory
    in use.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 2**18)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _restricted_cores() -> int:
    """Return the number of threads for ONNX Runtime; 0 means one per physical core.

    ONNX Runtime does not detect that a process may use only some of the cores, as in many
    containers and on clusters. It would start more threads than can run at once.
    """
    usable = usable_cores()
    return usable if usable < (os.cpu_count() or usable) else 0
