"""Random changes of training images together with their targets, as plain functions of arrays."""

from __future__ import annotations

from nucseg.training.augment.crops import random_crop, separate_copies
from nucseg.training.augment.crowds import crowded_field
from nucseg.training.augment.whole import augment

__all__ = ["augment", "crowded_field", "random_crop", "separate_copies"]
