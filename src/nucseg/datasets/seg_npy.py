"""Read Cellpose's ``_seg.npy``: masks in a pickled dictionary, without executing its code."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.errors import InputError


class _Type:
    """Description of a NumPy dtype in a pickle.

    NumPy does not build the dtype: it would trust a crafted dtype that claims to contain no
    objects, and then read its bytes as addresses of objects.
    """

    def __init__(self, kind: str, *_: bool) -> None:
        self.kind, self.order, self.parts = kind, "|", [None]

    def __setstate__(self, state: Any) -> None:
        _, self.order, *self.parts = state[:5]


class _Array:
    """Description of an array in a pickle."""

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.type, fortran, self.content = state
        self.layout = "F" if fortran else "C"

    def numbers(self) -> npt.NDArray[Any]:
        """Build the array if it contains plain numbers."""
        kind, order, parts = self.type.kind, self.type.order, self.type.parts
        plain = re.fullmatch(r"b1|[iu][1248]|f[248]", kind) and order in ("<", ">", "|")
        if not plain or any(part is not None for part in parts):
            raise InputError(f"its masks are of type {kind!r:.20}, not numbers")
        values = np.frombuffer(bytes(self.content), np.dtype(kind).newbyteorder(order))
        return values.reshape(self.shape, order=self.layout)  # type: ignore[call-overload,no-any-return]


def _rebuilt(*_: object) -> _Array:
    return _Array()


def _buffered(content: object, kind: object, shape: object, layout: str) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, kind, layout == "F", content))
    return array


def _scalar(*_: object) -> None:
    """Ignore a number; only the masks are used."""


def _encoded(text: str, _: str) -> bytes:
    """Return the bytes that a pickle protocol without bytes stores as text."""
    return text.encode("latin-1")


# Everything that arrays, numbers and text need; anything else could run foreign code.
_HARMLESS: dict[tuple[str, str], Callable[..., object] | None] = {
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encoded,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _rebuilt),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _buffered),
        )
    },
}


class _Careful(pickle.Unpickler):
    """Unpickles lists, dictionaries and text, and descriptions of arrays."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise InputError(f"it names {module}.{name}, which is neither an array nor text")
        return _HARMLESS[module, name]


def cellpose_masks(data: bytes, name: str) -> npt.NDArray[Any]:
    """Read the masks of a file that Cellpose's GUI saves.

    Parameters
    ----------
    data : bytes
        Content of the file.
    name : str
        Name of the file, for messages.

    Returns
    -------
    ndarray, shape (H, W), integer
        The entry ``masks``; 0 is background.

    Raises
    ------
    InputError
        The file has another format, contains anything but arrays, numbers and text, or is a stack.
    """
    try:
        masks = _masks(io.BytesIO(data))
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
    OverflowError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)


def _masks(file: io.BytesIO) -> npt.NDArray[Any]:
    """Read the masks of a NumPy file that contains one dictionary."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0
    _, _, dtype = (header if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)
    if not dtype.hasobject:
        raise InputError("it holds an array and no dictionary")
    outer = _Careful(file).load()
    if not isinstance(outer, _Array) or not isinstance(outer.content, list):
        raise InputError("it holds no dictionary")
    masks = outer.content[0]["masks"]
    return masks.numbers() if isinstance(masks, _Array) else np.asarray(masks)
