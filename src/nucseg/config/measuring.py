"""Settings of measurements."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from nucseg.config.base import Frozen


class Length(Frozen):
    """A length in the image."""

    value: float = Field(gt=0)
    unit: Literal["um", "pixels"]

    def __str__(self) -> str:
        """Return the length as on the command line."""
        return f"{self.value:g}um" if self.unit == "um" else f"{self.value:g}"


def _length(value: Any) -> Any:
    """Convert 2um or 8, as on the command line, to a length."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(um|µm|μm|px|pixels)?\s*", value)
    if found is None or float(found[1]) == 0:
        raise ValueError(f"expected a length above 0 as 2um, or 8 (pixels), not {value!r}")
    pixels = found[2] in (None, "px", "pixels")
    return {"value": float(found[1]), "unit": "pixels" if pixels else "um"}


def _split(value: Any) -> Any:
    """Convert A,B,C, as on the command line, to a sequence."""
    return tuple(each.strip() for each in value.split(",")) if isinstance(value, str) else value


def _thresholds(value: Any) -> Any:
    """Convert three comma-separated numbers to a sequence, or return "auto"."""
    return value if value == "auto" else _split(value)


DabThresholds = Annotated[
    tuple[float, float, float] | Literal["auto"], BeforeValidator(_thresholds)
]
LengthOrNone = Annotated[Length | None, BeforeValidator(_length)]


class Measuring(Frozen):
    """Measurements besides position, shape and the intensity of the segmented channels."""

    measure: Annotated[tuple[str, ...], BeforeValidator(_split)] = Field(
        (),
        description="Channels to measure in each nucleus, by name or number (from 0), with commas "
        "between them, or all; by default those that are read for --ring or --expand.",
    )
    ring: LengthOrNone = Field(
        None,
        description="Measure too in a ring around each nucleus, of this width: 2um, or 8 for "
        "pixels. It never reaches into a neighbour.",
    )
    expand: LengthOrNone = Field(
        None,
        description="Measure too in a whole cell, the nucleus grown by this much: 5um, or 20 for "
        "pixels. It never grows into a neighbour.",
    )
    texture: bool = Field(
        False, description="Measure too Haralick's features of texture of each nucleus."
    )
    radial: bool = Field(
        False,
        description="Measure too how intensity is spread from the centre of each nucleus to its "
        "edge.",
    )
    granularity: bool = Field(
        False,
        description="Measure too the granularity of each nucleus: how much of its intensity is in "
        "grains of 1 to 16 pixels.",
    )
    dna: bool = Field(
        False,
        description="Measure too the DNA content of each nucleus, its summed intensity above the "
        "background, by which nucseg analyze tells phases of the cell cycle.",
    )
    candidates: str | None = Field(
        None,
        description="Name candidates for mitotic, apoptotic and fragmented nuclei and micronuclei, "
        "and flag debris and outliers, by rules: those of nucseg (default), or of a TOML file.",
    )
    flat_field: str = Field(
        "off",
        description="Take uneven illumination out of what is measured: estimated over the images "
        "of each folder, 10 or more (auto), of a TIFF file that an earlier run wrote, or not "
        "(off). Outlines of nuclei do not depend on it.",
    )

    dab: bool = Field(
        False,
        description="Unmix haematoxylin and DAB of immunohistochemistry, and tell negative, weak, "
        "moderate and strong nuclei apart; positive.csv has H-scores and positive shares.",
    )
    dab_thresholds: DabThresholds = Field(
        "auto",
        description="With auto a nucleus is positive where DAB makes up most of its colour, "
        "however pale. Else the mean optical densities of DAB from which a nucleus is weak, "
        "moderate and strong, with commas between them; the first from a negative control.",
    )

    @model_validator(mode="after")
    def _rising(self) -> Measuring:
        if self.dab_thresholds == "auto":
            return self
        if list(self.dab_thresholds) != sorted(set(self.dab_thresholds)):
            raise ValueError(f"dab_thresholds must rise, not {self.dab_thresholds}")
        return self

    @property
    def any(self) -> bool:
        """Return whether any of these measurements is requested."""
        asked = (self.measure, self.ring, self.expand, self.texture, self.radial, self.dab)
        more = (self.granularity, self.dna, self.candidates, self.flat_field != "off")
        return any(map(bool, asked + more))
