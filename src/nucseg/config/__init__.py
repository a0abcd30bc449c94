"""All settings of nucseg with their defaults, bounds and help texts.

The models are frozen and reject unknown keys, so that a misspelt setting raises an error. The
command line takes its defaults and help texts from here.
"""

from nucseg.config.base import Frozen
from nucseg.config.measuring import Length, Measuring
from nucseg.config.models import (
    INSTANCE_MAPS,
    OFFSET_MAPS,
    OFFSET_RANGE,
    ConnectedComponents,
    Filtering,
    Postprocessing,
    Preprocessing,
    Scaling,
    Scoring,
    UNet,
    Watershed,
)
from nucseg.config.runs import (
    DEVICES,
    PIXEL_SIZES,
    PRECISIONS,
    App,
    Device,
    Precision,
    Reading,
    Segmenting,
)
from nucseg.config.training import (
    DEFAULT_RECIPE,
    FINE_TUNING,
    FINE_TUNING_CROPS,
    RECIPES,
    Augmentation,
    Crops,
    Training,
)

__all__ = [
    "DEFAULT_RECIPE", "DEVICES", "FINE_TUNING", "FINE_TUNING_CROPS", "INSTANCE_MAPS",
    "OFFSET_MAPS", "OFFSET_RANGE", "PIXEL_SIZES", "PRECISIONS", "RECIPES", "App", "Augmentation",
    "ConnectedComponents", "Crops", "Device", "Filtering", "Frozen", "Length", "Measuring",
    "Postprocessing", "Precision", "Preprocessing", "Reading", "Scaling", "Scoring", "Segmenting",
    "Training", "UNet", "Watershed",
]  # fmt: skip
