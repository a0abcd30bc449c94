"""The former place of `nucseg.evaluation.metrics`; to be removed after the next release."""

from __future__ import annotations

import warnings
from typing import Any

from nucseg.evaluation import metrics


def __getattr__(name: str) -> Any:
    value = getattr(metrics, name)
    warnings.warn(
        f"nucseg.metrics has moved: import {name} from nucseg.evaluation.metrics.",
        DeprecationWarning,
        stacklevel=2,
    )
    return value
