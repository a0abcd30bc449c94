"""From what decoders raise on bad files to errors that a user can act on."""

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

# What the decoders raise on files that are cut short or damaged.
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

# How warnings are shown is one for all threads, and most decoders are not made for several.
_ONE_AT_A_TIME = threading.RLock()


def damaged(name: str, error: BaseException | str) -> InputError:
    """Error that says that a file is damaged, and what to do."""
    return InputError(
        f"{name} is damaged or cut short ({error}). Copy it again from its source, or open and "
        "save it in an image editor to see what is left of it."
    )


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what decoders and the file system raise in the block into errors of nucseg's.

    Parameters
    ----------
    name : str
        What the errors call the file.

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
        # Only the operating system numbers its errors; decoders raise them without.
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"Cannot read {name}: {error.strerror}.") from error
        raise damaged(name, error) from error


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Log the warnings of decoders: they are about matters that a user cannot change.

    One thread at a time is in such a block.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        logger.debug("%s: %s", name, warning.message)
