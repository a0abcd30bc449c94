"""nucseg segments, counts and measures cell nuclei in microscope images."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from nucseg.evaluation import evaluate
    from nucseg.inference.loading import load_model, segment
    from nucseg.inference.segmentation import Segmentation
    from nucseg.training.fit import train

# Loaded on first use, so that `import nucseg` and `nucseg --help` stay fast.
_PUBLIC = {
    "Segmentation": "nucseg.inference.segmentation",
    "evaluate": "nucseg.evaluation",
    "load_model": "nucseg.inference.loading",
    "segment": "nucseg.inference.loading",
    "train": "nucseg.training.fit",
}

__all__ = ["Segmentation", "__version__", "evaluate", "load_model", "segment", "train"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nucseg' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
