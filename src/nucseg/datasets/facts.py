"""Metadata of a data set in ``dataset.toml``: name, licence, source, how it was annotated."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator

from nucseg.config import PIXEL_SIZES, Frozen
from nucseg.datasets.storage import Files
from nucseg.errors import InputError

FACTS = "dataset.toml"


class Facts(Frozen):
    """The content of ``dataset.toml``; every line is optional."""

    name: str = Field("", description="Name of the set; by default that of its folder or file.")
    licence: str = Field("", description="Licence of images and masks, such as CC BY 4.0.")
    source: str = Field("", description="Where the set comes from: an address or a DOI.")
    citation: str = Field("", description="What to cite.")
    pixel_size: float | None = Field(
        None, ge=PIXEL_SIZES[0], le=PIXEL_SIZES[1], description="Micrometres from pixel to pixel."
    )
    touching: Literal["apart", "merged"] | None = Field(
        None,
        description="Whether nuclei that touch are told apart, or are one because the masks were "
        "binary; by default guessed.",
    )
    group: str | None = Field(
        None,
        description="Regular expression of the part of an image's name that says of which patient, "
        "slide or field it is; images of one group stay together in a split.",
    )

    @field_validator("group")
    @classmethod
    def _is_expression(cls, group: str | None) -> str | None:
        try:
            re.compile(group or "")
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return group


def read_facts(files: Files) -> Facts:
    """Read the metadata of a data set.

    Parameters
    ----------
    files : Files

    Returns
    -------
    Facts
        Content of ``dataset.toml`` in the folder or zip file, else of a file beside it with the
        same name and the suffix ``.toml``, such as ``stage1_train.toml`` for ``stage1_train.zip``.
        A missing name is filled in.

    Raises
    ------
    InputError
        The file cannot be read, is not TOML, or has an unknown key or value.
    """
    inside = [name for name in files.names if name.split("/")[-1] == FACTS]
    beside = files.path.with_name(f"{files.path.stem}.toml")
    where: object = files.path.name
    facts = Facts()
    if inside:
        name = min(inside, key=lambda name: name.count("/"))
        where = files.path / name
        facts = _parsed(files.read(name), where)
    elif beside.is_file():
        facts = _parsed(beside.read_bytes(), beside)
    return facts if facts.name else facts.model_copy(update={"name": _name(files.path)})


def _name(path: Path) -> str:
    return path.resolve().stem if path.is_file() else path.resolve().name


def _parsed(content: bytes, where: object) -> Facts:
    try:
        return Facts.model_validate(tomllib.loads(content.decode("utf-8-sig")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{where} is no TOML file: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{where}: {place}: {first['msg']}. Known are: {', '.join(Facts.model_fields)}."
        ) from error
