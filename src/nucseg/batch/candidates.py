"""Apply rules for candidates to the measurements of all images, when tables are written."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nucseg.export.tables import Table
from nucseg.measure.candidates import (
    CANDIDATE,
    FEWEST,
    FLAG,
    NEEDED,
    MedianNucleus,
    Rules,
    find_candidates,
    median_nucleus,
)

logger = logging.getLogger(__name__)


class WithCandidates:
    """Measurements of images with the columns ``candidate`` and ``flag``.

    Parameters
    ----------
    parts : iterable of mapping from str to sequence
        Measurements of each image; iterated again in each pass.
    rules : Rules
        Rules of candidates and flags.
    """

    def __init__(self, parts: Iterable[Table], rules: Rules) -> None:
        self._parts, self._rules = parts, rules
        self._medians = self._find_medians()

    def __iter__(self) -> Iterator[Table]:
        """Yield the measurements of each image, with a name for each nucleus."""
        for part in self._parts:
            if "dna_content" not in part:
                yield part
                continue
            columns = {name: np.asarray(values) for name, values in part.items()}
            median = self._medians.get(self._group(part))
            yield {**part, **find_candidates(columns, self._rules, median)}

    def counts(self) -> dict[tuple[str, str], dict[str, int]]:
        """Count the nuclei of each name by image and plane; 0 for names without nuclei."""
        found: dict[tuple[str, str], dict[str, int]] = {}
        names = [*self._rules.names(CANDIDATE), *self._rules.names(FLAG)]
        for part in self:
            if CANDIDATE in part and len(part["image"]):
                seen = Counter([*part[CANDIDATE], *part[FLAG]])
                found[_key(part)] = {name: seen[name] for name in names}
        return found

    def _group(self, part: Table) -> str:
        image, plane = _key(part) if len(part["image"]) else ("", "")
        if self._rules.relative_to == "folder":
            return str(Path(image).parent)
        return f"{image} {plane}" if self._rules.relative_to == "image" else ""

    def _find_medians(self) -> dict[str, MedianNucleus | None]:
        groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for part in self._parts:
            if "dna_content" in part and len(part["image"]):
                own = {name: np.asarray(part[name]) for name in NEEDED}
                groups[self._group(part)].append(own)
        found = {name: median_nucleus(tables) for name, tables in groups.items()}
        lacking = [name for name, median in found.items() if median is None]
        if lacking:
            logger.warning(
                "No candidates in %s: fewer than %d whole nuclei that are brighter than the "
                "background have no median nucleus to compare with.",
                ", ".join(lacking[:5]) or "any image",
                FEWEST,
            )
        return found


def _key(part: Table) -> tuple[str, str]:
    plane = part.get("plane", ("",))
    return str(part["image"][0]), str(plane[0])
