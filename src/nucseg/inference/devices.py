"""Devices and precisions of a network: which are available, which is used, and why.

Without a choice by the user, the fastest device and precision is used that finds the same nuclei
in sample images as ONNX Runtime on the CPU in f32. If only that is available, it is used
without a check. The results of the check are stored in the user's cache, for this model, processor
and package versions.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nucseg.config import DEVICES, PRECISIONS
from nucseg.errors import DeviceError, InputError, ModelError, NucsegError
from nucseg.files import atomic_write, user_cache
from nucseg.inference.fallback import WithFallback
from nucseg.inference.openvino_runtime import OpenVinoRuntime, has_bf16, has_openvino
from nucseg.inference.runtimes import (
    PROVIDERS,
    LoadedLater,
    OnnxRuntime,
    Runtime,
    import_onnxruntime,
)
from nucseg.inference.segmenter import Model
from nucseg.inference.self_check import Candidate, Judged, judge
from nucseg.models.zoo import INT8, ONNX, ModelCard, listed_file

# Environment variables that replace ``auto``.
VARIABLES = {"device": "NUCSEG_DEVICE", "precision": "NUCSEG_PRECISION"}
# Labels of the CPU in f32 are exactly reproducible. Another candidate must be faster by this factor
# to be used automatically.
EXACT, CLEARLY_FASTER = Candidate("cpu", "f32"), 1.1
_HOW_TO_GET = {
    "cuda": "For NVIDIA's cards: pip uninstall onnxruntime, then pip install onnxruntime-gpu.",
    "coreml": "It comes with ONNX Runtime for macOS.",
    "directml": "On Windows: pip uninstall onnxruntime, then pip install onnxruntime-directml.",
    "openvino": 'Install it: pip install "nucseg[openvino]".',
}
_PACKAGES = (
    "nucseg", "onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino",
    "openvino",
)  # fmt: skip

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Network:
    """A network in a model folder, with the settings to load it on any device.

    Attributes
    ----------
    folder : Path
    card : ModelCard
        Description of the model, already read and checked.
    threads : int or None
        Number of threads. None means one per physical core that the process may use.
    arena : bool
        See `nucseg.inference.runtimes.load_runtime`.
    """

    folder: Path
    card: ModelCard
    threads: int | None = None
    arena: bool = True

    def load(self, candidate: Candidate) -> Runtime:
        """Load the network on a device in a precision.

        Raises
        ------
        ModelError
            A file is missing, broken or not listed; `DeviceError` if the device fails.
        MissingExtraError
            OpenVINO is not installed.
        """
        device, precision = candidate.device, candidate.precision
        file = listed_file(self.folder, self.card, INT8 if precision == "int8" else ONNX)
        names = self.card.interface.input, self.card.interface.output
        if device == "openvino" and (has_openvino() or PROVIDERS[device] not in _providers()):
            return OpenVinoRuntime(file, self.threads, precision, names)
        return OnnxRuntime(
            file, self.threads, self.arena, names, device=device, precision=precision
        )


def candidates(card: ModelCard) -> list[Candidate]:
    """List the devices and precisions available for a model, the CPU in f32 first.

    Parameters
    ----------
    card : ModelCard
        Description of the model. int8 is available if the card lists the quantized network.
    """
    found, int8 = [EXACT], INT8 in card.files
    if int8:
        found.append(Candidate("cpu", "int8"))
    providers = _providers()
    if has_openvino():
        found += _openvino_candidates(int8=int8)
    elif PROVIDERS["openvino"] in providers:
        found.append(Candidate("openvino", "f32"))
    others = [each for each in DEVICES if each not in ("cpu", "openvino")]
    return found + [Candidate(each, "f32") for each in others if PROVIDERS[each] in providers]


def load_network(network: Network, device: str = "auto", precision: str = "auto") -> Runtime:
    """Load a network on a device, or on the fastest one that finds the same nuclei.

    Parameters
    ----------
    network : Network
    device : {"auto", "cpu", "cuda", "coreml", "directml", "openvino"}
        If the environment variable ``NUCSEG_DEVICE`` is set, its value replaces ``auto``. If a
        device chosen by ``auto`` fails, the CPU replaces it. Without ``arena``, to save memory,
        ``auto`` is the CPU.
    precision : {"auto", "f32", "bf16", "int8"}
        ``NUCSEG_PRECISION`` replaces ``auto`` in the same way.

    Raises
    ------
    InputError
        The device or precision does not exist.
    DeviceError
        The device is missing, fails, or does not support the precision.
    ModelError
        The file of the network is missing or broken.
    """
    device = _chosen("device", device, DEVICES)
    precision = _chosen("precision", precision, PRECISIONS)
    if (device, precision) == ("auto", "auto") and not network.arena:
        device = "cpu"  # others take more memory
    if _is_exact(device, precision, network.card):
        return network.load(EXACT)
    if device == "auto":
        return _fastest(network, precision)
    if precision != "auto":
        _require(network.card, device, precision)
        return network.load(Candidate(device, precision))
    return _on_device(network, device)


def judged(network: Network, *, again: bool = False) -> list[Judged]:
    """Run the self-check of all available candidates, or read its results from the user's cache.

    Parameters
    ----------
    network : Network
    again : bool
        Repeat the check and ignore the cache.

    Raises
    ------
    ModelError
        The network does not run on the CPU.
    """
    about = _about(network)
    path = user_cache_file(about)
    if not again and (known := _read(path, about)) is not None:
        return known
    found = judge(network.card, candidates(network.card), network.load)
    for each in found:
        if each.problem:
            logger.info("%s is not taken by itself. %s", each.candidate, each.problem)
    kept = {"about": about, "judged": [asdict(each) for each in found]}
    with suppress(InputError, OSError, RuntimeError), atomic_write(path) as partial_file:
        partial_file.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    return found


def in_order(found: Sequence[Judged]) -> list[Candidate]:
    """Sort the candidates that ``auto`` may use, the best first.

    Parameters
    ----------
    found : sequence of Judged

    Examples
    --------
    >>> fast, slow = Candidate("openvino", "bf16"), Candidate("openvino", "f32")
    >>> [str(each) for each in in_order([Judged(EXACT, 5), Judged(slow, 5.1), Judged(fast, 9)])]
    ['openvino bf16', 'cpu f32', 'openvino f32']
    """
    good = [each for each in found if not each.problem]
    weighed = {
        each.candidate: each.speed * (CLEARLY_FASTER if each.candidate == EXACT else 1)
        for each in good
    }
    return sorted(weighed, key=lambda each: -weighed[each])


def describe(runtime: Runtime) -> dict[str, str]:
    """Return the device, precision and failure of a runtime, for ``run.json``."""
    about = {"device": runtime.device, "precision": runtime.precision}
    failure = getattr(runtime, "failure", None)
    return about | ({"failure": failure} if failure else {})


def describe_model(model: Model) -> dict[str, dict[str, str]]:
    """Return the devices of the networks of a model, for ``run.json``.

    The second network is included if it was loaded.
    """
    about = {"runtime": describe(model.runtime)}
    second = model.bright and model.bright.runtime
    if second and (not isinstance(second, LoadedLater) or second.is_loaded):
        about["runtime_bright"] = describe(second)
    return about


def is_exact(runtime: Runtime) -> bool:
    """Return whether the runtime is the CPU in f32, whose labels are exactly reproducible."""
    return Candidate(runtime.device, runtime.precision) == EXACT


def processor_name() -> str:
    """Return the name of the processor, as far as the system reports it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def user_cache_file(about: dict[str, Any]) -> Path:
    """Return the path of the cached result of a self-check."""
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    return user_cache() / f"self-check-{key}.json"


