"""What a network runs on: what is there, what of it is taken, and why.

Without a choice of the user's the fastest device and precision is taken that finds the same nuclei
in samples as ONNX Runtime does on the CPU in f32. Where nothing but that is installed, it is taken
at once. What the check found is kept in the user's cache, for this model, processor and versions.
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

# What stands for a choice in the environment, where none is given.
VARIABLES = {"device": "NUCSEG_DEVICE", "precision": "NUCSEG_PRECISION"}
# Labels of this can be repeated; another must be so much faster to be taken by itself.
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
    """A network in a model folder, and how it is loaded, whatever it runs on.

    Attributes
    ----------
    folder : Path
    card : ModelCard
        Its description, which was read and checked.
    threads : int or None
        By default one for each physical core that may be used.
    arena : bool
        See `nucseg.inference.runtimes.load_runtime`.
    """

    folder: Path
    card: ModelCard
    threads: int | None = None
    arena: bool = True

    def load(self, candidate: Candidate) -> Runtime:
        """Load it for a device and a precision.

        Raises
        ------
        ModelError
            A file is missing or broken, or not listed; `DeviceError` where the device is at fault.
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
    """Devices and precisions that are there for a model, the CPU in f32 first.

    Parameters
    ----------
    card : ModelCard
        Of the model; eight bits are there where it lists the file.
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
    """Load a network on a device, or on the fastest that finds the same nuclei.

    Parameters
    ----------
    network : Network
    device : {"auto", "cpu", "cuda", "coreml", "directml", "openvino"}
        Where it is ``auto``, what the environment variable ``NUCSEG_DEVICE`` says counts, if any.
        One that is found for ``auto`` is replaced by the CPU where it fails. Without ``arena``, to
        save memory, ``auto`` is the CPU.
    precision : {"auto", "f32", "bf16", "int8"}
        Likewise, by ``NUCSEG_PRECISION``.

    Raises
    ------
    InputError
        There is no such device or precision.
    DeviceError
        The device is not there or fails, or does not work with such numbers.
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
    """Check all that is there, or read from the user's cache what the check found.

    Parameters
    ----------
    network : Network
    again : bool
        Check again, whatever the cache says.

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
    """Candidates that may be taken by themselves, the best first.

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
    """Say what a network runs on, for ``run.json``."""
    about = {"device": runtime.device, "precision": runtime.precision}
    failure = getattr(runtime, "failure", None)
    return about | ({"failure": failure} if failure else {})


def describe_model(model: Model) -> dict[str, dict[str, str]]:
    """Say what a model runs on, for ``run.json``; of its second network where it was needed."""
    about = {"runtime": describe(model.runtime)}
    second = model.bright and model.bright.runtime
    if second and (not isinstance(second, LoadedLater) or second.is_loaded):
        about["runtime_bright"] = describe(second)
    return about


def is_exact(runtime: Runtime) -> bool:
    """Whether labels are those of the CPU in f32, which others can repeat."""
    return Candidate(runtime.device, runtime.precision) == EXACT


def processor_name() -> str:
    """Name of the processor, as far as the system tells."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def user_cache_file(about: dict[str, Any]) -> Path:
    """Where the outcome of a self-check is kept."""
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    return user_cache() / f"self-check-{key}.json"


def _openvino_candidates(*, int8: bool) -> list[Candidate]:
    """List what OpenVINO can do here, nothing where it cannot be imported."""
    try:
        precisions = ("f32", *(["bf16"] if has_bf16() else []), *(["int8"] if int8 else []))
    except (NucsegError, OSError, RuntimeError) as error:
        logger.warning("OpenVINO is installed but cannot be used: %s", error)
        return []
    return [Candidate("openvino", each) for each in precisions]


def _providers() -> list[str]:
    return list(import_onnxruntime().get_available_providers())


def _chosen(kind: str, given: str, known: Sequence[str]) -> str:
    """Take what is given, else what the environment says; refuse what there is not."""
    name = VARIABLES[kind]
    value = os.environ.get(name, "auto") if given == "auto" else given
    if value not in ("auto", *known):
        where = kind if value == given else f"{kind} in the environment variable {name}"
        raise InputError(f"Unknown {where}: {value!r}. Give auto, {', '.join(known)}.")
    return value


def _is_exact(device: str, precision: str, card: ModelCard) -> bool:
    """Whether the CPU in f32 is asked for, or is all that there can be."""
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
    """Refuse a device that is not there, or numbers that it or the model does not have."""
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
    """Load on the fastest that finds the same nuclei; the CPU stands by."""
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
    """Load in the fastest precision of a device that finds the same nuclei, else in f32."""
    _require(network.card, device)
    here = [each for each in judged(network) if each.candidate.device == device]
    if good := in_order(here):
        return network.load(good[0])
    for each in here:
        if each.speed:  # else loading it says what is wrong
            logger.warning("%s is used as asked for. %s", each.candidate, each.problem)
    return network.load(Candidate(device, "f32"))


def _about(network: Network) -> dict[str, Any]:
    """All that the outcome of a self-check depends on."""
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
    """Read what a self-check found, None where it is not known or cannot be read."""
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
