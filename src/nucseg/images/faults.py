"""Convert exceptions of decoders on damaged files to errors that users can act on."""

from __future__ import annotations

import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from xml.parsers.expat import ExpatError

from nucseg.errors import InputError

# Exceptions that decoders raise on truncated or damaged files.
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    SystemError,
    TypeError,
    ValueError,
    EOFError,
    ExpatError,
    struct.error,
    zlib.error,
)

logger = logging.getLogger(__name__)

# Warning filters are shared by all threads, and most decoders are not thread-safe.
_ONE_AT_A_TIME = threading.RLock()


def damaged(name: str, error: BaseException | str) -> InputError:
    """Return an error for a damaged file, with what to do about it."""
    return InputError(
        f"{name} is damaged or cut short ({error}). Copy it again from its source, or open and "
        "save it in an image editor to see what is left of it."
    )


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Convert exceptions of decoders and of the file system in the block to nucseg errors.

    Parameters
    ----------
    name : str
        Name of the file in error messages.

    Raises
    ------
    InputError
        The file is missing, not readable, damaged, or larger than memory.
    """
    try:
        yield
    except MemoryError as error:
        raise InputError(
            f"{name} is too large for the memory of this computer, or damaged."
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"There is no file {name}. Check its name and folder.") from error
    except DAMAGE as error:
        # Only errors of the operating system have an errno; those of decoders do not.
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"Cannot read {name}: {error.strerror}.") from error
        raise damaged(name, error) from error


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Log the warnings of decoders, which are about matters that users cannot change.

    Only one thread at a time can be in such a block.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        logger.debug("%s: %s", name, warning.message)
