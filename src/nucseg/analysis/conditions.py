"""Assign each image to a condition: by a plate map, its path, or columns of a list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from nucseg.analysis.plate_maps import COLUMNS, PlateMap, well_name
from nucseg.errors import InputError

# A well in a file name: A1 to P24, not part of a longer word.
_WELL = re.compile(r"(?<![A-Za-z0-9])([A-Pa-p](?:0?[1-9]|1[0-9]|2[0-4]))(?![0-9A-Za-z])")
_FIELDS = ("well", "plate", "field", "treatment", "dose", "unit", "replicate", "control")
_TEXTS = ("class", "candidate", "flag", "image", "path", "plane", "error", "warnings")
_NUMBER = r"[0-9]+(?:[.,][0-9]+)?"
_PARTS = {"well": r"[A-Za-z]{1,2}[0-9]{1,3}", "dose": _NUMBER}


@dataclass(frozen=True)
class Results:
    """The tables of a run of ``nucseg segment``.

    Attributes
    ----------
    images : DataFrame
        A row for each plane of an image, as in ``images.csv``. The column ``image`` is its path,
        as in ``nuclei``.
    nuclei : DataFrame
        A row for each nucleus, as in ``measurements.csv``.
    """

    images: pd.DataFrame
    nuclei: pd.DataFrame


@dataclass(frozen=True)
class Assignment:
    """Condition of each image.

    Attributes
    ----------
    images : DataFrame
        Images that belong to a condition, with the columns plate, well, treatment, dose, unit,
        replicate, control and condition, as far as known.
    unmatched : tuple of str
        Images without a condition.
    unused : tuple of str
        Wells of the plate map without an image.
    notes : tuple of str
        Guesses, in sentences.
    """

    images: pd.DataFrame
    unmatched: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def read_results(folder: Path) -> Results:
    """Read the tables of a run, in either dialect.

    Parameters
    ----------
    folder : Path
        Output folder of ``nucseg segment -o``.

    Raises
    ------
    InputError
        The folder does not contain these tables, or they are damaged.
    """
    images = _table(folder / "images.csv")
    if "path" in images:
        # A list of inputs may have a column called image too.
        images = images.rename(columns={"image": "list_image", "path": "image"})
    return Results(images, _table(folder / "measurements.csv"))


def _table(path: Path) -> pd.DataFrame:
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline()
        european = first.count(";") > first.count(",")
        return pd.read_csv(
            path,
            sep=";" if european else ",",
            decimal="," if european else ".",
            encoding="utf-8-sig",
            keep_default_na=True,
            dtype=dict.fromkeys(_TEXTS, str),
        )
    except OSError as error:
        raise InputError(
            f"{path.parent} holds no results of nucseg segment: {path.name} is missing. Give the "
            "folder that --output named."
        ) from error
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"Cannot read {path}: {error}.") from error


def assign(
    images: pd.DataFrame,
    plate_map: PlateMap | None = None,
    groups: str | None = None,
) -> Assignment:
    """Assign each image to a condition.

    Parameters
    ----------
    images : DataFrame
        Table of `Results`. Columns with names of `nucseg.analysis.plate_maps.COLUMNS`, which come
        from a list of inputs, are used too.
    plate_map : PlateMap, optional
        Joined by well, and by plate if it has names of plates.
    groups : str, optional
        Pattern of paths, such as ``{plate}/{well}_{field}``: names in braces are parts of the end
        of the path, without the suffix. By default wells are searched in file names.

    Returns
    -------
    Assignment
        A condition is a treatment with its dose.

    Raises
    ------
    InputError
        The pattern is invalid, or no image belongs to a condition.
    """
    notes: list[str] = []
    known = _from_columns(images)
    paths = images["image"].map(lambda path: PurePosixPath(str(path).replace("\\", "/")))
    parts = _by_pattern(paths, groups) if groups else _by_guess(paths, plate_map, known, notes)
    for name in parts:
        if name not in known:
            known[name] = parts[name]
    if "well" in known:
        known["well"] = known["well"].map(
            lambda text: well_name(str(text)) if pd.notna(text) else None
        )
    unused: tuple[str, ...] = ()
    if plate_map is not None:
        known, unused = _joined(known, plate_map)
    if "treatment" not in known:
        raise InputError(
            "No image belongs to a treatment. Give a plate map (--plate-map) that names the wells "
            "of the images, or say how their paths are put together, as "
            '--groups "{treatment}/{replicate}_{field}".'
        )
    matched = known["treatment"].notna() & (known["treatment"].astype(str) != "")
    told = pd.concat([images, known[[name for name in known if name not in images]]], axis=1)
    for name in known:
        told[name] = known[name]
    kept = told[matched].copy()
    if kept.empty:
        raise InputError(
            f"None of the {len(images)} images matches the plate map: their wells are "
            f"{', '.join(map(str, known.get('well', pd.Series(dtype=str)).dropna().unique()[:5]))} "
            'and so on. Say where the well is in the path, as --groups "{plate}/{well}_{field}".'
        )
    kept["condition"] = [_condition(row) for row in kept.to_dict("records")]
    unmatched = tuple(images["image"][~matched].astype(str))
    return Assignment(kept, unmatched, unused, tuple(notes))


def _from_columns(images: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of the list of inputs that describe conditions."""
    known = pd.DataFrame(index=images.index)
    for meaning, names in COLUMNS.items():
        for column in images:
            bare = str(column).lower().removeprefix("list_").replace(" ", "_")
            if bare in names and meaning not in known:
                known[meaning] = images[column]
    if "dose" in known:
        known["dose"] = pd.to_numeric(known["dose"], errors="coerce")
    return known


