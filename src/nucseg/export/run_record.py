"""Write ``run.json``, which describes a run in enough detail to repeat it."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nucseg.files import atomic_write

# Runtimes that can replace onnxruntime, or are used besides it.
OPTIONAL = ("onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "openvino")
# Packages that the pixels of a result can depend on.
_PACKAGES = (
    "nucseg",
    "numpy",
    "onnxruntime",
    *OPTIONAL,
    "opencv-python-headless",
    "pillow",
    "scikit-image",
    "scipy",
    "tifffile",
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result can depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            if package in OPTIONAL:
                continue
            found[package] = "not installed as a package"
    return found


def write_run_record(path: Path, run: Mapping[str, Any]) -> None:
    """Write the description of a run as JSON, with the time and all versions; atomic.

    Parameters
    ----------
    path : Path
    run : mapping
        Description that JSON can represent.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    record = {
        **run,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
    }
    text = json.dumps(record, indent=2, ensure_ascii=False)
    # File names may contain bytes that are not text; escaped, they survive the round trip.
    with atomic_write(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
