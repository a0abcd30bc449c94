"""Groups of images of the same patient, slide or field of view, which stay together."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

from nucseg.datasets.samples import Dataset
from nucseg.datasets.splits import find_fields
from nucseg.errors import InputError


def groups_of(
    dataset: Dataset,
    group: str | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Find the groups of images that a split must keep together.

    Parameters
    ----------
    dataset : Dataset
    group : str, optional
        A regular expression that matches the group in an image's name, such as ``P[0-9]+``; or
        ``TABLE.csv:COLUMN``, a table with the columns image_id and this one. By default the rule
        in ``dataset.toml`` applies; without one, images that continue each other are one field of
        view (`nucseg.datasets.splits.find_fields`).
    progress : callable, optional
        ``progress(done, total)``, if images are read.

    Returns
    -------
    dict of str to int
        Group number of each image. Images of different data sets are never in the same group.

    Raises
    ------
    InputError
        The expression is invalid or matches no image, or the table cannot be read.
    """
    named: dict[str, object] = {}
    for member in dataset.members or (dataset,):
        prefix = f"{member.facts.name}/" if dataset.members else ""
        ids = member.image_ids
        rule = group or member.facts.group
        if rule is None:
            images = {}
            for image_id in ids:
                images[image_id] = member.read_pixels(image_id)
                if progress is not None:
                    progress(len(named) + len(images), len(dataset.image_ids))
            found: dict[str, object] = dict(find_fields(images))
        elif (table := _table(rule)) is not None:
            found = {each: table.get(f"{prefix}{each}", table.get(each, each)) for each in ids}
        else:
            found = _by_name(ids, rule)
        named |= {f"{prefix}{each}": (prefix, name) for each, name in found.items()}
    if group is not None and len(set(named.values())) == len(named) > 1:
        raise InputError(
            f"By {group!r} every one of the {len(named)} images is a group of its own. Give a "
            "regular expression of the part of the name that images of one patient, slide or "
            "field share, or TABLE.csv:COLUMN, a table with the columns image_id and COLUMN."
        )
    numbers: dict[object, int] = {}
    return {each: numbers.setdefault(name, len(numbers)) for each, name in named.items()}


def _by_name(image_ids: tuple[str, ...], expression: str) -> dict[str, object]:
    """Group by the match of an expression in the name: its first group, or all of it."""
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise InputError(f"{expression!r} is no regular expression: {error}.") from error
    found: dict[str, object] = {}
    for image_id in image_ids:
        match = pattern.search(image_id)
        found[image_id] = image_id if match is None else match[1] if match.groups() else match[0]
    return found


def _table(rule: str) -> dict[str, str] | None:
    """Read the column of a table; None if the rule is not a table."""
    path, _, column = rule.rpartition(":")
    if not path.lower().endswith(".csv"):
        return None
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            if not {"image_id", column} <= set(columns):
                raise InputError(
                    f"{path} has the columns {', '.join(columns) or '(none)'}; expected image_id "
                    f"and {column}."
                )
            return {row["image_id"].strip(): row[column].strip() for row in reader}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read the table {path}: {error}.") from error
