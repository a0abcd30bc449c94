"""Base class and helpers of all settings."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Frozen(BaseModel):
    """A group of settings: immutable, without unknown keys."""

    # Validators are built on first use, because most commands use few of them.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


def _none(value: Any) -> Any:
    """Convert "none" to None, because TOML has no null."""
    return None if value == "none" else value


OrNone = BeforeValidator(_none)


def pairs(value: Any) -> Any:
    """Convert NAME=NUMBER arguments of the command line to a mapping."""
    if not isinstance(value, list | tuple):
        return value
    pairs = [str(each).rpartition("=") for each in value]
    if not all(name and equals for name, equals, _ in pairs):
        raise ValueError(f"expected NAME=NUMBER, not {', '.join(map(str, value))}")
    return {name: number for name, _, number in pairs}
