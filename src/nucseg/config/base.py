"""What all settings are made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Frozen(BaseModel):
    """A settings group: immutable, no unknown keys."""

    # Built when first used: most commands use few of them.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


def _none(value: Any) -> Any:
    """TOML has no null, so settings files say "none"."""
    return None if value == "none" else value


OrNone = BeforeValidator(_none)


def pairs(value: Any) -> Any:
    """Take NAME=NUMBER, as the command line gives them, for a mapping."""
    if not isinstance(value, list | tuple):
        return value
    pairs = [str(each).rpartition("=") for each in value]
    if not all(name and equals for name, equals, _ in pairs):
        raise ValueError(f"expected NAME=NUMBER, not {', '.join(map(str, value))}")
    return {name: number for name, _, number in pairs}
