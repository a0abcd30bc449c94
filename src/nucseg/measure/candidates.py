"""Candidates for mitotic, apoptotic and fragmented nuclei, micronuclei and debris, by rules.

The rules are in ``candidates.toml`` in this package, each with its source. They compare a nucleus
with the median nucleus, so they apply to any magnification and exposure.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, model_validator

from nucseg.config import Frozen
from nucseg.errors import InputError
from nucseg.measure.nuclei import Columns

Floats = npt.NDArray[np.float64]

CANDIDATE, FLAG = "candidate", "flag"
DEFAULT = "default"
# Measures that rules use.
MEASURES = (
    "area", "mean", "dna", "unusual", "distance", "fragments", "solidity", "form_factor",
    "eccentricity",
)  # fmt: skip
# Columns of measurements from which the median nucleus is computed.
NEEDED = ("area", "dna_content", "touches_border")
# Minimum number of complete nuclei for a reliable median nucleus.
FEWEST = 10
# Fragments of a nucleus, for `fragments`: area and mean relative to the median nucleus.
_PIECE_AREA, _PIECE_MEAN = 0.5, 1.2
# Relative area of a nucleus of usual size, for `distance`.
_USUAL = (0.4, 3.0)
# Lower limit of the spread, so that small differences between similar nuclei are not unusual.
_LEAST_SPREAD = 0.1
# Median absolute deviation over standard deviation of a normal distribution.
_MAD = 0.6745

Limits = tuple[float, float]


class Rule(Frozen):
    """A rule that gives a name to nuclei.

    Attributes
    ----------
    name : str
    column : {"candidate", "flag"}
        Column that contains the name.
    source : str
        Source of the rule.
    limits : dict of str to (float, float)
        Minimum and maximum of each of the `MEASURES` that the rule uses.
    """

    name: str = Field(min_length=1)
    column: Literal["candidate", "flag"]
    source: str = Field(min_length=1)
    limits: dict[str, Limits] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, given: Any) -> Any:
        """Collect the limits, which are top-level keys of a rule in the file."""
        if not isinstance(given, Mapping) or "limits" in given:
            return given
        about = {key: given[key] for key in ("name", "column", "source") if key in given}
        return {**about, "limits": {key: given[key] for key in given if key not in about}}

    @model_validator(mode="after")
    def _known(self) -> Rule:
        for name, (low, high) in self.limits.items():
            if name not in MEASURES:
                raise ValueError(f"{name!r} is none of {', '.join(MEASURES)}")
            if not low <= high:
                raise ValueError(f"limits of {name} must rise, not {low:g} to {high:g}")
        return self


class Rules(Frozen):
    """Rules in order of priority: in each column, the first rule that applies names a nucleus.

    Attributes
    ----------
    relative_to : {"folder", "image", "run"}
        Images from which the median nucleus is computed.
    rule : tuple of Rule
    """

    relative_to: Literal["folder", "image", "run"] = "folder"
    rule: tuple[Rule, ...] = Field(min_length=1)

    def names(self, column: str) -> list[str]:
        """Return the names that a column may contain."""
        return list(dict.fromkeys(each.name for each in self.rule if each.column == column))


@dataclass(frozen=True)
class MedianNucleus:
    """Reference nucleus for the rules.

    Attributes
    ----------
    area : float
        Area in pixels.
    mean, dna : float
        Mean and summed intensity above the background, above 0.
    spread : tuple of 3 float
        Standard deviations of the logarithms of area, mean and dna, estimated from their median
        absolute deviations.
    """

    area: float
    mean: float
    dna: float
    spread: tuple[float, float, float]


def read_rules(source: str | Path = DEFAULT) -> Rules:
    """Read rules from a file.

    Parameters
    ----------
    source : str or Path
        A TOML file such as ``candidates.toml`` in this package, or ``default`` for that file.

    Raises
    ------
    InputError
        The file cannot be read, or contains anything other than rules.

    Examples
    --------
    >>> read_rules().names("candidate")
    ['mitotic', 'fragmented', 'apoptotic', 'micronucleus']
    """
    if str(source) == DEFAULT:
        text = files("nucseg.measure").joinpath("candidates.toml").read_text(encoding="utf-8")
    else:
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"Cannot read the rules of candidates from {source}: {error}. Give a TOML file, or "
                f"{DEFAULT}."
            ) from error
    try:
        return Rules.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source} is no TOML file: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise InputError(f"Wrong rule of candidates in {source}: {where}: {what}.") from error


def median_nucleus(tables: Iterable[Columns]) -> MedianNucleus | None:
    """Compute the median of the complete nuclei of images.

    Parameters
    ----------
    tables : iterable of dict of str to ndarray, shape (N,)
        Measurements of each image with the columns `NEEDED`.

    Returns
    -------
    MedianNucleus or None
        Median of the nuclei that do not touch the border. Nuclei smaller than a quarter of the
        median area are excluded, so that fragments have little effect. None if there are fewer than
        10 nuclei brighter than the background.
    """
    kept: list[Floats] = [np.zeros((0, 2))]
    for table in tables:
        both = np.column_stack([table["area"], table["dna_content"]]).astype(np.float64)
        kept.append(both[~np.asarray(table["touches_border"], bool)])
    values = np.concatenate(kept)
    values = values[values[:, 1] > 0]
    values = values[values[:, 0] >= np.median(values[:, 0]) / 4] if len(values) else values
    if len(values) < FEWEST:
        return None
    each = np.column_stack([values[:, 0], values[:, 1] / values[:, 0], values[:, 1]])
    middle = np.median(each, axis=0)
    away = np.median(np.abs(np.log(each / middle)), axis=0) / _MAD
    spread = np.maximum(away, _LEAST_SPREAD)
    area, mean, dna = (float(value) for value in middle)
    return MedianNucleus(area, mean, dna, (float(spread[0]), float(spread[1]), float(spread[2])))


def find_candidates(table: Columns, rules: Rules, median: MedianNucleus | None) -> Columns:
    """Find candidates and outliers among the nuclei of an image by rules.

    Parameters
    ----------
    table : dict of str to ndarray, shape (N,)
        Columns of `nucseg.measure.measure`, with ``dna_content``.
    rules : Rules
    median : MedianNucleus or None
        None if it is unknown; then no nucleus is classified.

    Returns
    -------
    dict of str to ndarray, shape (N,), str
        ``candidate`` and ``flag``. Empty if no rule applies, and for nuclei that touch the border,
        because a part of them may be missing.

    Examples
    --------
    >>> import numpy as np
    >>> table = {"area": np.full(12, 100.0), "dna_content": np.full(12, 5000.0)}
    >>> table |= {"touches_border": np.zeros(12, bool)}
    >>> table |= {"centroid_row": np.arange(12) * 40.0, "centroid_column": np.zeros(12)}
    >>> table |= {name: np.ones(12) for name in ("solidity", "form_factor", "eccentricity")}
    >>> table["area"][3], table["dna_content"][3] = 60, 9000
    >>> find_candidates(table, read_rules(), median_nucleus([table]))["candidate"][2:5].tolist()
    ['', 'mitotic', '']
    """
    count = len(table["area"])
    width = max((len(each.name) for each in rules.rule), default=1)
    found: Columns = {name: np.full(count, "", f"<U{width}") for name in (CANDIDATE, FLAG)}
    if median is None or not count:
        return found
    measured = measures(table, median)
    whole = ~np.asarray(table["touches_border"], bool)
    # A candidate gets no flag.
    for rule in sorted(rules.rule, key=lambda each: each.column == FLAG):
        holds = whole & (found[CANDIDATE] == "") & (found[rule.column] == "")
        for name, (low, high) in rule.limits.items():
            holds &= (measured[name] >= low) & (measured[name] <= high)
        found[rule.column][holds] = rule.name
    return found


def measures(table: Columns, median: MedianNucleus) -> dict[str, Floats]:
    """Compute the measures that rules use.

    Parameters
    ----------
    table : dict of str to ndarray, shape (N,)
        See `find_candidates`.
    median : MedianNucleus

    Returns
    -------
    dict of str to ndarray, shape (N,), float64
        The `MEASURES`, which ``candidates.toml`` describes.
    """
    size = np.asarray(table["area"], np.float64)
    content = np.asarray(table["dna_content"], np.float64)
    relative = {
        "area": size / median.area,
        "mean": content / size / median.mean,
        "dna": content / median.dna,
    }
    scores = [
        np.abs(np.log(np.maximum(each, 1e-6))) / spread
        for each, spread in zip(relative.values(), median.spread, strict=True)
    ]
    centres = np.column_stack([table["centroid_row"], table["centroid_column"]])
    diameter = 2 * np.sqrt(median.area / np.pi)
    usual = (relative["area"] >= _USUAL[0]) & (relative["area"] <= _USUAL[1])
    usual &= relative["mean"] < _PIECE_MEAN * 2
    piece = (relative["area"] <= _PIECE_AREA) & (relative["mean"] >= _PIECE_MEAN)
    return {
        **relative,
        "unusual": np.max(scores, axis=0),
        "distance": _to_nearest(centres, usual) / diameter,
        "fragments": _others_within(centres, piece, diameter),
        **{
            name: np.asarray(table[name], np.float64)
            for name in ("solidity", "form_factor", "eccentricity")
        },
    }


def _to_nearest(centres: Floats, chosen: npt.NDArray[np.bool_]) -> Floats:
    """Compute the distance of each centre to the nearest other chosen one; infinite without any."""
    from scipy.spatial import cKDTree

    places = np.flatnonzero(chosen)
    if not len(places):
        return np.full(len(centres), np.inf)
    distance = cKDTree(centres[places]).query(centres, k=2)[0]
    return np.asarray(np.where(chosen, distance[:, 1], distance[:, 0]))


def _others_within(centres: Floats, chosen: npt.NDArray[np.bool_], reach: float) -> Floats:
    """Count the other chosen centres within a distance `reach` of each centre."""
    from scipy.spatial import cKDTree

    if not chosen.any():
        return np.zeros(len(centres))
    near = cKDTree(centres[chosen]).query_ball_point(centres, reach, return_length=True)
    return np.asarray(near - chosen, np.float64)
