"""Check whether a runtime finds the same nuclei as ONNX Runtime on the CPU in f32, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucseg.core.overlap import overlap
from nucseg.datasets.synthetic import SAMPLES, sample_image
from nucseg.errors import DeviceError, MissingExtraError, ModelError
from nucseg.images.preprocess import FloatImage, prepare
from nucseg.inference.network import run_network
from nucseg.inference.runtimes import Runtime
from nucseg.inference.segmenter import Model
from nucseg.models.zoo import ModelCard

# Minimum IoU of equal nuclei, and minimum fraction of equal nuclei for a runtime to pass.
SAME_IOU, SAME_SHARE = 0.8, 0.98
# Maximum mean difference between maps that count as equal.
_SAME_MAPS = 0.01
_ROUNDS = 3


@dataclass(frozen=True)
class Candidate:
    """A device and a precision of the network."""

    device: str
    precision: str

    def __str__(self) -> str:
        """Return the device and the precision as on the command line."""
        return f"{self.device} {self.precision}"


@dataclass(frozen=True)
class Judged:
    """Result of the self-check of a candidate.

    Attributes
    ----------
    candidate : Candidate
    speed : float
        Speed of the network in megapixels per second, 0 if it does not run.
    problem : str
        Reason why ``auto`` does not use it; empty if it finds the same nuclei as the CPU in f32.
    """

    candidate: Candidate
    speed: float
    problem: str = ""


def same_share(expected: npt.NDArray[np.integer], labels: npt.NDArray[np.integer]) -> float:
    """Compute the fraction of nuclei of two label images that are in both, in [0, 1].

    Parameters
    ----------
    expected, labels : ndarray, same shape, integer
        0 background, other values nuclei. Two nuclei are the same if their IoU is 0.8 or more.

    Examples
    --------
    >>> import numpy as np
    >>> same_share(np.array([[1, 1, 0, 2]]), np.array([[3, 3, 0, 0]]))
    0.5
    """
    table = overlap(expected, labels)
    same = int(np.count_nonzero(table.iou >= SAME_IOU))
    either = table.true_labels.size + table.predicted_labels.size - same
    return same / either if either else 1.0


def judge(
    card: ModelCard, candidates: Sequence[Candidate], load: Callable[[Candidate], Runtime]
) -> list[Judged]:
    """Run a network with each candidate on sample images, in turns.

    Parameters
    ----------
    card : ModelCard
        Description of the network.
    candidates : sequence of Candidate
        The first is the reference for the others.
    load : callable
        Loads the network for a candidate.

    Returns
    -------
    list of Judged
        Results in the order of the candidates.

    Raises
    ------
    ModelError
        The network does not run with the first candidate.
    """
    model, samples = _prepared(card, load(candidates[0]))
    runtimes: dict[Candidate, Runtime] = {candidates[0]: model.runtime}
    problems: dict[Candidate, str] = {}
    expected = _results(model, samples)
    for candidate in candidates[1:]:
        try:
            runtime = load(candidate)
            found = _results(Model(card, runtime, scale=1.0), samples)
        except (DeviceError, MissingExtraError, ModelError) as error:
            problems[candidate] = str(error)
            continue
        runtimes[candidate] = runtime
        problems[candidate] = _difference(expected, found)
    speeds = _speeds(card, runtimes, samples)
    return [Judged(each, speeds.get(each, 0.0), problems.get(each, "")) for each in candidates]


def _prepared(card: ModelCard, runtime: Runtime) -> tuple[Model, list[npt.NDArray[np.uint8]]]:
    """Return a model without scale estimate, and the sample images of 512 by 640 pixels."""
    samples = [np.tile(sample_image(name), (2, 2, 1)) for name in SAMPLES]
    return Model(card, runtime, scale=1.0), samples


def _results(
    model: Model, samples: Sequence[npt.NDArray[np.uint8]]
) -> list[tuple[npt.NDArray[np.integer], FloatImage]]:
    results: list[tuple[npt.NDArray[np.integer], FloatImage]] = []
    for image in samples:
        maps = model.network_maps(image)
        results.append((model.nuclei(image, maps).labels, maps))
    return results


def _difference(
    expected: Sequence[tuple[npt.NDArray[np.integer], FloatImage]],
    found: Sequence[tuple[npt.NDArray[np.integer], FloatImage]],
) -> str:
    """Describe how the nuclei or maps of the sample images differ; empty if they agree."""
    for (labels, maps), (other_labels, other_maps) in zip(expected, found, strict=True):
        share = same_share(labels, other_labels)
        if share < SAME_SHARE:
            return (
                f"It finds other nuclei: {labels.max()} on the CPU in f32, "
                f"{other_labels.max()} here, {share:.0%} of them the same."
            )
        away = float(np.abs(maps - other_maps).mean())
        if not away <= _SAME_MAPS:  # NaN too
            return f"It gives other maps: they differ by {away:.3f} in the mean."
    return ""


def _speeds(
    card: ModelCard,
    runtimes: Mapping[Candidate, Runtime],
    samples: Sequence[npt.NDArray[np.uint8]],
) -> dict[Candidate, float]:
    """Measure megapixels per second of each runtime: the best of some rounds, in turns."""
    prepared = [prepare(image, card.preprocessing) for image in samples]
    megapixels = sum(image.shape[0] * image.shape[1] for image in prepared) / 1e6
    best = dict.fromkeys(runtimes, float("inf"))
    for _ in range(_ROUNDS):
        for candidate, runtime in runtimes.items():
            start = time.perf_counter()
            for image in prepared:
                run_network(runtime, card, image)
            best[candidate] = min(best[candidate], time.perf_counter() - start)
    return {candidate: megapixels / seconds for candidate, seconds in best.items()}
