"""Cellpose's ``_seg.npy``: masks in a pickled dictionary, read without running what it names."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError

# All that arrays, numbers and text need; anything else could run code of whoever wrote the file.
_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    ),
}


class _Careful(pickle.Unpickler):
    """Unpickles arrays, numbers, text, lists and dictionaries."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise InputError(f"it names {module}.{name}, which is neither an array nor text")
        return super().find_class(module, name)


def cellpose_masks(data: bytes, name: str) -> npt.NDArray[Any]:
    """Read the masks of a file that Cellpose's window saves.

    Parameters
    ----------
    data : bytes
        Content of the file.
    name : str
        Of the file, for messages.

    Returns
    -------
    ndarray, shape (H, W), integer
        The entry ``masks``: 0 background.

    Raises
    ------
    InputError
        It is no such file, holds anything but arrays, numbers and text, or a stack.
    """
    try:
        masks = np.asarray(_content(io.BytesIO(data))["masks"])
    except (InputError, KeyError, MemoryError, *_BROKEN) as error:
        raise InputError(
            f"{name} cannot be read as Cellpose's _seg.npy ({error}). Save it again in Cellpose, "
            "or save the masks as TIFF or PNG."
        ) from error
    if masks.ndim != 2 or masks.dtype.kind not in "iub":
        raise InputError(
            f"{name} holds masks of shape {masks.shape} and type {masks.dtype}; expected a label "
            "image of whole numbers, (height, width)."
        )
    return masks


_BROKEN = (
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    OSError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)


def _content(file: io.BytesIO) -> Any:
    """Read the dictionary of a NumPy file that holds one object."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0
    _, _, dtype = (header if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)
    if not dtype.hasobject:
        raise InputError("it holds an array and no dictionary")
    return _Careful(file).load().item()