def names_in(pattern: str) -> list[str]:
    """List the names in a pattern of paths.

    Parameters
    ----------
    pattern : str
        Pattern such as ``{plate}/{well}_{field}``.

    Raises
    ------
    InputError
        The pattern has no names, an unknown one, or one twice.

    Examples
    --------
    >>> names_in("{plate}/{well}_s{field}")
    ['plate', 'well', 'field']
    """
    names = re.findall(r"{([^{}]*)}", pattern)
    wrong = [name for name in names if name not in _FIELDS]
    if not names or wrong or len(set(names)) < len(names):
        raise InputError(
            f"Wrong value of --groups: {pattern!r}. Expected names in braces, each once, of "
            f"{', '.join(_FIELDS)}, such as {{plate}}/{{well}}_{{field}}."
        )
    return names


def _by_pattern(paths: pd.Series[Any], pattern: str) -> pd.DataFrame:
    """Split paths by a pattern with names in braces."""
    names = names_in(pattern)
    expression = "".join(
        f"(?P<{part}>{_PARTS.get(part, '[^/]+?')})" if number % 2 else re.escape(part)
        for number, part in enumerate(re.split(r"{([^{}]*)}", pattern))
    )
    compiled = re.compile(rf"(?:^|/){expression}$")
    matches = [compiled.search(path.with_suffix("").as_posix()) for path in paths]
    found = pd.DataFrame(
        {name: [match[name] if match else None for match in matches] for name in names},
        index=paths.index,
        dtype=object,
    )
    if "dose" in found:
        found["dose"] = pd.to_numeric(found["dose"].str.replace(",", "."), errors="coerce")
    return found


def _by_guess(
    paths: pd.Series[Any], plate_map: PlateMap | None, known: pd.DataFrame, notes: list[str]
) -> pd.DataFrame:
    """Search wells in file names, and plates in folder names if the plate map needs them."""
    if plate_map is None or "well" in known:
        return pd.DataFrame(index=paths.index)
    wells = [_last_well(path.stem) for path in paths]
    found = pd.DataFrame({"well": wells}, index=paths.index, dtype=object)
    if any(wells):
        first = next(index for index, well in enumerate(wells) if well)
        notes.append(
            f"Wells were found in file names: {paths.iloc[first].name} is {wells[first]}. If that "
            "is wrong, say where they are with --groups."
        )
    if plate_map.plates and "plate" not in known:
        found["plate"] = [
            next((part for part in reversed(path.parts) if part in plate_map.plates), None)
            for path in paths
        ]
    return found


def _last_well(stem: str) -> str | None:
    # An underscore separates words in file names.
    found = _WELL.findall(stem.replace("_", " "))
    return well_name(found[0]) if found else None


def _joined(known: pd.DataFrame, plate_map: PlateMap) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Add the plate map's content of each well."""
    by_plate = bool(plate_map.plates)
    rows = {
        (str(row.get("plate", "")) if by_plate else "", row["well"]): row for row in plate_map.rows
    }
    empty = pd.Series([None] * len(known), index=known.index, dtype=object)
    wells = known.get("well", empty)
    plates = known.get("plate", empty) if by_plate else empty
    keys = [
        (str(plate) if by_plate and pd.notna(plate) else "", well)
        for plate, well in zip(plates, wells, strict=True)
    ]
    names = dict.fromkeys(name for row in plate_map.rows for name in row if name != "well")
    joined = known.copy()
    for name in names:
        if name == "plate" and "plate" in joined:
            continue
        joined[name] = pd.Series(
            [rows.get(key, {}).get(name) for key in keys], index=known.index, dtype=object
        )
    unused = tuple(" ".join(part for part in key if part) for key in rows if key not in set(keys))
    if "dose" in joined:
        joined["dose"] = pd.to_numeric(joined["dose"], errors="coerce")
    return joined, unused


def _condition(row: Mapping[Any, Any]) -> str:
    """Name a condition: its treatment, with the dose if that is above 0."""
    dose, unit = row.get("dose"), row.get("unit")
    if dose is None or pd.isna(dose) or dose == 0:
        return str(row["treatment"])
    return f"{row['treatment']} {dose:g}" + (f" {unit}" if unit and pd.notna(unit) else "")


def negative_controls(images: pd.DataFrame, named: Sequence[str] = ()) -> list[str]:
    """Determine which conditions are negative controls.

    Parameters
    ----------
    images : DataFrame
        Table of `Assignment`.
    named : sequence of str
        Treatments or conditions that the user specified.

    Raises
    ------
    InputError
        There is no negative control, or a name is not a condition.
    """
    conditions = list(dict.fromkeys(images["condition"]))
    if named:
        chosen = [
            condition
            for condition in conditions
            if condition in named
            or (images["treatment"][images["condition"] == condition].astype(str).isin(named)).any()
        ]
        if not chosen:
            raise InputError(
                f"--control names {', '.join(named)}; the conditions are {', '.join(conditions)}."
            )
        return chosen
    marked = images["condition"][images.get("control", pd.Series("", images.index)) == "negative"]
    if marked.empty:
        raise InputError(
            f"No condition is a negative control. Name it with --control; the conditions are "
            f"{', '.join(conditions)}."
        )
    return list(dict.fromkeys(marked))