def _openvino_candidates(*, int8: bool) -> list[Candidate]:
    """List the precisions of OpenVINO on this processor; empty if it cannot be imported."""
    try:
        precisions = ("f32", *(["bf16"] if has_bf16() else []), *(["int8"] if int8 else []))
    except (NucsegError, OSError, RuntimeError) as error:
        logger.warning("OpenVINO is installed but cannot be used: %s", error)
        return []
    return [Candidate("openvino", each) for each in precisions]


def _providers() -> list[str]:
    return list(import_onnxruntime().get_available_providers())


def _chosen(kind: str, given: str, known: Sequence[str]) -> str:
    """Return the given value, or that of the environment variable; raise InputError if unknown."""
    name = VARIABLES[kind]
    value = os.environ.get(name, "auto") if given == "auto" else given
    if value not in ("auto", *known):
        where = kind if value == given else f"{kind} in the environment variable {name}"
        raise InputError(f"Unknown {where}: {value!r}. Give auto, {', '.join(known)}.")
    return value


def _is_exact(device: str, precision: str, card: ModelCard) -> bool:
    """Return whether the CPU in f32 is requested, or is the only candidate."""
    if device not in ("auto", "cpu") or precision not in ("auto", "f32"):
        return False
    if precision == "f32" and device == "cpu":
        return True
    if precision == "auto" and INT8 in card.files:
        return False
    return device == "cpu" or not (
        has_openvino() or set(_providers()) & (set(PROVIDERS.values()) - {PROVIDERS["cpu"]})
    )


def _require(card: ModelCard, device: str, precision: str | None = None) -> None:
    """Raise an error if the device, or its precision, is not available for the model."""
    if device == "openvino":
        is_there = has_openvino() or PROVIDERS[device] in _providers()
    else:
        is_there = PROVIDERS[device] in _providers()
    if not is_there:
        raise DeviceError(
            f"The device {device} is not there. {_HOW_TO_GET[device]} Or use --device cpu."
        )
    if precision == "int8" and INT8 not in card.files:
        raise ModelError(
            f"The model {card.name} has no network of eight bits ({INT8}). Use --precision auto, "
            "or make one: see the guide on speed."
        )
    there = [each.precision for each in candidates(card) if each.device == device]
    if precision is not None and precision not in there:
        raise DeviceError(
            f"The device {device} does not work in {precision} here, but in {', '.join(there)}."
        )


def _fastest(network: Network, precision: str) -> Runtime:
    """Load the network on the fastest device that finds the same nuclei, with the CPU as backup."""
    found = judged(network)
    for candidate in in_order(found):
        if precision not in ("auto", candidate.precision):
            continue
        if candidate.device == "cpu":
            return network.load(candidate)
        try:
            return WithFallback(partial(network.load, candidate), partial(network.load, EXACT))
        except ModelError as error:
            logger.warning("%s Another device is taken.", error)
    why = [f"{each.candidate}: {each.problem}" for each in found if each.problem]
    if precision == "int8":
        _require(network.card, "cpu", precision)
    raise DeviceError(
        f"Nothing here works in {precision}. {' '.join(why)} Use --precision auto.".replace(
            "  ", " "
        )
    )


def _on_device(network: Network, device: str) -> Runtime:
    """Load the network in a device's fastest precision with the same nuclei, or in f32."""
    _require(network.card, device)
    here = [each for each in judged(network) if each.candidate.device == device]
    if good := in_order(here):
        return network.load(good[0])
    for each in here:
        if each.speed:  # otherwise loading reports the problem
            logger.warning("%s is used as asked for. %s", each.candidate, each.problem)
    return network.load(Candidate(device, "f32"))


def _about(network: Network) -> dict[str, Any]:
    """Return everything that the result of a self-check depends on."""
    return {
        "files": network.card.files,
        "preprocessing": network.card.preprocessing.model_dump(mode="json"),
        "postprocessing": network.card.postprocessing.model_dump(mode="json"),
        "threads": network.threads,
        "cores": os.cpu_count(),
        "processor": processor_name(),
        "providers": _providers(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read(path: Path, about: dict[str, Any]) -> list[Judged] | None:
    """Read the result of a self-check; None if it is missing, outdated or unreadable."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["about"] != about:
            return None
        return [
            Judged(Candidate(**each["candidate"]), float(each["speed"]), str(each["problem"]))
            for each in kept["judged"]
        ]
    except (OSError, ValueError, LookupError, TypeError):
        return None
